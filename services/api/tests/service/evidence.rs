//! Who may ask whether the log is what it was, and what are they told?

use std::time::Duration;

use audit::{Config, Pace};
use kit::health::Health;
use nats::MasterKeys;
use serde_json::json;
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::world::*;

/// Whoever writes anchors, until it is dropped.
pub fn writer(world: &World) -> DropGuard {
    let ends = CancellationToken::new();
    let keys: MasterKeys = world.keys.clone();
    let config = Config {
        nats: config(&world.nats, "audit"),
        master_keys: keys,
        pace: Pace { every_events: 1000, every_s: 30 },
        file: None,
    };
    tokio::spawn(audit::run(config, Health::default(), ends.clone()));
    ends.drop_guard()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_log_is_verified_exported_and_anchored_for_who_may_ask() {
    let world = world().await;
    let _writer = writer(&world);
    world.tenant("acme").await;
    let position = world.head().await;
    let anchored = world.admin.post("/api/audit/anchor", &json!({})).await.unwrap();
    assert_eq!(anchored.status, 201, "{}", anchored.body);
    assert!(anchored.body["upto"].as_u64().unwrap() >= position, "{}", anchored.body);
    let report = world.admin.get(&format!("/api/audit/verify?after={position}")).await.unwrap();
    assert_eq!((report.status, &report.body["ok"]), (200, &json!(true)), "{}", report.body);

    let replaced = world.admin.post("/api/audit/keys", &json!({"replaces": 1})).await.unwrap();
    assert_eq!((replaced.status, &replaced.body["key"]), (201, &json!(2)), "{}", replaced.body);
    let again = world.admin.post("/api/audit/keys", &json!({"replaces": 1})).await.unwrap();
    assert_eq!((again.status, &again.body["key"]), (201, &json!(2)), "once: {}", again.body);
    let keys = world.admin.get("/api/audit/keys").await.unwrap();
    assert_eq!(keys.body["items"].as_array().unwrap().len(), 2, "{}", keys.body);

    let bundle = world.admin.get("/api/audit/export").await.unwrap();
    assert_eq!((bundle.status, bundle.content_type.as_str()), (200, "application/x-ndjson"));
    let bundle = bundle.body.as_str().unwrap().to_owned();
    let known = audit::offline::Known::default();
    assert!(audit::offline::verify(bundle.as_bytes(), &known).unwrap().ok);
    for query in ["from=5&to=3", "from=yesterday", "to=-1", "until=3"] {
        let refused = world.admin.get(&format!("/api/audit/export?{query}")).await.unwrap();
        assert_eq!((refused.status, &refused.body["code"]), (400, &json!("parameter_invalid")), "{query}");
    }
    for (method, path) in
        [("GET", "verify"), ("GET", "export"), ("GET", "keys"), ("POST", "anchor"), ("POST", "keys")]
    {
        for role in ["operator", "developer", "auditor"] {
            let caller = world.caller("acme", role).await;
            let path = format!("/api/audit/{path}");
            let answer = match method {
                "GET" => caller.get(&path).await.unwrap(),
                _ => caller.post(&path, &json!({})).await.unwrap(),
            };
            let may = match path.as_str() {
                "/api/audit/anchor" => role == "operator",
                "/api/audit/verify" => role == "auditor",
                "/api/audit/keys" => role == "auditor" && method == "GET",
                _ => false,
            };
            assert_eq!(answer.status < 300, may, "{role} {method} {path}: {}", answer.body);
        }
    }
}

/// Rows of other tenants are nobody's but an admin's.
#[tokio::test(flavor = "multi_thread")]
async fn an_auditor_is_told_that_rows_differ_and_not_what_they_hold() {
    let world = world().await;
    let _writer = writer(&world);
    let created = world.admin.post("/api/tenants", &json!({"name": "acme"})).await.unwrap();
    let position = created.position.unwrap();
    world.admin.get(&format!("/api/tenants?after={position}")).await.unwrap();
    world.postgres.sql("portreeve", "UPDATE quotas SET name = 'other' WHERE name = 'acme'").await.unwrap();
    let auditor = world.caller("acme", "auditor").await;
    for (caller, sees) in [(world.admin.clone(), true), (auditor, false)] {
        let report = caller.get("/api/audit/verify").await.unwrap().body;
        let one = &report["fidelity"]["differences"][0];
        assert_eq!(one["table"], "quotas", "{report}");
        assert_eq!(report["fidelity"]["first_sequence"], json!(position), "{report}");
        assert_eq!((one["live"].is_object(), one["log"].is_object()), (sees, sees), "{report}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_writer_of_anchors_that_is_what_is_said() {
    let world = world().await;
    let answer = world.admin.post("/api/audit/anchor", &json!({})).await.unwrap();
    assert_eq!((answer.status, &answer.body["code"]), (503, &json!("audit_unavailable")), "{}", answer.body);
    let report = tokio::time::timeout(Duration::from_secs(60), world.admin.get("/api/audit/verify"));
    let report = report.await.unwrap().unwrap().body;
    assert_eq!(report["completeness"]["verdict"], "fails", "{report}");
    let bundle = world.admin.get("/api/audit/export").await.unwrap().body;
    let known = audit::offline::Known::default();
    // its only line is an object
    let report = audit::offline::verify(format!("{bundle}\n").as_bytes(), &known).unwrap();
    assert!(!report.ok && report.completeness.what.unwrap().contains("broke off"));
}
