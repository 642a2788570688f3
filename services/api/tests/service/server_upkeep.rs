//! Doctor, facts and accounts through the API: who may, what is answered, and does what was left get its end?

use std::time::Duration;

use chrono::{TimeDelta, Utc};
use events::Cause;
use events::ids::TenantId;
use events::server::{AccountAction, AccountChangeAsked, Server, account};
use harness::terminal::Opening;
use harness::{Api, Sshd};
use reqwest::Method;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::server_grants::{grant, person};
use crate::world::{World, problem, world};

const PASSWORD: &str = "Right-Pass-1";
const KEY: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIPg/Ks5tPPuMzKJqbHXeEY2R+qDaB2ZbKN8C3lNKpMCX";

async fn registered(world: &World, port: u16, username: &str) -> String {
    let body = json!({"name": "web", "host": "127.0.0.1", "port": port, "username": username,
        "password": PASSWORD, "test": false});
    let made = world.admin.post("/api/servers", &body).await.unwrap().expect(201).unwrap();
    made.text("server_id").unwrap().to_owned()
}

async fn shown(api: &Api, path: &str, after: Option<u64>) -> Value {
    let path = format!("{path}?after={}", after.unwrap_or_default());
    api.get(&path).await.unwrap().expect(200).unwrap().body
}

#[tokio::test(flavor = "multi_thread")]
async fn facts_are_for_whom_they_are_granted() {
    let world = world().await;
    let sshd = Sshd::start(PASSWORD, "").await.unwrap();
    let id = registered(&world, sshd.port, "developer").await;
    let path = format!("/api/servers/{id}/facts");
    assert_eq!(shown(&world.admin, &path, None).await["facts"], Value::Null, "nobody asked yet");
    let (alice, bob) = (person(&world, "alice").await, person(&world, "bob").await);
    let grants =
        json!({"grants": [{"user": "alice", "may": ["facts"]}, {"user": "bob", "may": ["terminal"]}]});
    grant(&world, &format!("/api/servers/{id}/grants"), grants).await;
    let gathered = alice.post(&path, &json!({})).await.unwrap().expect(200).unwrap();
    assert!(gathered.body["facts"]["cpus"].as_u64().unwrap() > 0, "{}", gathered.body);
    let after = gathered.position;
    let known = shown(&alice, &path, after).await;
    assert_eq!(known["facts"], gathered.body["facts"]);
    assert!(known["gathered_at"].is_string());
    problem(&bob.post(&path, &json!({})).await.unwrap(), 403, "forbidden");
    problem(&bob.get(&path).await.unwrap(), 403, "forbidden");
    let stranger = person(&world, "carol").await;
    problem(&stranger.get(&path).await.unwrap(), 404, "not_found");
    drop(sshd);
    let away = alice.post(&path, &json!({})).await.unwrap().expect(200).unwrap();
    assert_eq!(
        (&away.body["facts"], &away.body["test"]["class"]),
        (&Value::Null, &json!("connection_refused"))
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn the_doctor_is_for_keepers_and_says_what_the_test_says() {
    let world = world().await;
    let sshd = Sshd::start(PASSWORD, "").await.unwrap();
    let id = registered(&world, sshd.port, "Developer").await;
    let path = format!("/api/servers/{id}/doctor");
    let found = world.admin.post(&path, &json!({})).await.unwrap().expect(200).unwrap();
    assert_eq!((&found.body["ok"], &found.body["test"]["class"]), (&json!(false), &json!("auth_failed")));
    let findings = found.body["findings"].as_array().unwrap();
    let failed: Vec<_> = findings.iter().filter(|finding| finding["status"] == "failed").collect();
    assert_eq!((failed.len(), &failed[0]["step"]), (1, &json!("authentication")));
    assert!(failed[0]["remedy"].as_str().unwrap().contains("\"developer\""), "{failed:?}");
    let server = shown(&world.admin, &format!("/api/servers/{id}"), found.position).await;
    assert_eq!(server["test"]["class"], "auth_failed", "it is a test");
    let alice = person(&world, "alice").await;
    let grants = json!({"grants": [{"user": "alice", "may": ["terminal", "command", "facts"]}]});
    grant(&world, &format!("/api/servers/{id}/grants"), grants).await;
    problem(&alice.post(&path, &json!({})).await.unwrap(), 403, "forbidden");
    let wrong = world.admin.post(&path, &json!({"account": "a b"})).await.unwrap();
    assert_eq!(wrong.body["errors"][0]["field"], "account");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_account_is_pushed_listed_and_taken_away() {
    let world = world().await;
    let api = &world.admin;
    let sshd = Sshd::start(PASSWORD, "PermitRootLogin yes").await.unwrap();
    sshd.run_inside(&["sh", "-ec", &format!("echo root:{PASSWORD} | chpasswd; mount -t tmpfs tmpfs /home")])
        .await
        .unwrap();
    let id = registered(&world, sshd.port, "root").await;
    let path = format!("/api/servers/{id}/accounts");
    let body = json!({"account": "alice", "public_keys": [format!("{KEY} alice@laptop")]});
    let pushed = api.post_once(&path, &body, "one").await.unwrap().expect(200).unwrap();
    assert_eq!(
        (&pushed.body["outcome"], &pushed.body["made"]),
        (&json!("done"), &json!(true)),
        "{}",
        pushed.body
    );
    let listed = shown(api, &path, pushed.position).await;
    let alice = &listed["items"][0];
    assert_eq!(
        (&alice["there"], &alice["public_keys"], &alice["pending"]),
        (&json!(true), &json!([KEY]), &Value::Null)
    );
    let again = api.post_once(&path, &body, "one").await.unwrap().expect(200).unwrap();
    assert_eq!(again.body["change_id"], pushed.body["change_id"], "it was not done twice");
    assert_eq!(world.count("AccountChangeEnded", &id).await, 1);
    let verified = api.post(&format!("{path}/alice/verify"), &json!({})).await.unwrap().expect(200).unwrap();
    assert_eq!(verified.body["outcome"], "done", "{}", verified.body);
    problem(&api.post(&format!("{path}/bob/verify"), &json!({})).await.unwrap(), 409, "account_unknown");
    let gone =
        api.call(Method::DELETE, &format!("{path}/alice"), Some(&json!({"remove_home": true})), None).await;
    assert_eq!(gone.unwrap().expect(200).unwrap().body["outcome"], "done");
    assert!(sshd.run_inside(&["getent", "passwd", "alice"]).await.is_err());
    let nothing =
        api.post(&path, &json!({"account": "Al ice", "public_keys": [], "shell": "bash"})).await.unwrap();
    let named: Vec<_> =
        nothing.body["errors"].as_array().unwrap().iter().map(|error| error["field"].clone()).collect();
    assert!(named.contains(&json!("account")) && named.contains(&json!("shell")), "{named:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_whose_process_is_gone_gets_its_end() {
    let world = world().await;
    let id = registered(&world, 22, "root").await;
    let asked = AccountChangeAsked {
        change_id: Uuid::new_v4(),
        account: "alice".into(),
        action: AccountAction::Push,
        keys: [KEY.to_owned()].into(),
        deadline: Utc::now() + TimeDelta::seconds(1),
    };
    let rule = |server: &Server| account::ask(server, asked.clone());
    let tenant = TenantId::parse("default").unwrap();
    let cause = Cause::new(Uuid::now_v7(), "user:somebody");
    world.log.decide::<Server, _>(&tenant, &id, &cause, 0, rule).await.unwrap();
    harness::eventually("it has ended", Duration::from_secs(20), async || {
        let listed = world
            .admin
            .get(&format!("/api/servers/{id}/accounts"))
            .await
            .map_err(|error| error.to_string())?;
        let outcome = listed.body["items"][0]["last"]["outcome"].clone();
        if outcome == "lost" { Ok(()) } else { Err(listed.body.to_string()) }
    })
    .await
    .unwrap();
}

/// Another machine may have the address here that the server has in the relay's network.
#[tokio::test(flavor = "multi_thread")]
async fn nothing_goes_past_the_relay_that_serves_a_server() {
    let world = world().await;
    let admin = &world.admin;
    let sshd = Sshd::start(PASSWORD, "").await.unwrap();
    let body = json!({"name": "inside", "host": "127.0.0.1", "port": sshd.port, "username": "developer",
        "password": PASSWORD, "zone": "dmz", "test": false});
    let made = admin.post("/api/servers", &body).await.unwrap().expect(201).unwrap();
    let id = made.text("server_id").unwrap();
    let doctor = format!("/api/servers/{id}/doctor");
    // no relay serves its zone yet
    admin.post(&doctor, &json!({})).await.unwrap().expect(200).unwrap();
    let relay = admin.post("/api/relays", &json!({"name": "one", "zone": "dmz"})).await.unwrap();
    let relay = relay.expect(201).unwrap();
    let listed = format!("/api/relays?after={}", relay.position.unwrap());
    admin.get(&listed).await.unwrap().expect(200).unwrap();
    let logins = sshd.log().matches("Accepted").count();
    let push = json!({"account": "alice", "public_keys": [KEY]});
    for (path, body, said) in [
        (doctor, json!({}), "/test/class"),
        (format!("/api/servers/{id}/facts"), json!({}), "/test/class"),
        (format!("/api/servers/{id}/accounts"), push, "/class"),
    ] {
        let answer = admin.post(&path, &body).await.unwrap().expect(200).unwrap();
        assert_eq!(answer.body.pointer(said), Some(&json!("relay_unavailable")), "{answer:?}");
    }
    let opening = Opening::of_server(admin, id, "").await.unwrap();
    let mut terminal = opening.binary().open(admin).await.unwrap();
    terminal.fails("relay_unavailable", 4502).await.unwrap();
    assert_eq!(sshd.log().matches("Accepted").count(), logins, "nobody was there");
}
