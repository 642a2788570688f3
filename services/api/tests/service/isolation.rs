//! Does nobody see or touch what is not theirs?

use harness::Api;
use reqwest::Method;
use serde_json::{Value, json};

use crate::world::{asked, problem, world};

const KEY: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAILM+rvN+ot98qgEN796jTiQfZfG1KaT0PtFDJ/XFSqti me";

/// Every call that names one environment.
fn calls(id: &str) -> Vec<(Method, String, Option<Value>)> {
    let path = format!("/api/environments/{id}");
    vec![
        (Method::GET, path.clone(), None),
        (Method::GET, format!("{path}/ssh"), None),
        (Method::GET, format!("{path}/sessions"), None),
        (Method::GET, format!("{path}/logins"), None),
        (Method::GET, format!("{path}/recordings"), None),
        (Method::GET, format!("{path}/events"), None),
        (Method::PUT, format!("{path}/allow-list"), Some(json!({"ranges": []}))),
        (Method::POST, format!("{path}/reset-password"), Some(json!({}))),
        (Method::POST, format!("{path}/unlock"), Some(json!({}))),
        (Method::POST, format!("{path}/stop"), Some(json!({}))),
        (Method::POST, format!("{path}/start"), Some(json!({}))),
        (Method::DELETE, path, None),
    ]
}

async fn refused(api: &Api, id: &str, who: &str) {
    for (method, path, body) in calls(id) {
        let answer = api.call(method.clone(), &path, body.as_ref(), None).await.unwrap();
        assert_eq!((answer.status, answer.code()), (404, "not_found"), "{who}: {method} {path}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_yours_does_not_exist() {
    let world = world().await;
    world.tenant("Blue").await;
    world.tenant("Red").await;
    let (alice, bob) = (world.caller("blue", "developer").await, world.caller("blue", "developer").await);
    let made = alice.post("/api/environments", &asked("mine")).await.unwrap().expect(202).unwrap();
    let (id, after) = (made.text("env_id").unwrap(), made.position.unwrap());
    let key = alice.post("/api/ssh-keys", &json!({"name": "k", "public_key": KEY})).await.unwrap();
    let key = key.expect(201).unwrap();
    let key_path = format!("/api/ssh-keys/{}", key.text("key_id").unwrap());
    let head = world.head().await;
    for (who, role, tenant) in [
        ("another developer", "developer", "blue"),
        ("another tenant's operator", "operator", "red"),
        ("another tenant's developer", "developer", "red"),
    ] {
        let api = if role == "developer" && tenant == "blue" {
            bob.clone()
        } else {
            world.caller(tenant, role).await
        };
        refused(&api, id, who).await;
        let listed = api.list(&format!("/api/environments?after={after}")).await.unwrap();
        assert!(listed.is_empty(), "{who}: {listed:?}");
        assert!(api.list("/api/ssh-keys").await.unwrap().is_empty(), "{who}");
        problem(&api.delete(&key_path).await.unwrap(), 404, "not_found");
    }
    let mut appended = world.everything().await;
    // the environment itself may still be on its way up
    appended.retain(|event| event.seq > head && event.meta.actor != "service:provisioner");
    let kinds: Vec<_> = appended.iter().map(|event| event.event.event_type()).collect();
    assert!(kinds.iter().all(|kind| *kind == "TokenIssued"), "{kinds:?}");
    // those who may
    for (role, status) in [("operator", 202), ("auditor", 403)] {
        let api = world.caller("blue", role).await;
        api.get(&format!("/api/environments/{id}")).await.unwrap().expect(200).unwrap();
        assert_eq!(api.list("/api/ssh-keys").await.unwrap().len(), 1, "{role}");
        let stop = api.post(&format!("/api/environments/{id}/stop"), &json!({})).await.unwrap();
        assert_eq!(stop.status, status, "{role}");
    }
    assert_eq!(world.admin.list("/api/environments").await.unwrap().len(), 1);
    world.admin.get(&format!("/api/environments/{id}/ssh")).await.unwrap().expect(200).unwrap();
    alice.delete(&key_path).await.unwrap().expect(200).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_auditor_reads_everything_and_changes_nothing() {
    let world = world().await;
    let made = world.admin.post("/api/environments", &asked("one")).await.unwrap().expect(202).unwrap();
    let id = made.text("env_id").unwrap();
    let auditor = world.caller("default", "auditor").await;
    let written = format!("/api/environments/{id}?after={}", made.position.unwrap());
    world.admin.get(&written).await.unwrap().expect(200).unwrap();
    let head = world.head().await;
    for (method, path, body) in calls(id) {
        if path.ends_with("/events") {
            continue;
        }
        let answer = auditor.call(method.clone(), &path, body.as_ref(), None).await.unwrap();
        if method == Method::GET {
            assert_eq!(answer.status, 200, "{method} {path}");
        } else {
            problem(&answer, 403, "forbidden");
        }
    }
    let after = made.position.unwrap();
    for path in
        ["/api/environments", "/api/audit", "/api/users", "/api/tokens", "/api/tenants", "/api/projections"]
    {
        auditor.get(&format!("{path}?after={after}")).await.unwrap().expect(200).unwrap();
    }
    for path in ["/api/environments", "/api/tokens", "/api/tenants", "/api/users", "/api/ssh-keys"] {
        problem(&auditor.post(path, &json!({})).await.unwrap(), 403, "forbidden");
    }
    // looking at the way in showed no password
    assert_eq!(world.head().await, head);
    let ssh = auditor.get(&format!("/api/environments/{id}/ssh")).await.unwrap();
    assert!(ssh.body["ssh_password"].is_null() && ssh.body["ssh_port"].is_u64());
}

#[tokio::test(flavor = "multi_thread")]
async fn each_role_may_what_it_may() {
    let world = world().await;
    let operator = world.caller("default", "operator").await;
    let developer = world.caller("default", "developer").await;
    operator.post("/api/projections/environments/rebuild", &json!({})).await.unwrap().expect(202).unwrap();
    operator.get("/api/audit").await.unwrap().expect(200).unwrap();
    let rebuild = developer.post("/api/projections/environments/rebuild", &json!({})).await.unwrap();
    problem(&rebuild, 403, "forbidden");
    problem(&developer.get("/api/audit").await.unwrap(), 403, "forbidden");
    problem(&developer.get("/api/users").await.unwrap(), 403, "forbidden");
    let user =
        json!({"username": "eve", "password": "a long sentence", "tenant_id": "default", "role": "admin"});
    for api in [&operator, &developer] {
        problem(&api.post("/api/users", &user).await.unwrap(), 403, "forbidden");
        problem(&api.post("/api/tenants", &json!({"name": "x"})).await.unwrap(), 403, "forbidden");
        problem(&api.put("/api/tenants/default/quota", &json!({})).await.unwrap(), 403, "forbidden");
        problem(
            &api.post("/api/tokens", &json!({"name": "x", "role": "admin"})).await.unwrap(),
            403,
            "forbidden",
        );
        problem(&api.get("/api/tenants/nowhere/quota").await.unwrap(), 404, "not_found");
    }
    // an operator sees and unlocks what developers made
    let made = developer.post("/api/environments", &asked("one")).await.unwrap().expect(202).unwrap();
    let id = made.text("env_id").unwrap();
    world.lock_out(&events::ids::TenantId::parse("default").unwrap(), id, "192.0.2.7").await;
    operator.post(&format!("/api/environments/{id}/unlock"), &json!({})).await.unwrap().expect(200).unwrap();
    // a developer's own tokens, and nobody else's
    let own = developer.post("/api/tokens", &json!({"name": "mine"})).await.unwrap().expect(201).unwrap();
    let after = own.position.unwrap();
    let listed = developer.list(&format!("/api/tokens?after={after}")).await.unwrap();
    assert_eq!(listed.len(), 2, "{listed:?}");
    let same = world.admin.as_caller(own.text("token").unwrap());
    same.get(&format!("/api/environments/{id}")).await.unwrap().expect(200).unwrap();
}
