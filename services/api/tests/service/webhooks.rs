//! Does each event reach its webhook, signed and in order, whatever the receiver says and whoever ends?

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU16, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::http::{HeaderMap, StatusCode};
use data_encoding::BASE64;
use events::{Kind, Recorded};
use harness::Api;
use hmac::{Hmac, KeyInit, Mac};
use reqwest::Method;
use serde_json::{Value, json};
use sha2::Sha256;
use tokio::net::TcpListener;

use crate::world::{World, asked, problem, world, world_with};

const SOON: Duration = Duration::from_secs(30);
/// Nothing came for so long: that was all.
const QUIET: Duration = Duration::from_secs(3);

#[derive(Clone)]
struct Post {
    headers: HeaderMap,
    body: String,
}

impl Post {
    fn header(&self, name: &str) -> String {
        self.headers[name].to_str().unwrap().to_owned()
    }

    fn sequence(&self) -> u64 {
        let event: Value = serde_json::from_str(&self.body).unwrap();
        event["sequence"].as_str().unwrap().parse().unwrap()
    }

    /// As a receiver would: any of the signatures may be the right one.
    fn is_signed_with(&self, secret: &str) -> bool {
        let key = BASE64.decode(secret.strip_prefix("whsec_").unwrap().as_bytes()).unwrap();
        let mut mac = Hmac::<Sha256>::new_from_slice(&key).unwrap();
        let (id, timestamp) = (self.header("webhook-id"), self.header("webhook-timestamp"));
        mac.update(format!("{id}.{timestamp}.{}", self.body).as_bytes());
        let expected = format!("v1,{}", BASE64.encode(&mac.finalize().into_bytes()));
        self.header("webhook-signature").split(' ').any(|one| one == expected)
    }
}

/// Somebody's own server, which answers as it is told.
#[derive(Clone)]
struct Receiver {
    address: SocketAddr,
    status: Arc<AtomicU16>,
    posts: Arc<Mutex<Vec<Post>>>,
}

impl Receiver {
    async fn start(status: u16) -> Self {
        Self::at(TcpListener::bind("127.0.0.1:0").await.unwrap(), status)
    }

    fn at(listener: TcpListener, status: u16) -> Self {
        let address = listener.local_addr().unwrap();
        let receiver = Self { address, status: Arc::new(AtomicU16::new(status)), posts: Arc::default() };
        let kept = receiver.clone();
        let answer = move |headers: HeaderMap, body: String| {
            let kept = kept.clone();
            async move {
                kept.posts.lock().unwrap().push(Post { headers, body });
                StatusCode::from_u16(kept.status.load(Ordering::SeqCst)).unwrap()
            }
        };
        tokio::spawn(axum::serve(listener, Router::new().fallback(answer)).into_future());
        receiver
    }

    fn url(&self) -> String {
        format!("http://{}/hook?to=archive", self.address)
    }

    fn answer_with(&self, status: u16) {
        self.status.store(status, Ordering::SeqCst);
    }

    fn posts(&self) -> Vec<Post> {
        self.posts.lock().unwrap().clone()
    }

    fn sequences(&self) -> Vec<u64> {
        self.posts().iter().map(Post::sequence).collect()
    }

    /// So many came.
    async fn came(&self, count: usize) -> Vec<Post> {
        harness::eventually("the events are posted", SOON, async || {
            let posts = self.posts();
            if posts.len() >= count { Ok(posts) } else { Err(format!("{} came", posts.len())) }
        })
        .await
        .unwrap()
    }
}

/// Three attempts within a second, to this machine.
fn near(config: &mut api::Config) {
    config.webhooks = api::WebhookSettings {
        ranges: vec!["127.0.0.0/8".parse().unwrap()],
        http: true,
        retry_after: vec![Duration::from_millis(300); 2],
        timeout: Duration::from_secs(5),
    };
}

/// Its id and its secret.
async fn subscribe(api: &Api, url: &str, mut more: Value) -> (String, String) {
    more["name"] = json!("to the archive");
    more["url"] = json!(url);
    let made = api.post("/api/subscriptions", &more).await.unwrap().expect(201).unwrap();
    (made.text("subscription_id").unwrap().to_owned(), made.text("secret").unwrap().to_owned())
}

/// It is shown so.
async fn until(api: &Api, id: &str, what: &str, holds: impl Fn(&Value) -> bool) -> Value {
    harness::eventually(what, SOON, async || {
        let shown = api.get(&format!("/api/subscriptions/{id}")).await.map_err(|error| error.to_string())?;
        if shown.status == 200 && holds(&shown.body) { Ok(shown.body) } else { Err(shown.body.to_string()) }
    })
    .await
    .unwrap()
}

/// Something happens to the tenant; its sequence.
async fn happen(api: &Api, enabled: bool) -> u64 {
    let body = json!({"enabled": enabled});
    let set = api.put("/api/tenants/default/recording", &body).await.unwrap().expect(200).unwrap();
    set.position.unwrap()
}

async fn parked(api: &Api, id: &str) -> Vec<Value> {
    let found = api.get(&format!("/api/subscriptions/{id}/parked")).await.unwrap().expect(200).unwrap();
    found.body["items"].as_array().unwrap().clone()
}

async fn metric(world: &World, line: &str) -> u64 {
    let text = world.admin.get("/metrics").await.unwrap().body.as_str().unwrap().to_owned();
    let found = text.lines().find_map(|one| one.strip_prefix(line)?.trim().parse().ok());
    found.unwrap_or_default()
}

#[tokio::test(flavor = "multi_thread")]
async fn each_event_is_posted_once_in_order_signed_and_none_of_another_tenant() {
    let world = world_with(near).await;
    world.tenant("Blue").await;
    let blue = world.caller("blue", "operator").await;
    let receiver = Receiver::start(204).await;
    let head = world.head().await;
    let (id, secret) = subscribe(&world.admin, &receiver.url(), json!({"kinds": ["env"]})).await;
    for number in 0..5 {
        let (name, other) = (asked(&format!("e{number}")), asked(&format!("b{number}")));
        world.admin.post("/api/environments", &name).await.unwrap().expect(202).unwrap();
        blue.post("/api/environments", &other).await.unwrap().expect(202).unwrap();
    }
    let wanted = |event: &Recorded| {
        event.seq > head && event.subject.kind == Kind::Env && event.subject.tenant.as_str() == "default"
    };
    let (posts, expected) = harness::eventually("everything is posted", SOON, async || {
        let expected: Vec<_> = world.everything().await.into_iter().filter(wanted).collect();
        let posts = receiver.posts();
        // created, bound, ready of each
        if expected.len() >= 15 && posts.len() == expected.len() {
            Ok((posts, expected))
        } else {
            Err(format!("{} of {}", posts.len(), expected.len()))
        }
    })
    .await
    .unwrap();
    for (post, event) in posts.iter().zip(&expected) {
        assert_eq!(serde_json::from_str::<Value>(&post.body).unwrap(), event.to_cloudevent());
        assert_eq!(post.header("webhook-id"), event.meta.id.to_string());
        assert!(post.header("content-type").starts_with("application/cloudevents+json"));
        assert!(post.is_signed_with(&secret) && !post.is_signed_with("whsec_AAAA"));
        let age = chrono::Utc::now().timestamp() - post.header("webhook-timestamp").parse::<i64>().unwrap();
        assert!((0..120).contains(&age), "{age}");
    }
    let last = expected.last().unwrap().seq;
    let shown = until(&world.admin, &id, "it has caught up", |shown| {
        shown["lag_events"] == 0 && shown["position"].as_u64().is_some_and(|position| position >= last)
    })
    .await;
    assert_eq!(
        (&shown["status"], &shown["lag_s"], &shown["failing"]),
        (&json!("active"), &json!(0), &Value::Null)
    );
    assert!(shown.get("secret").is_none(), "{shown}");
    assert_eq!(receiver.posts().len(), expected.len(), "each once");
    let log = world.everything().await;
    assert!(
        log.iter().all(|event| !event.event.to_json().to_string().contains(&secret)),
        "no secret in the log"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn what_fails_is_tried_again_then_parked_then_retried_or_dropped() {
    let world = world_with(near).await;
    let receiver = Receiver::start(500).await;
    let (id, _) = subscribe(&world.admin, &receiver.url(), json!({"types": ["TenantRecordingSet"]})).await;
    let (first, second) = (happen(&world.admin, true).await, happen(&world.admin, false).await);
    let shown = until(&world.admin, &id, "both are parked", |shown| shown["parked"] == 2).await;
    assert_eq!((&shown["lag_events"], &shown["failing"]), (&json!(0), &Value::Null), "{shown}");
    // three attempts of each, one after the other, under one id
    assert_eq!(receiver.sequences(), [[first; 3], [second; 3]].concat());
    let ids: BTreeSet<_> = receiver.posts().iter().map(|post| post.header("webhook-id")).collect();
    assert_eq!(ids.len(), 2);
    let list = parked(&world.admin, &id).await;
    assert_eq!((&list[0]["sequence"], &list[1]["sequence"]), (&json!(first), &json!(second)));
    assert_eq!((&list[0]["attempts"], &list[0]["class"]), (&json!(3), &json!("status")));
    assert_eq!((&list[0]["http_status"], &list[0]["retrying"]), (&json!(500), &json!(false)));
    assert_eq!(metric(&world, "portreeve_api_webhook_attempts_total{outcome=\"parked\"}").await, 2);

    // once more in vain, then it gets through
    let retry = format!("/api/subscriptions/{id}/parked/{first}/retry");
    world.admin.post(&retry, &json!({})).await.unwrap().expect(200).unwrap();
    receiver.came(7).await;
    harness::eventually("it is parked again", SOON, async || {
        let list = parked(&world.admin, &id).await;
        if list[0]["attempts"] == 4 && list[0]["retrying"] == false {
            Ok(())
        } else {
            Err(format!("{list:?}"))
        }
    })
    .await
    .unwrap();
    receiver.answer_with(200);
    world.admin.post(&retry, &json!({})).await.unwrap().expect(200).unwrap();
    assert_eq!(receiver.came(8).await[7].sequence(), first);
    until(&world.admin, &id, "it is released", |shown| shown["parked"] == 1).await;
    problem(&world.admin.post(&retry, &json!({})).await.unwrap(), 409, "not_parked");
    let dropped = format!("/api/subscriptions/{id}/parked/{second}");
    world.admin.delete(&dropped).await.unwrap().expect(200).unwrap();
    problem(&world.admin.delete(&dropped).await.unwrap(), 409, "not_parked");
    until(&world.admin, &id, "nothing is parked", |shown| shown["parked"] == 0).await;
    let third = happen(&world.admin, true).await;
    assert_eq!(receiver.came(9).await[8].sequence(), third);
    for (event_type, count) in [("DeliveryParked", 3), ("DeliveryReleased", 1), ("DeliveryDropped", 1)] {
        assert_eq!(world.count(event_type, &id).await, count, "{event_type}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slow_or_absent_receiver_delays_nobody_else_and_loses_nothing() {
    let world = world_with(|config| {
        near(config);
        config.webhooks.retry_after = vec![Duration::from_millis(500); 200];
    })
    .await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let there = Receiver::start(200).await;
    let filter = || json!({"types": ["TenantRecordingSet"]});
    let (absent, _) = subscribe(&world.admin, &format!("http://{address}/"), filter()).await;
    let url = format!("http://{}/", silent.local_addr().unwrap());
    let (slow, _) = subscribe(&world.admin, &url, filter()).await;
    subscribe(&world.admin, &there.url(), filter()).await;
    let mut expected = Vec::new();
    for number in 0..4 {
        expected.push(happen(&world.admin, number % 2 == 0).await);
    }
    there.came(4).await;
    assert_eq!(there.sequences(), expected, "the others do not wait");
    let failing =
        until(&world.admin, &absent, "it fails", |shown| shown["failing"]["class"] == "connect").await;
    assert_eq!((&failing["lag_events"], &failing["failing"]["sequence"]), (&json!(4), &json!(expected[0])));
    until(&world.admin, &slow, "it is silent", |shown| shown["failing"]["class"] == "timeout").await;
    let came_up = Receiver::at(TcpListener::bind(address).await.unwrap(), 200);
    came_up.came(4).await;
    assert_eq!(came_up.sequences(), expected);
    until(&world.admin, &absent, "it has caught up", |shown| shown["lag_events"] == 0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_receiver_that_is_gone_pauses_it_and_a_pause_leaves_nothing_out() {
    let world = world_with(near).await;
    let receiver = Receiver::start(410).await;
    let (id, _) = subscribe(&world.admin, &receiver.url(), json!({"types": ["TenantRecordingSet"]})).await;
    let first = happen(&world.admin, true).await;
    let shown = until(&world.admin, &id, "it is paused", |shown| shown["status"] == "paused").await;
    assert_eq!(
        (&shown["why"], &shown["lag_events"], &shown["parked"]),
        (&json!("gone"), &json!(1), &json!(0))
    );
    let second = happen(&world.admin, false).await;
    tokio::time::sleep(QUIET).await;
    assert_eq!(receiver.sequences(), [first], "once, and nothing since");
    receiver.answer_with(200);
    let path = format!("/api/subscriptions/{id}");
    let resume = json!({"paused": false});
    world.admin.call(Method::PATCH, &path, Some(&resume), None).await.unwrap().expect(200).unwrap();
    receiver.came(3).await;
    assert_eq!(receiver.sequences(), [first, first, second]);
}

#[tokio::test(flavor = "multi_thread")]
async fn another_process_goes_on_where_one_ended() {
    let world = world_with(|config| {
        near(config);
        config.webhooks.retry_after = vec![Duration::from_millis(500); 200];
    })
    .await;
    let other = world.another_api().await;
    let receiver = Receiver::start(200).await;
    let (id, _) = subscribe(&other, &receiver.url(), json!({"types": ["TenantRecordingSet"]})).await;
    let mut expected = Vec::new();
    for number in 0..6 {
        expected.push(happen(&other, number % 2 == 0).await);
    }
    receiver.came(6).await;
    receiver.answer_with(500);
    expected.push(happen(&other, true).await);
    let before =
        until(&other, &id, "it fails", |shown| shown["failing"]["attempts"].as_u64() >= Some(2)).await;
    world.end_api();
    expected.push(happen(&other, false).await);
    // what was tried, and how often, is not forgotten
    let tried = before["failing"]["attempts"].as_u64();
    until(&other, &id, "the other one tries on", |shown| shown["failing"]["attempts"].as_u64() > tried).await;
    receiver.answer_with(200);
    until(&other, &id, "it has caught up", |shown| shown["lag_events"] == 0).await;
    // at least once: what came again is known by its id
    let (mut order, mut known) = (receiver.sequences(), BTreeSet::new());
    order.retain(|sequence| known.insert(*sequence));
    assert_eq!(order, expected, "nothing is lost or out of order");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_address_of_our_own_network_is_not_reached_unless_it_is_allowed() {
    let strict = world().await;
    for url in
        ["http://hooks.example.org/", "https://127.0.0.1/", "https://169.254.169.254/", "https://[::1]/"]
    {
        let body = json!({"name": "inside", "url": url});
        let answer = strict.admin.post("/api/subscriptions", &body).await.unwrap();
        problem(&answer, 422, "validation_failed");
        assert_eq!(answer.body["errors"][0]["field"], "url", "{url}");
    }
    drop(strict);
    // a name tells nothing: what it leads to does
    let world = world_with(|config| {
        near(config);
        config.webhooks.ranges = Vec::new();
    })
    .await;
    let receiver = Receiver::start(200).await;
    let url = format!("http://localhost:{}/", receiver.address.port());
    let (id, _) = subscribe(&world.admin, &url, json!({"types": ["TenantRecordingSet"]})).await;
    happen(&world.admin, true).await;
    until(&world.admin, &id, "it is parked", |shown| shown["parked"] == 1).await;
    assert_eq!(parked(&world.admin, &id).await[0]["class"], "address_refused");
    assert!(receiver.posts().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_secret_is_shown_once_and_the_one_before_counts_a_while() {
    let world = world_with(near).await;
    let receiver = Receiver::start(200).await;
    let body = json!({"name": "one", "url": receiver.url(), "types": ["TenantRecordingSet"]});
    let made = world.admin.post_once("/api/subscriptions", &body, "k").await.unwrap().expect(201).unwrap();
    problem(&world.admin.post_once("/api/subscriptions", &body, "k").await.unwrap(), 409, "key_shown_before");
    let (id, old) = (made.text("subscription_id").unwrap(), made.text("secret").unwrap());
    happen(&world.admin, true).await;
    assert!(receiver.came(1).await[0].is_signed_with(old));
    let path = format!("/api/subscriptions/{id}/rotate-secret");
    let rotated = world.admin.post(&path, &json!({"overlap_s": 3600})).await.unwrap().expect(200).unwrap();
    let new = rotated.text("secret").unwrap();
    happen(&world.admin, false).await;
    let post = receiver.came(2).await.remove(1);
    assert!(post.is_signed_with(old) && post.is_signed_with(new), "both, for an hour");
    let ended = world.admin.post(&path, &json!({"overlap_s": 0})).await.unwrap().expect(200).unwrap();
    happen(&world.admin, true).await;
    let post = receiver.came(3).await.remove(2);
    assert!(post.is_signed_with(ended.text("secret").unwrap()));
    assert!(!post.is_signed_with(new) && !post.is_signed_with(old));
}

#[tokio::test(flavor = "multi_thread")]
async fn who_was_shut_out_is_told_nothing_more() {
    let world = world_with(near).await;
    let body = json!({"name": "operator", "role": "operator", "tenant_id": "default"});
    let made = world.admin.post("/api/tokens", &body).await.unwrap().expect(201).unwrap();
    let operator = world.admin.as_caller(made.text("token").unwrap());
    let receiver = Receiver::start(200).await;
    let (id, _) = subscribe(&operator, &receiver.url(), json!({"types": ["TenantRecordingSet"]})).await;
    happen(&world.admin, true).await;
    receiver.came(1).await;
    let token = format!("/api/tokens/{}", made.text("token_id").unwrap());
    world.admin.delete(&token).await.unwrap().expect(200).unwrap();
    let shown = until(&world.admin, &id, "it is paused", |shown| shown["status"] == "paused").await;
    assert_eq!(shown["why"], "not_allowed");
    happen(&world.admin, false).await;
    tokio::time::sleep(QUIET).await;
    assert_eq!(receiver.posts().len(), 1);
}
