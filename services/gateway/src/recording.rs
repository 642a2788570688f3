//! Which terminals of a connection are recorded, and how does what passes by get there? All of them, when the
//! tenant asks for it; what runs without a terminal (scp, sftp, rsync, forwards) is not.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use entrance::visit::Visit;
use nats::RecordingId;
use recorder::{Recorder, Recorders, Terminal};
use ssh::terminals::{Seen, Watcher};
use tokio_util::task::TaskTracker;

/// The recordings of one connection.
pub struct Recording {
    recorders: Recorders,
    visit: Visit,
    /// By the terminal's number, which is the recording's.
    open: Mutex<HashMap<u32, Recorder>>,
    ending: TaskTracker,
}

impl Recording {
    pub fn new(recorders: Recorders, visit: Visit) -> Arc<Self> {
        Arc::new(Self { recorders, visit, open: Mutex::default(), ending: TaskTracker::new() })
    }

    pub fn watcher(self: &Arc<Self>) -> Watcher {
        let recording = Arc::clone(self);
        Box::new(move |seen| recording.saw(seen))
    }

    fn open(&self) -> MutexGuard<'_, HashMap<u32, Recorder>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn saw(&self, seen: Seen<'_>) {
        match seen {
            Seen::Opened { terminal, cols, rows, term } => {
                let recorder = self.recorders.start(self.terminal(terminal, cols, rows, term));
                self.open().insert(terminal, recorder);
            }
            Seen::Output { terminal, bytes } => {
                if let Some(recorder) = self.open().get(&terminal) {
                    recorder.output(bytes);
                }
            }
            Seen::Resized { terminal, cols, rows } => {
                if let Some(recorder) = self.open().get(&terminal) {
                    recorder.resized(cols, rows);
                }
            }
            Seen::Closed { terminal } => {
                if let Some(recorder) = self.open().remove(&terminal) {
                    self.ending.spawn(recorder.finish());
                }
            }
        }
    }

    fn terminal(&self, number: u32, cols: u32, rows: u32, term: String) -> Terminal {
        let Visit { tenant, place, session, user, entrance, .. } = &self.visit;
        Terminal {
            id: RecordingId { tenant: tenant.clone(), session: session.clone(), number },
            title: format!("{user} in {place}"),
            place: place.clone(),
            user: user.clone(),
            entrance: *entrance,
            cols,
            rows,
            term,
        }
    }

    /// The connection is over. Resolves when all of it is stored or given up; may be asked again.
    pub async fn finish(&self) {
        for (_, recorder) in self.open().drain() {
            self.ending.spawn(recorder.finish());
        }
        self.ending.close();
        self.ending.wait().await;
    }
}
