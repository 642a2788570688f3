//! Which environments are there, whose are they, and which keys do their owners have? A fold of
//! the log in memory, followed as it grows. It finds things; who is let in is decided on the log itself.

use std::collections::{BTreeMap, HashMap};
use std::sync::{PoisonError, RwLock};
use std::time::Duration;

use events::env::EnvEvent;
use events::ids::{EnvId, TenantId, UserName};
use events::ssh_key::SshKeyEvent;
use events::{Event, Recorded};
use nats::Tailed;
use tokio::sync::watch;

#[derive(Default)]
struct Fold {
    tenants: HashMap<EnvId, TenantId>,
    keys: HashMap<(TenantId, UserName), BTreeMap<String, String>>,
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

    /// Waits until the event of this sequence is folded; `false` when that takes longer than `at_most`.
    pub async fn wait_for(&self, seq: u64, at_most: Duration) -> bool {
        let mut folded = self.folded.subscribe();
        tokio::time::timeout(at_most, folded.wait_for(|folded| *folded >= seq)).await.is_ok_and(|r| r.is_ok())
    }

    /// The sequence of the newest message that was taken.
    pub fn folded(&self) -> u64 {
        *self.folded.borrow()
    }

    /// One that cannot be read counts as seen.
    pub fn take(&self, tailed: &Tailed) {
        let seq = match tailed {
            Tailed::Event(recorded) => {
                self.fold.write().unwrap_or_else(PoisonError::into_inner).apply(recorded);
                recorded.seq
            }
            Tailed::Unreadable { seq, .. } => *seq,
        };
        self.folded.send_replace(seq);
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
            Event::Tenant(_)
            | Event::Quota(_)
            | Event::Port(_)
            | Event::Credential(_)
            | Event::Login(_)
            | Event::Session(_)
            | Event::User(_)
            | Event::Token(_)
            | Event::SignIn(_)
            | Event::Server(_)
            | Event::Access(_)
            | Event::Relay(_)
            | Event::Batch(_)
            | Event::Command(_)
            | Event::Schedule(_)
            | Event::Subscription(_)
            | Event::NatsTap(_)
            | Event::Request(_) => {}
        }
    }
}
