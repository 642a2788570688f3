//! Is a repeated request carried out once, and answered the same?

use reqwest::Method;
use serde_json::json;

use crate::world::{asked, problem, world};

#[tokio::test(flavor = "multi_thread")]
async fn the_same_key_is_the_same_request_for_ever() {
    let world = world().await;
    let api = &world.admin;
    let first = api.post_once("/api/environments", &asked("one"), "k1").await.unwrap().expect(202).unwrap();
    let mut again =
        api.post_once("/api/environments", &asked("one"), "k1").await.unwrap().expect(202).unwrap();
    assert!(again.position >= first.position);
    again.body["position"] = first.body["position"].clone();
    assert_eq!(again.body, first.body);
    let id = first.text("env_id").unwrap();
    assert_eq!(world.count("EnvRequested", id).await, 1);
    assert_eq!(world.count("PasswordRevealed", id).await, 2, "each showing is a fact");

    // the key is bound to the request: another body or another address is another request
    let other = api.post_once("/api/environments", &asked("two"), "k1").await.unwrap();
    problem(&other, 422, "idempotency_key_reused");
    let other = api.post_once("/api/tenants", &json!({"name": "k"}), "k1").await.unwrap();
    problem(&other, 422, "idempotency_key_reused");
    // keys are the caller's own
    let stranger = world.caller("default", "developer").await;
    let theirs = stranger.post_once("/api/environments", &asked("one"), "k1").await.unwrap();
    assert_ne!(theirs.expect(202).unwrap().text("env_id").unwrap(), id);
    // without a key every request is a new one
    let a = api.post("/api/environments", &asked("one")).await.unwrap().expect(202).unwrap();
    let b = api.post("/api/environments", &asked("one")).await.unwrap().expect(202).unwrap();
    assert_ne!(a.text("env_id").unwrap(), b.text("env_id").unwrap());
    let bad = api.post_once("/api/environments", &asked("one"), "not visible").await.unwrap();
    problem(&bad, 400, "parameter_invalid");
}

#[tokio::test(flavor = "multi_thread")]
async fn sixteen_at_once_with_one_key_are_one() {
    let world = world().await;
    let racing = (0..16).map(|_| {
        let api = world.admin.clone();
        tokio::spawn(async move { api.post_once("/api/environments", &asked("one"), "race").await })
    });
    let mut ids = std::collections::BTreeSet::new();
    for answer in racing.collect::<Vec<_>>() {
        let answer = answer.await.unwrap().unwrap().expect(202).unwrap();
        ids.insert(answer.text("env_id").unwrap().to_owned());
    }
    assert_eq!(ids.len(), 1);
    let events = world.everything().await;
    let times = |name: &str| events.iter().filter(|event| event.event.event_type() == name).count();
    assert_eq!((times("EnvRequested"), times("QuotaClaimed"), times("RequestAccepted")), (1, 1, 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn every_write_may_be_repeated() {
    let world = world().await;
    let api = &world.admin;
    let user =
        json!({"username": "alice", "password": "a long sentence", "tenant_id": "blue", "role": "developer"});
    let key = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAILM+rvN+ot98qgEN796jTiQfZfG1KaT0PtFDJ/XFSqti me";
    let writes = [
        ("/api/tenants", json!({"name": "Blue", "quota": {"environments": 2}}), 201),
        ("/api/users", user, 201),
        ("/api/ssh-keys", json!({"name": "laptop", "public_key": key}), 201),
        ("/api/projections/environments/rebuild", json!({}), 202),
    ];
    for (path, body, status) in writes {
        let first = api.post_once(path, &body, path).await.unwrap().expect(status).unwrap();
        let again = api.post_once(path, &body, path).await.unwrap().expect(status).unwrap();
        assert_eq!(first.body, again.body, "{path}");
    }
    let developer = world.caller("default", "developer").await;
    let added = developer.post("/api/ssh-keys", &json!({"name": "k", "public_key": key})).await.unwrap();
    let path = format!("/api/ssh-keys/{}", added.expect(201).unwrap().text("key_id").unwrap());
    for _ in 0..2 {
        developer.call(Method::DELETE, &path, None, Some("d")).await.unwrap().expect(200).unwrap();
    }
    problem(&developer.delete(&path).await.unwrap(), 404, "not_found");
    // a token is the one thing that cannot be shown again
    api.post_once("/api/tokens", &json!({"name": "t"}), "t").await.unwrap().expect(201).unwrap();
    let again = api.post_once("/api/tokens", &json!({"name": "t"}), "t").await.unwrap();
    problem(&again, 409, "token_shown_before");
    // no password, nor a plain digest of one, stands in the log
    let log = format!("{:?}", world.everything().await);
    assert!(!log.contains("a long sentence"));
}
