//! Which environments, keys, ports, claims and sessions are there? A fold of the whole log in memory.
//!
//! It is a consistent prefix of the log and may lag behind it. It serves to find things (which
//! environment does this token belong to, which port may be free, what is overdue) and to compute the
//! sentries' policies, whose changes it announces itself: a bell per environment rings after the event
//! that changes its policy was folded. Whatever is appended is decided on what the log itself says.

use std::collections::{BTreeSet, HashSet};
use std::sync::{PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::time::Duration;

use chrono::{DateTime, Utc};
use events::Recorded;
use events::credential::{Credential, SecretRef};
use events::env::expire::expire;
use events::env::idle::idle;
use events::env::{Env, PortPurpose, Status};
use events::ids::{EnvId, EventId, PoolName, SessionId, TenantId};
use events::ports::pool::Pool;
use ipnet::IpNet;
use nats::{Log, Tailed};
use tokio::sync::watch;
use uuid::Uuid;

use crate::doors::Doors;
use crate::fold::{Fold, Known};
use crate::metrics::Metrics;
use crate::trouble::{Trouble, again};

/// Longest wait for the fold to reach the head of the log.
const CATCH_UP_MAX: Duration = Duration::from_secs(5);

/// One environment that is not deleted.
#[derive(Debug, Clone)]
pub struct Member {
    pub tenant: TenantId,
    pub env: Env,
    pub credential: Credential,
    /// Every password it had, oldest first; superseded ones are removed from the vault.
    pub passwords: Vec<SecretRef>,
    pub doors: Doors,
    /// Sessions that were opened and not closed.
    pub sessions: BTreeSet<SessionId>,
    pub origin: Origin,
}

/// What set the newest change under way, for the events that follow from it.
#[derive(Debug, Clone)]
pub struct Origin {
    pub event: EventId,
    pub correlation: Uuid,
    pub traceparent: Option<String>,
}

/// What a policy is computed from.
#[derive(Debug, Clone)]
pub struct Truth {
    pub member: Member,
    /// The owner's public key lines, in the order of their ids.
    pub owner_keys: Vec<String>,
    pub tenant_allow_list: Vec<IpNet>,
}

/// Who holds a port, as far as it is known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HeldPort {
    pub port: u16,
    pub tenant: TenantId,
    pub env: EnvId,
    pub purpose: PortPurpose,
    pub since: DateTime<Utc>,
}

pub struct Fleet {
    fold: RwLock<Fold>,
    folded: watch::Sender<u64>,
}

impl Fleet {
    pub fn new(pool_name: PoolName, pool: Pool) -> Self {
        Self { fold: RwLock::new(Fold::new(pool_name, pool)), folded: watch::Sender::new(0) }
    }

    fn read(&self) -> RwLockReadGuard<'_, Fold> {
        self.fold.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, Fold> {
        self.fold.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes the next event in; the order is the log's.
    pub fn apply(&self, recorded: &Recorded) {
        self.write().apply(recorded);
        self.folded.send_replace(recorded.seq);
    }

    /// A message that cannot be read counts as seen.
    pub fn take(&self, tailed: &Tailed, metrics: &Metrics) {
        match tailed {
            Tailed::Event(recorded) => self.apply(recorded),
            Tailed::Unreadable { seq, .. } => {
                metrics.unreadable();
                self.folded.send_replace(*seq);
            }
        }
    }

    pub fn folded(&self) -> u64 {
        *self.folded.borrow()
    }

    /// Waits until the event of this sequence is folded; `false` when that takes longer than `at_most`.
    pub async fn wait_for(&self, seq: u64, at_most: Duration) -> bool {
        let mut folded = self.folded.subscribe();
        tokio::time::timeout(at_most, folded.wait_for(|folded| *folded >= seq)).await.is_ok_and(|r| r.is_ok())
    }

    /// Waits until everything is folded that is in the log now; `false` when that takes too long.
    pub async fn catch_up(&self, log: &Log) -> Result<bool, Trouble> {
        let head = log.head().await.map_err(again)?;
        Ok(self.wait_for(head, CATCH_UP_MAX).await)
    }

    pub fn member(&self, env: &EnvId) -> Option<Member> {
        self.read().known.get(env).map(|known| known.member.clone())
    }

    pub fn tenant_of(&self, env: &EnvId) -> Option<TenantId> {
        self.read().known.get(env).map(|known| known.member.tenant.clone())
    }

    pub fn status_of(&self, env: &EnvId) -> Option<Status> {
        self.read().known.get(env).map(|known| known.member.env.status)
    }

    /// Rings after each change of the environment's policy and each start; closed when it is deleted.
    pub fn bell(&self, env: &EnvId) -> Option<watch::Receiver<u64>> {
        self.read().known.get(env).map(|known| known.bell.subscribe())
    }

    pub fn truth(&self, env: &EnvId) -> Option<Truth> {
        let fold = self.read();
        let member = fold.known.get(env)?.member.clone();
        let owner = member.env.owner().cloned();
        let keys = owner.and_then(|owner| fold.keys.get(&(member.tenant.clone(), owner)));
        Some(Truth {
            owner_keys: keys.map(|keys| keys.values().cloned().collect()).unwrap_or_default(),
            tenant_allow_list: fold.allow_lists.get(&member.tenant).cloned().unwrap_or_default(),
            member,
        })
    }

    /// How many environments are not deleted.
    pub fn count(&self) -> usize {
        self.read().known.len()
    }

    /// Every environment that is not deleted, with its tenant and status.
    pub fn all(&self) -> Vec<(EnvId, TenantId, Status)> {
        let fold = self.read();
        let row = |(env, known): (&EnvId, &Known)| {
            (env.clone(), known.member.tenant.clone(), known.member.env.status)
        };
        fold.known.iter().map(row).collect()
    }

    /// Environments whose deadline has passed, or of whose time to live there is something to say.
    pub fn due(&self, now: DateTime<Utc>) -> Vec<(EnvId, TenantId)> {
        let fold = self.read();
        let is_due = |env: &Env| {
            let overdue = env.deadline.is_some_and(|deadline| deadline <= now);
            overdue || expire(env, now).is_ok_and(|event| event.is_some())
        };
        let due = fold.known.iter().filter(|(_, known)| is_due(&known.member.env));
        due.map(|(env, known)| (env.clone(), known.member.tenant.clone())).collect()
    }

    /// Environments of whose idleness there is something to say. `active_at`: when one was used last, as
    /// far as that is known.
    pub fn idle(
        &self,
        active_at: impl Fn(&EnvId) -> Option<DateTime<Utc>>,
        now: DateTime<Utc>,
    ) -> Vec<(EnvId, TenantId, DateTime<Utc>)> {
        let fold = self.read();
        let limited = fold.known.iter().filter(|(_, known)| {
            let env = &known.member.env;
            env.status == Status::Running
                && env.requested.as_ref().is_some_and(|asked| asked.idle_s.is_some())
        });
        let idle = limited.filter_map(|(id, known)| {
            let active_at = active_at(id)?;
            let news = idle(&known.member.env, active_at, now).is_ok_and(|event| event.is_some());
            news.then(|| (id.clone(), known.member.tenant.clone(), active_at))
        });
        idle.collect()
    }

    /// The environment that has this session open.
    pub fn session_holder(&self, session: &SessionId) -> Option<EnvId> {
        let fold = self.read();
        let found = fold.known.iter().find(|(_, known)| known.member.sessions.contains(session));
        found.map(|(env, _)| env.clone())
    }

    /// The next port worth trying, kept from others in this process until [`Fleet::give_back`].
    /// A port that the environment holds for this purpose already comes first.
    pub fn try_port(
        &self,
        env: &EnvId,
        purpose: PortPurpose,
        not: &HashSet<u16>,
        now: DateTime<Utc>,
    ) -> Option<u16> {
        let mut fold = self.write();
        let own = |(port, state): (u16, &events::ports::Port)| {
            let holder = state.holder.as_ref()?;
            (holder.env == *env && holder.purpose == purpose && !not.contains(&port)).then_some(port)
        };
        let own = fold.pool.held().find_map(own);
        let port = own.or_else(|| {
            fold.pool.candidates(now).find(|port| !not.contains(port) && !fold.tried.contains(port))
        })?;
        fold.tried.insert(port);
        Some(port)
    }

    pub fn give_back(&self, port: u16) {
        self.write().tried.remove(&port);
    }

    pub fn held_ports(&self) -> Vec<HeldPort> {
        let fold = self.read();
        let held = fold.pool.held().filter_map(|(port, state)| {
            let holder = state.holder.clone()?;
            let (tenant, env, purpose) = (holder.tenant, holder.env, holder.purpose);
            Some(HeldPort { port, tenant, env, purpose, since: holder.since })
        });
        held.collect()
    }

    pub fn free_ports(&self, now: DateTime<Utc>) -> usize {
        self.read().pool.candidates(now).count()
    }

    pub fn pool_name(&self) -> PoolName {
        self.read().pool_name.clone()
    }

    pub fn quarantine(&self) -> chrono::TimeDelta {
        self.read().pool.quarantine()
    }

    /// Shares of quotas, with the instant they were claimed.
    pub fn claims(&self) -> Vec<(TenantId, EnvId, DateTime<Utc>)> {
        let claims = &self.read().claims;
        claims.iter().map(|((tenant, env), since)| (tenant.clone(), env.clone(), *since)).collect()
    }
}
