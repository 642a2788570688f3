//! How is a terminal recorded, and read again? As asciicast v2, output and sizes alone, never what was typed.
//!
//! [`Recorder`] takes what a terminal shows and never makes it wait: a bounded queue, then chunks in the store
//! (`nats::recordings`), then facts in the log. [`playback`] reads what was kept and holds it against the log.
//! Knows nothing of SSH, HTTP and SQL.

mod cast;
pub mod playback;
mod queue;
mod writer;

use std::sync::Arc;
use std::time::{Duration, Instant};

use chrono::{DateTime, Utc};
use events::ids::TenantId;
use events::login::Entrance;
use events::session::Place;
use events::tenant::Tenant;
use nats::{Log, LogError, RecordingId, Recordings};
use tokio::sync::watch;

use crate::queue::{Queue, Share};
use crate::writer::Writer;

/// Columns and rows are at least 1 and at most so many; a client that says 0 does not know.
const SIDE_MAX: u32 = 10_000;
const COLS_UNKNOWN: u32 = 80;
const ROWS_UNKNOWN: u32 = 24;
/// Longest name of a terminal's kind, as it goes into the recording.
const TERM_LENGTH_MAX: usize = 64;

/// Starts recordings; shared by all sessions of a process, which together queue a bounded number of bytes.
#[derive(Clone)]
pub struct Recorders {
    log: Log,
    store: Recordings,
    /// Who states what was recorded: `service:gateway`.
    actor: &'static str,
    share: Arc<Share>,
}

/// Which terminal is recorded.
#[derive(Debug, Clone)]
pub struct Terminal {
    pub id: RecordingId,
    pub place: Place,
    pub user: String,
    pub entrance: Entrance,
    pub cols: u32,
    pub rows: u32,
    /// Its kind, as `TERM` names it.
    pub term: String,
    pub title: String,
}

/// One terminal that is being recorded. Dropped, its recording ends as with [`Recorder::finish`].
pub struct Recorder {
    queue: Arc<Queue>,
    began: Instant,
    done: watch::Receiver<bool>,
}

impl Recorders {
    pub fn new(log: Log, store: Recordings, actor: &'static str) -> Self {
        Self { log, store, actor, share: Arc::default() }
    }

    /// Whether this tenant's terminals are recorded, as the log says now. Ask when a session begins.
    pub async fn are_asked_for(&self, tenant: &TenantId) -> Result<bool, LogError> {
        Ok(self.log.load::<Tenant>(tenant, tenant.as_str()).await?.state.records)
    }

    /// The session must be open in the log. Needs a runtime; returns at once.
    pub fn start(&self, terminal: Terminal) -> Recorder {
        let at = Utc::now();
        let queue = Arc::new(Queue::new(Arc::clone(&self.share)));
        let (tell, done) = watch::channel(false);
        let terminal = terminal.within_bounds();
        let writer = Writer::new(self, terminal, at, Arc::clone(&queue));
        tokio::spawn(async move {
            writer.run().await;
            tell.send_replace(true);
        });
        Recorder { queue, began: Instant::now(), done }
    }
}

impl Terminal {
    fn within_bounds(mut self) -> Self {
        (self.cols, self.rows) = sides(self.cols, self.rows);
        self.term = self.term.chars().filter(|c| c.is_ascii_graphic()).take(TERM_LENGTH_MAX).collect();
        self
    }

    fn began(&self, at: DateTime<Utc>) -> events::session::RecordingStarted {
        events::session::RecordingStarted {
            place: self.place.clone(),
            recording: self.id.number,
            user: self.user.clone(),
            entrance: self.entrance,
            cols: self.cols,
            rows: self.rows,
            at,
        }
    }
}

fn sides(cols: u32, rows: u32) -> (u32, u32) {
    let side = |side: u32, unknown| if side == 0 { unknown } else { side.min(SIDE_MAX) };
    (side(cols, COLS_UNKNOWN), side(rows, ROWS_UNKNOWN))
}

impl Recorder {
    /// What the terminal shows, as it comes. Never waits; what finds no place is lost, and the recording says so.
    pub fn output(&self, bytes: &[u8]) {
        self.queue.output(self.began.elapsed(), bytes);
    }

    pub fn resized(&self, cols: u32, rows: u32) {
        let (cols, rows) = sides(cols, rows);
        self.queue.resized(self.began.elapsed(), cols, rows);
    }

    /// Nothing more is shown, from now on. Resolves when all is stored and told, or given up after
    /// [`GIVE_UP_AFTER`]; may be asked again.
    pub fn finish(&self) -> impl Future<Output = ()> + Send + use<> {
        self.queue.end(self.began.elapsed());
        let mut done = self.done.clone();
        async move {
            // the writer's end, whichever way
            done.wait_for(|done| *done).await.ok();
        }
    }
}

impl Drop for Recorder {
    fn drop(&mut self) {
        self.queue.end(self.began.elapsed());
    }
}

/// After a terminal's end, so long is tried to store the rest of its recording and to tell its end.
pub const GIVE_UP_AFTER: Duration = Duration::from_secs(600);
