//! Does a stream of events leave nothing out and repeat nothing, whatever it is resumed after?

use std::sync::atomic::Ordering;
use std::time::Duration;

use events::env::{Env, EnvRequested, request::request};
use events::ids::{TenantId, UserName};
use events::{Cause, Resources};
use futures_util::StreamExt;
use serde_json::json;
use tokio_tungstenite::connect_async;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;

use crate::stream::{Seen, open};
use crate::world::{World, asked, problem, world};

/// Nothing came for so long: that was all, on a busy machine too.
const QUIET: Duration = Duration::from_secs(5);
const NEXT_WITHIN: Duration = Duration::from_secs(30);

fn ids(seen: &[Seen]) -> Vec<u64> {
    seen.iter().map(|seen| seen.id.unwrap()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_resumes_without_a_gap_or_a_repeat() {
    let world = world().await;
    let writer = {
        let api = world.admin.clone();
        tokio::spawn(async move {
            for number in 0..40 {
                api.post("/api/environments", &asked(&format!("e{number}")))
                    .await
                    .unwrap()
                    .expect(202)
                    .unwrap();
            }
        })
    };
    // cut every few events while they are written
    let mut seen = open(&world.admin, "/api/events?from=1", None).await.take(7).await;
    for count in [1, 2, 3, 5, 8, 13, 21, 34] {
        let last = seen.last().unwrap().id;
        seen.extend(open(&world.admin, "/api/events?from=1", last).await.take(count).await);
    }
    writer.await.unwrap();
    let last = seen.last().unwrap().id;
    seen.extend(open(&world.admin, "/api/events", last).await.rest(QUIET).await);
    let head = world.head().await;
    assert_eq!(ids(&seen), (1..=head).collect::<Vec<_>>());
    let events = world.everything().await;
    for (seen, event) in seen.iter().zip(&events) {
        assert_eq!(seen.data, event.to_cloudevent());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_begins_and_filters_as_it_is_told() {
    let world = world().await;
    let made = world.admin.post("/api/environments", &asked("one")).await.unwrap().expect(202).unwrap();
    let id = made.text("env_id").unwrap();
    let events = world.everything().await;
    let at = |name: &str| events.iter().find(|event| event.event.event_type() == name).unwrap();
    // inclusive, by sequence and by time
    let from = at("EnvRequested").seq;
    let seen = open(&world.admin, &format!("/api/events?from={from}"), None).await.take(1).await;
    assert_eq!(seen[0].id, Some(from));
    let time = at("EnvRequested").meta.time.to_rfc3339_opts(chrono::SecondsFormat::Micros, true);
    let seen = open(&world.admin, &format!("/api/events?from={time}"), None).await.take(1).await;
    assert_eq!(seen[0].id, Some(from));
    // filters, alone and together
    for (filter, expected) in [
        ("kind=quota", vec!["QuotaClaimed"]),
        ("type=EnvRequested,PodReady", vec!["EnvRequested", "PodReady"]),
        ("kind=env,credential&type=PortBound,PasswordIssued", vec!["PortBound", "PasswordIssued"]),
        (&format!("id={id}&type=EnvRequested"), vec!["EnvRequested"]),
        ("id=nothing", vec![]),
    ] {
        let path = format!("/api/events?from=1&{filter}");
        let seen = open(&world.admin, &path, None).await.rest(QUIET).await;
        let types: Vec<_> = seen.iter().map(|seen| seen.data["type"].as_str().unwrap()).collect();
        assert_eq!(types, expected, "{filter}");
    }
    // without a beginning, what happens from now on
    let before = world.everything().await.last().unwrap().seq;
    let mut live = open(&world.admin, "/api/events?kind=tenant", None).await;
    // the position joins a read and the stream: nothing happens between them unseen
    assert!(live.position.is_some_and(|position| (from..=before).contains(&position)), "{:?}", live.position);
    assert_eq!(open(&world.admin, "/api/events?from=3", None).await.position, Some(2));
    let mut progress = open(&world.admin, &format!("/api/environments/{id}/events"), None).await;
    assert_eq!(progress.take(1).await[0].id, Some(from));
    world.tenant("Blue").await;
    assert_eq!(live.take(1).await[0].data["data"]["name"], "Blue");
    world.admin.post(&format!("/api/environments/{id}/stop"), &json!({})).await.unwrap().expect(202).unwrap();
    let rest = progress.rest(QUIET).await;
    assert!(rest.iter().all(|seen| seen.data["aggregateid"] == id), "{rest:?}");
    assert_eq!(rest.last().unwrap().data["type"], "EnvStopped");
    for wrong in ["from=yesterday", "kind=nothing", "type=Nothing", "unknown=1", "from=1&from=2"] {
        let answer = world.admin.get(&format!("/api/events?{wrong}")).await.unwrap();
        problem(&answer, 400, "parameter_invalid");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn everyone_sees_what_they_may() {
    let world = world().await;
    world.tenant("Blue").await;
    let alice = world.caller("blue", "developer").await;
    let bob = world.caller("blue", "developer").await;
    let user =
        json!({"username": "carol", "password": "a long sentence", "tenant_id": "blue", "role": "auditor"});
    world.admin.post("/api/users", &user).await.unwrap().expect(201).unwrap();
    let mut hers = open(&alice, "/api/events", None).await;
    let made = alice.post_once("/api/environments", &asked("hers"), "k").await.unwrap().expect(202).unwrap();
    let id = made.text("env_id").unwrap();
    bob.post("/api/environments", &asked("his")).await.unwrap().expect(202).unwrap();
    world.admin.post("/api/environments", &asked("elsewhere")).await.unwrap().expect(202).unwrap();

    let live = hers.rest(QUIET).await;
    assert!(!live.is_empty() && live.iter().all(|seen| seen.data["aggregateid"] == id), "{live:?}");
    let path = "/api/events?from=1";
    let past = open(&alice, path, None).await.rest(QUIET).await;
    assert_eq!(past[0].data["type"], "TenantRegistered");
    assert_eq!(past[1..], live);
    let kinds = |seen: &[Seen]| {
        let kinds = seen.iter().map(|seen| seen.data["kind"].as_str().unwrap().to_owned());
        kinds.collect::<std::collections::BTreeSet<_>>().into_iter().collect::<Vec<_>>()
    };
    let operator = open(&world.caller("blue", "operator").await, path, None).await.rest(QUIET).await;
    assert_eq!(kinds(&operator), ["credential", "env", "quota", "tenant"]);
    let auditor = open(&world.caller("blue", "auditor").await, path, None).await.rest(QUIET).await;
    assert_eq!(kinds(&auditor), ["credential", "env", "quota", "request", "tenant", "token", "user"]);
    for seen in operator.iter().chain(&auditor) {
        let tenant = seen.data["tenant"].as_str().unwrap();
        let inside = seen.data["data"]["tenant"].as_str().unwrap_or("blue");
        assert!(["blue", "_sys"].contains(&tenant) && inside == "blue", "{seen:?}");
    }
    let all = open(&world.admin, path, None).await.rest(QUIET).await;
    assert_eq!(all.len() as u64, world.head().await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_web_socket_shows_the_same() {
    let world = world().await;
    let made = world.admin.post("/api/tokens", &json!({"name": "t"})).await.unwrap().expect(201).unwrap();
    let (token, head) = (made.text("token").unwrap(), world.head().await);
    let url = format!("{}/ws/events?from=1", world.admin.base().replace("http", "ws"));
    let mut request = url.clone().into_client_request().unwrap();
    assert!(connect_async(request.clone()).await.is_err(), "nobody is let in without a token");
    request.headers_mut().insert("authorization", format!("Bearer {token}").parse().unwrap());
    let (mut socket, _) = connect_async(request).await.unwrap();
    let path = format!("/api/tokens/{}", made.text("token_id").unwrap());
    let mut seen = Vec::new();
    let closed = loop {
        match tokio::time::timeout(NEXT_WITHIN, socket.next()).await.unwrap().unwrap().unwrap() {
            Message::Text(text) => {
                seen.push(serde_json::from_str::<serde_json::Value>(&text).unwrap());
                // only now: who is shut out is shown nothing more
                if seen.len() as u64 == head {
                    world.admin.delete(&path).await.unwrap().expect(200).unwrap();
                }
            }
            Message::Close(frame) => break frame.unwrap(),
            Message::Binary(_) | Message::Ping(_) | Message::Pong(_) | Message::Frame(_) => {}
        }
    };
    let events = world.everything().await;
    let expected: Vec<_> = events[..head as usize].iter().map(|event| event.to_cloudevent()).collect();
    assert_eq!(seen, expected);
    assert_eq!((u16::from(closed.code), closed.reason.as_str()), (1008, "unauthorized"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reader_that_does_not_read_is_dropped_and_told_so() {
    let world = world().await;
    world.provisioner.away.store(true, Ordering::SeqCst);
    // nothing is read from this one until the end
    let mut sleeper = open(&world.admin, "/api/events", None).await;
    let mut reader = open(&world.admin, "/api/events", None).await;
    let first = world.head().await + 1;
    let mut read = Vec::new();
    for number in 0..COUNT {
        write_large(&world, number).await;
        read.extend(reader.take(1).await);
    }
    assert_eq!(ids(&read), (first..first + COUNT).collect::<Vec<_>>());
    harness::eventually("the sleeper is dropped", Duration::from_secs(30), async || {
        let metrics = world.admin.get("/metrics").await.map_err(|error| error.to_string())?;
        let text = metrics.body.as_str().unwrap().to_owned();
        let dropped = text.lines().find(|line| line.starts_with("portreeve_api_taps_dropped_total"));
        if dropped.is_some_and(|line| line.ends_with(" 1")) { Ok(()) } else { Err(format!("{dropped:?}")) }
    })
    .await
    .unwrap();
    let slept = sleeper.rest(QUIET).await;
    let (last, before) = slept.split_last().unwrap();
    assert_eq!((last.event.as_deref(), &last.data["code"]), (Some("end"), &json!("too_slow")));
    assert!(before.len() < COUNT as usize, "{}", before.len());
    // what it did see has no gap, and it goes on from there
    let next = first + before.len() as u64;
    assert_eq!(ids(before), (first..next).collect::<Vec<_>>());
    let resumed = open(&world.admin, "/api/events", before.last().unwrap().id).await.take(1).await;
    assert_eq!(resumed[0].id, Some(next));
}

/// More than the sockets' buffers and the queue of a reader hold.
const COUNT: u64 = 500;

/// An event of 100 kB.
async fn write_large(world: &World, number: u64) {
    let asked = EnvRequested {
        name: "n".repeat(100_000),
        owner: UserName::parse("admin").unwrap(),
        image: String::new(),
        resources: Resources::default(),
        ssh_public_keys: Vec::new(),
        jupyter: false,
        ttl_s: None,
        idle_s: None,
        allow_list: Vec::new(),
        datasets: vec![],
        gateway_only: false,
        deadline: chrono::Utc::now(),
    };
    let cause = Cause::new(uuid::Uuid::now_v7(), "service:test");
    let tenant = TenantId::parse("default").unwrap();
    let id = format!("large-{number}");
    world.log.decide(&tenant, &id, &cause, 0, |env: &Env| request(env, asked.clone())).await.unwrap();
}
