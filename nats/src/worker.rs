//! How does a service react to events? One after another for each aggregate, until done or parked.

use std::collections::{HashMap, VecDeque};
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use async_nats::jetstream::AckKind;
use async_nats::{Client, Message, Subscriber};
use events::Recorded;
use futures_util::StreamExt;
use serde_json::json;
use tokio::sync::{Notify, Semaphore};
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep, sleep_until, timeout};
use tokio_util::sync::CancellationToken;

use crate::delivery::{Delivery, send};
use crate::tail::{Raw, chain, own_headers};
use crate::topology::{ACK_PENDING_MAX, ACK_WAIT, check_consumer, subjects_of};
use crate::{BoxError, Connection, Parked, TopologyError, wire};

/// Messages held in the process: as many as the server delivers without hearing of one.
const HELD_MAX: usize = ACK_PENDING_MAX as usize;
/// One request for messages waits so long. Short, because what is delivered to a process that
/// died meanwhile comes again only after [`ACK_WAIT`].
pub(crate) const PULL_WAIT: Duration = Duration::from_secs(2);
/// A request without any answer is forgotten after this much more.
const PULL_GRACE: Duration = Duration::from_secs(1);
/// Pause when the server takes no requests.
const PULL_AGAIN_AFTER: Duration = Duration::from_millis(200);
/// How often the server hears that held messages are still worked on.
const PROGRESS_EVERY: Duration = Duration::from_secs(ACK_WAIT.as_secs() / 3);
/// Shortest and longest pause before a reaction is tried again.
const BACK_OFF_MIN: Duration = Duration::from_millis(250);
const BACK_OFF_MAX: Duration = Duration::from_secs(60);
/// What is under way at the shutdown has this long.
const DRAIN_WAIT_MAX: Duration = Duration::from_secs(20);

/// How a reaction ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// The effect is there and the facts are appended.
    Done,
    /// Not now; at the earliest after `after`, longer with each attempt, at once when the
    /// aggregate has news.
    Again { after: Duration, why: String },
    /// Never: an operator has to look.
    Park { why: String },
}

/// One service's reaction to events. A message is a doorbell: load what is true now, act on that.
pub trait Worker: Send + Sync + 'static {
    /// The durable consumer; one of [`crate::topology::WORKERS`].
    const NAME: &'static str;

    /// What it listens to; the same as [`crate::topology::subjects_of`] its name.
    fn subjects() -> Vec<String>;

    /// May run again for the same event, after a crash also at the same time elsewhere.
    fn react(&self, event: &Recorded) -> impl Future<Output = Outcome> + Send;
}

#[derive(Debug, thiserror::Error)]
pub enum WorkError {
    #[error("worker {worker} cannot start")]
    Topology {
        worker: &'static str,
        #[source]
        source: TopologyError,
    },
    #[error("worker {worker} listens to {wanted:?}, its consumer to {found:?}")]
    Subjects { worker: &'static str, wanted: Vec<String>, found: Vec<String> },
    #[error("worker {worker} cannot ask for messages")]
    Pull {
        worker: &'static str,
        #[source]
        source: BoxError,
    },
}

impl Connection {
    /// Reacts until `shutdown`, to at most `concurrency` aggregates at a time; events of one
    /// aggregate follow each other. What is under way at the shutdown has 20 s to end; the rest
    /// goes back to the server.
    pub async fn work<W: Worker>(
        &self,
        worker: Arc<W>,
        concurrency: usize,
        shutdown: CancellationToken,
    ) -> Result<(), WorkError> {
        let (mut wanted, mut found) = (W::subjects(), subjects_of(W::NAME));
        wanted.sort();
        found.sort();
        if wanted != found {
            return Err(WorkError::Subjects { worker: W::NAME, wanted, found });
        }
        check_consumer(&self.jetstream, W::NAME)
            .await
            .map_err(|source| WorkError::Topology { worker: W::NAME, source })?;
        let pull = |error: BoxError| WorkError::Pull { worker: W::NAME, source: error };
        let inbox = self.client.new_inbox();
        let messages = self.client.subscribe(inbox.clone()).await.map_err(|error| pull(error.into()))?;
        let hands = Hands {
            worker,
            client: self.client.clone(),
            parked: self.parked(),
            permits: Arc::new(Semaphore::new(concurrency.max(1))),
            shutdown: shutdown.clone(),
        };
        let mut desk = Desk { hands: Arc::new(hands), waiting: HashMap::new(), held: HashMap::new() };
        let mut pulls = Pulls {
            client: self.client.clone(),
            subject: format!("{}.CONSUMER.MSG.NEXT.{}.{}", self.api.prefix(), wire::EVENTS, W::NAME),
            inbox,
            open: 0,
            until: Instant::now(),
        };
        run(&mut desk, &mut pulls, messages, &shutdown).await.map_err(pull)
    }
}

async fn run<W: Worker>(
    desk: &mut Desk<W>,
    pulls: &mut Pulls,
    mut messages: Subscriber,
    shutdown: &CancellationToken,
) -> Result<(), BoxError> {
    let mut jobs: JoinSet<u64> = JoinSet::new();
    let mut progress = interval(PROGRESS_EVERY);
    progress.set_missed_tick_behavior(MissedTickBehavior::Delay);
    while !shutdown.is_cancelled() || pulls.open > 0 {
        if pulls.open == 0 && desk.held.len() < HELD_MAX && !shutdown.is_cancelled() {
            pulls.ask_for(HELD_MAX - desk.held.len()).await?;
        }
        tokio::select! {
            message = messages.next() => {
                let message = message.ok_or("the connection was closed for good")?;
                if pulls.is_delivery(&message).await {
                    desk.receive(message, &mut jobs, shutdown).await;
                }
            }
            Some(ended) = jobs.join_next() => {
                desk.ended(ended?, &mut jobs);
            }
            () = sleep_until(pulls.until), if pulls.open > 0 => pulls.open = 0,
            _ = progress.tick() => desk.report_progress().await,
            () = shutdown.cancelled(), if pulls.open == 0 => {}
        }
    }
    desk.drain(jobs).await;
    Ok(())
}

/// Requests for messages, one at a time.
struct Pulls {
    client: Client,
    subject: String,
    inbox: String,
    /// Messages that the open request may still bring; 0 if none is open.
    open: usize,
    /// When the open request is forgotten.
    until: Instant,
}

impl Pulls {
    async fn ask_for(&mut self, count: usize) -> Result<(), BoxError> {
        let expires = u64::try_from(PULL_WAIT.as_nanos()).unwrap_or(u64::MAX);
        let request = json!({ "batch": count, "expires": expires }).to_string();
        self.client.publish_with_reply(self.subject.clone(), self.inbox.clone(), request.into()).await?;
        self.open = count;
        self.until = Instant::now() + PULL_WAIT + PULL_GRACE;
        Ok(())
    }

    /// Whether this is an event, and not a word of the server about the request.
    async fn is_delivery(&mut self, message: &Message) -> bool {
        match message.status.map(|status| status.as_u16()) {
            None => {
                self.open = self.open.saturating_sub(1);
                return true;
            }
            Some(100) => {}
            Some(404 | 408) => self.open = 0,
            Some(status) => {
                tracing::debug!(status, "the server takes no request for messages now");
                sleep(PULL_AGAIN_AFTER).await;
                self.open = 0;
            }
        }
        false
    }
}

/// What one reaction needs.
struct Hands<W> {
    worker: Arc<W>,
    client: Client,
    parked: Parked,
    permits: Arc<Semaphore>,
    shutdown: CancellationToken,
}

/// What is held, and whose turn it is.
struct Desk<W> {
    hands: Arc<Hands<W>>,
    /// Messages behind the one at work, by subject; there is an entry while one is at work.
    waiting: HashMap<String, Queue>,
    /// Reply subject and subject of every held message, by sequence.
    held: HashMap<u64, (async_nats::Subject, String)>,
}

#[derive(Default)]
struct Queue {
    behind: VecDeque<Delivery>,
    /// Rung when there is news, so that the one in front does not sleep on.
    news: Arc<Notify>,
}

impl<W: Worker> Desk<W> {
    async fn receive(&mut self, message: Message, jobs: &mut JoinSet<u64>, shutdown: &CancellationToken) {
        let Some(delivery) = Delivery::new(self.hands.client.clone(), message) else { return };
        if shutdown.is_cancelled() {
            delivery.nak().await;
            return;
        }
        let (Some(reply), subject) = (delivery.reply(), delivery.message.subject.to_string()) else { return };
        // The server was away too long and delivers again what is held: it is settled once.
        if self.held.insert(delivery.seq, (reply, subject.clone())).is_some() {
            delivery.leave();
            return;
        }
        match self.waiting.get_mut(&subject) {
            Some(queue) => {
                queue.behind.push_back(delivery);
                queue.news.notify_one();
            }
            None => {
                let news = Arc::clone(&self.waiting.entry(subject).or_default().news);
                jobs.spawn(handle(Arc::clone(&self.hands), delivery, news));
            }
        }
    }

    fn ended(&mut self, seq: u64, jobs: &mut JoinSet<u64>) {
        let Some((_, subject)) = self.held.remove(&seq) else { return };
        let Some(queue) = self.waiting.get_mut(&subject) else { return };
        match queue.behind.pop_front() {
            Some(next) => {
                jobs.spawn(handle(Arc::clone(&self.hands), next, Arc::clone(&queue.news)));
            }
            None => {
                self.waiting.remove(&subject);
            }
        }
    }

    async fn report_progress(&self) {
        for (reply, _) in self.held.values() {
            send(&self.hands.client, reply.clone(), AckKind::Progress).await;
        }
    }

    /// Gives back what has not begun, waits for the rest, and breaks off what does not end.
    async fn drain(&mut self, mut jobs: JoinSet<u64>) {
        for (_, queue) in self.waiting.drain() {
            for delivery in queue.behind {
                delivery.nak().await;
            }
        }
        let all = async { while jobs.join_next().await.is_some() {} };
        if timeout(DRAIN_WAIT_MAX, all).await.is_err() {
            tracing::warn!(worker = W::NAME, "reactions were broken off at the shutdown; they come again");
            jobs.shutdown().await;
        }
        if let Err(error) = self.hands.client.flush().await {
            tracing::debug!(%error, "the last acknowledgements may be lost; their events come again");
        }
    }
}

/// Reacts until it is done or parked; answers the sequence. Broken off, the message naks itself.
async fn handle<W: Worker>(hands: Arc<Hands<W>>, delivery: Delivery, news: Arc<Notify>) -> u64 {
    let seq = delivery.seq;
    let event = read(&delivery).map(Arc::new);
    let began = Instant::now();
    let mut attempts: u32 = 0;
    loop {
        attempts = attempts.saturating_add(1);
        let outcome = match &event {
            Ok(event) => react(&hands, event).await,
            Err(why) => Outcome::Park { why: why.clone() },
        };
        let subject = delivery.message.subject.as_str();
        let duration_ms = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX);
        let (after, why) = match outcome {
            Outcome::Done => {
                tracing::debug!(worker = W::NAME, event.seq = seq, subject, attempts, duration_ms, "done");
                delivery.ack().await;
                return seq;
            }
            Outcome::Again { after, why } => (after, why),
            Outcome::Park { why } => match park::<W>(&hands, &delivery, &why).await {
                Ok(()) => {
                    tracing::error!(worker = W::NAME, event.seq = seq, subject, why, duration_ms, "parked");
                    delivery.ack().await;
                    return seq;
                }
                Err(error) => (BACK_OFF_MIN, format!("not even parked: {}", chain(&error))),
            },
        };
        let pause = back_off(after, attempts);
        let pause_ms = u64::try_from(pause.as_millis()).unwrap_or(u64::MAX);
        tracing::warn!(worker = W::NAME, event.seq = seq, subject, attempts, pause_ms, why, "again later");
        tokio::select! {
            () = sleep(pause) => {}
            // Not before the time asked for: news do not make a busy engine less busy.
            () = async { tokio::join!(sleep(after.min(BACK_OFF_MAX)), news.notified()); } => {}
            () = hands.shutdown.cancelled() => {
                delivery.nak().await;
                return seq;
            }
        }
    }
}

async fn react<W: Worker>(hands: &Hands<W>, event: &Arc<Recorded>) -> Outcome {
    let Ok(_permit) = hands.permits.acquire().await else {
        return Outcome::Again { after: BACK_OFF_MIN, why: "the worker ends".to_owned() };
    };
    // A task of its own, so that a panic is one failed attempt; aborted with this one.
    let mut task = JoinSet::new();
    let (worker, event) = (Arc::clone(&hands.worker), Arc::clone(event));
    task.spawn(async move { worker.react(&event).await });
    match task.join_next().await {
        Some(Ok(outcome)) => outcome,
        Some(Err(error)) => Outcome::Again { after: BACK_OFF_MIN, why: format!("it broke: {error}") },
        None => Outcome::Again { after: BACK_OFF_MIN, why: "it vanished".to_owned() },
    }
}

fn read(delivery: &Delivery) -> Result<Recorded, String> {
    let headers = delivery.message.headers.as_ref();
    let lookup = |name: &str| headers?.get(name).map(|value| value.as_str());
    Recorded::read(delivery.seq, &delivery.message.subject, lookup, &delivery.message.payload)
        .map_err(|error| chain(&error))
}

async fn park<W: Worker>(hands: &Hands<W>, delivery: &Delivery, why: &str) -> Result<(), crate::ParkedError> {
    let message = &delivery.message;
    let raw = Raw { headers: own_headers(message.headers.as_ref()), payload: message.payload.clone() };
    hands.parked.put(W::NAME, why, delivery.seq, &message.subject, &raw).await
}

/// Doubled with each attempt, never below `after`, with up to a quarter more at random.
fn back_off(after: Duration, attempts: u32) -> Duration {
    let doubled = BACK_OFF_MIN.saturating_mul(1 << attempts.saturating_sub(1).min(10));
    after.max(doubled).min(BACK_OFF_MAX).mul_f64(1.0 + rand::random::<f64>() / 4.0)
}
