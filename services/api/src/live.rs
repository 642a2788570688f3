//! What happens right now? One tail of the log for the whole process, fanned out to everyone waiting.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use events::{Recorded, Subject};
use nats::{Log, LogError, Start, Tailed};
use tokio::sync::broadcast;
use tokio::sync::broadcast::error::RecvError;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use kit::error::chain;

/// Events kept for readers who are behind; who is further behind has lost some and is told so.
pub const LIVE_KEPT: usize = 4096;
/// Events taken from the log at once, and how long to wait for the first.
const CHUNK: usize = 500;
const CHUNK_WAIT: Duration = Duration::from_secs(1);
/// After the tail failed, before it is opened again.
const REOPEN_AFTER: Duration = Duration::from_millis(500);
/// A waiter looks again after this long even if no bell rang.
const LOOK_AGAIN_AFTER: Duration = Duration::from_secs(1);

/// Everything after the head of the log at the start, as it is appended.
pub struct Live {
    sender: broadcast::Sender<Arc<Recorded>>,
    /// The newest sequence that was fanned out.
    position: AtomicU64,
}

/// The events from one moment on.
pub struct Listener {
    pub receiver: broadcast::Receiver<Arc<Recorded>>,
    /// Everything after this sequence comes; some at or before it may.
    pub after: u64,
}

impl Live {
    /// Knows where the log ends now; events come once [`Live::run`] runs.
    pub async fn new(log: &Log) -> Result<Self, LogError> {
        let head = log.head().await?;
        Ok(Self { sender: broadcast::Sender::new(LIVE_KEPT), position: AtomicU64::new(head) })
    }

    /// The order matters: who listens first and looks at the position then misses nothing.
    pub fn listen(&self) -> Listener {
        let receiver = self.sender.subscribe();
        Listener { receiver, after: self.position.load(Ordering::SeqCst) }
    }

    /// Fans out until shutdown.
    pub async fn run(&self, log: Log, shutdown: CancellationToken) {
        while !shutdown.is_cancelled() {
            let from = self.position.load(Ordering::SeqCst) + 1;
            let mut tail = log.tail(Start::Sequence(from), vec!["ev.>".to_owned()]);
            let failed = loop {
                let chunk = tokio::select! {
                    chunk = tail.next_chunk(CHUNK, CHUNK_WAIT) => chunk,
                    () = shutdown.cancelled() => return,
                };
                match chunk {
                    Ok(chunk) => chunk.into_iter().for_each(|tailed| self.fan_out(tailed)),
                    Err(error) => break error,
                }
            };
            tracing::warn!(
                error = chain(&failed),
                event.seq = from,
                "the live tail failed; opening it again"
            );
            tokio::select! {
                () = tokio::time::sleep(REOPEN_AFTER) => {}
                () = shutdown.cancelled() => return,
            }
        }
    }

    fn fan_out(&self, tailed: Tailed) {
        match tailed {
            Tailed::Event(event) => {
                let seq = event.seq;
                // nobody listening is no error
                let _listeners = self.sender.send(Arc::from(event));
                self.position.store(seq, Ordering::SeqCst);
            }
            Tailed::Unreadable { seq, subject, why, .. } => {
                tracing::warn!(event.seq = seq, subject, why, "an event cannot be read; taps do not show it");
                self.position.store(seq, Ordering::SeqCst);
            }
        }
    }

    /// A bell that rings when something happens to one of these aggregates, until `at_most`.
    /// Make it before the act whose consequence is waited for.
    pub fn bell(&self, subjects: Vec<Subject>, at_most: Duration) -> Bell {
        Bell { receiver: self.sender.subscribe(), subjects, deadline: Instant::now() + at_most }
    }
}

/// Says when it is worth looking at the log again. Looking is the waiter's own work.
pub struct Bell {
    receiver: broadcast::Receiver<Arc<Recorded>>,
    subjects: Vec<Subject>,
    deadline: Instant,
}

impl Bell {
    /// Waits for the next ring; `false` when the time is over.
    pub async fn ring(&mut self) -> bool {
        let look_again = Instant::now() + LOOK_AGAIN_AFTER;
        let until = look_again.min(self.deadline);
        loop {
            match tokio::time::timeout_at(until, self.receiver.recv()).await {
                Ok(Ok(event)) if self.subjects.contains(&event.subject) => return true,
                Ok(Ok(_)) => {}
                // something was missed: it may have been ours
                Ok(Err(RecvError::Lagged(_))) => return true,
                Ok(Err(RecvError::Closed)) => return false,
                Err(_) => return until < self.deadline,
            }
        }
    }
}
