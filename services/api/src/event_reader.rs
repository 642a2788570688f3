//! Which events does somebody read? First what was, then what happens, without a gap or a repeat, bounded, and ended
//! with a reason when the reader is too slow or may not read on.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use axum::http::HeaderMap;
use chrono::{DateTime, Utc};
use events::{Kind, Recorded};
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use nats::{Start, Tailed};
use tokio::sync::broadcast;
use tokio::sync::mpsc::{self, OwnedPermit, Receiver, Sender};

use crate::access::Caller;
use crate::app::App;
use crate::auth::{authenticate, by_actor};
use crate::live::Listener;
use crate::problem::Problem;
use crate::scope::Scope;

/// Events held for one reader while it does not read.
const READER_QUEUE: usize = 256;
/// A reader that takes nothing for so long is dropped.
pub const READER_WAIT: Duration = Duration::from_secs(10);
/// Events taken from the log at once while catching up, and how long to wait for the first.
const CHUNK: usize = 500;
const CHUNK_WAIT: Duration = Duration::from_secs(1);
/// Whether the reader may still read is asked again after so long.
const RIGHTS_CHECK_INTERVAL: Duration = Duration::from_secs(60);

/// Where a stream begins.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum From {
    /// With what happens from now on.
    Now,
    /// Inclusive.
    Sequence(u64),
    /// Inclusive.
    Time(DateTime<Utc>),
}

impl From {
    /// `Last-Event-ID` goes on after the last event seen and wins, because a browser that connects
    /// again repeats the address it was given.
    pub fn of(headers: &HeaderMap, from: Option<Self>, otherwise: Self) -> Result<Self, Problem> {
        let Some(last) = headers.get("last-event-id") else { return Ok(from.unwrap_or(otherwise)) };
        let last = last.to_str().ok().and_then(|text| text.trim().parse::<u64>().ok()).ok_or_else(|| {
            Problem::new("parameter_invalid", "Last-Event-ID must be a sequence, as in the field id")
        })?;
        Ok(Self::Sequence(last.saturating_add(1)))
    }

    /// A sequence or an RFC 3339 time.
    pub fn parse(text: &str) -> Result<Self, String> {
        if let Ok(seq) = text.parse() {
            return Ok(Self::Sequence(seq));
        }
        // a plus sign that was not escaped arrives as a blank
        DateTime::parse_from_rfc3339(&text.replace(' ', "+"))
            .map(|time| Self::Time(time.to_utc()))
            .map_err(|_| "must be a sequence or an RFC 3339 time".to_owned())
    }

    fn admits(&self, event: &Recorded) -> bool {
        match self {
            Self::Now => true,
            Self::Sequence(first) => event.seq >= *first,
            Self::Time(first) => event.meta.time >= *first,
        }
    }
}

/// Why a stream ended.
enum Ended {
    ReaderGone,
    TooSlow,
    Closing,
    Refused(Problem),
}

/// What a stream says.
pub enum Frame {
    Event(Arc<Recorded>),
    End { code: &'static str, detail: String },
}

/// Who reads, and until when.
pub struct Reading {
    /// Whose rights they are; another one than whose things are shown where somebody reads in another's name.
    pub caller: Caller,
    /// What they showed to be let in, to be checked again. Without it nobody is connected: the name has to do.
    pub headers: Option<HeaderMap>,
    /// The stream ends with this when it comes.
    pub until: BoxFuture<'static, Problem>,
}

impl Reading {
    /// Somebody who reads what they may.
    pub fn of(scope: &Scope, headers: HeaderMap) -> Self {
        let until = std::future::pending().boxed();
        Self { caller: scope.caller().clone(), headers: Some(headers), until }
    }
}

struct Reader {
    app: App,
    scope: Scope,
    from: From,
    caller: Caller,
    headers: Option<HeaderMap>,
    sender: Sender<Frame>,
    live: Listener,
    /// The next sequence that was not sent or skipped yet.
    next: u64,
    /// Up to this sequence everything was sent or skipped.
    passed: Arc<AtomicU64>,
}

/// Events as they are read for somebody; it ends when it is dropped.
pub struct Source {
    frames: Receiver<Frame>,
    passed: Arc<AtomicU64>,
}

impl Source {
    /// `None` after the end.
    pub async fn next(&mut self) -> Option<Frame> {
        self.frames.recv().await
    }

    /// Up to this sequence everything was taken from here, or is not for whoever reads; `None` while something waits.
    pub fn passed(&self) -> Option<u64> {
        // what was passed before was sent before: an empty queue then holds nothing of it
        let passed = self.passed.load(Ordering::SeqCst);
        self.frames.is_empty().then_some(passed)
    }
}

/// Events for a reader inside this process, whose place is somebody else's affair.
pub fn follow(
    app: &App,
    scope: Scope,
    from: From,
    reading: Reading,
) -> Result<(Source, Option<u64>), Problem> {
    let (sender, frames) = mpsc::channel(READER_QUEUE);
    let last =
        sender.clone().try_reserve_owned().map_err(|_| Problem::new("busy", "no room for a stream"))?;
    let live = app.live.listen();
    let after = match from {
        From::Now => Some(live.after),
        From::Sequence(first) => Some(first.saturating_sub(1)),
        From::Time(_) => None,
    };
    let passed = Arc::new(AtomicU64::new(0));
    let Reading { caller, headers, until } = reading;
    let reader = Reader {
        app: app.clone(),
        scope,
        from,
        caller,
        headers,
        sender,
        live,
        next: 0,
        passed: Arc::clone(&passed),
    };
    tokio::spawn(reader.follow(last, until));
    Ok((Source { frames, passed }, after))
}

impl Reader {
    async fn follow(mut self, last: OwnedPermit<Frame>, until: BoxFuture<'static, Problem>) {
        let app = self.app.clone();
        app.metrics.taps.inc();
        let gone = self.sender.clone();
        let ended = tokio::select! {
            ended = self.run() => ended,
            () = gone.closed() => Ended::ReaderGone,
            () = app.shutdown.cancelled() => Ended::Closing,
            problem = until => Ended::Refused(problem),
        };
        app.metrics.taps.dec();
        let (code, detail) = match ended {
            Ended::ReaderGone => return,
            Ended::TooSlow => {
                app.metrics.taps_dropped.inc();
                tracing::info!(event.seq = self.next, "an event stream was dropped: its reader is too slow");
                let wait_s = READER_WAIT.as_secs();
                let detail = format!(
                    "more events happened than were read (at most {READER_QUEUE} are held, for {wait_s} s); connect again with Last-Event-ID"
                );
                ("too_slow", detail)
            }
            Ended::Closing => {
                ("closing", "the service is ending; connect again with Last-Event-ID".to_owned())
            }
            Ended::Refused(problem) => (problem.code(), problem.detail().to_owned()),
        };
        last.send(Frame::End { code, detail });
    }

    async fn run(&mut self) -> Ended {
        if !matches!(self.from, From::Now)
            && let Err(ended) = self.catch_up(self.live.after).await
        {
            return ended;
        }
        self.next = self.next.max(self.live.after + 1);
        if let From::Sequence(first) = self.from {
            self.next = self.next.max(first);
        }
        self.passed.store(self.next.saturating_sub(1), Ordering::SeqCst);
        let mut check = tokio::time::interval(RIGHTS_CHECK_INTERVAL);
        check.tick().await;
        loop {
            let event = tokio::select! {
                event = self.live.receiver.recv() => event,
                _ = check.tick() => {
                    match self.check_rights().await {
                        Ok(()) => continue,
                        Err(ended) => return ended,
                    }
                }
            };
            let passed = match event {
                Ok(event) if event.seq < self.next => Ok(()),
                Ok(event) => self.pass(event).await,
                Err(broadcast::error::RecvError::Lagged(_)) => Err(Ended::TooSlow),
                Err(broadcast::error::RecvError::Closed) => Err(Ended::Closing),
            };
            if let Err(ended) = passed {
                return ended;
            }
        }
    }

    /// Sends what the log holds up to `target`.
    async fn catch_up(&mut self, target: u64) -> Result<(), Ended> {
        let start = match self.from {
            From::Now => return Ok(()),
            From::Sequence(first) if first > target => return Ok(()),
            From::Sequence(first) => Start::Sequence(first.max(1)),
            From::Time(first) => Start::Time(first),
        };
        let mut tail = self.app.log.tail(start, self.scope.subjects());
        loop {
            let chunk = tail.next_chunk(CHUNK, CHUNK_WAIT).await.map_err(|error| {
                Ended::Refused(Problem::caused("log_unavailable", "the event log did not answer", &error))
            })?;
            for tailed in chunk {
                match tailed {
                    Tailed::Event(event) if event.seq > target => return Ok(()),
                    Tailed::Event(event) => self.pass(Arc::from(event)).await?,
                    Tailed::Unreadable { seq, .. } => self.next = self.next.max(seq + 1),
                }
            }
            if tail.position() > target {
                return Ok(());
            }
        }
    }

    async fn pass(&mut self, event: Arc<Recorded>) -> Result<(), Ended> {
        let seq = event.seq;
        self.show(event).await?;
        self.passed.store(seq, Ordering::SeqCst);
        Ok(())
    }

    /// Sends one event, if it is for this reader.
    async fn show(&mut self, event: Arc<Recorded>) -> Result<(), Ended> {
        self.next = event.seq + 1;
        if self.concerns_rights(&event) {
            self.check_rights().await?;
        }
        if !self.from.admits(&event) {
            return Ok(());
        }
        if !self.scope.shows(&self.app, &event).await.map_err(Ended::Refused)? {
            return Ok(());
        }
        match tokio::time::timeout(READER_WAIT, self.sender.send(Frame::Event(event))).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_)) => Err(Ended::ReaderGone),
            Err(_) => Err(Ended::TooSlow),
        }
    }

    /// A revoked token, a disabled user or the end of a sign-in ends its streams at once.
    fn concerns_rights(&self, event: &Recorded) -> bool {
        let caller = &self.caller;
        match event.subject.kind {
            Kind::Token => caller.actor == format!("token:{}", event.subject.id),
            Kind::User => caller.owner.as_str() == event.subject.id,
            Kind::SignIn => caller.is_by(&event.subject.id),
            Kind::Tenant
            | Kind::Quota
            | Kind::Env
            | Kind::Port
            | Kind::Credential
            | Kind::SshKey
            | Kind::Login
            | Kind::Session
            | Kind::Server
            | Kind::Access
            | Kind::Relay
            | Kind::Batch
            | Kind::Command
            | Kind::Schedule
            | Kind::Subscription
            | Kind::NatsTap
            | Kind::Request => false,
        }
    }

    async fn check_rights(&self) -> Result<(), Ended> {
        let allowed = match &self.headers {
            Some(headers) => authenticate(&self.app, headers).await,
            None => by_actor(&self.app, &self.caller.actor, self.caller.sign_in.as_ref()).await,
        };
        match allowed {
            Ok(_) => Ok(()),
            Err(problem) if problem.code() == "unauthorized" => Err(Ended::Refused(problem)),
            // the log is away for a moment: what may be read was decided before
            Err(_) => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;

    #[test]
    fn a_stream_begins_where_it_is_told() {
        assert_eq!(From::parse("12"), Ok(From::Sequence(12)));
        let time = From::parse("2026-01-02T03:04:05Z").unwrap();
        assert_eq!(From::parse("2026-01-02T04:04:05 01:00"), Ok(time));
        assert!(From::parse("yesterday").is_err());
        let mut headers = HeaderMap::new();
        assert_eq!(From::of(&headers, Some(From::Sequence(3)), From::Now).unwrap(), From::Sequence(3));
        headers.insert("last-event-id", "41".parse().unwrap());
        assert_eq!(From::of(&headers, Some(From::Sequence(3)), From::Now).unwrap(), From::Sequence(42));
        headers.insert("last-event-id", "x".parse().unwrap());
        assert!(From::of(&headers, None, From::Now).is_err());
    }
}
