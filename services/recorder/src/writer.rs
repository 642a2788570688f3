//! How does what a terminal showed get into the store? In chunks, in order, with facts that vouch for them.
//!
//! The log is told at the start, then of what is kept at most once a minute, then of the end: a recorder that is
//! killed leaves a beginning that can be verified. While the store does not answer the queue fills up, and what it
//! cannot hold is lost and counted.

use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use events::session::record::{end, keep, start};
use events::session::{RecordingEnded, RecordingKept, Session, SessionEvent, SessionRefusal};
use events::{Cause, Decision};
use kit::error::chain;
use nats::{DecideError, Log, RecordingError, Recordings};
use sha2::{Digest, Sha256};
use tokio::time::{Instant, sleep, timeout_at};
use uuid::Uuid;

use crate::cast::Cast;
use crate::queue::{Moment, Queue};
use crate::{GIVE_UP_AFTER, Recorders, Terminal};

/// A chunk is stored when it has so many bytes of the asciicast; the last moment may lead beyond, by six times
/// `MOMENT_OUTPUT_BYTES_MAX` at most.
const CHUNK_BYTES: usize = 256 << 10;
/// And so long after its first byte at the latest. A recorder that is killed loses at most this.
const CHUNK_WAIT: Duration = Duration::from_secs(5);
/// Between two facts of what is kept.
const TELL_EVERY: Duration = Duration::from_secs(60);
const AGAIN_AFTER: Duration = Duration::from_millis(500);

pub struct Writer {
    log: Log,
    store: Recordings,
    actor: &'static str,
    terminal: Terminal,
    at: DateTime<Utc>,
    queue: Arc<Queue>,
    cast: Cast,
    /// What is not stored yet; lines of the asciicast.
    chunk: Vec<u8>,
    /// Bytes of output in it.
    chunk_output: u64,
    chunks: u32,
    bytes: u64,
    digest: Sha256,
    told: Option<Instant>,
    lost_bytes: u64,
    /// Something is missing: output, a change of size, or everything from some moment on.
    gaps: bool,
    last: Duration,
}

/// The store takes nothing more, or did not answer for [`GIVE_UP_AFTER`] after the terminal's end.
struct Over;

impl Writer {
    pub fn new(recorders: &Recorders, terminal: Terminal, at: DateTime<Utc>, queue: Arc<Queue>) -> Self {
        let mut chunk = Vec::new();
        Cast::header(&terminal, at, &mut chunk);
        Self {
            log: recorders.log.clone(),
            store: recorders.store.clone(),
            actor: recorders.actor,
            terminal,
            at,
            queue,
            cast: Cast::default(),
            chunk,
            chunk_output: 0,
            chunks: 0,
            bytes: 0,
            digest: Sha256::new(),
            told: None,
            lost_bytes: 0,
            gaps: false,
            last: Duration::ZERO,
        }
    }

    /// Until the terminal ended and all is stored and told, or given up.
    pub async fn run(mut self) {
        let started = self.terminal.began(self.at);
        if self.tell(|state| start(state, started.clone())).await.is_err() {
            self.queue.close();
            return;
        }
        if self.write().await.is_err() {
            self.gaps = true;
            self.lost_bytes += self.chunk_output;
            self.count_the_rest().await;
        }
        let duration = self.queue.ended().unwrap_or(self.last);
        let duration_ms = u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
        let lasted = TimeDelta::from_std(duration).unwrap_or_default();
        let ended = RecordingEnded {
            place: self.terminal.place.clone(),
            recording: self.terminal.id.number,
            chunks: self.chunks,
            bytes: self.bytes,
            sha256: self.sha256(),
            duration_ms,
            lost_bytes: self.lost_bytes,
            complete: !self.gaps,
            at: self.at + lasted,
        };
        // that it was not told is logged there
        self.tell(|state| end(state, ended.clone())).await.ok();
    }

    async fn write(&mut self) -> Result<(), Over> {
        let mut due = Instant::now() + CHUNK_WAIT;
        loop {
            if self.chunk.is_empty() {
                self.queue.ready().await;
            } else {
                // it is stored then, whether more has come or not
                timeout_at(due, self.queue.ready()).await.ok();
            }
            while self.chunk.len() < CHUNK_BYTES
                && let Some((at, moment)) = self.queue.take()
            {
                if self.chunk.is_empty() {
                    due = Instant::now() + CHUNK_WAIT;
                }
                self.add(at, moment);
            }
            let full = self.chunk.len() >= CHUNK_BYTES;
            let ended = !full && self.queue.ended().is_some() && self.queue.is_empty();
            if ended {
                self.cast.end(self.last, &mut self.chunk);
            }
            if full || ended || Instant::now() >= due {
                self.keep().await?;
            }
            if ended {
                return Ok(());
            }
        }
    }

    fn add(&mut self, at: Duration, moment: Moment) {
        self.last = at;
        match moment {
            Moment::Output(bytes) => {
                self.chunk_output += bytes.len() as u64;
                self.cast.output(at, &bytes, &mut self.chunk);
            }
            Moment::Resized { cols, rows } => self.cast.resized(at, cols, rows, &mut self.chunk),
            Moment::Lost(bytes) => {
                (self.gaps, self.lost_bytes) = (true, self.lost_bytes + bytes);
                self.cast.mark(at, &format!("{bytes} bytes of output are missing here"), &mut self.chunk);
            }
        }
    }

    /// Stores the chunk, as often as it takes, and tells of it when that is due.
    async fn keep(&mut self) -> Result<(), Over> {
        if self.chunk.is_empty() {
            return Ok(());
        }
        let sealed = match self.store.seal(&self.terminal.id, self.chunks + 1, &self.chunk) {
            Ok(sealed) => sealed,
            Err(error) => return Err(self.over(&error)),
        };
        loop {
            match self.store.keep(&sealed).await {
                Ok(()) => break,
                Err(error @ RecordingError::Unavailable(_)) if !self.is_late() => {
                    tracing::debug!(session.id = %self.terminal.id.session, error = chain(&error), "a chunk waits");
                    sleep(AGAIN_AFTER).await;
                }
                Err(error) => return Err(self.over(&error)),
            }
        }
        self.chunks += 1;
        self.bytes += self.chunk.len() as u64;
        self.digest.update(&self.chunk);
        self.chunk.clear();
        self.chunk_output = 0;
        if self.told.is_none_or(|told| told.elapsed() >= TELL_EVERY) && self.queue.ended().is_none() {
            self.told = Some(Instant::now());
            let kept = RecordingKept {
                place: self.terminal.place.clone(),
                recording: self.terminal.id.number,
                chunks: self.chunks,
                bytes: self.bytes,
                sha256: self.sha256(),
            };
            self.tell(|state| keep(state, kept.clone())).await?;
        }
        Ok(())
    }

    fn over(&self, error: &RecordingError) -> Over {
        let (session, recording) = (&self.terminal.id.session, self.terminal.id.number);
        tracing::error!(session.id = %session, recording, error = chain(error), "a recording goes no further");
        Over
    }

    /// What is shown from now on is missing.
    async fn count_the_rest(&mut self) {
        loop {
            self.queue.ready().await;
            while let Some((at, moment)) = self.queue.take() {
                self.last = at;
                match moment {
                    Moment::Output(bytes) => self.lost_bytes += bytes.len() as u64,
                    Moment::Lost(bytes) => self.lost_bytes += bytes,
                    Moment::Resized { .. } => {}
                }
            }
            if self.queue.ended().is_some() {
                return;
            }
        }
    }

    /// Tried until the log takes it, however long the terminal is used.
    async fn tell(
        &self,
        rule: impl Fn(&Session) -> Decision<SessionEvent, SessionRefusal>,
    ) -> Result<(), Over> {
        let cause = Cause::new(Uuid::new_v4(), self.actor);
        let id = &self.terminal.id;
        loop {
            let error = match self
                .log
                .decide::<Session, _>(&id.tenant, id.session.as_str(), &cause, 0, &rule)
                .await
            {
                Ok(_) => return Ok(()),
                Err(error) => error,
            };
            let refused = matches!(error, DecideError::Refused(_));
            let (session, recording) = (&id.session, id.number);
            if refused || self.is_late() {
                tracing::error!(session.id = %session, recording, error = chain(&error), "a recording cannot be told");
                return Err(Over);
            }
            tracing::debug!(session.id = %session, recording, error = chain(&error), "the log is told again");
            sleep(AGAIN_AFTER).await;
        }
    }

    fn is_late(&self) -> bool {
        let since = Utc::now() - self.at;
        let ended = self.queue.ended().and_then(|ended| TimeDelta::from_std(ended + GIVE_UP_AFTER).ok());
        ended.is_some_and(|limit| since > limit)
    }

    fn sha256(&self) -> String {
        data_encoding::HEXLOWER.encode(&self.digest.clone().finalize())
    }
}
