//! Is a recording shown to whom it should be, whole or not at all, and does the log know of it?

use chrono::Utc;
use events::ids::{EnvId, SessionId, TenantId};
use events::login::Entrance;
use events::session::{Session, SessionClosed, SessionOpened, SessionRefusal, close::close, open::open};
use events::{Cause, Decision};
use harness::{Api, eventually};
use nats::RecordingId;
use recorder::{Recorders, Terminal};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::world::{World, asked, problem, world};

const SOON: std::time::Duration = std::time::Duration::from_secs(20);

struct Place {
    world: World,
    tenant: TenantId,
    owner: Api,
    env: String,
    recorders: Recorders,
}

async fn place() -> Place {
    let world = world().await;
    let tenant = world.tenant("Blue").await;
    let owner = world.caller("blue", "developer").await;
    let made = owner.post("/api/environments", &asked("mine")).await.unwrap().expect(202).unwrap();
    let env = made.text("env_id").unwrap().to_owned();
    let store = world.connection.recordings(world.keys.clone());
    let recorders = Recorders::new(world.log.clone(), store, "service:test");
    Place { world, tenant, owner, env, recorders }
}

impl Place {
    async fn session(&self) -> SessionId {
        let session = SessionId::from_seed(&Uuid::new_v4());
        let opened = SessionOpened {
            place: EnvId::parse(self.env.as_str()).unwrap().into(),
            ip: [192, 0, 2, 7].into(),
            entrance: Entrance::Gateway,
            user: "alice".to_owned(),
            method: "password".to_owned(),
            client: None,
            at: Utc::now(),
        };
        let rule = |state: &Session| -> Decision<_, SessionRefusal> { open(state, opened.clone()) };
        let cause = Cause::new(Uuid::new_v4(), "service:test");
        self.world.log.decide(&self.tenant, session.as_str(), &cause, 0, rule).await.unwrap();
        session
    }

    async fn close(&self, session: &SessionId) {
        let place = EnvId::parse(self.env.as_str()).unwrap().into();
        let closed =
            SessionClosed { place, bytes_in: 0, bytes_out: 0, reason: "interrupted".into(), at: Utc::now() };
        let rule = |state: &Session| -> Decision<_, SessionRefusal> { close(state, closed.clone()) };
        let cause = Cause::new(Uuid::new_v4(), "service:test");
        self.world.log.decide(&self.tenant, session.as_str(), &cause, 0, rule).await.unwrap();
    }

    fn terminal(&self, session: &SessionId, number: u32) -> Terminal {
        Terminal {
            id: RecordingId { tenant: self.tenant.clone(), session: session.clone(), number },
            place: EnvId::parse(self.env.as_str()).unwrap().into(),
            user: "alice".to_owned(),
            entrance: Entrance::Gateway,
            cols: 80,
            rows: 24,
            term: "xterm".to_owned(),
            title: "a test".to_owned(),
        }
    }

    async fn recorded(&self, session: &SessionId, number: u32, text: &str) {
        let recorder = self.recorders.start(self.terminal(session, number));
        recorder.output(text.as_bytes());
        recorder.finish().await;
    }

    async fn listed(&self, api: &Api) -> Vec<Value> {
        let after = self.world.head().await;
        api.list(&format!("/api/environments/{}/recordings?after={after}", self.env)).await.unwrap()
    }
}

/// The answer with its headers, which [`Api`] does not keep.
async fn shown(api: &Api, path: &str) -> (String, String, String) {
    let url = format!("{}{path}", api.base());
    let answer = reqwest::Client::new().get(url).bearer_auth(api.token().unwrap()).send().await.unwrap();
    assert_eq!(answer.status(), 200);
    let header = |name: &str| answer.headers()[name].to_str().unwrap().to_owned();
    let (kind, state) = (header("content-type"), header("portreeve-recording"));
    (kind, state, answer.text().await.unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_recording_is_listed_shown_and_each_showing_is_an_event() {
    let place = place().await;
    let session = place.session().await;
    place.recorded(&session, 1, "first \u{1f6a2}").await;
    place.recorded(&session, 2, "second").await;
    let listed = place.listed(&place.owner).await;
    assert_eq!(listed.len(), 2, "{listed:?}");
    let newest = &listed[0];
    assert_eq!(newest["recording_id"], format!("{session}.2"));
    assert_eq!((&newest["session_id"], &newest["user"]), (&json!(session), &json!("alice")));
    assert_eq!((&newest["entrance"], &newest["complete"]), (&json!("gateway"), &json!(true)));
    assert!(newest["ended_at"].is_string() && newest["duration_s"].is_f64());
    let (kind, state, text) = shown(&place.owner, &format!("/api/recordings/{session}.2")).await;
    assert_eq!((kind.as_str(), state.as_str()), ("application/x-asciicast", "complete"));
    assert_eq!(newest["bytes"], text.len());
    assert!(text.lines().count() == 2 && text.contains("\"second\""), "{text}");
    use sha2::Digest;
    assert_eq!(newest["sha256"], data_encoding::HEXLOWER.encode(&sha2::Sha256::digest(&text)));
    // a session stands for its first recording
    let (_, _, text) = shown(&place.owner, &format!("/api/recordings/{session}")).await;
    assert!(text.contains("first \u{1f6a2}"));
    assert_eq!(place.world.count("RecordingViewed", session.as_str()).await, 2);
    // its session's end changes nothing of an end that was told
    place.close(&session).await;
    assert_eq!(place.listed(&place.owner).await, listed);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_recording_is_shown_to_who_sees_the_sessions_and_to_nobody_else() {
    let place = place().await;
    place.world.tenant("Red").await;
    let session = place.session().await;
    place.recorded(&session, 1, "mine").await;
    let path = format!("/api/recordings/{session}.1?after={}", place.world.head().await);
    for (tenant, role, sees) in [
        ("blue", "operator", true),
        ("blue", "auditor", true),
        ("blue", "developer", false),
        ("red", "operator", false),
        ("red", "auditor", false),
    ] {
        let caller = place.world.caller(tenant, role).await;
        let answer = caller.get(&path).await.unwrap();
        match sees {
            true => assert_eq!(answer.status, 200, "{role} of {tenant}: {}", answer.body),
            false => problem(&answer, 404, "not_found"),
        }
    }
    assert_eq!(place.world.admin.get(&path).await.unwrap().status, 200);
    assert_eq!(place.world.count("RecordingViewed", session.as_str()).await, 3);
    for unknown in ["ses-aaaaaaaaaaaa.1", "ses-aaaaaaaaaaaa", "nonsense!", "a.b.c"] {
        problem(&place.owner.get(&format!("/api/recordings/{unknown}")).await.unwrap(), 404, "not_found");
    }
    problem(&place.owner.get(&format!("/api/recordings/{session}.2")).await.unwrap(), 404, "not_found");
}

#[tokio::test(flavor = "multi_thread")]
async fn one_that_goes_on_or_was_cut_off_is_shown_as_far_as_it_is_stored() {
    let place = place().await;
    let session = place.session().await;
    let recorder = place.recorders.start(place.terminal(&session, 1));
    recorder.output(b"so far");
    let path = format!("/api/recordings/{session}.1");
    eventually("its beginning is stored", SOON, async || {
        let answer = place.owner.get(&path).await.map_err(|error| error.to_string())?;
        if answer.status == 200 { Ok(()) } else { Err(answer.body.to_string()) }
    })
    .await
    .unwrap();
    let (_, state, text) = shown(&place.owner, &path).await;
    assert_eq!(state, "recording");
    assert!(text.contains("so far"));
    // its entrance was killed: the session is closed by somebody else, and nobody ends the recording
    std::mem::forget(recorder);
    place.close(&session).await;
    let listed = place.listed(&place.owner).await;
    assert_eq!(listed[0]["complete"], false);
    assert!(listed[0]["ended_at"].is_string(), "{listed:?}");
    let (_, state, text) = shown(&place.owner, &path).await;
    assert_eq!(state, "incomplete");
    assert!(text.contains("so far"));
}

#[tokio::test(flavor = "multi_thread")]
async fn one_that_is_not_what_the_log_vouches_for_is_not_shown() {
    let place = place().await;
    let session = place.session().await;
    place.recorded(&session, 1, "shown").await;
    // somebody with the right to append adds something after the end
    let store = place.world.connection.recordings(place.world.keys.clone());
    let id = RecordingId { tenant: place.tenant.clone(), session: session.clone(), number: 1 };
    store.keep(&store.seal(&id, 2, b"[9.0,\"o\",\"forged\"]\n").unwrap()).await.unwrap();
    let path = format!("/api/recordings/{session}.1?after={}", place.world.head().await);
    let answer = place.owner.get(&path).await.unwrap();
    problem(&answer, 500, "recording_damaged");
    assert_eq!(place.world.count("RecordingViewed", session.as_str()).await, 0, "it was not shown");
    // one that has begun a moment ago
    let other = place.session().await;
    let recorder = place.recorders.start(place.terminal(&other, 1));
    eventually("it began", SOON, async || {
        let began = place.world.count("RecordingStarted", other.as_str()).await;
        if began == 1 { Ok(()) } else { Err(began) }
    })
    .await
    .unwrap();
    let path = format!("/api/recordings/{other}.1?after={}", place.world.head().await);
    problem(&place.owner.get(&path).await.unwrap(), 409, "recording_not_stored");
    recorder.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tenant_asks_for_it_or_not() {
    let world = world().await;
    world.tenant("Blue").await;
    let path = "/api/tenants/blue/recording";
    let operator = world.caller("blue", "operator").await;
    let of = async |api: &Api| api.get(path).await.unwrap().expect(200).unwrap().body;
    assert_eq!(of(&operator).await, json!({"enabled": false}));
    let on = operator.put(path, &json!({"enabled": true})).await.unwrap().expect(200).unwrap();
    assert_eq!(on.body, json!({"enabled": true}));
    assert_eq!(of(&world.admin).await, json!({"enabled": true}));
    let after = on.position.unwrap();
    let tenants = operator.list(&format!("/api/tenants?after={after}")).await.unwrap();
    assert_eq!(tenants[0]["recording"], true, "{tenants:?}");
    operator.put(path, &json!({"enabled": true})).await.unwrap().expect(200).unwrap();
    assert_eq!(world.count("TenantRecordingSet", "blue").await, 1, "it was so already");
    world.admin.put(path, &json!({"enabled": false})).await.unwrap().expect(200).unwrap();
    assert_eq!(of(&operator).await, json!({"enabled": false}));
    problem(&operator.put(path, &json!({})).await.unwrap(), 422, "validation_failed");
    problem(&operator.put(path, &json!({"enabled": "yes"})).await.unwrap(), 422, "validation_failed");
    for role in ["developer", "auditor"] {
        let caller = world.caller("blue", role).await;
        problem(&caller.put(path, &json!({"enabled": true})).await.unwrap(), 403, "forbidden");
    }
    let stranger = world.caller("default", "operator").await;
    problem(&stranger.put(path, &json!({"enabled": true})).await.unwrap(), 404, "not_found");
    problem(&stranger.get(path).await.unwrap(), 404, "not_found");
    problem(&world.admin.get("/api/tenants/nowhere/recording").await.unwrap(), 404, "not_found");
    problem(
        &world.admin.put("/api/tenants/_sys/recording", &json!({"enabled": true})).await.unwrap(),
        404,
        "not_found",
    );
}
