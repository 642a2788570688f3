//! Which ways into environments are open? One for each person, sign-in, environment and address, made when it is
//! first needed.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use events::ids::{EnvId, SignInId};
use tokio::time::Instant;
use tokio_util::task::TaskTracker;

use super::admission::Guest;
use super::way::Way;
use crate::access::Caller;
use crate::app::App;
use crate::problem::Problem;

/// Open at once in this process.
const WAYS_MAX: usize = 1_000;
/// The longest that getting in may take.
const OPEN_WAIT: Duration = Duration::from_secs(20);

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Key {
    env: EnvId,
    actor: String,
    /// What one sign-in opened is not what another one did: it ends with its own.
    sign_in: Option<SignInId>,
    ip: IpAddr,
}

/// Who waited for somebody else's try hears how that ended, if it ended just now.
const FAILURE_FRESH: Duration = Duration::from_secs(1);

/// Whoever needs it first makes it; the others wait for that.
type Slot = Arc<tokio::sync::Mutex<State>>;

#[derive(Default)]
enum State {
    #[default]
    None,
    Made(Arc<Way>),
    Failed(Problem, Instant),
}

#[derive(Default)]
pub struct Ways {
    slots: Mutex<HashMap<Key, Slot>>,
    kept: TaskTracker,
}

impl Ways {
    /// The way of an admitted guest. `client` is what it says it is, for the records.
    pub async fn of(&self, app: &App, guest: &Guest, client: Option<String>) -> Result<Arc<Way>, Problem> {
        let Caller { actor, sign_in, .. } = guest.caller.clone();
        let key = Key { env: guest.env.clone(), actor, sign_in, ip: guest.ip };
        let slot = self.slot(&key)?;
        let mut state = slot.lock().await;
        match &*state {
            State::Made(way) if way.is_open() => return Ok(Arc::clone(way)),
            State::Failed(problem, at) if at.elapsed() < FAILURE_FRESH => return Err(problem.clone()),
            State::None | State::Made(_) | State::Failed(..) => {}
        }
        let opening = tokio::time::timeout(OPEN_WAIT, Way::open(app, guest, client)).await;
        let opened = opening.unwrap_or_else(|_| {
            let why = format!("the environment did not let us in within {} s", OPEN_WAIT.as_secs());
            Err(Problem::new("environment_unreachable", why))
        });
        let (way, visit) = match opened {
            Ok(opened) => opened,
            Err(problem) => {
                *state = State::Failed(problem.clone(), Instant::now());
                self.forget(&key, &slot);
                return Err(problem);
            }
        };
        let way = Arc::new(way);
        *state = State::Made(Arc::clone(&way));
        let (app, guest, kept, slot) = (app.clone(), guest.clone(), Arc::clone(&way), Arc::clone(&slot));
        self.kept.spawn(async move {
            kept.keep(&app, &guest, &visit).await;
            app.jupyter.ways.forget(&key, &slot);
        });
        Ok(way)
    }

    fn slot(&self, key: &Key) -> Result<Slot, Problem> {
        let mut slots = self.slots.lock().unwrap_or_else(PoisonError::into_inner);
        if !slots.contains_key(key) && slots.len() >= WAYS_MAX {
            return Err(Problem::new(
                "busy",
                "too many people use JupyterLab through this process; try again",
            ));
        }
        Ok(Arc::clone(slots.entry(key.clone()).or_default()))
    }

    /// Unless there is a newer one already.
    fn forget(&self, key: &Key, slot: &Slot) {
        let mut slots = self.slots.lock().unwrap_or_else(PoisonError::into_inner);
        if slots.get(key).is_some_and(|there| Arc::ptr_eq(there, slot)) {
            slots.remove(key);
        }
    }

    /// Waits until the ends of all are in the records, once everything was told to end.
    pub async fn ended(&self, at_most: Duration) {
        self.kept.close();
        if tokio::time::timeout(at_most, self.kept.wait()).await.is_err() {
            tracing::warn!(open = self.kept.len(), "the ends of some sessions were not recorded");
        }
    }
}
