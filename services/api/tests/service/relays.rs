//! What of a relay is changed, by whom, and what is refused? No hub is there: nothing is connected.

use harness::{Answer, Api};
use reqwest::Method;
use serde_json::{Value, json};

use crate::world::{World, problem, world};

async fn registered(world: &World) -> String {
    let body = json!({"name": "dmz", "zone": "dmz", "addresses": ["10.0.0.0/8"]});
    let made = world.admin.post("/api/relays", &body).await.unwrap().expect(201).unwrap();
    made.text("relay_id").unwrap().to_owned()
}

async fn patch(api: &Api, id: &str, body: Value) -> Answer {
    api.call(Method::PATCH, &format!("/api/relays/{id}"), Some(&body), None).await.unwrap()
}

async fn shown(world: &World, id: &str) -> Value {
    let path = format!("/api/relays/{id}?after={}", world.head().await);
    world.admin.get(&path).await.unwrap().expect(200).unwrap().body
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_left_out_stays_and_what_is_said_is_shown() {
    let world = world().await;
    let id = registered(&world).await;
    let asked = json!({"addresses": ["192.0.2.7", "10.1.2.3/16", "192.0.2.7"]});
    let limits = json!(["10.1.0.0/16", "192.0.2.7/32"]);
    for _ in 0..2 {
        let changed = patch(&world.admin, &id, asked.clone()).await.expect(200).unwrap().body;
        assert_eq!((&changed["addresses"], &changed["zone"]), (&limits, &json!("dmz")), "{changed}");
    }
    assert_eq!(world.count("RelayChanged", &id).await, 1, "the second time it was so already");
    let relay = shown(&world, &id).await;
    assert_eq!((&relay["addresses"], &relay["name"]), (&limits, &json!("dmz")), "{relay}");

    let all = json!({
        "name": "other", "zone": null, "labels": {"env": "prod"}, "addresses": [], "in_flight_max": 5,
    });
    patch(&world.admin, &id, all.clone()).await.expect(200).unwrap();
    let relay = shown(&world, &id).await;
    for (field, value) in all.as_object().unwrap() {
        assert_eq!(&relay[field], value, "{field}: {relay}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_may_not_and_what_is_wrong_changes_nothing() {
    let world = world().await;
    let id = registered(&world).await;
    let wrong = json!({"addresses": ["10.0.0.0/8", "here"], "in_flight_max": 0, "colour": "red"});
    let refused = patch(&world.admin, &id, wrong).await;
    problem(&refused, 422, "validation_failed");
    let errors = refused.body["errors"].as_array().unwrap().iter();
    let mut fields: Vec<_> = errors.map(|error| error["field"].as_str().unwrap()).collect();
    fields.sort_unstable();
    assert_eq!(fields, ["addresses[1]", "colour", "in_flight_max"]);

    let other = world.tenant("other").await;
    let named = || json!({"name": "mine"});
    for (tenant, role, status) in [
        ("default", "developer", 404),
        ("default", "auditor", 403),
        (other.as_str(), "operator", 404),
        ("default", "operator", 200),
    ] {
        let who = world.caller(tenant, role).await;
        assert_eq!(patch(&who, &id, named()).await.status, status, "{role} of {tenant}");
    }
    assert_eq!(world.count("RelayChanged", &id).await, 1);
    world.admin.delete(&format!("/api/relays/{id}")).await.unwrap().expect(200).unwrap();
    problem(&patch(&world.admin, &id, json!({"name": "late"})).await, 409, "relay_revoked");
    problem(&patch(&world.admin, "rel-mnopqrstuvwx", named()).await, 404, "not_found");
}
