//! How does the fold keep up with the log? One tail from the first event, for as long as we run.

use std::sync::Arc;
use std::time::Duration;

use nats::{Log, Start, Tailed};
use tokio_util::sync::CancellationToken;

use crate::fleet::Fleet;
use crate::metrics::Metrics;
use crate::trouble::chain;

/// Events taken at once.
const CHUNK_MAX: usize = 500;
/// Longest wait for the first of them.
const CHUNK_WAIT: Duration = Duration::from_secs(1);
/// Pause after a tail that broke.
const BROKEN_PAUSE: Duration = Duration::from_secs(1);

/// Ends only with `shutdown`.
pub async fn follow(fleet: Arc<Fleet>, log: Log, metrics: Metrics, shutdown: CancellationToken) {
    let endless = async {
        loop {
            let mut tail = log.tail(Start::Sequence(fleet.folded() + 1), Vec::new());
            loop {
                match tail.next_chunk(CHUNK_MAX, CHUNK_WAIT).await {
                    Ok(chunk) => chunk.iter().for_each(|tailed| take(&fleet, &metrics, tailed)),
                    Err(error) => {
                        tracing::error!(
                            error = chain(&error),
                            "the tail of the log broke: beginning it again"
                        );
                        break;
                    }
                }
            }
            tokio::time::sleep(BROKEN_PAUSE).await;
        }
    };
    shutdown.run_until_cancelled(endless).await;
}

fn take(fleet: &Fleet, metrics: &Metrics, tailed: &Tailed) {
    match tailed {
        Tailed::Event(recorded) => fleet.apply(recorded),
        Tailed::Unreadable { seq, subject, why, .. } => {
            tracing::error!(
                event.seq = seq,
                subject,
                why,
                "a message of the log cannot be read; it is left out"
            );
            metrics.unreadable();
            fleet.skip(*seq);
        }
    }
}
