//! How does a reader wait for an event? One listening connection per process wakes all who wait.

use std::sync::Mutex;
use std::sync::PoisonError;
use std::time::Duration;

use sqlx::postgres::{PgListener, PgPool};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::checkpoint::position;
use crate::paging::QueryError;
use crate::pool::Projections;

/// Channel that every feed notifies at its commit.
pub(crate) const CHANNEL: &str = "portreeve_position";
/// The position is read again at least this often, should a notification be missed.
const LOOK_AGAIN: Duration = Duration::from_secs(1);
/// Between two tries to listen.
const LISTEN_PAUSE: Duration = Duration::from_millis(200);

/// The position as this process last heard of it. The listener starts with the first waiter.
pub(crate) struct Positions {
    pool: PgPool,
    listener: Mutex<Option<Listener>>,
}

struct Listener {
    heard: watch::Receiver<u64>,
    task: JoinHandle<()>,
}

impl Positions {
    pub fn new(pool: PgPool) -> Self {
        Self { pool, listener: Mutex::new(None) }
    }

    fn heard(&self) -> watch::Receiver<u64> {
        let mut listener = self.listener.lock().unwrap_or_else(PoisonError::into_inner);
        let started = listener.get_or_insert_with(|| {
            let (tell, heard) = watch::channel(0);
            Listener { heard, task: tokio::spawn(listen_for_ever(self.pool.clone(), tell)) }
        });
        started.heard.clone()
    }
}

impl Drop for Positions {
    fn drop(&mut self) {
        let listener = self.listener.get_mut().unwrap_or_else(PoisonError::into_inner);
        if let Some(listener) = listener {
            listener.task.abort();
        }
    }
}

impl Projections {
    /// Until the read models have the event of sequence `seq`; false when they have not by then.
    pub async fn wait_for(&self, seq: u64, at_most: Duration) -> Result<bool, QueryError> {
        let mut heard = self.positions().heard();
        let reached = heard.wait_for(|position| *position >= seq);
        Ok(matches!(tokio::time::timeout(at_most, reached).await, Ok(Ok(_))))
    }

    /// The position as it changes; 0 while PostgreSQL is away.
    pub fn watch_position(&self) -> watch::Receiver<u64> {
        self.positions().heard()
    }
}

async fn listen_for_ever(pool: PgPool, tell: watch::Sender<u64>) {
    loop {
        if let Err(error) = listen(&pool, &tell).await {
            tracing::warn!(
                error = &error as &dyn std::error::Error,
                "the position of the read models is not known: PostgreSQL is away"
            );
        }
        // It may stand further back after a crash: nobody is told a position that is not there.
        note(&tell, 0);
        tokio::time::sleep(LISTEN_PAUSE).await;
    }
}

/// Until the connection is lost.
async fn listen(pool: &PgPool, tell: &watch::Sender<u64>) -> Result<(), sqlx::Error> {
    let mut listener = PgListener::connect_with(pool).await?;
    listener.listen(CHANNEL).await?;
    note(tell, position(pool).await?);
    loop {
        match tokio::time::timeout(LOOK_AGAIN, listener.try_recv()).await {
            Ok(Ok(Some(notification))) => match notification.payload().parse() {
                Ok(position) => note(tell, position),
                Err(_) => note(tell, position(pool).await?),
            },
            Ok(Ok(None)) => return Ok(()),
            Ok(Err(error)) => return Err(error),
            Err(_) => note(tell, position(pool).await?),
        }
    }
}

/// Waiters are woken only by news.
fn note(tell: &watch::Sender<u64>, position: u64) {
    tell.send_if_modified(|heard| std::mem::replace(heard, position) != position);
}
