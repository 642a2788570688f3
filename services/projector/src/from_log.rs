//! How does the log read as chunks? In order and gapless, as the read models take it.

use std::error::Error;
use std::time::Duration;

use nats::{Log, Start, Tail, TailError, Tailed};
use projections::rebuild::Source;
use projections::{Chunk, Gap, Unreadable};

/// How long a chunk waits for its first message.
pub const CHUNK_WAIT: Duration = Duration::from_secs(1);

#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// An alarm: the log lost events.
    #[error(transparent)]
    Gap(#[from] Gap),
    #[error("the log cannot be read any more")]
    Tail(#[source] TailError),
}

impl From<TailError> for ReadError {
    fn from(error: TailError) -> Self {
        match error {
            TailError::Gap { expected, found } => Self::Gap(Gap { expected, found }),
            error @ TailError::Closed => Self::Tail(error),
        }
    }
}

/// The log after a position.
pub struct FromLog {
    tail: Tail,
    position: u64,
}

impl FromLog {
    pub fn after(log: &Log, position: u64) -> Self {
        Self { tail: log.tail(Start::Sequence(position + 1), vec![]), position }
    }

    /// What is there, at most `max` messages; empty when none came for a while.
    pub async fn chunk(&mut self, max: usize) -> Result<Chunk, ReadError> {
        let mut chunk = Chunk::after(self.position);
        for tailed in self.tail.next_chunk(max, CHUNK_WAIT).await? {
            match tailed {
                Tailed::Event(event) => chunk.push(*event)?,
                Tailed::Unreadable { seq, subject, why, raw: _ } => {
                    chunk.push_unreadable(Unreadable { seq, subject, reason: why })?;
                }
            }
        }
        self.position = chunk.to;
        Ok(chunk)
    }

    /// About how many messages come after those that were read.
    pub fn pending(&self) -> u64 {
        self.tail.pending()
    }
}

impl Source for FromLog {
    async fn next(&mut self, max: usize) -> Result<Chunk, Box<dyn Error + Send + Sync>> {
        Ok(self.chunk(max).await?)
    }
}
