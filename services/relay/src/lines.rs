//! Which relays are connected to this hub, and over which connection does something go?

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use events::batch::BatchRequested;
use events::command::CommandDispatched;
use events::ids::{CommandId, RelayId, ServerId, TenantId};
use events::relay::connect::Knock;
use nats::{Log, LogError};
use socketioxide::extract::SocketRef;
use tokio::sync::watch;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use crate::desk::Origin;

/// Whoever knocks may be newer than what this hub has read; it reads on for so long.
const READ_WAIT: Duration = Duration::from_secs(3);
/// Commands that wait for a connection whose number is on record and not known here yet.
const EARLY_MAX: usize = 10_000;

/// A command that was given away to this hub or to a relay that is connected to it.
#[derive(Clone)]
pub struct Job {
    pub tenant: TenantId,
    pub id: CommandId,
    pub server: ServerId,
    pub batch: Arc<BatchRequested>,
    pub dispatched: CommandDispatched,
    pub origin: Arc<Origin>,
    /// Cancelled when the command has ended.
    pub ended: CancellationToken,
}

/// A relay's connection.
#[derive(Clone)]
pub struct Line {
    pub epoch: u64,
    pub socket: SocketRef,
    /// Who came, with which key and from where.
    pub knock: Arc<Knock>,
}

impl Line {
    pub fn carries_tunnels(&self) -> bool {
        self.knock.tunnels.is_some()
    }
}

#[derive(Default)]
pub struct Lines {
    inner: Mutex<Inner>,
    /// How far the log was read.
    read: watch::Sender<u64>,
}

#[derive(Default)]
struct Inner {
    /// Whose each relay is.
    tenants: HashMap<RelayId, TenantId>,
    lines: HashMap<RelayId, Line>,
    /// Connections of a lower number are over, also one that is not known here yet.
    fenced: HashMap<RelayId, u64>,
    /// Given to a connection of this hub before it knew the connection's number.
    early: HashMap<(RelayId, u64), Vec<Job>>,
    /// What is being run or sent, until it has ended.
    given: HashMap<CommandId, (CancellationToken, Arc<Origin>)>,
}

impl Lines {
    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn read_up_to(&self, seq: u64) {
        self.read.send_replace(seq);
    }

    pub fn belongs(&self, relay: RelayId, tenant: TenantId) {
        self.inner().tenants.insert(relay, tenant);
    }

    /// Whose this relay is; one that was registered a moment ago is waited for.
    pub async fn tenant_of(&self, relay: &RelayId, log: &Log) -> Result<Option<TenantId>, LogError> {
        let known = || self.inner().tenants.get(relay).cloned();
        if let Some(tenant) = known() {
            return Ok(Some(tenant));
        }
        let head = log.head().await?;
        let mut read = self.read.subscribe();
        timeout(READ_WAIT, read.wait_for(|seq| *seq >= head)).await.ok();
        Ok(known())
    }

    /// This is the relay's connection from now on; what was given to it already is answered.
    pub fn connected(&self, relay: &RelayId, line: Line) -> Vec<Job> {
        let mut inner = self.inner();
        let early = inner.early.remove(&(relay.clone(), line.epoch)).unwrap_or_default();
        let fenced = inner.fenced.get(relay).is_some_and(|least| line.epoch < *least);
        let newer = !fenced && inner.lines.get(relay).is_none_or(|there| there.epoch < line.epoch);
        let older = if newer { inner.lines.insert(relay.clone(), line) } else { Some(line) };
        drop(inner);
        if let Some(older) = older {
            hang_up(older);
        }
        early
    }

    /// The relay has a connection of this number somewhere, or may have one: an older one here is over.
    pub fn fence(&self, relay: &RelayId, epoch: u64) {
        let mut inner = self.inner();
        let least = inner.fenced.entry(relay.clone()).or_default();
        *least = epoch.max(*least);
        inner.early.retain(|(other, early), _| other != relay || *early >= epoch);
        let older = match inner.lines.get(relay) {
            Some(line) if line.epoch < epoch => inner.lines.remove(relay),
            Some(_) | None => None,
        };
        drop(inner);
        if let Some(older) = older {
            hang_up(older);
        }
    }

    /// `false` if another connection took its place.
    pub fn left(&self, relay: &RelayId, epoch: u64) -> bool {
        let mut inner = self.inner();
        inner.early.remove(&(relay.clone(), epoch));
        let own = inner.lines.get(relay).is_some_and(|line| line.epoch == epoch);
        if own {
            inner.lines.remove(relay);
        }
        own
    }

    pub fn all(&self) -> Vec<(RelayId, Line)> {
        self.inner().lines.iter().map(|(relay, line)| (relay.clone(), line.clone())).collect()
    }

    /// The connection of a relay of this tenant.
    pub fn line_of(&self, relay: &RelayId, tenant: &str) -> Option<Line> {
        let inner = self.inner();
        inner.tenants.get(relay).filter(|own| own.as_str() == tenant)?;
        inner.lines.get(relay).cloned()
    }

    /// The connection of this number, as long as it is the relay's.
    pub fn get(&self, relay: &RelayId, epoch: u64) -> Option<Line> {
        self.inner().lines.get(relay).filter(|line| line.epoch == epoch).cloned()
    }

    /// The connection to send it over now; without one it waits until that is known.
    pub fn line_for(&self, relay: &RelayId, epoch: u64, job: &Job) -> Option<Line> {
        let mut inner = self.inner();
        match inner.lines.get(relay) {
            Some(line) if line.epoch == epoch => Some(line.clone()),
            Some(line) if line.epoch > epoch => None,
            Some(_) | None => {
                if inner.early.values().map(Vec::len).sum::<usize>() < EARLY_MAX {
                    inner.early.entry((relay.clone(), epoch)).or_default().push(job.clone());
                }
                None
            }
        }
    }

    /// Something is begun for this command, and ends with it.
    pub fn begin(&self, id: &CommandId, origin: &Arc<Origin>) -> CancellationToken {
        let ended = CancellationToken::new();
        let given = (ended.clone(), Arc::clone(origin));
        if let Some((before, _)) = self.inner().given.insert(id.clone(), given) {
            before.cancel();
        }
        ended
    }

    /// The request of what was begun here and has not ended.
    pub fn origin_of(&self, id: &CommandId) -> Option<Arc<Origin>> {
        self.inner().given.get(id).map(|(_, origin)| Arc::clone(origin))
    }

    pub fn ended(&self, id: &CommandId) {
        if let Some((ended, _)) = self.inner().given.remove(id) {
            ended.cancel();
        }
    }

    /// What was begun here and has not ended.
    pub fn under_way(&self) -> usize {
        self.inner().given.len()
    }
}

/// Tells it to go; it may be gone already.
fn hang_up(line: Line) {
    if let Err(error) = line.socket.disconnect() {
        tracing::debug!(%error, "a relay's older connection could not be told to end");
    }
}
