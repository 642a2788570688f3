//! Does the tail show every event once, in order, whatever happens to the server?

use std::time::Duration;

use chrono::Utc;
use nats::{Start, Tail, Tailed};

use crate::stand::*;

async fn numbers(tail: &mut Tail, count: usize) -> Vec<u64> {
    let mut seen = Vec::new();
    while seen.len() < count {
        let next = tokio::time::timeout(SOON, tail.next()).await;
        let next = next.unwrap_or_else(|_| panic!("{} of {count}, up to {:?}", seen.len(), seen.last()));
        seen.push(next.unwrap().seq());
    }
    seen
}

#[tokio::test(flavor = "multi_thread")]
async fn it_is_complete_and_in_order_over_restarts_of_the_server() {
    let mut server = server().await;
    let log = user(&server, "api").await.log();
    for number in 0..50 {
        claim_for(&log, "before", number).await.unwrap();
    }
    let mut tail = user(&server, "projector").await.log().tail(Start::Sequence(1), vec![]);
    assert_eq!(numbers(&mut tail, 50).await, (1..=50).collect::<Vec<u64>>());
    let reader = tokio::spawn(async move { numbers(&mut tail, 250).await });
    for number in 50..300 {
        if number % 100 == 0 {
            server.kill();
            server.restart().await.unwrap();
        }
        claim_for(&log, "after", number).await.unwrap();
    }
    assert_eq!(reader.await.unwrap(), (51..=300).collect::<Vec<u64>>());
}

/// A line to the server that can be cut.
struct Line {
    url: String,
    whole: tokio::sync::watch::Sender<bool>,
}

impl Line {
    async fn to(port: u16) -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("nats://{}", listener.local_addr().unwrap());
        let (whole, state) = tokio::sync::watch::channel(true);
        tokio::spawn(async move {
            while let Ok((mut near, _)) = listener.accept().await {
                let mut state = state.clone();
                if !*state.borrow() {
                    continue;
                }
                tokio::spawn(async move {
                    let mut far = tokio::net::TcpStream::connect(("127.0.0.1", port)).await.unwrap();
                    tokio::select! {
                        _ = tokio::io::copy_bidirectional(&mut near, &mut far) => {}
                        _ = state.wait_for(|whole| !whole) => {}
                    }
                });
            }
        });
        Self { url, whole }
    }
}

/// What is announced while the line is cut is never delivered: it has to be missed and read.
#[tokio::test(flavor = "multi_thread")]
async fn it_is_complete_when_announcements_get_lost() {
    let server = server().await;
    let log = user(&server, "api").await.log();
    let line = Line::to(server.port()).await;
    let mut tail = user_at(&line.url, "projector").await.log().tail(Start::Sequence(1), vec![]);
    let reader = tokio::spawn(async move { numbers(&mut tail, 120).await });
    for number in 0..120 {
        if number % 40 == 20 {
            line.whole.send(false).unwrap();
        }
        if number % 40 == 39 {
            line.whole.send(true).unwrap();
            // Back at the head by an announcement, not by looking: the next one comes at once.
            tokio::time::sleep(Duration::from_millis(500)).await;
        }
        claim_for(&log, "any", number).await.unwrap();
    }
    assert_eq!(reader.await.unwrap(), (1..=120).collect::<Vec<u64>>());
}

#[tokio::test(flavor = "multi_thread")]
async fn it_starts_at_a_sequence_an_instant_or_now() {
    let server = server().await;
    let log = user(&server, "api").await.log();
    let audit = user(&server, "audit").await.log();
    let mut empty = audit.tail(Start::Time(Utc::now()), vec![]);
    assert!(empty.next_chunk(10, Duration::from_millis(50)).await.unwrap().is_empty());
    for number in 0..5 {
        claim_for(&log, "a", number).await.unwrap();
    }
    let between = Utc::now();
    let mut new = audit.tail(Start::New, vec![]);
    assert!(new.next_chunk(10, Duration::from_millis(200)).await.unwrap().is_empty());
    for number in 5..10 {
        claim_for(&log, "b", number).await.unwrap();
    }
    assert_eq!(numbers(&mut empty, 10).await, (1..=10).collect::<Vec<u64>>());
    assert_eq!(numbers(&mut new, 5).await, [6, 7, 8, 9, 10]);
    let mut since = audit.tail(Start::Time(between), vec![]);
    assert_eq!(numbers(&mut since, 5).await, [6, 7, 8, 9, 10]);
    let mut inclusive = audit.tail(Start::Sequence(9), vec![]);
    assert_eq!(numbers(&mut inclusive, 2).await, [9, 10]);
    assert_eq!(inclusive.pending(), 0);
    let mut ahead = audit.tail(Start::Sequence(12), vec![]);
    claim_for(&log, "b", 10).await.unwrap();
    claim_for(&log, "b", 11).await.unwrap();
    assert_eq!(numbers(&mut ahead, 1).await, [12]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_filter_leaves_out_only_what_it_names() {
    let server = server().await;
    let log = user(&server, "api").await.log();
    for number in 0..40 {
        claim_for(&log, if number % 10 == 0 { "wanted" } else { "other" }, number).await.unwrap();
    }
    let subject = "ev.acme.quota.wanted".to_owned();
    let audit = user(&server, "audit").await.log();
    let mut one = audit.tail(Start::Sequence(1), vec![subject.clone()]);
    let mut two = audit.tail(Start::Sequence(1), vec![subject, "ev.*.env.*".to_owned()]);
    for tail in [&mut one, &mut two] {
        assert_eq!(numbers(tail, 4).await, [1, 11, 21, 31]);
    }
    claim_for(&log, "other", 40).await.unwrap();
    claim_for(&log, "wanted", 41).await.unwrap();
    for tail in [&mut one, &mut two] {
        assert_eq!(numbers(tail, 1).await, [42]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_read_is_shown_as_such_and_passed() {
    let server = server().await;
    let log = user(&server, "api").await.log();
    claim_for(&log, "a", 1).await.unwrap();
    let raw = raw(&server, "api").await;
    raw.request("ev.acme.quota.strange", "{\"from\":\"elsewhere\"}".into()).await.unwrap();
    claim_for(&log, "a", 2).await.unwrap();
    let mut tail = log.tail(Start::Sequence(1), vec![]);
    assert!(matches!(tail.next().await.unwrap(), Tailed::Event(_)));
    match tail.next().await.unwrap() {
        Tailed::Unreadable { seq, subject, why, raw } => {
            assert_eq!(seq, 2);
            assert_eq!(subject, "ev.acme.quota.strange");
            assert!(why.contains("missing"), "{why}");
            assert_eq!(&raw.payload[..], b"{\"from\":\"elsewhere\"}");
        }
        Tailed::Event(event) => panic!("{event:?}"),
    }
    assert!(matches!(tail.next().await.unwrap(), Tailed::Event(_)));
}

/// More than two batches, in chunks that fit no batch.
#[tokio::test(flavor = "multi_thread")]
async fn a_long_log_is_read_in_batches() {
    const EVENTS: u32 = 5_000;
    let server = server().await;
    let log = user(&server, "api").await.log();
    let one = claim_for(&log, "seed", 0).await.unwrap().appended.unwrap();
    let js = async_nats::jetstream::new(raw(&server, "api").await);
    let mut acks = Vec::new();
    for number in 0..EVENTS {
        let mut headers = async_nats::HeaderMap::new();
        for (name, value) in events::envelope::headers(&one.subject, &one.meta, &one.event) {
            headers.insert(name, value);
        }
        let subject = format!("ev.acme.quota.many-{number}");
        let payload = serde_json::to_vec(&one.event.to_json()).unwrap();
        acks.push(js.publish_with_headers(subject, headers, payload.into()).await.unwrap());
        if acks.len() == 250 {
            futures_util::future::try_join_all(acks.drain(..).map(IntoFuture::into_future)).await.unwrap();
        }
    }
    let mut tail = user(&server, "projector").await.log().tail(Start::Sequence(1), vec![]);
    let mut seen = Vec::new();
    while seen.len() <= EVENTS as usize {
        let chunk = tail.next_chunk(700, SOON).await.unwrap();
        assert!(!chunk.is_empty() && chunk.len() <= 700);
        seen.extend(chunk.iter().map(Tailed::seq));
    }
    assert_eq!(seen, (1..=u64::from(EVENTS) + 1).collect::<Vec<u64>>());
    assert_eq!(tail.pending(), 0);
}
