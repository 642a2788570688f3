//! Who writes to the spool, and who may ask it? One thread, and everyone else through [`Reporter`].

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use chrono::{DateTime, Utc};
use kit::sentry_protocol::{Numbered, Report};
use tokio::sync::{mpsc, oneshot, watch};

use crate::spool::{HEADROOM_BYTES, SPOOL_BYTES_MAX, Spool, SpoolError};

/// Reports waiting for the disk; senders wait beyond it.
const QUEUE_MAX: usize = 4096;
/// Reports written with one sync.
const GROUP_MAX: usize = 512;
/// Between two tries to write to a disk that refuses.
const RETRY_WAIT: Duration = Duration::from_millis(500);

enum Ask {
    Append(DateTime<Utc>, Report),
    Unacknowledged {
        max: usize,
        reply: oneshot::Sender<Result<Vec<Numbered>, SpoolError>>,
    },
    Acknowledge {
        number: u64,
        reply: oneshot::Sender<Result<(), SpoolError>>,
    },
    /// Answered when everything asked before is on disk.
    Flush(oneshot::Sender<()>),
}

/// A handle to the spool; clones are cheap.
#[derive(Clone)]
pub struct Reporter {
    asks: mpsc::Sender<Ask>,
    state: Arc<State>,
    /// The newest number on disk.
    written: watch::Receiver<u64>,
}

struct State {
    spool_id: String,
    refusing: AtomicBool,
    bytes: AtomicU64,
    acknowledged: AtomicU64,
}

/// Opens the spool and starts its thread; also says which sessions an earlier run left open.
pub fn start(dir: &Path) -> Result<(Reporter, BTreeSet<String>), SpoolError> {
    let spool = match Spool::open(dir) {
        Err(SpoolError::Damaged { path, why }) => {
            let aside = dir.with_extension(format!("damaged-{}", Utc::now().timestamp()));
            tracing::error!(path = %path.display(), why, aside = %aside.display(), "the spool is damaged: set aside, a new one begins");
            std::fs::rename(dir, &aside).map_err(|source| SpoolError::File {
                what: "set aside",
                path: dir.into(),
                source,
            })?;
            Spool::open(dir)?
        }
        opened => opened?,
    };
    let left_open = spool.open_sessions().clone();
    let state = Arc::new(State {
        spool_id: spool.id().into(),
        refusing: AtomicBool::new(false),
        bytes: AtomicU64::new(spool.bytes()),
        acknowledged: AtomicU64::new(spool.acknowledged_through()),
    });
    let (asks, inbox) = mpsc::channel(QUEUE_MAX);
    let (written_tx, written) = watch::channel(spool.last());
    let writer = Writer { spool, inbox, written: written_tx, state: state.clone() };
    std::thread::Builder::new()
        .name("spool".into())
        .spawn(move || writer.run())
        .map_err(|source| SpoolError::File { what: "start the thread of", path: dir.into(), source })?;
    Ok((Reporter { asks, state, written }, left_open))
}

impl Reporter {
    pub fn spool_id(&self) -> &str {
        &self.state.spool_id
    }

    /// Hands a report over; it is on disk within a sync.
    pub async fn report(&self, report: Report) {
        if self.asks.send(Ask::Append(Utc::now(), report)).await.is_err() {
            tracing::error!("the spool's thread is gone: a report is lost");
        }
    }

    /// Whether what a new connection will have to say can be kept.
    pub fn has_room(&self) -> bool {
        let bytes = self.state.bytes.load(Ordering::Relaxed);
        !self.state.refusing.load(Ordering::Relaxed) && bytes < SPOOL_BYTES_MAX - HEADROOM_BYTES
    }

    pub fn pending(&self) -> u64 {
        self.written.borrow().saturating_sub(self.state.acknowledged.load(Ordering::Relaxed))
    }

    /// The newest number on disk, to wait for changes of.
    pub fn written(&self) -> watch::Receiver<u64> {
        self.written.clone()
    }

    pub async fn unacknowledged(&self, max: usize) -> Option<Result<Vec<Numbered>, SpoolError>> {
        let (reply, answer) = oneshot::channel();
        self.asks.send(Ask::Unacknowledged { max, reply }).await.ok()?;
        answer.await.ok()
    }

    pub async fn acknowledge(&self, number: u64) -> Option<Result<(), SpoolError>> {
        let (reply, answer) = oneshot::channel();
        self.asks.send(Ask::Acknowledge { number, reply }).await.ok()?;
        answer.await.ok()
    }

    pub async fn flush(&self) {
        let (reply, answer) = oneshot::channel();
        if self.asks.send(Ask::Flush(reply)).await.is_ok() {
            answer.await.ok();
        }
    }
}

struct Writer {
    spool: Spool,
    inbox: mpsc::Receiver<Ask>,
    written: watch::Sender<u64>,
    state: Arc<State>,
}

impl Writer {
    fn run(mut self) {
        let mut group = Vec::new();
        while let Some(first) = self.inbox.blocking_recv() {
            let mut next = Some(first);
            while let Some(ask) = next {
                match ask {
                    Ask::Append(at, report) => {
                        group.push((at, report));
                        next = if group.len() < GROUP_MAX { self.inbox.try_recv().ok() } else { None };
                    }
                    other @ (Ask::Unacknowledged { .. } | Ask::Acknowledge { .. } | Ask::Flush(_)) => {
                        self.append(&mut group);
                        self.answer(other);
                        next = None;
                    }
                }
            }
            self.append(&mut group);
        }
    }

    /// Does not give up: a report may wait, and the door stays closed meanwhile, but it is not lost.
    fn append(&mut self, group: &mut Vec<(DateTime<Utc>, Report)>) {
        while let Err(error) = self.spool.append(group) {
            let first = !self.state.refusing.swap(true, Ordering::Relaxed);
            if first {
                let cause = std::error::Error::source(&error).map(ToString::to_string);
                tracing::error!(%error, cause, "the spool cannot be written: no new connections until it can");
            }
            std::thread::sleep(RETRY_WAIT);
        }
        group.clear();
        self.state.refusing.store(false, Ordering::Relaxed);
        self.publish();
    }

    fn answer(&mut self, ask: Ask) {
        match ask {
            Ask::Append(..) => {}
            Ask::Unacknowledged { max, reply } => drop(reply.send(self.spool.unacknowledged(max))),
            Ask::Acknowledge { number, reply } => {
                let done = self.spool.acknowledge(number);
                self.publish();
                drop(reply.send(done));
            }
            Ask::Flush(reply) => drop(reply.send(())),
        }
    }

    fn publish(&self) {
        self.state.bytes.store(self.spool.bytes(), Ordering::Relaxed);
        self.state.acknowledged.store(self.spool.acknowledged_through(), Ordering::Relaxed);
        self.written
            .send_if_modified(|written| std::mem::replace(written, self.spool.last()) != self.spool.last());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn failed(user: String) -> Report {
        let ip = std::net::Ipv4Addr::LOCALHOST.into();
        Report::LoginFailed { ip, user, method: "password".into(), class: "wrong_password".into() }
    }

    #[tokio::test]
    async fn a_full_spool_has_no_room_until_it_is_acknowledged_and_keeps_what_comes() {
        let dir = tempfile::tempdir().unwrap();
        let (reporter, _) = start(&dir.path().join("spool")).unwrap();
        reporter.report(failed("x".repeat((SPOOL_BYTES_MAX - HEADROOM_BYTES) as usize))).await;
        reporter.flush().await;
        assert!(!reporter.has_room());
        reporter.report(failed("of a connection that is in".into())).await;
        reporter.flush().await;
        assert_eq!(reporter.pending(), 2);
        reporter.acknowledge(1).await.unwrap().unwrap();
        let left = reporter.unacknowledged(10).await.unwrap().unwrap();
        assert_eq!(left.iter().map(|record| record.number).collect::<Vec<_>>(), [2]);
        assert!(reporter.has_room());
    }

    #[tokio::test]
    async fn a_damaged_spool_is_set_aside() {
        let dir = tempfile::tempdir().unwrap();
        let spool = dir.path().join("spool");
        std::fs::create_dir(&spool).unwrap();
        std::fs::write(spool.join("acknowledged.json"), "{").unwrap();
        let (reporter, _) = start(&spool).unwrap();
        assert_eq!(reporter.pending(), 0);
        assert_eq!(
            std::fs::read_dir(dir.path()).unwrap().count(),
            2,
            "the old one is kept for people to look at"
        );
    }
}
