//! How many can follow the events at once? Server-sent events of the API, a connection for each reader, beside bare
//! core subscriptions to what the same server says of the same events, a connection for each too.
//!
//! Sides take turns, and the API runs in its own alone. The events of both are appended to the log.

use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use async_nats::Subscriber;
use bytes::Bytes;
use futures_util::{StreamExt, TryStreamExt, stream};
use harness::postgres::Postgres;
use harness::{Api, descriptors};
use reqwest::{Client, Response};
use serde_json::{Map, Value, json};
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::Effort;
use crate::alone::LoneApi;
use crate::fill::{LIFE, fill_from, hasty_conf};
use crate::report::{Better, Report, Run};
use crate::stand::Stand;

/// How many follow; the figure is that of the most.
const SUBSCRIBERS: [usize; 3] = [1, 100, 1_000];
/// Events of a round: fewer than the 4,096 that a stream may be behind, so nobody is turned away for being slow.
const EVENTS: usize = 2_000;
/// Connections that are being opened.
const OPENED_AT_ONCE: usize = 32;
/// Descriptors of a process that are no subscriber's.
const OTHER_DESCRIPTORS: usize = 200;
const DELIVERED_AT_MOST: Duration = Duration::from_secs(300);
/// Ours is at least so much of theirs. Nobody asked for a figure: JSON of what one may see, over HTTP, costs at most
/// ten times what bytes of everything cost.
const GOAL: f64 = 0.1;

pub async fn measure(effort: Effort) -> anyhow::Result<Report> {
    let mut ground = Ground::start(effort.of(EVENTS)).await?;
    let (mut of_the_most, mut figures) = (None, Map::new());
    for subscribers in SUBSCRIBERS {
        let mut runs = Vec::new();
        for _ in 0..effort.rounds {
            let ours = ground.ours(subscribers).await?;
            runs.push(Run { ours, theirs: ground.theirs(subscribers).await? });
        }
        let against = "core subscriptions to the same events on the same server";
        let report = Report::new("tap_fanout", "deliveries/s", against, (Better::Higher, GOAL), runs);
        let shown = json!({
            "ours": report.ours, "theirs": report.theirs, "ratio": report.ratio, "runs": report.runs,
        });
        eprintln!("  {subscribers}: {shown}");
        figures.insert(subscribers.to_string(), shown);
        of_the_most = Some(report);
    }
    let report = of_the_most.context("nobody follows")?;
    Ok(report.with("events_per_run", ground.count).with("subscribers", Value::Object(figures)))
}

struct Ground {
    stand: Stand,
    postgres: Postgres,
    /// Events of a round.
    count: usize,
    /// Events of all rounds before.
    there: usize,
}

impl Ground {
    async fn start(count: usize) -> anyhow::Result<Self> {
        // those that are started from here have the same limit
        let needed = (SUBSCRIBERS.into_iter().sum::<usize>() + OTHER_DESCRIPTORS) as u64;
        let had = descriptors::raise_to(needed)?;
        ensure!(had >= needed, "{needed} descriptors are needed and {had} may be had: raise the hard limit");
        let stand = Stand::start(&hasty_conf()).await?;
        let postgres = Postgres::start().await?;
        Ok(Self { stand, postgres, count: count.next_multiple_of(LIFE), there: 0 })
    }

    async fn ours(&mut self, subscribers: usize) -> anyhow::Result<f64> {
        let api = LoneApi::start(&self.stand, &self.postgres.url()).await?;
        let (client, first) = (Client::new(), self.stand.ours.log().head().await? + 1);
        let streams: Vec<Response> = stream::iter(0..subscribers)
            .map(|_| open(&client, api.admin(), first))
            .buffer_unordered(OPENED_AT_ONCE)
            .try_collect()
            .await?;
        let count = self.count;
        self.deliver(streams.into_iter().map(|stream| read(stream, count))).await
    }

    async fn theirs(&mut self, subscribers: usize) -> anyhow::Result<f64> {
        let stand = &self.stand;
        let subscriptions: Vec<Subscriber> = stream::iter(0..subscribers)
            .map(|_| subscribe(stand))
            .buffer_unordered(OPENED_AT_ONCE)
            .try_collect()
            .await?;
        let count = self.count;
        self.deliver(subscriptions.into_iter().map(|subscription| take(subscription, count))).await
    }

    /// Appends the events of a round; deliveries a second until every subscriber has all of them.
    async fn deliver<F>(&mut self, subscribers: impl ExactSizeIterator<Item = F>) -> anyhow::Result<f64>
    where
        F: Future<Output = anyhow::Result<()>> + Send + 'static,
    {
        let deliveries = subscribers.len() * self.count;
        let mut taking = JoinSet::new();
        for subscriber in subscribers {
            taking.spawn(subscriber);
        }
        let began = Instant::now();
        self.there = fill_from(&self.stand, self.there, self.there + self.count).await?;
        let all = async {
            while let Some(taken) = taking.join_next().await {
                taken??;
            }
            anyhow::Ok(())
        };
        timeout(DELIVERED_AT_MOST, all).await.context("not everything was delivered in time")??;
        Ok(deliveries as f64 / began.elapsed().as_secs_f64())
    }
}

/// A stream of everything from this sequence on.
async fn open(client: &Client, api: &Api, first: u64) -> anyhow::Result<Response> {
    let request = client.get(format!("{}/api/events?from={first}", api.base()));
    let request = request.bearer_auth(api.token().context("nobody asks")?);
    Ok(request.send().await?.error_for_status()?)
}

/// Reads so many events.
async fn read(mut stream: Response, count: usize) -> anyhow::Result<()> {
    let mut seen = Seen::default();
    while seen.events < count {
        let bytes = stream.chunk().await?;
        let bytes = bytes.with_context(|| format!("a stream broke off after {} of {count}", seen.events))?;
        seen.take(&bytes);
        ensure!(!seen.ended, "the API ended a stream after {} of {count} events", seen.events);
    }
    Ok(())
}

/// A subscription that is in force, to what the stream of events announces.
async fn subscribe(stand: &Stand) -> anyhow::Result<Subscriber> {
    let client = stand.client("projector").await?;
    let subscription = client.subscribe("stored.>").await?;
    // the server answers in turn: it knows the subscription by then
    client.request("LOG.API.STREAM.INFO.EVENTS", Bytes::new()).await?;
    Ok(subscription)
}

/// Takes so many messages.
async fn take(mut subscription: Subscriber, count: usize) -> anyhow::Result<()> {
    for taken in 0..count {
        let message = subscription.next().await;
        message.with_context(|| format!("a subscription ended after {taken} of {count}"))?;
    }
    Ok(())
}

/// What has passed of a stream of server-sent events. Nothing is decoded: on the other side neither.
#[derive(Default)]
struct Seen {
    /// Those that are whole.
    events: usize,
    /// One of the log is under way: it has an `id`; a comment has none, nor has the end.
    begun: bool,
    within_line: bool,
    /// It was said why nothing more comes.
    ended: bool,
}

impl Seen {
    fn take(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            match (self.within_line, byte) {
                (false, b'i') => self.begun = true,
                (false, b'e') => self.ended = true,
                (false, b'\n') => self.events += usize::from(std::mem::take(&mut self.begun)),
                (_, _) => {}
            }
            self.within_line = byte != b'\n';
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_count_once_they_are_whole_however_the_bytes_come() {
        let stream = ":\n\nid: 7\ndata: {\"id\": \"eid\"}\n\n:\n\nid: 8\ndata: {}\n\nid: 9\ndata: {}\n";
        for size in 1..=stream.len() {
            let mut seen = Seen::default();
            stream.as_bytes().chunks(size).for_each(|some| seen.take(some));
            assert_eq!((seen.events, seen.ended), (2, false), "{size}");
            seen.take(b"\nevent: end\n");
            assert_eq!((seen.events, seen.ended), (3, true), "{size}");
        }
    }
}
