//! Which shells are there? Found by their session or by a share, bounded in number, drained at the end.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use entrance::visit::{CLOSE_WITHIN, Visits};
use entrance::way_in::WayIn;
use events::ids::{SessionId, ShareId, UserName};
use nats::{Log, Recordings, Vault};
use recorder::Recorders;
use tokio::sync::Semaphore;
use tokio_util::task::TaskTracker;

use crate::terminal::failure::Failure;
use crate::terminal::shell::Shell;
use crate::terminal::tickets::Tickets;

/// Shells in this process, and of one person.
const SHELLS_MAX: usize = 2_000;
const SHELLS_OF_USER_MAX: usize = 50;
/// Connections, let in or not.
const CONNECTIONS_MAX: usize = 6_000;

/// All terminals of this process.
pub struct Terminals {
    pub tickets: Tickets,
    pub way_in: WayIn,
    pub visits: Visits,
    pub recorders: Recorders,
    /// Places for connections.
    pub connections: Arc<Semaphore>,
    /// Shells and connections, for the end of the process.
    pub under_way: TaskTracker,
    shells: Mutex<HashMap<SessionId, Arc<Shell>>>,
    places: Arc<Mutex<HashMap<UserName, usize>>>,
}

/// Held by a shell that is coming about or there.
pub struct Place {
    places: Arc<Mutex<HashMap<UserName, usize>>>,
    user: UserName,
}

impl Terminals {
    pub fn new(log: &Log, vault: &Vault, recordings: &Recordings) -> Self {
        Self {
            tickets: Tickets::default(),
            way_in: WayIn::new(log.clone(), vault.clone()),
            visits: Visits::new(log.clone()),
            recorders: Recorders::new(log.clone(), recordings.clone(), "service:api"),
            connections: Arc::new(Semaphore::new(CONNECTIONS_MAX)),
            under_way: TaskTracker::new(),
            shells: Mutex::default(),
            places: Arc::default(),
        }
    }

    fn shells(&self) -> MutexGuard<'_, HashMap<SessionId, Arc<Shell>>> {
        self.shells.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Room for one more shell of this person.
    pub fn place(&self, user: &UserName) -> Result<Place, Failure> {
        let mut places = self.places.lock().unwrap_or_else(PoisonError::into_inner);
        if places.values().sum::<usize>() >= SHELLS_MAX {
            return Err(Failure::new("busy", format!("{SHELLS_MAX} terminals are open here already")));
        }
        let count = places.entry(user.clone()).or_default();
        if *count >= SHELLS_OF_USER_MAX {
            let why = format!("you have {SHELLS_OF_USER_MAX} terminals open already");
            return Err(Failure::new("too_many_terminals", why));
        }
        *count += 1;
        Ok(Place { places: Arc::clone(&self.places), user: user.clone() })
    }

    pub fn add(&self, shell: &Arc<Shell>) {
        self.shells().insert(shell.visit.session.clone(), Arc::clone(shell));
    }

    pub fn remove(&self, shell: &Shell) {
        self.shells().remove(&shell.visit.session);
    }

    /// Its owner's shell; for everybody else there is none.
    pub fn of_owner(&self, session: &SessionId, user: &UserName) -> Option<Arc<Shell>> {
        self.shells().get(session).filter(|shell| shell.owner == *user).cloned()
    }

    pub fn by_share(&self, share: &ShareId) -> Option<Arc<Shell>> {
        self.shells().values().find(|shell| shell.knows_share(share)).cloned()
    }

    pub fn all(&self) -> Vec<Arc<Shell>> {
        self.shells().values().cloned().collect()
    }

    /// At the end of the process: everybody is told, and each end recorded, as far as the log answers.
    pub async fn drain(&self) {
        self.under_way.close();
        if tokio::time::timeout(CLOSE_WITHIN, self.under_way.wait()).await.is_err() {
            let left = self.under_way.len();
            tracing::warn!(
                left,
                "terminals did not end in time; the environments' sentries close their sessions"
            );
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut places = self.places.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = places.get_mut(&self.user) {
            *count -= 1;
            if *count == 0 {
                places.remove(&self.user);
            }
        }
    }
}
