//! Are servers registered, tested, changed and removed as the contract says, and is their secret nobody's to see?

use events::ids::{ServerId, TenantId};
use events::server::{HostKey, Server, host_key::shown};
use events::{Cause, Event};
use harness::{Api, Sshd};
use reqwest::Method;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::world::{World, problem, world};

const PASSWORD: &str = "Right-Pass-1";
const NO_SECRETS: [&str; 3] = [PASSWORD, "Other-Pass-2", "PRIVATE KEY"];

fn asked(port: u16) -> Value {
    json!({
        "name": "web one", "host": "127.0.0.1", "port": port, "username": "developer", "password": PASSWORD,
        "zone": "dmz", "groups": ["web"], "labels": {"env": "prod"},
    })
}

/// A server that nobody connects to.
fn untested() -> Value {
    let mut body = asked(22);
    body["test"] = json!(false);
    body
}

async fn patch(api: &Api, id: &str, body: Value) -> harness::Answer {
    api.call(Method::PATCH, &format!("/api/servers/{id}"), Some(&body), None).await.unwrap()
}

async fn shown_at(api: &Api, id: &str, after: u64) -> Value {
    api.get(&format!("/api/servers/{id}?after={after}")).await.unwrap().expect(200).unwrap().body
}

async fn state(world: &World, id: &str) -> Server {
    let tenant = TenantId::parse("default").unwrap();
    world.log.load::<Server>(&tenant, id).await.unwrap().state
}

#[tokio::test(flavor = "multi_thread")]
async fn saving_tests_the_connection_and_the_answer_says_how_it_went() {
    let world = world().await;
    let api = &world.admin;
    let sshd = Sshd::start(PASSWORD, "").await.unwrap();
    let made = api.post("/api/servers", &asked(sshd.port)).await.unwrap().expect(201).unwrap();
    let (id, test) = (made.text("server_id").unwrap(), &made.body["test"]);
    assert_eq!((&test["ok"], &test["class"], &test["step"]), (&json!(true), &Value::Null, &json!("shell")));
    assert!(test["duration_ms"].is_u64());
    let key = sshd.host_key().unwrap();
    let line = made.text("host_key").unwrap();
    assert!(key.starts_with(line) && made.text("host_key_fingerprint").unwrap().starts_with("SHA256:"));
    let view = shown_at(api, id, made.position.unwrap()).await;
    assert_eq!(
        (&view["method"], &view["zone"], &view["labels"]["env"]),
        (&json!("password"), &json!("dmz"), &json!("prod"))
    );
    assert_eq!((&view["test"]["ok"], &view["groups"]), (&json!(true), &json!(["web"])));
    assert!(view["test"]["at"].is_string());

    // the same again, with what is a real support case
    let renamed = patch(api, id, json!({"username": "Developer"})).await.expect(200).unwrap();
    let test = &renamed.body["test"];
    assert_eq!((&test["ok"], &test["class"]), (&json!(false), &json!("auth_failed")));
    assert!(test["suggestion"].as_str().unwrap().contains("\"developer\""), "{test}");
    let view = shown_at(api, id, renamed.body["position"].as_u64().unwrap()).await;
    assert_eq!(view["test"]["class"], "auth_failed");

    let path = format!("/api/servers/{id}/test");
    patch(api, id, json!({"username": "developer", "test": false})).await.expect(200).unwrap();
    let tested = api.post(&path, &json!({})).await.unwrap().expect(200).unwrap();
    assert_eq!(tested.body["ok"], true);
    drop(sshd);
    let tested = api.post(&path, &json!({})).await.unwrap().expect(200).unwrap();
    assert_eq!((&tested.body["ok"], &tested.body["class"]), (&json!(false), &json!("connection_refused")));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_repeated_request_is_one_and_is_told_the_same() {
    let world = world().await;
    let api = &world.admin;
    let sshd = Sshd::start(PASSWORD, "").await.unwrap();
    let body = asked(sshd.port);
    let first = api.post_once("/api/servers", &body, "one").await.unwrap().expect(201).unwrap();
    drop(sshd);
    let again = api.post_once("/api/servers", &body, "one").await.unwrap().expect(201).unwrap();
    assert_eq!(first.body, again.body, "nobody connected a second time");
    let id = first.text("server_id").unwrap();
    assert_eq!(world.count("ServerRegistered", id).await, 1);
    assert_eq!(world.count("ConnectionTested", id).await, 1);
    let change = json!({"name": "web two", "password": "Other-Pass-2", "test": false});
    let path = format!("/api/servers/{id}");
    for _ in 0..2 {
        api.call(Method::PATCH, &path, Some(&change), Some("two")).await.unwrap().expect(200).unwrap();
    }
    assert_eq!(world.count("ServerChanged", id).await, 1);
    let secret = state(&world, id).await.settings.unwrap().credential.secret.unwrap();
    let vault = world.connection.vault(world.keys.clone());
    assert!(vault.get(&secret).await.unwrap().is_some(), "the repeat did not remove what it had set");
    for _ in 0..2 {
        api.call(Method::DELETE, &path, None, Some("three")).await.unwrap().expect(200).unwrap();
    }
    assert_eq!(world.count("ServerRemoved", id).await, 1);
    problem(&api.delete(&path).await.unwrap(), 404, "not_found");
    // what was asked for before it was removed does not bring its secret back
    api.post_once("/api/servers", &body, "one").await.unwrap().expect(201).unwrap();
    assert!(vault.get(&secret).await.unwrap().is_none());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_credential_is_never_read_back() {
    let world = world().await;
    let api = &world.admin;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("key");
    let made = std::process::Command::new("ssh-keygen")
        .args(["-q", "-t", "ed25519", "-N", "open sesame", "-f"])
        .arg(&path)
        .status();
    assert!(made.unwrap().success());
    let mut with_key = untested();
    with_key["password"] = Value::Null;
    with_key["private_key"] = json!(std::fs::read_to_string(&path).unwrap());
    with_key["passphrase"] = json!("open sesame");
    let with_key = api.post("/api/servers", &with_key).await.unwrap().expect(201).unwrap();
    let with_password = api.post("/api/servers", &untested()).await.unwrap().expect(201).unwrap();
    let after = with_password.position.unwrap();
    let listed = api.get(&format!("/api/servers?after={after}")).await.unwrap().expect(200).unwrap();
    let audit = api.get(&format!("/api/audit?after={after}")).await.unwrap().expect(200).unwrap();
    let id = with_key.text("server_id").unwrap();
    let one = shown_at(api, id, after).await;
    for shown in [&with_key.body, &with_password.body, &listed.body, &audit.body, &one] {
        let text = shown.to_string();
        assert!(NO_SECRETS.iter().all(|secret| !text.contains(secret)), "{text}");
        assert!(!text.contains("open sesame"));
    }
    let log = format!("{:?}", world.everything().await);
    assert!(NO_SECRETS.iter().all(|secret| !log.contains(secret)));
    assert_eq!(one["method"], "private_key");
    assert!(one.get("password").is_none() && one.get("credential").is_none());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stored_password_goes_nowhere_else() {
    let world = world().await;
    let api = &world.admin;
    let made = api.post("/api/servers", &untested()).await.unwrap().expect(201).unwrap();
    let id = made.text("server_id").unwrap();
    let elsewhere = json!({"host": "attacker.example.org", "test": false});
    problem(&patch(api, id, elsewhere.clone()).await, 409, "credential_needed");
    let before = state(&world, id).await.settings.unwrap().credential.secret.unwrap();
    let mut with = elsewhere;
    with["password"] = json!("Other-Pass-2");
    patch(api, id, with).await.expect(200).unwrap();
    let vault = world.connection.vault(world.keys.clone());
    assert!(vault.get(&before).await.unwrap().is_none(), "the old one is gone");
    let now = state(&world, id).await.settings.unwrap().credential.secret.unwrap();
    assert!(vault.get(&now).await.unwrap().is_some());
    api.delete(&format!("/api/servers/{id}")).await.unwrap().expect(200).unwrap();
    assert!(vault.get(&now).await.unwrap().is_none());
    let gone = api.get(&format!("/api/servers/{id}?after={}", world.head().await)).await.unwrap();
    problem(&gone, 404, "not_found");
    assert!(api.list("/api/servers").await.unwrap().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_changed_host_key_waits_until_somebody_accepts_it() {
    let world = world().await;
    let api = &world.admin;
    let sshd = Sshd::start(PASSWORD, "").await.unwrap();
    let mut body = asked(sshd.port);
    body["test"] = json!(false);
    let made = api.post("/api/servers", &body).await.unwrap().expect(201).unwrap();
    let id = made.text("server_id").unwrap();
    assert_eq!((&made.body["test"], &made.body["host_key"]), (&Value::Null, &Value::Null));
    // it showed another key before
    let settings = state(&world, id).await.settings.unwrap();
    let line = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAILM+rvN+ot98qgEN796jTiQfZfG1KaT0PtFDJ/XFSqti";
    let fingerprint = "SHA256:UCUiLr7Pjs9wFFJMDByLgc3NrtdU344OgUM45wZPcIQ";
    let key = HostKey { line: line.into(), fingerprint: fingerprint.into() };
    let (tenant, cause) = (TenantId::parse("default").unwrap(), Cause::new(Uuid::now_v7(), "user:test"));
    let rule = |server: &Server| shown(server, &settings, &key);
    world.log.decide::<Server, _>(&tenant, id, &cause, 0, rule).await.unwrap();

    let accept = format!("/api/servers/{id}/accept-host-key");
    let unseen = api.post(&accept, &json!({"fingerprint": "SHA256:other"})).await.unwrap();
    problem(&unseen, 409, "host_key_not_seen");
    let tested = api.post(&format!("/api/servers/{id}/test"), &json!({})).await.unwrap().expect(200).unwrap();
    assert_eq!(
        (&tested.body["class"], &tested.body["step"]),
        (&json!("host_key_mismatch"), &json!("host_key"))
    );
    assert!(tested.body["reason"].as_str().unwrap().contains(fingerprint));
    let view = shown_at(api, id, tested.position.unwrap()).await;
    let seen = view["host_key_seen_fingerprint"].as_str().unwrap();
    assert_eq!(view["host_key_fingerprint"], fingerprint);
    problem(&api.post(&accept, &json!({})).await.unwrap(), 422, "validation_failed");
    let accepted = api.post(&accept, &json!({"fingerprint": seen})).await.unwrap().expect(200).unwrap();
    assert_eq!(accepted.body["test"]["ok"], true, "{}", accepted.body);
    assert_eq!(
        (&accepted.body["host_key_fingerprint"], &accepted.body["host_key_seen_fingerprint"]),
        (&json!(seen), &Value::Null)
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_of_ours_needs_no_secret() {
    let world = world().await;
    let api = &world.admin;
    let sshd = Sshd::start(PASSWORD, "TrustedUserCAKeys {folder}/ca.pub").await.unwrap();
    let authority = api.get("/api/server-authority").await.unwrap().expect(200).unwrap();
    let public_key = authority.text("public_key").unwrap();
    std::fs::write(sshd.folder().join("ca.pub"), format!("{public_key}\n")).unwrap();
    let mut body = asked(sshd.port);
    body["password"] = Value::Null;
    body["certificate"] = json!(true);
    let made = api.post("/api/servers", &body).await.unwrap().expect(201).unwrap();
    assert_eq!(made.body["test"]["ok"], true, "{}", made.body);
    let developer = world.caller("default", "developer").await;
    problem(&developer.get("/api/server-authority").await.unwrap(), 403, "forbidden");
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_input_names_each_field_and_appends_nothing() {
    let world = world().await;
    let api = &world.admin;
    let made = api.post("/api/servers", &untested()).await.unwrap().expect(201).unwrap();
    let id = made.text("server_id").unwrap();
    let head = world.head().await;
    let body =
        json!({"name": "", "host": "http://x", "port": 0, "labels": {"a": "b c"}, "passphrase": "p", "x": 1});
    let refused = api.post("/api/servers", &body).await.unwrap();
    problem(&refused, 422, "validation_failed");
    let mut named: Vec<_> = refused.body["errors"]
        .as_array()
        .unwrap()
        .iter()
        .map(|error| error["field"].as_str().unwrap())
        .collect();
    named.sort_unstable();
    assert_eq!(named, ["host", "labels", "name", "passphrase", "port", "username", "x"]);
    problem(&patch(api, id, json!({"port": "22"})).await, 422, "validation_failed");
    let grants = format!("/api/servers/{id}/grants");
    for wrong in [json!({}), json!({"grants": [{"user": "a b", "may": ["terminal"]}]}), json!({"grants": 1})]
    {
        problem(&api.put(&grants, &wrong).await.unwrap(), 422, "validation_failed");
    }
    problem(
        &api.put("/api/server-grants", &json!({"servers": {}, "grants": []})).await.unwrap(),
        422,
        "validation_failed",
    );
    problem(
        &api.put("/api/people-groups/ops", &json!({"members": ["A"]})).await.unwrap(),
        422,
        "validation_failed",
    );
    problem(&api.get("/api/servers?label=a").await.unwrap(), 400, "parameter_invalid");
    problem(&api.get("/api/servers?zone=a%20b").await.unwrap(), 400, "parameter_invalid");
    assert_eq!(world.head().await, head);
}

#[tokio::test(flavor = "multi_thread")]
async fn another_tenants_server_does_not_exist() {
    let world = world().await;
    world.tenant("Blue").await;
    world.tenant("Red").await;
    let (blue, red) = (world.caller("blue", "operator").await, world.caller("red", "operator").await);
    let made = blue.post("/api/servers", &untested()).await.unwrap().expect(201).unwrap();
    let (id, after) = (made.text("server_id").unwrap(), made.position.unwrap());
    let path = format!("/api/servers/{id}");
    let head = world.head().await;
    let developer = world.caller("blue", "developer").await;
    for api in [&red, &developer] {
        assert!(api.list(&format!("/api/servers?after={after}")).await.unwrap().is_empty());
        let calls = [
            (Method::GET, path.clone(), None),
            (Method::PATCH, path.clone(), Some(json!({"name": "mine"}))),
            (Method::DELETE, path.clone(), None),
            (Method::POST, format!("{path}/test"), Some(json!({}))),
            (Method::POST, format!("{path}/accept-host-key"), Some(json!({"fingerprint": "x"}))),
            (Method::GET, format!("{path}/grants"), None),
            (Method::PUT, format!("{path}/grants"), Some(json!({"grants": []}))),
        ];
        for (method, path, body) in calls {
            let answer = api.call(method.clone(), &path, body.as_ref(), None).await.unwrap();
            assert_eq!((answer.status, answer.code()), (404, "not_found"), "{method} {path}");
        }
    }
    let granting = json!({"servers": {"server": id}, "grants": []});
    problem(&red.put("/api/server-grants", &granting).await.unwrap(), 404, "not_found");
    problem(&developer.put("/api/server-grants", &granting).await.unwrap(), 403, "forbidden");
    problem(&developer.post("/api/servers", &untested()).await.unwrap(), 403, "forbidden");
    problem(
        &developer.put("/api/people-groups/ops", &json!({"members": []})).await.unwrap(),
        403,
        "forbidden",
    );
    let auditor = world.caller("blue", "auditor").await;
    assert_eq!(auditor.list("/api/servers").await.unwrap().len(), 1);
    problem(&auditor.delete(&path).await.unwrap(), 403, "forbidden");
    problem(&auditor.post(&format!("{path}/test"), &json!({})).await.unwrap(), 403, "forbidden");
    let mut appended = world.everything().await;
    appended.retain(|event| event.seq > head);
    assert!(appended.iter().all(|event| matches!(event.event, Event::Token(_))), "{appended:?}");
    // an admin finds it in its tenant
    assert_eq!(shown_at(&world.admin, id, after).await["tenant_id"], "blue");
    world.admin.delete(&path).await.unwrap().expect(200).unwrap();
    assert!(ServerId::parse(id).is_ok());
}
