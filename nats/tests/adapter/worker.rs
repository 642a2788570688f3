//! Is every event reacted to until it is done or parked, one after another for each aggregate?

use std::collections::HashMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use events::env::{EnvEvent, PodReady};
use events::{Event, Kind, Recorded, Subject};
use harness::eventually;
use harness::nats::NatsServer;
use nats::{Connection, Log, Outcome, WorkError, Worker};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::stand::*;

type Reaction = Pin<Box<dyn Future<Output = Outcome> + Send>>;

/// Remembers what it was called with, and asks the test what to answer.
struct Scripted {
    calls: Mutex<Vec<(String, u64)>>,
    script: Box<dyn Fn(u64, usize) -> Reaction + Send + Sync>,
}

impl Worker for Scripted {
    const NAME: &'static str = "provisioner";

    fn subjects() -> Vec<String> {
        nats::topology::subjects_of(Self::NAME)
    }

    async fn react(&self, event: &Recorded) -> Outcome {
        let attempt = {
            let mut calls = self.calls.lock().unwrap();
            calls.push((event.subject.id.clone(), event.seq));
            calls.iter().filter(|(_, seq)| *seq == event.seq).count()
        };
        (self.script)(event.seq, attempt).await
    }
}

struct AtWork {
    worker: Arc<Scripted>,
    shutdown: CancellationToken,
    task: JoinHandle<Result<(), WorkError>>,
}

impl AtWork {
    fn start(
        connection: &Connection,
        concurrency: usize,
        script: impl Fn(u64, usize) -> Reaction + Send + Sync + 'static,
    ) -> Self {
        let worker = Arc::new(Scripted { calls: Mutex::default(), script: Box::new(script) });
        let shutdown = CancellationToken::new();
        let (connection, w, token) = (connection.clone(), Arc::clone(&worker), shutdown.clone());
        let task = tokio::spawn(async move { connection.work(w, concurrency, token).await });
        Self { worker, shutdown, task }
    }

    fn calls(&self) -> Vec<(String, u64)> {
        self.worker.calls.lock().unwrap().clone()
    }

    async fn until_called(&self, count: usize) -> Vec<(String, u64)> {
        eventually(&format!("{count} calls"), SOON, || {
            let calls = self.calls();
            std::future::ready(if calls.len() >= count { Ok(calls) } else { Err(format!("{calls:?}")) })
        })
        .await
        .unwrap()
    }

    async fn end(self) {
        self.shutdown.cancel();
        tokio::time::timeout(SOON, self.task).await.unwrap().unwrap().unwrap();
    }
}

fn now(outcome: Outcome) -> Reaction {
    Box::pin(std::future::ready(outcome))
}

/// Appends the `number`-th event of an aggregate whose last sequence is `expected`.
async fn ring(log: &Log, id: &str, expected: u64) -> u64 {
    let event = Event::from(EnvEvent::from(PodReady::default()));
    let meta = events::Cause::new(uuid::Uuid::new_v4(), "service:test").meta(0, chrono::Utc::now());
    log.append(&Subject::new(tenant(), Kind::Env, id), expected, &meta, &event).await.unwrap()
}

async fn pending(server: &NatsServer) -> u64 {
    let raw = raw(server, "provisioner").await;
    let info = raw.request("LOG.API.CONSUMER.INFO.EVENTS.provisioner", "".into()).await.unwrap();
    let info: serde_json::Value = serde_json::from_slice(&info.payload).unwrap();
    info["num_pending"].as_u64().unwrap() + info["num_ack_pending"].as_u64().unwrap()
}

async fn until_settled(server: &NatsServer) {
    let settled = || async {
        match pending(server).await {
            0 => Ok(()),
            open => Err(format!("{open} open")),
        }
    };
    eventually("every message is settled", SOON, settled).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn events_of_one_aggregate_follow_each_other_and_aggregates_run_side_by_side() {
    let server = server().await;
    let log = user(&server, "api").await.log();
    let mut last = HashMap::new();
    for number in 0..60 {
        let id = format!("e{}", number % 6);
        let seq = ring(&log, &id, last.get(&id).copied().unwrap_or(0)).await;
        last.insert(id, seq);
    }
    let running = Arc::new(Mutex::new((0usize, 0usize)));
    let counter = Arc::clone(&running);
    let work = AtWork::start(&user(&server, "provisioner").await, 4, move |seq, attempt| {
        let counter = Arc::clone(&counter);
        Box::pin(async move {
            {
                let mut running = counter.lock().unwrap();
                running.0 += 1;
                running.1 = running.1.max(running.0);
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
            counter.lock().unwrap().0 -= 1;
            if seq % 7 == 0 && attempt == 1 {
                return Outcome::Again { after: Duration::from_millis(10), why: "busy".into() };
            }
            Outcome::Done
        })
    });
    let calls = work.until_called(60 + 60 / 7).await;
    until_settled(&server).await;
    assert_eq!(work.calls().len(), calls.len(), "nothing comes twice");
    assert_eq!(running.lock().unwrap().1, 4, "as many at a time as was said");
    let mut newest: HashMap<String, u64> = HashMap::new();
    for (id, seq) in calls {
        let before = newest.insert(id.clone(), seq).unwrap_or(0);
        assert!(seq >= before, "{id}: {seq} after {before}");
    }
    work.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_done_or_read_is_parked_with_its_reason_once() {
    let server = server().await;
    let log = user(&server, "api").await.log();
    ring(&log, "poison", 0).await;
    let intruder = raw(&server, "api").await;
    intruder.request("ev.acme.env.strange", "{}".into()).await.unwrap();
    ring(&log, "fine", 0).await;
    let provisioner = user(&server, "provisioner").await;
    let work = AtWork::start(&provisioner, 2, |seq, _| {
        now(if seq == 1 { Outcome::Park { why: "two\nlines".into() } } else { Outcome::Done })
    });
    until_settled(&server).await;
    assert_eq!(work.calls().len(), 2, "the unreadable one reaches nobody");
    let mut parked = user(&server, "api").await.parked().list(0).await.unwrap();
    parked.sort_by_key(|message| message.seq);
    assert_eq!(parked.len(), 2);
    assert_eq!((parked[0].seq, parked[0].subject.as_str()), (1, "ev.acme.env.poison"));
    assert_eq!((parked[0].by.as_str(), parked[0].why.as_str()), ("provisioner", "two lines"));
    assert!(parked[0].raw.headers.iter().any(|(name, value)| name == "ce-type" && value == "PodReady"));
    assert!(parked[1].why.contains("missing"), "{}", parked[1].why);
    provisioner.parked().put("provisioner", "again", 1, "ev.acme.env.poison", &parked[0].raw).await.unwrap();
    assert_eq!(provisioner.parked().list(0).await.unwrap().len(), 2, "once");
    work.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_that_is_dropped_or_breaks_leaves_its_message_to_the_next() {
    let server = server().await;
    let log = user(&server, "api").await.log();
    ring(&log, "hangs", 0).await;
    let hanging =
        AtWork::start(&user(&server, "provisioner").await, 1, |_, _| Box::pin(std::future::pending()));
    hanging.until_called(1).await;
    hanging.task.abort();
    let next = AtWork::start(&user(&server, "provisioner").await, 1, |_, attempt| {
        assert!(attempt > 1, "the first attempt breaks");
        now(Outcome::Done)
    });
    let began = std::time::Instant::now();
    next.until_called(2).await;
    assert!(began.elapsed() < Duration::from_secs(25), "it had to wait for the server's ack_wait");
    until_settled(&server).await;
    next.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn news_of_the_aggregate_end_the_waiting() {
    let server = server().await;
    let log = user(&server, "api").await.log();
    let first = ring(&log, "busy", 0).await;
    let work = AtWork::start(&user(&server, "provisioner").await, 2, |seq, attempt| {
        now(if seq == 1 && attempt <= 5 {
            Outcome::Again { after: Duration::from_millis(1), why: "not yet".into() }
        } else {
            Outcome::Done
        })
    });
    // 0.25 + 0.5 + 1 + 2 s of pauses at least before the fifth attempt; the sixth would come after 4 s.
    work.until_called(5).await;
    let began = std::time::Instant::now();
    ring(&log, "busy", first).await;
    let calls = work.until_called(7).await;
    assert!(began.elapsed() < Duration::from_millis(3_500), "{:?}", began.elapsed());
    assert_eq!(calls.last().map(|(_, seq)| *seq), Some(2));
    work.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn it_goes_on_after_a_restart_of_the_server() {
    let mut server = server().await;
    let log = user(&server, "api").await.log();
    let work = AtWork::start(&user(&server, "provisioner").await, 2, |_, _| now(Outcome::Done));
    ring(&log, "a", 0).await;
    work.until_called(1).await;
    server.kill();
    server.restart().await.unwrap();
    let event = eventually("the log takes events again", SOON, || async {
        claim_for(&log, "other", 1).await.map_err(|error| error.to_string())
    });
    event.await.unwrap();
    ring(&log, "b", 0).await;
    let calls = work.until_called(2).await;
    assert!(calls.iter().any(|(id, _)| id == "b"), "{calls:?}");
    work.end().await;
}
