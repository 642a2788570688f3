//! How does the log read as chunks? In order and gapless, as the read models take it.

use std::error::Error;
use std::time::Duration;

use nats::{Log, Start, Tail, Tailed};
use projections::rebuild::Source;
use projections::{Chunk, Unreadable};

/// How long a chunk waits for its first message.
const CHUNK_WAIT: Duration = Duration::from_millis(300);

/// The log after a position, as the read models are fed with it.
pub struct FromLog {
    tail: Tail,
    position: u64,
}

impl FromLog {
    pub fn after(log: &Log, position: u64) -> Self {
        Self { tail: log.tail(Start::Sequence(position + 1), vec![]), position }
    }
}

impl Source for FromLog {
    async fn next(&mut self, max: usize) -> Result<Chunk, Box<dyn Error + Send + Sync>> {
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
}
