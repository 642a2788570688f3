//! Which environments are there, whose are they, and which keys and ranges do their owners have? A fold of
//! the log in memory, followed as it grows. It finds things; who is let in is decided on the log itself.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use events::env::EnvEvent;
use events::ids::{EnvId, TenantId, UserName};
use events::ssh_key::SshKeyEvent;
use events::tenant::TenantEvent;
use events::{Event, Recorded};
use ipnet::IpNet;
use nats::{Log, Start, Tailed};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::trouble::chain;

/// Events taken at once.
const CHUNK_MAX: usize = 500;
/// Longest wait for the first of them.
const CHUNK_WAIT: Duration = Duration::from_secs(1);
/// Pause after a tail that broke.
const BROKEN_PAUSE: Duration = Duration::from_secs(1);

#[derive(Default)]
struct Fold {
    tenants: HashMap<EnvId, TenantId>,
    keys: HashMap<(TenantId, UserName), BTreeMap<String, String>>,
    ranges: HashMap<TenantId, Vec<IpNet>>,
}

pub struct Directory {
    fold: RwLock<Fold>,
    folded: watch::Sender<u64>,
}

impl Default for Directory {
    fn default() -> Self {
        Self { fold: RwLock::default(), folded: watch::Sender::new(0) }
    }
}

impl Directory {
    fn read(&self) -> std::sync::RwLockReadGuard<'_, Fold> {
        self.fold.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whose environment this is; `None` when there is none (any more).
    pub fn tenant_of(&self, env: &EnvId) -> Option<TenantId> {
        self.read().tenants.get(env).cloned()
    }

    /// The public key lines that a person added to their account.
    pub fn keys_of(&self, tenant: &TenantId, owner: &UserName) -> Vec<String> {
        let fold = self.read();
        let keys = fold.keys.get(&(tenant.clone(), owner.clone()));
        keys.map(|keys| keys.values().cloned().collect()).unwrap_or_default()
    }

    /// From where the tenant's people may connect; empty means everywhere.
    pub fn ranges_of(&self, tenant: &TenantId) -> Vec<IpNet> {
        self.read().ranges.get(tenant).cloned().unwrap_or_default()
    }

    /// Waits until the event of this sequence is folded; `false` when that takes longer than `at_most`.
    pub async fn wait_for(&self, seq: u64, at_most: Duration) -> bool {
        let mut folded = self.folded.subscribe();
        tokio::time::timeout(at_most, folded.wait_for(|folded| *folded >= seq)).await.is_ok_and(|r| r.is_ok())
    }

    fn apply(&self, recorded: &Recorded) {
        self.fold.write().unwrap_or_else(PoisonError::into_inner).apply(recorded);
        self.folded.send_replace(recorded.seq);
    }
}

impl Fold {
    fn apply(&mut self, recorded: &Recorded) {
        let subject = &recorded.subject;
        match &recorded.event {
            Event::Env(event) => {
                let Ok(env) = EnvId::parse(subject.id.as_str()) else { return };
                match event {
                    EnvEvent::EnvDeleted(_) => drop(self.tenants.remove(&env)),
                    EnvEvent::EnvRequested(_) => drop(self.tenants.insert(env, subject.tenant.clone())),
                    EnvEvent::EnvStartRequested(_)
                    | EnvEvent::EnvStopRequested(_)
                    | EnvEvent::EnvDeleteRequested(_)
                    | EnvEvent::PodLost(_)
                    | EnvEvent::EnvEndsSoon(_)
                    | EnvEvent::AllowListSet(_)
                    | EnvEvent::PortBound(_)
                    | EnvEvent::PodCreated(_)
                    | EnvEvent::PodReady(_)
                    | EnvEvent::EnvProgressed(_)
                    | EnvEvent::EnvFailed(_)
                    | EnvEvent::JobMarked(_)
                    | EnvEvent::EnvStopped(_) => {}
                }
            }
            Event::SshKey(SshKeyEvent::SshKeyAdded(added)) => {
                let owner = (subject.tenant.clone(), added.owner.clone());
                self.keys.entry(owner).or_default().insert(subject.id.to_string(), added.public_key.clone());
            }
            Event::SshKey(SshKeyEvent::SshKeyRemoved(removed)) => {
                let owner = (subject.tenant.clone(), removed.owner.clone());
                if let Some(keys) = self.keys.get_mut(&owner) {
                    keys.remove(subject.id.as_str());
                }
            }
            Event::Tenant(TenantEvent::TenantAllowListSet(set)) => {
                self.ranges.insert(subject.tenant.clone(), set.ranges.clone());
            }
            Event::Tenant(TenantEvent::TenantRegistered(_))
            | Event::Quota(_)
            | Event::Port(_)
            | Event::Credential(_)
            | Event::Login(_)
            | Event::Session(_)
            | Event::User(_)
            | Event::Token(_)
            | Event::Request(_) => {}
        }
    }
}

/// Ends only with `shutdown`.
pub async fn follow(directory: Arc<Directory>, log: Log, shutdown: CancellationToken) {
    let endless = async {
        loop {
            let next = *directory.folded.borrow() + 1;
            let mut tail = log.tail(Start::Sequence(next), Vec::new());
            loop {
                match tail.next_chunk(CHUNK_MAX, CHUNK_WAIT).await {
                    Ok(chunk) => chunk.iter().for_each(|tailed| take(&directory, tailed)),
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

fn take(directory: &Directory, tailed: &Tailed) {
    match tailed {
        Tailed::Event(recorded) => directory.apply(recorded),
        Tailed::Unreadable { seq, subject, why, .. } => {
            tracing::error!(
                event.seq = seq,
                subject,
                why,
                "a message of the log cannot be read; it is left out"
            );
            directory.folded.send_replace(*seq);
        }
    }
}
