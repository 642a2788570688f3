//! How is the whole log followed? In order, without gaps, from any point, over restarts of the server.
//!
//! Far behind, batches are read; at the head, what the stream announces on `stored.>` is taken as it
//! comes. Sequence numbers have no holes, so whatever the announcements miss (a reconnect, a slow
//! reader, a change of leader) shows, and is read. No consumer is made: see adr/0002.

use std::collections::VecDeque;
use std::time::Duration;

use async_nats::{Client, HeaderMap, Message, Request, Subscriber};
use bytes::Bytes;
use chrono::{DateTime, Utc};
use events::Recorded;
use futures_util::{FutureExt, StreamExt};
use serde::Deserialize;
use tokio::time::{Instant, sleep, timeout, timeout_at};

use crate::BoxError;
use crate::connect::{Api, REQUEST_TIMEOUT};
use crate::read::{Asked, BatchError, Wanted, ask, batch};
use crate::wire::{self, EVENT_PREFIX, STORED_PREFIX, server_header, server_number};

/// At the head without news: look whether an announcement got lost.
const LOOK_AFTER: Duration = Duration::from_secs(1);
/// Pause after a failed read, doubled up to the longest.
const RETRY_AFTER: Duration = Duration::from_millis(20);
const RETRY_AFTER_MAX: Duration = Duration::from_secs(2);
/// A replica that answers may lag this far behind the head; what a filtered read could have missed
/// of that is read again without the filter.
const REREAD_EVENTS: u64 = 2_000;
/// Reads without progress while an announced event is not yet visible.
const INVISIBLE_READS_MAX: u32 = 50;

/// Where to begin.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Start {
    /// This sequence is the first.
    Sequence(u64),
    /// The first event stored at this instant or later.
    Time(DateTime<Utc>),
    /// What comes from now on.
    New,
}

/// One message of the log.
#[derive(Debug)]
pub enum Tailed {
    Event(Box<Recorded>),
    /// Not an event that is known here; the tail goes on.
    Unreadable {
        seq: u64,
        subject: String,
        why: String,
        raw: Raw,
    },
}

impl Tailed {
    pub fn seq(&self) -> u64 {
        match self {
            Self::Event(recorded) => recorded.seq,
            Self::Unreadable { seq, .. } => *seq,
        }
    }
}

/// A message as it was stored.
#[derive(Debug, Clone)]
pub struct Raw {
    pub headers: Vec<(String, String)>,
    pub payload: Bytes,
}

#[derive(Debug, thiserror::Error)]
pub enum TailError {
    /// The log lost events: an alarm. The next call goes on at `found`.
    #[error("the log has a gap: sequence {expected} is followed by {found}")]
    Gap { expected: u64, found: u64 },
    #[error("the connection was closed for good")]
    Closed,
}

/// An endless reader of the log.
pub struct Tail {
    client: Client,
    api: Api,
    start: Start,
    /// Subjects wanted; empty means all.
    filters: Vec<String>,
    /// The next sequence to deliver; 0 until the start is known.
    next: u64,
    /// The newest sequence known to exist.
    head: u64,
    /// Whether `next` was reached by a filtered read, which proves no order.
    far_behind: bool,
    live: Option<Subscriber>,
    /// The next batch, asked for while the one before is worked on, and its first sequence.
    ahead: Option<(u64, Asked)>,
    ready: VecDeque<Tailed>,
    gap: Option<TailError>,
    pending: u64,
    failures: u32,
    invisible: u32,
}

impl Tail {
    pub(crate) fn new(client: Client, api: Api, start: Start, mut filters: Vec<String>) -> Self {
        if filters.iter().any(|filter| filter == ">" || filter == "ev.>") {
            filters.clear();
        }
        let far_behind = filters.len() == 1;
        Self {
            client,
            api,
            start,
            filters,
            next: 0,
            head: 0,
            far_behind,
            live: None,
            ahead: None,
            ready: VecDeque::new(),
            gap: None,
            pending: 0,
            failures: 0,
            invisible: 0,
        }
    }

    /// The next message; waits for ever. Losing nothing when dropped while waiting.
    pub async fn next(&mut self) -> Result<Tailed, TailError> {
        loop {
            if let Some(ready) = self.ready.pop_front() {
                return Ok(ready);
            }
            if let Some(gap) = self.gap.take() {
                return Err(gap);
            }
            self.advance().await?;
        }
    }

    /// Up to `max` messages: what is there now, or the first to come within `wait`, or none.
    pub async fn next_chunk(&mut self, max: usize, wait: Duration) -> Result<Vec<Tailed>, TailError> {
        let until = Instant::now() + wait;
        while self.ready.is_empty() {
            if let Some(gap) = self.gap.take() {
                return Err(gap);
            }
            if self.has_to_read() {
                // Carried to its end: begun anew each time, a read slower than `wait` would never end.
                self.advance().await?;
                if Instant::now() >= until {
                    break;
                }
                continue;
            }
            match timeout_at(until, self.advance()).await {
                Ok(advanced) => advanced?,
                Err(_) => break,
            }
        }
        self.take_announced();
        let count = self.ready.len().min(max);
        Ok(self.ready.drain(..count).collect())
    }

    /// About how many messages are still to come, as of the last read; 0 at the head.
    pub fn pending(&self) -> u64 {
        self.pending.saturating_add(self.ready.len() as u64)
    }

    /// The sequence after the last message that was handed out or skipped.
    pub fn position(&self) -> u64 {
        self.ready.front().map_or(self.next, Tailed::seq)
    }

    /// The next step asks the server, and does not wait for news.
    fn has_to_read(&self) -> bool {
        self.live.is_none() || self.next == 0 || self.next <= self.head || self.far_behind
    }

    /// One step: find the start, read a batch, or wait for news.
    async fn advance(&mut self) -> Result<(), TailError> {
        if self.live.is_none() {
            // Before anything is read, so that nothing falls between reading and listening.
            let live = self.client.subscribe(format!("{STORED_PREFIX}>")).await;
            self.live = Some(live.map_err(|_| TailError::Closed)?);
        }
        if self.next == 0 {
            return match self.find_start().await {
                Ok(()) => Ok(()),
                Err(error) => self.retry(&error).await,
            };
        }
        if self.has_to_read() {
            return match self.read().await {
                Ok(()) => Ok(()),
                Err(error) => self.retry(&error).await,
            };
        }
        let Some(live) = self.live.as_mut() else { return Err(TailError::Closed) };
        match timeout(LOOK_AFTER, live.next()).await {
            Ok(Some(message)) => self.announced(&message),
            Ok(None) => return Err(TailError::Closed),
            Err(_) => match head(&self.client, &self.api).await {
                Ok(head) => self.head = self.head.max(head),
                Err(error) => return self.retry(&error).await,
            },
        }
        Ok(())
    }

    async fn find_start(&mut self) -> Result<(), BatchError> {
        self.head = head(&self.client, &self.api).await?;
        self.next = match self.start {
            Start::Sequence(seq) => seq.max(1),
            Start::New => self.head + 1,
            Start::Time(time) => {
                let subject = self.api.direct_get(wire::EVENTS);
                let found = batch(&self.client, &subject, &Wanted::first_since(time)).await?;
                found
                    .messages
                    .first()
                    .and_then(|message| server_number(message.headers.as_ref(), "Nats-Sequence"))
                    .unwrap_or(self.head + 1)
            }
        };
        self.pending = self.head.saturating_sub(self.next - 1);
        Ok(())
    }

    async fn read(&mut self) -> Result<(), BatchError> {
        let filter = if self.far_behind { self.filters.first().map(String::as_str) } else { None };
        let subject = self.api.direct_get(wire::EVENTS);
        let asked = match self.ahead.take() {
            Some((from, asked)) if from == self.next => asked,
            Some(_) | None => ask(&self.client, &subject, &Wanted::from(self.next, filter)).await?,
        };
        let batch = asked.collect().await?;
        if batch.pending > 0 && !self.far_behind {
            // The server reads the next batch while this one is worked on.
            let from = self.next.saturating_add(batch.messages.len() as u64);
            let asked = ask(&self.client, &subject, &Wanted::from(from, None)).await?;
            self.ahead = Some((from, asked));
        }
        self.failures = 0;
        self.pending = batch.pending;
        let before = self.next;
        for message in batch.messages {
            let headers = message.headers.as_ref();
            let (Some(seq), Some(subject)) =
                (server_number(headers, "Nats-Sequence"), server_header(headers, "Nats-Subject"))
            else {
                return Err(BatchError::Status(200));
            };
            let subject = subject.to_owned();
            self.take(seq, &subject, message);
            if self.gap.is_some() {
                return Ok(());
            }
        }
        if self.far_behind {
            if self.pending == 0 {
                self.far_behind = false;
                self.next = self.next.max(self.head.saturating_sub(REREAD_EVENTS));
            }
            return Ok(());
        }
        self.head = self.head.max(self.next - 1);
        if self.next == before {
            self.not_visible_yet(before).await;
        }
        Ok(())
    }

    /// What was announced is not there: a replica lags. If it stays so, only believe what is read.
    async fn not_visible_yet(&mut self, next: u64) {
        self.invisible += 1;
        if self.invisible >= INVISIBLE_READS_MAX {
            tracing::warn!(event.seq = self.head, next, "an announced event is not visible");
            self.invisible = 0;
            self.head = next - 1;
        }
        sleep(RETRY_AFTER).await;
    }

    fn announced(&mut self, message: &Message) {
        let Some(seq) = server_number(message.headers.as_ref(), "Nats-Sequence") else { return };
        self.head = self.head.max(seq);
        // What is not next is either known already or read together with what lies before it.
        if seq == self.next
            && let Some(rest) = message.subject.strip_prefix(STORED_PREFIX)
        {
            let subject = format!("{EVENT_PREFIX}{rest}");
            self.pending = 0;
            self.take(seq, &subject, message.clone());
        }
    }

    /// Announcements that came in the meantime.
    fn take_announced(&mut self) {
        if self.next == 0 || self.next <= self.head || self.far_behind {
            return;
        }
        for _ in 0..crate::read::BATCH_MESSAGES_MAX {
            let message = self.live.as_mut().and_then(|live| live.next().now_or_never().flatten());
            let Some(message) = message else { return };
            self.announced(&message);
        }
    }

    fn take(&mut self, seq: u64, subject: &str, message: Message) {
        if seq < self.next {
            return;
        }
        if seq > self.next && !self.far_behind {
            tracing::error!(expected = self.next, event.seq = seq, "the log has a gap");
            self.gap = Some(TailError::Gap { expected: self.next, found: seq });
            self.next = seq;
            return;
        }
        self.next = seq + 1;
        self.invisible = 0;
        if self.filters.is_empty() || self.filters.iter().any(|filter| matches(filter, subject)) {
            self.ready.push_back(decode(seq, subject, message));
        }
    }

    async fn retry(&mut self, error: &BatchError) -> Result<(), TailError> {
        if self.failures == 0 {
            tracing::warn!(error = %error, next = self.next, "the log cannot be read; trying again");
        }
        let pause = RETRY_AFTER.saturating_mul(1 << self.failures.min(8)).min(RETRY_AFTER_MAX);
        self.failures = self.failures.saturating_add(1);
        sleep(pause).await;
        Ok(())
    }
}

fn decode(seq: u64, subject: &str, message: Message) -> Tailed {
    let headers = message.headers;
    let lookup = |name: &str| headers.as_ref()?.get(name).map(|value| value.as_str());
    match Recorded::read(seq, subject, lookup, &message.payload) {
        Ok(recorded) => Tailed::Event(Box::new(recorded)),
        Err(error) => Tailed::Unreadable {
            seq,
            subject: subject.to_owned(),
            why: chain(&error),
            raw: Raw { headers: own_headers(headers.as_ref()), payload: message.payload },
        },
    }
}

/// The headers a message was stored with, without the server's.
pub(crate) fn own_headers(headers: Option<&HeaderMap>) -> Vec<(String, String)> {
    let mut own: Vec<(String, String)> = headers
        .into_iter()
        .flat_map(HeaderMap::iter)
        .filter_map(|(name, values)| Some((name.to_string(), values.first()?.to_string())))
        .filter(|(name, _)| !name.starts_with("Nats-"))
        .collect();
    own.sort();
    own
}

/// An error with everything behind it.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        text = format!("{text}: {error}");
        source = error.source();
    }
    text
}

/// Whether a subject is one of those that a pattern with `*` and `>` names.
fn matches(pattern: &str, subject: &str) -> bool {
    let mut tokens = subject.split('.');
    for wanted in pattern.split('.') {
        match (wanted, tokens.next()) {
            (">", Some(_)) => return true,
            ("*", Some(_)) => {}
            (literal, Some(token)) if literal == token => {}
            (_, _) => return false,
        }
    }
    tokens.next().is_none()
}

/// Last sequence of the stream of events.
pub(crate) async fn head(client: &Client, api: &Api) -> Result<u64, BatchError> {
    #[derive(Deserialize)]
    struct Info {
        state: Option<State>,
    }
    #[derive(Deserialize)]
    struct State {
        last_seq: u64,
    }
    let failed = |error: BoxError| BatchError::Ask(error);
    let subject = format!("{}.STREAM.INFO.{}", api.prefix(), wire::EVENTS);
    let request = Request::new().timeout(Some(REQUEST_TIMEOUT));
    let answer = client.send_request(subject, request).await.map_err(|error| failed(error.into()))?;
    let info: Info = serde_json::from_slice(&answer.payload).map_err(|error| failed(error.into()))?;
    info.state.map(|state| state.last_seq).ok_or(BatchError::Nobody)
}

#[cfg(test)]
mod tests {
    use super::matches;

    #[test]
    fn subjects_match_as_the_server_matches_them() {
        for (pattern, subject, expected) in [
            ("ev.*.env.*", "ev.t.env.a", true),
            ("ev.*.env.*", "ev.t.port.a", false),
            ("ev.t.>", "ev.t.env.a", true),
            ("ev.t.>", "ev.t", false),
            ("ev.t.env.a", "ev.t.env.a", true),
            ("ev.t.env", "ev.t.env.a", false),
            ("ev.t.env.a.b", "ev.t.env.a", false),
        ] {
            assert_eq!(matches(pattern, subject), expected, "{pattern} {subject}");
        }
    }
}
