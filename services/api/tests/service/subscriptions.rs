//! Is a subscription read from where it was acknowledged, by one reader at a time, and by whom it may?

use std::time::Duration;

use harness::Api;
use reqwest::Method;
use serde_json::{Value, json};

use crate::stream::{Seen, open};
use crate::world::{World, problem, world};

const SOON: Duration = Duration::from_secs(20);
/// Nothing came for so long: that was all.
const QUIET: Duration = Duration::from_secs(4);

async fn subscribe(api: &Api, more: Value) -> String {
    let mut body = json!({"name": "reader", "types": ["TenantRecordingSet"]});
    body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    let made = api.post("/api/subscriptions", &body).await.unwrap().expect(201).unwrap();
    assert!(made.body.get("secret").is_none(), "nothing is signed");
    made.text("subscription_id").unwrap().to_owned()
}

async fn happen(world: &World, enabled: bool) -> u64 {
    let body = json!({"enabled": enabled});
    let set = world.admin.put("/api/tenants/default/recording", &body).await.unwrap().expect(200).unwrap();
    set.position.unwrap()
}

fn ids(seen: &[Seen]) -> Vec<u64> {
    seen.iter().map(|seen| seen.id.unwrap()).collect()
}

async fn shown(world: &World, id: &str) -> Value {
    let after = world.head().await;
    let path = format!("/api/subscriptions/{id}?after={after}");
    world.admin.get(&path).await.unwrap().expect(200).unwrap().body
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_not_acknowledged_comes_again() {
    let world = world().await;
    let before = happen(&world, true).await;
    let id = subscribe(&world.admin, json!({})).await;
    let (events, position) =
        (format!("/api/subscriptions/{id}/events"), format!("/api/subscriptions/{id}/position"));
    let happened = [happen(&world, false).await, happen(&world, true).await, happen(&world, false).await];
    assert_eq!(shown(&world, &id).await["lag_events"], 3);
    let seen = open(&world.admin, &events, None).await.take(3).await;
    assert_eq!(ids(&seen), happened);
    // another connection, also one that says what it has seen
    let mut again = open(&world.admin, &events, Some(happened[2])).await;
    assert_eq!(ids(&again.take(3).await), happened);
    let moved = world.admin.post(&position, &json!({"sequence": happened[1]})).await.unwrap();
    assert_eq!(moved.expect(200).unwrap().body["position"], happened[1]);
    let rest = shown(&world, &id).await;
    assert_eq!((&rest["position"], &rest["lag_events"]), (&json!(happened[1]), &json!(1)));
    assert_eq!(rest["delivery"], "pull");
    assert_eq!(ids(&open(&world.admin, &events, None).await.take(1).await), [happened[2]]);

    // onward by itself, back only when that is meant, and never beyond the log
    let same = world.admin.post(&position, &json!({"sequence": happened[1]})).await.unwrap();
    same.expect(200).unwrap();
    let back = world.admin.post(&position, &json!({"sequence": happened[0]})).await.unwrap();
    problem(&back, 409, "position_behind");
    let beyond = world.admin.post(&position, &json!({"sequence": 1_000_000})).await.unwrap();
    problem(&beyond, 422, "validation_failed");
    let reset = json!({"sequence": before - 1, "reset": true});
    world.admin.post(&position, &reset).await.unwrap().expect(200).unwrap();
    let all = [&[before][..], &happened[..]].concat();
    let mut stream = open(&world.admin, &events, None).await;
    assert_eq!(ids(&stream.take(4).await), all, "also what was before it was set");
    let live = happen(&world, true).await;
    assert_eq!(ids(&stream.take(1).await), [live]);

    // one that begins in the past
    let from = subscribe(&world.admin, json!({"from": happened[0]})).await;
    let path = format!("/api/subscriptions/{from}/events");
    assert_eq!(open(&world.admin, &path, None).await.take(1).await[0].id, Some(happened[0]));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_newest_reader_is_the_only_one() {
    let world = world().await;
    let id = subscribe(&world.admin, json!({})).await;
    let path = format!("/api/subscriptions/{id}/events");
    let mut first = open(&world.admin, &path, None).await;
    let mut second = open(&world.admin, &path, None).await;
    let end = first.next(SOON).await.unwrap();
    assert_eq!((end.event.as_deref(), &end.data["code"]), (Some("end"), &json!("reader_replaced")));
    let happened = happen(&world, true).await;
    assert_eq!(ids(&second.take(1).await), [happened]);
    let patch = json!({"paused": true});
    let it = format!("/api/subscriptions/{id}");
    world.admin.call(Method::PATCH, &it, Some(&patch), None).await.unwrap().expect(200).unwrap();
    let end = second.next(SOON).await.unwrap();
    assert_eq!(end.data["code"], "subscription_paused");
    problem(&world.admin.get(&path).await.unwrap(), 409, "subscription_paused");
    world.admin.delete(&it).await.unwrap().expect(200).unwrap();
    problem(&world.admin.get(&path).await.unwrap(), 404, "not_found");
    assert_eq!(shown(&world, &id).await["status"], "removed");
    assert!(world.admin.list("/api/subscriptions").await.unwrap().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_reads_more_than_they_may_see() {
    let world = world().await;
    world.tenant("Blue").await;
    let (operator, auditor) =
        (world.caller("default", "operator").await, world.caller("default", "auditor").await);
    let theirs = subscribe(&operator, json!({"types": []})).await;
    let admins = subscribe(&world.admin, json!({"types": []})).await;
    let path = |id: &str| format!("/api/subscriptions/{id}");
    let events = |id: &str| format!("/api/subscriptions/{id}/events");
    let strangers = [
        world.caller("blue", "operator").await,
        world.caller("blue", "auditor").await,
        world.caller("default", "developer").await,
    ];
    for stranger in &strangers {
        problem(&stranger.get(&path(&theirs)).await.unwrap(), 404, "not_found");
        problem(&stranger.get(&events(&theirs)).await.unwrap(), 404, "not_found");
    }
    problem(&strangers[0].delete(&path(&theirs)).await.unwrap(), 404, "not_found");
    problem(&strangers[2].post("/api/subscriptions", &json!({"name": "x"})).await.unwrap(), 403, "forbidden");
    assert!(strangers[0].list("/api/subscriptions").await.unwrap().is_empty());
    assert_eq!(
        auditor.list(&format!("/api/subscriptions?after={}", world.head().await)).await.unwrap().len(),
        2
    );
    problem(&auditor.get(&events(&theirs)).await.unwrap(), 403, "forbidden");
    problem(&operator.get(&events(&admins)).await.unwrap(), 403, "forbidden");
    let ack = format!("{}/position", path(&admins));
    problem(&operator.post(&ack, &json!({"sequence": 1})).await.unwrap(), 403, "forbidden");
    // who set it alone says what it tells; others may stop it
    let patch = async |api: &Api, id: &str, body: Value| {
        api.call(Method::PATCH, &path(id), Some(&body), None).await.unwrap()
    };
    problem(&patch(&operator, &admins, json!({"kinds": ["env"]})).await, 403, "forbidden");
    patch(&operator, &admins, json!({"paused": true})).await.expect(200).unwrap();
    patch(&operator, &admins, json!({"paused": false})).await.expect(200).unwrap();
    problem(
        &patch(&operator, &theirs, json!({"url": "https://example.org/"})).await,
        409,
        "delivery_differs",
    );
    problem(
        &operator.post(&format!("{}/rotate-secret", path(&theirs)), &json!({})).await.unwrap(),
        409,
        "delivery_differs",
    );

    // an operator's tells no requests, an admin's does; neither tells of credentials, subscriptions or others' things
    let asked = crate::world::asked("one");
    world.admin.post_once("/api/environments", &asked, "key").await.unwrap().expect(202).unwrap();
    world
        .caller("blue", "operator")
        .await
        .post("/api/environments", &asked)
        .await
        .unwrap()
        .expect(202)
        .unwrap();
    let kinds = async |api: &Api, id: &str| {
        let seen = open(api, &events(id), None).await.rest(QUIET).await;
        assert!(seen.iter().all(|seen| seen.data["tenant"] == "default"), "{seen:?}");
        let kinds = seen.iter().map(|seen| seen.data["kind"].as_str().unwrap().to_owned());
        kinds.collect::<std::collections::BTreeSet<_>>().into_iter().collect::<Vec<_>>()
    };
    assert_eq!(kinds(&operator, &theirs).await, ["env", "quota"]);
    assert_eq!(kinds(&world.admin, &admins).await, ["env", "quota", "request"]);
    let credentials = world.everything().await;
    assert!(
        credentials.iter().any(|event| event.subject.kind == events::Kind::Credential),
        "there were some"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tenant_has_so_many() {
    let world = world().await;
    for _ in 0..20 {
        subscribe(&world.admin, json!({})).await;
    }
    let after = world.head().await;
    let listed = world.admin.list(&format!("/api/subscriptions?after={after}")).await.unwrap();
    assert_eq!(listed.len(), 20);
    let body = json!({"name": "one more"});
    problem(&world.admin.post("/api/subscriptions", &body).await.unwrap(), 409, "too_many_subscriptions");
    let id = listed[0]["subscription_id"].as_str().unwrap();
    world.admin.delete(&format!("/api/subscriptions/{id}")).await.unwrap().expect(200).unwrap();
    let after = world.head().await;
    world.admin.list(&format!("/api/subscriptions?after={after}")).await.unwrap();
    subscribe(&world.admin, json!({})).await;
}
