//! Does a person see and use what is granted to them, as long as it is, and nothing else?

use chrono::{TimeDelta, Utc};
use harness::{Api, Sshd};
use serde_json::{Value, json};

use crate::world::{World, problem, world};

const PASSWORD: &str = "Right-Pass-1";

async fn register(world: &World, port: u16, labels: Value) -> String {
    let body = json!({
        "name": "web", "host": "127.0.0.1", "port": port, "username": "developer", "password": PASSWORD,
        "zone": "dmz", "groups": ["web"], "labels": labels, "test": false,
    });
    let made = world.admin.post("/api/servers", &body).await.unwrap().expect(201).unwrap();
    made.text("server_id").unwrap().to_owned()
}

pub async fn person(world: &World, name: &str) -> Api {
    let password = "a long sentence";
    let user = json!({"username": name, "password": password, "tenant_id": "default", "role": "developer"});
    world.admin.post("/api/users", &user).await.unwrap().expect(201).unwrap();
    let login = json!({"username": name, "password": password});
    let signed = world.admin.post("/api/auth/login", &login).await.unwrap().expect(200).unwrap();
    world.admin.as_caller(signed.text("token").unwrap())
}

async fn sees(api: &Api, world: &World) -> Vec<(String, Value)> {
    let after = world.head().await;
    let listed = api.list(&format!("/api/servers?after={after}")).await.unwrap();
    let mut seen: Vec<_> = listed
        .into_iter()
        .map(|server| (server["server_id"].as_str().unwrap().to_owned(), server["may"].clone()))
        .collect();
    seen.sort_by(|one, other| one.0.cmp(&other.0));
    seen
}

pub async fn grant(world: &World, path: &str, body: Value) {
    world.admin.put(path, &body).await.unwrap().expect(200).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_person_sees_and_tests_what_is_granted_and_nothing_else() {
    let world = world().await;
    let sshd = Sshd::start(PASSWORD, "").await.unwrap();
    let one = register(&world, sshd.port, json!({"env": "prod"})).await;
    let two = register(&world, sshd.port, json!({"env": "test"})).await;
    let (alice, bob) = (person(&world, "alice").await, person(&world, "bob").await);
    assert!(sees(&alice, &world).await.is_empty());

    let grants = format!("/api/servers/{one}/grants");
    grant(&world, &grants, json!({"grants": [{"user": "alice", "may": ["terminal"]}]})).await;
    assert_eq!(sees(&alice, &world).await, [(one.clone(), json!(["terminal"]))]);
    assert!(sees(&bob, &world).await.is_empty());
    let tested = alice.post(&format!("/api/servers/{one}/test"), &json!({})).await.unwrap();
    assert_eq!(tested.expect(200).unwrap().body["ok"], true);
    problem(&alice.post(&format!("/api/servers/{two}/test"), &json!({})).await.unwrap(), 404, "not_found");
    problem(&alice.delete(&format!("/api/servers/{one}")).await.unwrap(), 403, "forbidden");
    problem(&alice.put(&grants, &json!({"grants": []})).await.unwrap(), 403, "forbidden");
    problem(&alice.get(&grants).await.unwrap(), 403, "forbidden");

    // a group of people on a label; whoever may only see facts does not log in
    grant(&world, "/api/people-groups/ops", json!({"members": ["bob"]})).await;
    let labelled = json!({"servers": {"label": "env=test"}, "grants": [{"group": "ops", "may": ["facts"]}]});
    grant(&world, "/api/server-grants", labelled).await;
    assert_eq!(sees(&bob, &world).await, [(two.clone(), json!(["facts"]))]);
    problem(&bob.post(&format!("/api/servers/{two}/test"), &json!({})).await.unwrap(), 403, "forbidden");

    // a role on a zone: everybody, both
    let everybody =
        json!({"servers": {"zone": "dmz"}, "grants": [{"role": "developer", "may": ["command"]}]});
    grant(&world, "/api/server-grants", everybody).await;
    let mut both = [(one.clone(), json!(["command"])), (two.clone(), json!(["command", "facts"]))];
    both.sort_by(|one, other| one.0.cmp(&other.0));
    assert_eq!(sees(&bob, &world).await, both);

    let shown = world.admin.get(&format!("{grants}?after={}", world.head().await)).await.unwrap();
    let shown = shown.expect(200).unwrap().body;
    assert_eq!(
        shown,
        json!({"servers": {"server": one}, "grants": [{"user": "alice", "may": ["terminal"]}]})
    );
    assert_eq!(world.admin.list("/api/server-grants").await.unwrap().len(), 3);
    let of_zone = world.admin.list("/api/server-grants?zone=dmz").await.unwrap();
    assert_eq!((of_zone.len(), &of_zone[0]["servers"]), (1, &json!({"zone": "dmz"})));
    assert_eq!(of_zone[0]["tenant_id"], "default");
    assert_eq!(world.admin.list("/api/server-grants?label=env%3Dtest").await.unwrap().len(), 1);
    assert!(world.admin.list("/api/server-grants?group=dmz").await.unwrap().is_empty(), "no zone's name");
    let two_places = world.admin.get("/api/server-grants?zone=dmz&group=web").await.unwrap();
    problem(&two_places, 400, "parameter_invalid");
    let groups = world.admin.list("/api/people-groups").await.unwrap();
    assert_eq!(groups[0]["members"], json!(["bob"]));

    // what is taken away is gone at once
    grant(&world, "/api/people-groups/ops", json!({"members": []})).await;
    let none = json!({"servers": {"zone": "dmz"}, "grants": []});
    grant(&world, "/api/server-grants", none).await;
    assert!(sees(&bob, &world).await.is_empty());
    world.admin.delete(&format!("/api/servers/{one}")).await.unwrap().expect(200).unwrap();
    assert!(sees(&alice, &world).await.is_empty());
    let left = world.admin.list(&format!("/api/server-grants?after={}", world.head().await)).await.unwrap();
    assert_eq!(left.len(), 1, "the grants of a removed server end: {left:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_grant_that_is_over_or_not_begun_is_none() {
    let world = world().await;
    let id = register(&world, 22, json!({})).await;
    let alice = person(&world, "alice").await;
    let grants = format!("/api/servers/{id}/grants");
    let at = |hours: i64| (Utc::now() + TimeDelta::hours(hours)).to_rfc3339();
    for (from, until, counts) in [(-2, -1, false), (1, 2, false), (-1, 1, true)] {
        let dated = json!({"user": "alice", "may": ["terminal"], "from": at(from), "until": at(until)});
        grant(&world, &grants, json!({ "grants": [dated] })).await;
        assert_eq!(!sees(&alice, &world).await.is_empty(), counts, "{from} to {until}");
        let shown = alice.get(&format!("/api/servers/{id}")).await.unwrap();
        assert_eq!(shown.status, if counts { 200 } else { 404 });
    }
}
