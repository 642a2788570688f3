//! Does a credential open what it should, and nothing once it ended?

use std::time::Duration;

use serde_json::{Value, json};

use crate::stream::open;
use crate::world::{problem, world};

#[tokio::test(flavor = "multi_thread")]
async fn a_token_ends_at_once_when_it_is_revoked_or_over() {
    let world = world().await;
    let body = json!({"name": "short", "role": "operator", "expires_in_s": 2});
    let made = world.admin.post("/api/tokens", &body).await.unwrap().expect(201).unwrap();
    let short = world.admin.as_caller(made.text("token").unwrap());
    let me = short.get("/api/me").await.unwrap().expect(200).unwrap();
    assert_eq!(me.body["role"], "operator");
    assert_eq!(me.body["tenant_id"], "default");

    let made = world.admin.post("/api/tokens", &json!({"name": "long"})).await.unwrap().expect(201).unwrap();
    let long = world.admin.as_caller(made.text("token").unwrap());
    let mut stream = open(&long, "/api/events", None).await;
    let path = format!("/api/tokens/{}", made.text("token_id").unwrap());
    let revoked = long.delete(&path).await.unwrap().expect(200).unwrap();
    problem(&long.get("/api/me").await.unwrap(), 401, "unauthorized");
    let seen = stream.rest(Duration::from_secs(3)).await;
    assert_eq!(seen.last().unwrap().data["code"], "unauthorized", "{seen:?}");

    let after = revoked.position.unwrap();
    let listed = world.admin.list(&format!("/api/tokens?after={after}&revoked=true")).await.unwrap();
    assert!(listed.iter().any(|token| token["name"] == "long" && token["revoked_at"].is_string()));
    let text = Value::from(listed).to_string();
    assert!(!text.contains("ptr_") && !text.contains("digest"));
    harness::eventually("the short token is over", Duration::from_secs(5), async || {
        match short.get("/api/me").await.map(|answer| answer.status) {
            Ok(401) => Ok(()),
            other => Err(format!("{other:?}")),
        }
    })
    .await
    .unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_login_opens_until_the_user_is_shut_out() {
    let world = world().await;
    let nobody = harness::Api::new(world.admin.base(), None).unwrap();
    let user = |name: &str| json!({"username": name, "password": "a long sentence", "tenant_id": "default", "role": "operator"});
    world.admin.post("/api/users", &user("alice@example.org")).await.unwrap().expect(201).unwrap();
    problem(&world.admin.post("/api/users", &user("alice@example.org")).await.unwrap(), 409, "user_exists");
    let login = |name: &str, password: &str| {
        let (nobody, body) = (nobody.clone(), json!({"username": name, "password": password}));
        async move { nobody.post("/api/auth/login", &body).await.unwrap() }
    };
    for (name, password) in [
        ("alice@example.org", "a wrong sentence"),
        ("nobody", "a long sentence"),
        ("Not A Name", "a long sentence"),
    ] {
        problem(&login(name, password).await, 401, "login_failed");
    }
    let logged_in = login("alice@example.org", "a long sentence").await.expect(200).unwrap();
    let alice = nobody.as_caller(logged_in.text("token").unwrap());
    let me = alice.get("/api/me").await.unwrap().expect(200).unwrap();
    assert_eq!(
        me.body,
        json!({"actor": "user:alice@example.org", "owner": "alice@example.org",
        "tenant_id": "default", "role": "operator"})
    );
    // her own token acts in her name
    let token = alice.post("/api/tokens", &json!({"name": "cli"})).await.unwrap().expect(201).unwrap();
    assert_eq!(token.body["owner"], "alice@example.org");
    let cli = nobody.as_caller(token.text("token").unwrap());
    cli.get("/api/me").await.unwrap().expect(200).unwrap();

    world.admin.delete("/api/users/alice@example.org").await.unwrap().expect(200).unwrap();
    problem(&alice.get("/api/me").await.unwrap(), 401, "unauthorized");
    problem(&cli.get("/api/me").await.unwrap(), 401, "unauthorized");
    problem(&login("alice@example.org", "a long sentence").await, 401, "login_failed");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_first_token_comes_again_until_it_is_revoked() {
    let world = world().await;
    let (keys, _) = nats::MasterKeys::generate().unwrap();
    let other = api::bootstrap(&world.connection, &keys).await.unwrap();
    assert!(other.is_none(), "other keys make no second administrator");
    let tenants = world.admin.list("/api/tenants").await.unwrap();
    assert_eq!(tenants.len(), 1);
    let forged = format!("ptr_{}_{}", "a".repeat(12), "b".repeat(40));
    for token in ["", "x", "ptr_a_b", &forged, &format!("{}x", world.admin.token().unwrap())] {
        problem(&world.admin.as_caller(token).get("/api/me").await.unwrap(), 401, "unauthorized");
    }
}
