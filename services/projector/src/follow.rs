//! How do the live read models follow? The next chunk is read while PostgreSQL writes this one; after
//! any trouble the position is read again, because somebody else may feed too.

use std::convert::Infallible;
use std::time::{Duration, Instant};

use kit::health::Health;
use nats::{Log, LogError};
use projections::{Chunk, FeedError, Gap, Projections, QueryError};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::PART;
use crate::back_off::BackOff;
use crate::from_log::{FromLog, ReadError};
use crate::metrics::{Metrics, gauge_of};

/// Messages of one transaction.
const CHUNK_MAX: usize = 500;
/// Chunks read ahead of the one being written.
const CHUNKS_AHEAD: usize = 1;
/// How often parked subjects are counted.
const COUNT_EVERY: Duration = Duration::from_secs(5);

pub struct Follower {
    pub log: Log,
    pub projections: Projections,
    pub health: Health,
    pub metrics: Metrics,
    pub shutdown: CancellationToken,
}

/// Why following begins anew.
#[derive(Debug, thiserror::Error)]
enum Trouble {
    #[error("the position of the read models cannot be read")]
    Position(#[source] QueryError),
    #[error("the events cannot be written")]
    Feed(#[source] FeedError),
    #[error("the log has a gap, and nothing is fed until it is whole")]
    Gap(#[source] Gap),
    #[error("the log cannot be read")]
    Read(#[source] ReadError),
    #[error("the log does not answer")]
    Head(#[source] LogError),
    #[error(
        "the log ends at {head}, before the read models at {position}: it is not the log they were fed from"
    )]
    AnotherLog { head: u64, position: u64 },
}

/// What the reader gives the writer.
struct Read {
    chunk: Chunk,
    /// Messages known to come after it.
    pending: u64,
}

impl Follower {
    /// Until shutdown.
    pub async fn run(&self) {
        let mut back_off = BackOff::new();
        while !self.shutdown.is_cancelled() {
            let Err(trouble) = self.follow(&mut back_off).await else { continue };
            if self.is_somebody_elses(&trouble) {
                continue;
            }
            self.alarm(&trouble);
            tokio::select! {
                () = tokio::time::sleep(back_off.next()) => {}
                () = self.shutdown.cancelled() => {}
            }
        }
    }

    /// Another projector fed this chunk: no trouble, there is just less to do.
    fn is_somebody_elses(&self, trouble: &Trouble) -> bool {
        let fenced = matches!(trouble, Trouble::Feed(FeedError::Fenced { .. }));
        if fenced {
            self.metrics.fenced.inc();
            tracing::debug!("another projector feeds too; going on after it");
        }
        fenced
    }

    fn alarm(&self, trouble: &Trouble) {
        let error = trouble as &dyn std::error::Error;
        if let Trouble::Gap(gap) = trouble {
            self.metrics.gaps.inc();
            tracing::error!(error, expected = gap.expected, event.seq = gap.found, "the log has a gap");
        } else {
            tracing::warn!(error, "the read models do not follow the log; trying again");
        }
        self.health.not_ready(PART, trouble.to_string());
    }

    /// From where the rows stand, until shutdown or trouble.
    async fn follow(&self, back_off: &mut BackOff) -> Result<(), Trouble> {
        let position = self.projections.position().await.map_err(Trouble::Position)?;
        let (give, take) = mpsc::channel(CHUNKS_AHEAD);
        let source = FromLog::after(&self.log, position);
        tokio::select! {
            written = self.write(take, position, back_off) => written,
            never = read(source, give) => match never {},
        }
    }

    async fn write(
        &self,
        mut take: mpsc::Receiver<Result<Read, ReadError>>,
        mut position: u64,
        back_off: &mut BackOff,
    ) -> Result<(), Trouble> {
        let mut counted: Option<Instant> = None;
        loop {
            let read = tokio::select! {
                read = take.recv() => read,
                () = self.shutdown.cancelled() => None,
            };
            let Some(read) = read else { return Ok(()) };
            let Read { chunk, pending } = read.map_err(|error| match error {
                ReadError::Gap(gap) => Trouble::Gap(gap),
                error @ ReadError::Tail(_) => Trouble::Read(error),
            })?;
            let head = if chunk.is_empty() {
                self.head(position).await?
            } else {
                self.feed(&chunk).await?;
                position = chunk.to;
                position.saturating_add(pending)
            };
            self.metrics.stand(position, head);
            self.health.ready(PART);
            back_off.reset();
            if counted.is_none_or(|at| at.elapsed() >= COUNT_EVERY) {
                self.count_parked().await?;
                counted = Some(Instant::now());
            }
        }
    }

    async fn feed(&self, chunk: &Chunk) -> Result<(), Trouble> {
        let started = Instant::now();
        self.projections.feed_chunk(chunk).await.map_err(|error| match error {
            FeedError::Gap(gap) => Trouble::Gap(gap),
            error @ (FeedError::Fenced { .. }
            | FeedError::NotMigrated
            | FeedError::Newer { .. }
            | FeedError::Database(_)) => Trouble::Feed(error),
        })?;
        self.metrics.chunk_s.observe(started.elapsed().as_secs_f64());
        self.metrics.events.inc_by(chunk.events.len() as u64);
        self.metrics.unreadable.inc_by(chunk.unreadable.len() as u64);
        Ok(())
    }

    /// Without news: is the log there, and is it this one?
    async fn head(&self, position: u64) -> Result<u64, Trouble> {
        let head = self.log.head().await.map_err(Trouble::Head)?;
        if head < position { Err(Trouble::AnotherLog { head, position }) } else { Ok(head) }
    }

    async fn count_parked(&self) -> Result<(), Trouble> {
        let status = self.projections.status().await.map_err(Trouble::Position)?;
        let parked = status.iter().map(|status| status.parked_subjects).sum();
        self.metrics.parked_subjects.set(gauge_of(parked));
        Ok(())
    }
}

/// Reads ahead. What ends the reading is given to the writer too, which first writes what came before;
/// the writer ends both.
async fn read(mut source: FromLog, give: mpsc::Sender<Result<Read, ReadError>>) -> Infallible {
    loop {
        let chunk = source.chunk(CHUNK_MAX).await;
        let failed = chunk.is_err();
        let pending = source.pending();
        let given = give.send(chunk.map(|chunk| Read { chunk, pending })).await;
        if failed || given.is_err() {
            std::future::pending::<()>().await;
        }
    }
}
