//! Can somebody ask what another policy would have decided, and is told nothing of others?

use chrono::{TimeDelta, Utc};
use events::ids::SessionId;
use events::login::{Entrance, Login, LoginSucceeded, record};
use harness::Api;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::time_travel::running;
use crate::world::{World, problem, world};

const GUESSER: &str = "203.0.113.9";

async fn what_if(api: &Api, from: u64, policy: Value) -> Value {
    let body = json!({"from": from, "policy": policy});
    let answer = api.post("/api/audit/what-if", &body).await.unwrap().expect(200).unwrap();
    assert_eq!(answer.body["to_sequence"], json!(answer.position.unwrap()), "{}", answer.body);
    answer.body
}

fn text<'v>(item: &'v Value, pointer: &str) -> &'v str {
    let found = item.pointer(pointer).and_then(Value::as_str);
    found.unwrap_or_else(|| panic!("{pointer} is not in {item}"))
}

/// Type, what was and what would be, of each difference.
fn told(found: &Value) -> Vec<(&str, &str, &str)> {
    let items = found["items"].as_array().unwrap();
    for item in items {
        assert!(["/actor", "/event_id", "/reason"].iter().all(|name| !text(item, name).is_empty()), "{item}");
    }
    let of = |item| (text(item, "/type"), text(item, "/was/outcome"), text(item, "/would_be/outcome"));
    items.iter().map(of).collect()
}

/// Somebody comes in with the right password.
async fn come_in(world: &World, env: &str, ip: &str) {
    let login = LoginSucceeded {
        ip: ip.parse().unwrap(),
        user: "developer".to_owned(),
        method: "password".to_owned(),
        key_fingerprint: None,
        entrance: Entrance::DirectPort,
        session: SessionId::from_seed(&Uuid::now_v7()),
        at: Utc::now(),
        reported: None,
    };
    let cause = events::Cause::new(Uuid::now_v7(), "sentry:test");
    let rule = |state: &Login| record::succeeded(state, login.clone());
    let log = world.provisioner_log().await;
    log.decide(&"default".parse().unwrap(), env, &cause, 0, rule).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn another_lockout_is_held_against_the_logins_of_a_period() {
    let world = world().await;
    let admin = &world.admin;
    let (env, before) = running(&world, admin, "guessed").await;
    let from = before + 1;
    let began = Utc::now() - TimeDelta::seconds(1);
    come_in(&world, &env, "203.0.113.8").await;
    world.lock_out(&"default".parse().unwrap(), &env, GUESSER).await;
    let between = world.head().await + 1;
    come_in(&world, &env, GUESSER).await;

    // as it was, nothing is otherwise
    let same = what_if(admin, from, json!({"lockout": {}})).await;
    assert_eq!((&same["decided"], &same["differing"], &same["items"]), (&json!(8), &json!(0), &json!([])));
    assert_eq!((&same["from_sequence"], &same["truncated"]), (&json!(from), &json!(false)));
    // one more is let through
    let six = what_if(admin, from, json!({"lockout": {"failures": 6}})).await;
    assert_eq!(told(&six), [("LoginLocked", "closed", "open")]);
    let item = &six["items"][0];
    assert_eq!((&item["id"], &item["address"]), (&json!(env), &json!(GUESSER)));
    assert_eq!((&item["kind"], &item["actor"]), (&json!("login"), &json!("sentry:test")));
    // two fewer close earlier, and what comes then is turned away
    let three = what_if(admin, from, json!({"lockout": {"failures": 3}})).await;
    let expected = [
        ("LoginFailed", "open", "closed"),
        ("LoginFailed", "tried", "refused"),
        ("LoginFailed", "tried", "refused"),
        ("LoginLocked", "closed", "closed"),
    ];
    assert_eq!(told(&three), expected);
    assert_eq!(three["items"][1]["would_be"]["code"], "address_locked");
    // by a time, it is the same
    let body = json!({"from": began.to_rfc3339(), "policy": {"lockout": {"failures": 6}}});
    let by_time = admin.post("/api/audit/what-if", &body).await.unwrap().expect(200).unwrap();
    assert_eq!(by_time.body["items"], six["items"]);
    // what failed before the period counts in it, and its lock is there
    let later = what_if(admin, between, json!({"lockout": {"failures": 6}})).await;
    assert_eq!((&later["decided"], &later["items"]), (&json!(1), &json!([])));
    let body = json!({"from": from, "to": from, "policy": {"lockout": {"failures": 1}}});
    let short = admin.post("/api/audit/what-if", &body).await.unwrap().expect(200).unwrap();
    assert_eq!((&short.body["decided"], short.position), (&json!(1), Some(from)));
}

#[tokio::test(flavor = "multi_thread")]
async fn another_allow_list_and_another_quota_are_held_against_the_log() {
    let world = world().await;
    let admin = &world.admin;
    let (env, before) = running(&world, admin, "listed").await;
    let from = before + 1;
    come_in(&world, &env, "10.1.2.3").await;
    come_in(&world, &env, GUESSER).await;
    for whose in [json!({"env_id": env}), json!({"tenant_id": "default"})] {
        let mut list = whose.clone();
        list["ranges"] = json!(["10.0.0.0/8"]);
        let found = what_if(admin, from, json!({"allow_list": list})).await;
        assert_eq!(told(&found), [("LoginSucceeded", "let_in", "refused")], "{whose}");
        assert_eq!(found["items"][0]["would_be"]["code"], "address_not_allowed");
        assert_eq!(found["items"][0]["address"], GUESSER);
    }
    let (another, _) = running(&world, admin, "another").await;
    let list = json!({"env_id": another, "ranges": ["10.0.0.0/8"]});
    assert_eq!(what_if(admin, from, json!({"allow_list": list})).await["decided"], 0);

    // the first environment is older than the period and keeps its share
    let quota = json!({"tenant_id": "default", "environments": 1});
    let found = what_if(admin, from, json!({"quota": quota})).await;
    assert_eq!(told(&found), [("QuotaClaimed", "claimed", "refused")], "{found}");
    assert_eq!(found["items"][0]["would_be"]["code"], "quota_exceeded");
    let two = json!({"tenant_id": "default", "environments": 2});
    let found = what_if(admin, from, json!({"quota": two})).await;
    assert_eq!((&found["decided"], &found["differing"]), (&json!(1), &json!(0)));
    // parts at once, in the order of the log
    let policy = json!({"quota": quota, "allow_list": {"env_id": env, "ranges": ["10.0.0.0/8"]}});
    let found = what_if(admin, from, policy).await;
    let expected = [("LoginSucceeded", "let_in", "refused"), ("QuotaClaimed", "claimed", "refused")];
    assert_eq!(told(&found), expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_what_if_is_for_who_audits_and_about_their_tenant() {
    let world = world().await;
    world.tenant("Blue").await;
    let (env, _) = running(&world, &world.admin, "not-blue").await;
    world.lock_out(&"default".parse().unwrap(), &env, GUESSER).await;
    let six = json!({"from": 1, "policy": {"lockout": {"failures": 6}}});
    let developer = world.caller("blue", "developer").await;
    problem(&developer.post("/api/audit/what-if", &six).await.unwrap(), 403, "forbidden");
    for role in ["auditor", "operator"] {
        let blue = world.caller("blue", role).await;
        let found = what_if(&blue, 1, six["policy"].clone()).await;
        assert_eq!((&found["decided"], &found["items"]), (&json!(0), &json!([])), "{role}");
        let ranges = json!(["10.0.0.0/8"]);
        for policy in [
            json!({"quota": {"tenant_id": "default", "environments": 1}}),
            json!({"allow_list": {"tenant_id": "default", "ranges": ranges}}),
            json!({"allow_list": {"env_id": env, "ranges": ranges}}),
        ] {
            let body = json!({"from": 1, "policy": policy});
            problem(&blue.post("/api/audit/what-if", &body).await.unwrap(), 404, "not_found");
        }
        let own = json!({"quota": {"tenant_id": "blue", "environments": 1}});
        assert_eq!(what_if(&blue, 1, own).await["decided"], 0);
    }
    let auditor = world.caller("default", "auditor").await;
    assert_eq!(told(&what_if(&auditor, 1, six["policy"].clone()).await), [("LoginLocked", "closed", "open")]);

    let before = world.head().await;
    let policy = json!({"lockout": {"failures": 6}});
    for (body, field, code) in [
        (json!({"from": before + 1_000, "policy": policy}), "from", "in_future"),
        (json!({"from": 1, "to": "2999-01-01T00:00:00Z", "policy": policy}), "to", "in_future"),
        (json!({"from": before, "to": 1, "policy": policy}), "from", "after_to"),
        (json!({"from": "yesterday", "policy": policy}), "from", "malformed"),
        (json!({"from": 1, "policy": {}}), "policy", "missing"),
    ] {
        let answer = world.admin.post("/api/audit/what-if", &body).await.unwrap();
        problem(&answer, 422, "validation_failed");
        let error = &answer.body["errors"][0];
        assert_eq!((&error["field"], &error["code"]), (&json!(field), &json!(code)), "{}", answer.body);
    }
    let unknown = json!({"from": 1, "policy": {"quota": {"tenant_id": "nobody", "environments": 1}}});
    problem(&world.admin.post("/api/audit/what-if", &unknown).await.unwrap(), 404, "not_found");
    assert_eq!(world.head().await, before, "nothing is recorded");
}
