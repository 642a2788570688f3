//! Can any service rewrite the past, or state facts that are not its to state?

use std::collections::BTreeSet;
use std::time::Duration;

use async_nats::Client;
use events::credential::SecretRef;
use events::{CATALOGUE, Kind};
use futures_util::StreamExt;
use futures_util::future::join_all;
use harness::nats::{NatsServer, password_of};
use nats::USERS;
use serde_json::{Value, json};

use crate::stand::*;

const STREAMS: [&str; 7] =
    ["EVENTS", "PARKED", "KV_VAULT", "KV_POSITIONS", "RECORDINGS", "OUTPUTS", "ANCHORS"];
/// A refused publish has no answer.
const NO_ANSWER: Duration = Duration::from_millis(400);

async fn info(client: &Client, stream: &str) -> (Value, Value) {
    let answer = client.request(format!("LOG.API.STREAM.INFO.{stream}"), "".into()).await.unwrap();
    let info: Value = serde_json::from_slice(&answer.payload).unwrap();
    let state = &info["state"];
    (info["config"].clone(), json!([state["messages"], state["first_seq"], state["last_seq"]]))
}

/// Every request that changes or empties a stream, its consumers or its servers.
fn attacks(stream: &str, prefix: &str) -> Vec<(String, String)> {
    let other = json!({
        "name": stream, "subjects": ["elsewhere.>"], "storage": "file", "retention": "limits",
        "discard": "old", "max_msgs": 1, "allow_direct": true,
    });
    let push = json!({ "stream_name": stream, "config": {
        "name": "push", "deliver_subject": format!("$JS.API.STREAM.DELETE.{stream}"),
        "ack_policy": "none", "deliver_policy": "all", "headers_only": true,
    }});
    [
        (format!("STREAM.CREATE.{stream}"), other.to_string()),
        (format!("STREAM.UPDATE.{stream}"), other.to_string()),
        (format!("STREAM.DELETE.{stream}"), String::new()),
        (format!("STREAM.PURGE.{stream}"), String::new()),
        (format!("STREAM.PURGE.{stream}"), json!({"seq": 100}).to_string()),
        (format!("STREAM.MSG.DELETE.{stream}"), json!({"seq": 1}).to_string()),
        (format!("STREAM.SNAPSHOT.{stream}"), json!({"deliver_subject": "_INBOX.stolen"}).to_string()),
        (format!("STREAM.RESTORE.{stream}"), json!({"config": other}).to_string()),
        (format!("STREAM.PEER.REMOVE.{stream}"), json!({"peer": "n1"}).to_string()),
        (format!("STREAM.LEADER.STEPDOWN.{stream}"), String::new()),
        (format!("CONSUMER.CREATE.{stream}"), push.to_string()),
        (format!("CONSUMER.CREATE.{stream}.push"), push.to_string()),
        (format!("CONSUMER.DURABLE.CREATE.{stream}.push"), push.to_string()),
        (format!("CONSUMER.DELETE.{stream}.provisioner"), String::new()),
        (
            format!("CONSUMER.PAUSE.{stream}.provisioner"),
            json!({"pause_until": "2099-01-01T00:00:00Z"}).to_string(),
        ),
        (format!("CONSUMER.RESET.{stream}.provisioner"), String::new()),
        ("ACCOUNT.PURGE.LOG".to_owned(), String::new()),
        ("SERVER.REMOVE".to_owned(), json!({"peer": "n1"}).to_string()),
    ]
    .into_iter()
    .map(|(request, body)| (format!("{prefix}.{request}"), body))
    .collect()
}

async fn seeded() -> NatsServer {
    let server = server().await;
    seed(&server).await;
    server
}

async fn seed(server: &NatsServer) {
    let log = user(server, "api").await.log();
    claim_for(&log, "kept", 1).await.unwrap();
    let api = raw(server, "api").await;
    // A message without a body, which an intruder would send on as an empty request.
    api.request("ev.acme.quota.empty", "".into()).await.unwrap();
    api.request("$KV.VAULT.a.b.c", "sealed".into()).await.unwrap();
    api.request("$KV.POSITIONS.acme.sub-a", "{}".into()).await.unwrap();
    api.request("rec.acme.ses-a.1", "sealed".into()).await.unwrap();
    raw(server, "relay").await.request("out.acme.cmd_1_a.1", "sealed".into()).await.unwrap();
    raw(server, "provisioner").await.request("parked.provisioner.1", "poison".into()).await.unwrap();
    raw(server, "audit").await.request("anchor.log", "signed".into()).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn no_service_can_change_empty_or_delete_a_stream() {
    let server = seeded().await;
    let watcher = raw(&server, "setup").await;
    let mut before = Vec::new();
    for stream in STREAMS {
        before.push(info(&watcher, stream).await);
    }
    for name in USERS {
        let client = raw(&server, name).await;
        for (stream, prefix) in STREAMS.iter().flat_map(|s| [(*s, "LOG.API"), (*s, "$JS.API")]) {
            // The rights that exist: emptying the vault, and making consumers, who lets taps in but those of workers.
            let allowed = |request: &str| match name {
                "provisioner" => request == "LOG.API.STREAM.PURGE.KV_VAULT",
                "setup" => request.starts_with("LOG.API.CONSUMER.CREATE.EVENTS."),
                "taps" => request == "LOG.API.CONSUMER.CREATE.EVENTS.push",
                _ => false,
            };
            let attempts = attacks(stream, prefix).into_iter().filter(|(request, _)| !allowed(request));
            join_all(attempts.map(|(request, body)| async {
                let answer = tokio::time::timeout(NO_ANSWER, client.request(request, body.into())).await;
                if let Ok(Ok(answer)) = answer {
                    let answer: Value = serde_json::from_slice(&answer.payload).unwrap();
                    assert!(answer["error"].is_object(), "{name}: {answer}");
                }
            }))
            .await;
        }
        for (stream, before) in STREAMS.iter().zip(&before) {
            assert_eq!(&info(&watcher, stream).await, before, "{name} changed {stream}");
        }
    }
}

/// The reply subject of a request is not checked by the server, so it is tried as a weapon: have
/// the server itself publish a stored message where we may not.
#[tokio::test(flavor = "multi_thread")]
async fn no_service_can_have_a_message_sent_where_it_may_not() {
    let server = seeded().await;
    let watcher = raw(&server, "setup").await;
    let before = info(&watcher, "EVENTS").await;
    for name in USERS {
        let client = raw(&server, name).await;
        for seq in [1, 2] {
            for target in
                ["$JS.API.STREAM.DELETE.EVENTS", "LOG.API.STREAM.DELETE.EVENTS", "ev.acme.port.forged"]
            {
                let request = json!({"seq": seq}).to_string();
                let get = "LOG.API.DIRECT.GET.EVENTS";
                client.publish_with_reply(get, target, request.into()).await.unwrap();
                client.publish_with_reply("LOG.API.STREAM.INFO.EVENTS", target, "".into()).await.unwrap();
            }
        }
        client.flush().await.unwrap();
    }
    tokio::time::sleep(NO_ANSWER).await;
    assert_eq!(info(&watcher, "EVENTS").await, before);
}

/// Setup and taps make consumers; one that delivers to the server's API, or as if it were an event, is tried, and one
/// that takes the place of a worker.
#[tokio::test(flavor = "multi_thread")]
async fn nobody_can_aim_a_consumer_at_the_log() {
    let server = seeded().await;
    let watcher = raw(&server, "setup").await;
    let before = info(&watcher, "EVENTS").await;
    for name in ["setup", "taps"] {
        let client = raw(&server, name).await;
        for (number, target) in ["$JS.API.STREAM.DELETE.EVENTS", "ev.acme.port.forged"].iter().enumerate() {
            let consumer = json!({ "stream_name": "EVENTS", "config": {
                "name": format!("{name}-{number}"), "deliver_subject": target, "ack_policy": "none",
                "deliver_policy": "all", "headers_only": true,
            }});
            let request = format!("LOG.API.CONSUMER.CREATE.EVENTS.{name}-{number}");
            client.request(request, consumer.to_string().into()).await.unwrap();
        }
    }
    let worker = json!({ "stream_name": "EVENTS", "config": {
        "durable_name": "provisioner", "ack_policy": "explicit", "filter_subject": "ev.nobody.env.*",
    }});
    let request = "LOG.API.CONSUMER.CREATE.EVENTS.provisioner";
    let taps = raw(&server, "taps").await;
    let answer = tokio::time::timeout(NO_ANSWER, taps.request(request, worker.to_string().into())).await;
    assert!(!matches!(answer, Ok(Ok(_))), "{answer:?}");
    tokio::time::sleep(NO_ANSWER * 3).await;
    assert_eq!(info(&watcher, "EVENTS").await, before);
}

#[tokio::test(flavor = "multi_thread")]
async fn headers_that_make_the_server_forget_are_refused() {
    let server = seeded().await;
    let client = raw(&server, "api").await;
    let audit = raw(&server, "audit").await;
    let streams = ["EVENTS", "RECORDINGS", "ANCHORS"];
    let all = async || join_all(streams.map(|stream| info(&client, stream))).await;
    let before = all().await;
    for subject in ["ev.acme.quota.kept", "$KV.VAULT.a.b.c", "rec.acme.ses-a.1", "anchor.log"] {
        let client = if subject == "anchor.log" { &audit } else { &client };
        for (name, value) in [("Nats-Rollup", "all"), ("Nats-Rollup", "sub"), ("Nats-TTL", "1s")] {
            let mut headers = async_nats::HeaderMap::new();
            headers.insert(name, value);
            let answer = client.request_with_headers(subject, headers, "".into()).await.unwrap();
            let answer: Value = serde_json::from_slice(&answer.payload).unwrap();
            assert!(answer["error"].is_object(), "{name}: {value} on {subject}: {answer}");
        }
    }
    assert_eq!(all().await, before);
}

/// The file and the catalogue say the same about who states what.
#[tokio::test(flavor = "multi_thread")]
async fn each_service_appends_the_kinds_it_decides_and_no_others() {
    let server = seeded().await;
    for name in USERS {
        let client = raw(&server, name).await;
        let tried = Kind::ALL.iter().map(|kind| async {
            let subject = format!("ev.acme.{}.{name}", kind.wire_name());
            let answer = tokio::time::timeout(NO_ANSWER * 3, client.request(subject, "{}".into())).await;
            matches!(answer, Ok(Ok(_))).then(|| kind.wire_name())
        });
        let accepted: BTreeSet<&str> = join_all(tried).await.into_iter().flatten().collect();
        let decided: BTreeSet<&str> = CATALOGUE
            .iter()
            .filter(|row| row.appended_by.contains(&name))
            .map(|row| row.kind.wire_name())
            .collect();
        assert_eq!(accepted, decided, "{name}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn only_who_needs_secrets_reaches_the_vault_and_only_a_worker_its_messages() {
    let server = seeded().await;
    for name in USERS {
        let client = raw(&server, name).await;
        let tried = [
            ("$KV.VAULT.x.y.z", ""),
            ("LOG.API.DIRECT.GET.KV_VAULT.$KV.VAULT.a.b.c", ""),
            ("$KV.POSITIONS.acme.sub-b", ""),
            ("LOG.API.DIRECT.GET.KV_POSITIONS.$KV.POSITIONS.acme.sub-a", ""),
            ("LOG.API.CONSUMER.MSG.NEXT.EVENTS.provisioner", r#"{"batch":1,"no_wait":true}"#),
            ("parked.projector.7", "{}"),
        ];
        let answers = join_all(tried.map(async |(subject, body)| {
            let request = client.request(subject.to_owned(), body.into());
            let answer = tokio::time::timeout(NO_ANSWER * 3, request).await;
            matches!(answer, Ok(Ok(_)))
        }))
        .await;
        let secrets = ["api", "provisioner"].contains(&name);
        let (positions, worker) = (name == "api", name == "provisioner");
        let expected = [secrets, secrets, positions, positions, worker, name == "projector"];
        assert_eq!(answers, expected, "{name}");
    }
}

/// Who records appends, who shows reads; the relay of terminals cannot read what others' showed.
#[tokio::test(flavor = "multi_thread")]
async fn recordings_are_appended_by_who_records_and_read_by_who_shows_them() {
    let server = seeded().await;
    for name in USERS {
        let client = raw(&server, name).await;
        let tried = [
            ("rec.acme.ses-a.1", "sealed"),
            ("LOG.API.DIRECT.GET.RECORDINGS", r#"{"seq":1}"#),
            ("$JS.API.DIRECT.GET.RECORDINGS", r#"{"seq":1}"#),
            ("LOG.API.STREAM.MSG.GET.RECORDINGS", r#"{"seq":1}"#),
        ];
        let answers = join_all(tried.map(async |(subject, body)| {
            let request = client.request(subject.to_owned(), body.into());
            let answer = tokio::time::timeout(NO_ANSWER * 3, request).await;
            matches!(answer, Ok(Ok(answer)) if !answer.payload.starts_with(b"{\"error\"") && !answer.payload.starts_with(b"{\"type\""))
        }))
        .await;
        let (appends, reads) = (["api", "gateway"].contains(&name), name == "api");
        assert_eq!(answers, [appends, reads, false, false], "{name}");
    }
}

/// Who runs commands appends their outputs, who shows them reads; who logs in to servers reads no other secret.
#[tokio::test(flavor = "multi_thread")]
async fn outputs_are_appended_by_who_runs_and_read_by_who_shows_them() {
    let server = seeded().await;
    for name in USERS {
        let client = raw(&server, name).await;
        let tried = [
            ("out.acme.cmd_1_a.1", "sealed"),
            ("LOG.API.DIRECT.GET.OUTPUTS", r#"{"seq":1}"#),
            ("$JS.API.DIRECT.GET.OUTPUTS", r#"{"seq":1}"#),
            ("LOG.API.DIRECT.GET.KV_VAULT.$KV.VAULT.srv-a.server-login.x", ""),
            ("LOG.API.DIRECT.GET.KV_VAULT.$KV.VAULT.env-a.password.x", ""),
        ];
        let answers = join_all(tried.map(async |(subject, body)| {
            let request = client.request(subject.to_owned(), body.into());
            let answer = tokio::time::timeout(NO_ANSWER * 3, request).await;
            matches!(answer, Ok(Ok(answer)) if !answer.payload.starts_with(b"{\"error\"") && !answer.payload.starts_with(b"{\"type\""))
        }))
        .await;
        let secrets = ["api", "provisioner"].contains(&name);
        let expected = [name == "relay", name == "api", false, secrets || name == "relay", secrets];
        assert_eq!(answers, expected, "{name}");
    }
}

/// What lets people in must not be able to tell passwords, nor change the key it vouches with.
#[tokio::test(flavor = "multi_thread")]
async fn the_gateway_reads_what_checks_a_password_and_what_opens_a_door_and_writes_its_host_key() {
    let server = seeded().await;
    let env = events::ids::EnvId::from_seed(&uuid::Uuid::nil());
    let password = SecretRef::password(&env, uuid::Uuid::nil());
    let secrets = [
        (SecretRef::user_ca(), true, false),
        (SecretRef::gateway_host_key(), true, true),
        (password.argon2id(), true, false),
        (SecretRef::jupyter(&env), false, false),
        (password, false, false),
    ];
    let (keys, _) = nats::MasterKeys::generate().unwrap();
    let api = user(&server, "api").await.vault(keys.clone());
    let gateway = user(&server, "gateway").await.vault(keys);
    for (secret, may_read, may_write) in secrets {
        api.put(&secret, &"there".into()).await.unwrap();
        let read = tokio::time::timeout(NO_ANSWER * 3, gateway.get(&secret)).await;
        assert_eq!(matches!(read, Ok(Ok(Some(_)))), may_read, "{secret:?}");
        let written = tokio::time::timeout(NO_ANSWER * 3, gateway.put(&secret, &"other".into())).await;
        assert_eq!(matches!(written, Ok(Ok(()))), may_write, "{secret:?}");
    }
}

/// Who vouches for the log is nobody who writes it: anchors are appended by `audit` alone, and its signing keys
/// are read and made by it alone.
#[tokio::test(flavor = "multi_thread")]
async fn anchors_are_appended_by_audit_alone_and_its_keys_are_its_own() {
    let server = seeded().await;
    raw(&server, "audit").await.request("$KV.VAULT._sys.audit-key.1", "sealed".into()).await.unwrap();
    for name in USERS {
        let client = raw(&server, name).await;
        let tried = [
            ("anchor.log", "signed"),
            ("anchor.other", "signed"),
            ("LOG.API.DIRECT.GET.ANCHORS", r#"{"seq":1}"#),
            ("LOG.API.DIRECT.GET.KV_VAULT.$KV.VAULT._sys.audit-key.1", ""),
            ("LOG.API.DIRECT.GET.KV_VAULT.$KV.VAULT._sys.audit-key.*", ""),
            ("$KV.VAULT._sys.audit-key.2", "sealed"),
        ];
        let answers = join_all(tried.map(async |(subject, body)| {
            let request = client.request(subject.to_owned(), body.into());
            let answer = tokio::time::timeout(NO_ANSWER * 3, request).await;
            matches!(answer, Ok(Ok(answer)) if answer.status.is_none() && !answer.payload.starts_with(b"{\"error\""))
        }))
        .await;
        let (own, reads) = (name == "audit", ["api", "audit"].contains(&name));
        assert_eq!(answers, [own, false, reads, own, own, own], "{name}");
    }
}

/// The API rings and audit hears it; nobody else can do either.
#[tokio::test(flavor = "multi_thread")]
async fn the_bell_of_audit_is_rung_by_the_api() {
    let server = seeded().await;
    let mut bell = user(&server, "audit").await.anchors().bell().await.unwrap();
    for name in USERS {
        let client = raw(&server, name).await;
        client.publish("bell.audit", name.into()).await.unwrap();
        client.flush().await.unwrap();
    }
    let mut all = BTreeSet::new();
    while let Ok(Some(wish)) = tokio::time::timeout(NO_ANSWER * 3, bell.next()).await {
        all.insert(String::from_utf8_lossy(&wish).into_owned());
    }
    assert_eq!(all, BTreeSet::from(["api".to_owned()]));
}

/// Who is connected, out with them, and the questions of who somebody is: for who lets people in alone.
#[tokio::test(flavor = "multi_thread")]
async fn the_servers_are_asked_and_ask_who_lets_taps_in() {
    let server = seeded().await;
    for name in USERS {
        let client = raw(&server, name).await;
        let asked = client.request("SERVERS.CONNZ", "{}".into());
        let answered = matches!(tokio::time::timeout(NO_ANSWER * 3, asked).await, Ok(Ok(_)));
        let mut questions = client.subscribe("$SYS.REQ.USER.AUTH").await.unwrap();
        client.flush().await.unwrap();
        let nobody = async_nats::ConnectOptions::with_user_and_password("nobody".into(), "x".into());
        let (refused, question) =
            tokio::join!(nobody.connect(server.url()), tokio::time::timeout(NO_ANSWER, questions.next()));
        assert!(refused.is_err());
        let lets_in = name == "taps";
        assert_eq!((answered, matches!(question, Ok(Some(_)))), (lets_in, lets_in), "{name}");
    }
}

/// The attacks are real: an administrator of the account LOG, whom only this test makes, succeeds.
#[tokio::test(flavor = "multi_thread")]
async fn the_same_requests_succeed_for_an_administrator() {
    let root = format!("users: [ {{ user: root, password: \"{}\" }} ]", password_of("root"));
    let conf =
        nats::SERVER_CONF.replacen("jetstream: enabled\n", &format!("jetstream: enabled\n{root}\n"), 1);
    let server = NatsServer::start_with_users(&conf).await.unwrap();
    user(&server, "setup").await.setup(1).await.unwrap();
    seed(&server).await;
    let root = raw(&server, "root").await;
    // The reply subject as a weapon: enough, where one account holds everything.
    root.publish_with_reply(
        "$JS.API.DIRECT.GET.EVENTS",
        "$JS.API.STREAM.DELETE.PARKED",
        json!({"seq": 2}).to_string().into(),
    )
    .await
    .unwrap();
    root.flush().await.unwrap();
    let gone = || async {
        let answer = root.request("$JS.API.STREAM.INFO.PARKED", "".into()).await.unwrap();
        let answer: Value = serde_json::from_slice(&answer.payload).unwrap();
        if answer["error"]["err_code"] == 10059 { Ok(()) } else { Err(answer.to_string()) }
    };
    harness::eventually("the stream is gone", SOON, gone).await.unwrap();
    let answer = root.request("$JS.API.STREAM.DELETE.EVENTS", "".into()).await.unwrap();
    let answer: Value = serde_json::from_slice(&answer.payload).unwrap();
    assert_eq!(answer["success"], true, "{answer}");
}
