//! Who is given which taps of NATS, and what is told of them?

use events::Kind;
use events::nats_tap::leave::leaves;
use reqwest::Method;
use serde_json::{Value, json};

use crate::world::{problem, world};

fn kinds(tap: &Value) -> Vec<&str> {
    tap["kinds"].as_array().unwrap().iter().filter_map(Value::as_str).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tap_is_shown_whole_once_and_listed_without_its_password() {
    let world = world().await;
    let asked = json!({"name": "warehouse", "kinds": ["session", "env"]});
    let again = |key: &'static str| world.admin.call(Method::POST, "/api/nats-taps", Some(&asked), Some(key));
    let made = again("one").await.unwrap().expect(201).unwrap();
    let (id, password) = (made.text("tap_id").unwrap(), made.text("password").unwrap());
    assert!(id.starts_with("tap-") && password.starts_with("ptp_") && password.len() == 44, "{}", made.body);
    assert_eq!(kinds(&made.body), ["env", "session"]);
    assert_eq!((made.text("url").unwrap(), &made.body["websocket_url"]), (&*world.nats.url(), &Value::Null));
    assert_eq!(
        made.body["live"],
        json!({"user": format!("{id}.live"), "subjects": ["stored.default.env.*", "stored.default.session.*"]})
    );
    let resume = &made.body["resume"];
    let consumer = resume["consumer"].as_str().unwrap();
    assert!(consumer.starts_with(&format!("{id}-")), "{resume}");
    assert_eq!(
        *resume,
        json!({"user": format!("{id}.resume"), "stream": "EVENTS", "consumer": consumer,
            "api_prefix": "LOG.API", "inbox_prefix": format!("_INBOX_{consumer}"),
            "subjects": ["ev.default.env.*", "ev.default.session.*"]})
    );
    problem(&again("one").await.unwrap(), 409, "key_shown_before");

    let after = made.position.unwrap();
    let shown = world.admin.get(&format!("/api/nats-taps/{id}?after={after}")).await.unwrap();
    let shown = shown.expect(200).unwrap();
    assert_eq!(
        (&shown.body["resume"], &shown.body["progress"]),
        (resume, &Value::Null),
        "nobody followed yet"
    );
    let listed = world.admin.list(&format!("/api/nats-taps?after={after}")).await.unwrap();
    assert_eq!(listed.len(), 1);
    let everything = world.everything().await.iter().map(|event| format!("{event:?}")).collect::<String>();
    for text in [Value::from(listed).to_string(), shown.body.to_string(), everything] {
        assert!(!text.contains(password), "{text}");
    }

    let revoked = world.admin.delete(&format!("/api/nats-taps/{id}")).await.unwrap().expect(200).unwrap();
    let after = revoked.position.unwrap();
    assert!(world.admin.list(&format!("/api/nats-taps?after={after}")).await.unwrap().is_empty());
    let all = world.admin.list(&format!("/api/nats-taps?after={after}&revoked=true")).await.unwrap();
    assert!(all[0]["revoked_at"].is_string(), "{all:?}");
    world.admin.delete(&format!("/api/nats-taps/{id}")).await.unwrap().expect(200).unwrap();
    assert_eq!(world.count("NatsTapIssued", id).await, 1);
    assert_eq!(world.count("NatsTapRevoked", id).await, 1, "once");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_role_does_not_see_and_what_tells_of_secrets_is_in_no_tap() {
    let world = world().await;
    let may_leave = |kind: &&Kind| leaves(**kind);
    let all: Vec<&str> = Kind::ALL.iter().filter(may_leave).map(|kind| kind.wire_name()).collect();
    for (role, sees_sign_ins) in [("admin", true), ("operator", false), ("auditor", true)] {
        let caller = world.caller("default", role).await;
        let made = caller.post("/api/nats-taps", &json!({"name": role})).await.unwrap().expect(201).unwrap();
        let mut expected = all.clone();
        expected.retain(|kind| sees_sign_ins || *kind != "sign_in");
        expected.sort_unstable();
        assert_eq!(kinds(&made.body), expected, "{role}");
        for kind in
            ["credential", "server", "relay", "token", "user", "request", "nats_tap", "port", "*", ">"]
        {
            let body = json!({"name": "x", "kinds": ["env", kind]});
            let refused = caller.post("/api/nats-taps", &body).await.unwrap();
            problem(&refused, 422, "validation_failed");
            assert_eq!(refused.body["errors"][0]["field"], "kinds[1]", "{role} {kind}: {}", refused.body);
        }
    }
    let operator = world.caller("default", "operator").await;
    for body in [json!({"name": "x", "kinds": ["sign_in"]}), json!({"name": "x", "kinds": []}), json!({})] {
        problem(&operator.post("/api/nats-taps", &body).await.unwrap(), 422, "validation_failed");
    }
    let developer = world.caller("default", "developer").await;
    problem(&developer.post("/api/nats-taps", &json!({"name": "x"})).await.unwrap(), 403, "forbidden");
    problem(&developer.get("/api/nats-taps").await.unwrap(), 403, "forbidden");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tap_of_another_tenant_does_not_exist() {
    let world = world().await;
    world.tenant("Blue").await;
    world.tenant("Red").await;
    let (blue, red) = (world.caller("blue", "operator").await, world.caller("red", "operator").await);
    let auditor = world.caller("blue", "auditor").await;
    let made = blue.post("/api/nats-taps", &json!({"name": "b"})).await.unwrap().expect(201).unwrap();
    let (id, after) = (made.text("tap_id").unwrap(), made.position.unwrap());
    assert_eq!(made.text("tenant_id").unwrap(), "blue");
    let path = format!("/api/nats-taps/{id}");
    problem(&red.get(&format!("{path}?after={after}")).await.unwrap(), 404, "not_found");
    problem(&red.delete(&path).await.unwrap(), 404, "not_found");
    assert!(red.list(&format!("/api/nats-taps?after={after}")).await.unwrap().is_empty());
    let foreign = json!({"name": "r", "tenant_id": "blue"});
    problem(&red.post("/api/nats-taps", &foreign).await.unwrap(), 403, "forbidden");
    // an auditor reads, and ends what they asked for themselves
    auditor.get(&path).await.unwrap().expect(200).unwrap();
    problem(&auditor.delete(&path).await.unwrap(), 403, "forbidden");
    let own = auditor.post("/api/nats-taps", &json!({"name": "a"})).await.unwrap().expect(201).unwrap();
    auditor
        .delete(&format!("/api/nats-taps/{}", own.text("tap_id").unwrap()))
        .await
        .unwrap()
        .expect(200)
        .unwrap();
    // an administrator issues for any and revokes any
    let made = world.admin.post("/api/nats-taps", &json!({"name": "c", "tenant_id": "red"})).await.unwrap();
    assert_eq!(made.expect(201).unwrap().text("tenant_id").unwrap(), "red");
    world.admin.delete(&path).await.unwrap().expect(200).unwrap();
}
