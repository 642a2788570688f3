//! How does a fold in memory keep up with the log? One tail, begun again where it broke, for as long as the
//! process runs.

use std::time::Duration;

use tokio_util::sync::CancellationToken;

use crate::log::Log;
use crate::tail::{Start, Tailed, chain};

/// Events taken at once.
const CHUNK_MAX: usize = 500;
/// Longest wait for the first of them.
const CHUNK_WAIT: Duration = Duration::from_secs(1);
/// Pause after a tail that broke.
const BROKEN_PAUSE: Duration = Duration::from_secs(1);

impl Log {
    /// Gives `take` every message in order, from `next()` on; `next` is asked again after each break. A
    /// message that cannot be read is logged here and given too. Ends only with `shutdown`.
    pub async fn follow(
        &self,
        next: impl Fn() -> u64,
        take: impl FnMut(&Tailed),
        shutdown: CancellationToken,
    ) {
        self.follow_those(Vec::new(), next, take, shutdown).await;
    }

    /// Likewise those of these subjects.
    pub async fn follow_those(
        &self,
        subjects: Vec<String>,
        next: impl Fn() -> u64,
        mut take: impl FnMut(&Tailed),
        shutdown: CancellationToken,
    ) {
        let endless = async {
            loop {
                let mut tail = self.tail(Start::Sequence(next()), subjects.clone());
                let broken = loop {
                    match tail.next_chunk(CHUNK_MAX, CHUNK_WAIT).await {
                        Ok(chunk) => chunk.iter().for_each(|tailed| {
                            note_unreadable(tailed);
                            take(tailed);
                        }),
                        Err(error) => break error,
                    }
                };
                tracing::error!(error = chain(&broken), "the tail of the log broke: beginning it again");
                tokio::time::sleep(BROKEN_PAUSE).await;
            }
        };
        shutdown.run_until_cancelled(endless).await;
    }
}

fn note_unreadable(tailed: &Tailed) {
    if let Tailed::Unreadable { seq, subject, why, .. } = tailed {
        tracing::error!(event.seq = seq, subject, why, "a message of the log cannot be read; it is left out");
    }
}
