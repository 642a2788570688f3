//! Which port does an environment get? The next free one of the pool, by conditional append.
//!
//! Allocate, bind, and only then let go of what is replaced: a port that is bound is always held. A
//! crash in between leaves a port that is held and not bound; the next try finds and takes it, and
//! the sweep releases it when there is no next try. Of two provisioners at work on one environment
//! the later to bind gives its own port back.

use std::collections::HashSet;
use std::sync::Arc;

use chrono::{TimeDelta, Utc};
use events::env::bind_port::bind_port;
use events::env::{Env, EnvRefusal, Phase, PortBound, PortPurpose};
use events::envelope::Cause;
use events::ids::{EnvId, TenantId};
use events::ports::allocate::allocate;
use events::ports::block::block;
use events::ports::release::release;
use events::ports::{Port, PortAllocated, PortRefusal, port_id};
use nats::{DecideError, Log};

use crate::fleet::Fleet;
use crate::step::fresh;
use crate::trouble::{Trouble, again, decided, failed};

/// Lost races for ports before the try is given up for now.
const LOST_RACES_MAX: usize = 256;
/// How long a port is left alone that another program on the machine holds.
const BLOCKED_S: i64 = 3600;

pub struct Ports {
    log: Log,
    fleet: Arc<Fleet>,
}

impl Ports {
    pub fn new(log: Log, fleet: Arc<Fleet>) -> Self {
        Self { log, fleet }
    }

    /// The environment with every port it needs.
    pub async fn ensure(
        &self,
        tenant: &TenantId,
        id: &EnvId,
        env: &Env,
        cause: &Cause,
    ) -> Result<Env, Trouble> {
        let mut env = env.clone();
        for purpose in env.ports_missing() {
            let port = self.allocate(tenant, id, purpose, &HashSet::new(), cause).await?;
            env = self.bind(tenant, id, purpose, port, None, cause).await?;
        }
        Ok(env)
    }

    /// Another port for each purpose whose port is taken on the machine by something else.
    pub async fn replace(
        &self,
        tenant: &TenantId,
        id: &EnvId,
        env: &Env,
        taken: &[u16],
        reason: &str,
        cause: &Cause,
    ) -> Result<Env, Trouble> {
        let not: HashSet<u16> = taken.iter().copied().collect();
        let replaced: Vec<(PortPurpose, u16)> = env
            .ports
            .iter()
            .map(|(purpose, (_, port))| (*purpose, *port))
            .filter(|(_, port)| not.contains(port))
            .collect();
        let mut env = env.clone();
        for (purpose, old) in replaced {
            tracing::warn!(env.id = %id, port = old, reason, "another program holds the port: taking the next");
            let port = self.allocate(tenant, id, purpose, &not, cause).await?;
            env = self.bind(tenant, id, purpose, port, Some(old), cause).await?;
            self.block(old, reason, cause).await?;
            self.release(id, old, cause).await?;
        }
        Ok(env)
    }

    async fn allocate(
        &self,
        tenant: &TenantId,
        env: &EnvId,
        purpose: PortPurpose,
        not: &HashSet<u16>,
        cause: &Cause,
    ) -> Result<u16, Trouble> {
        let mut not = not.clone();
        let mut caught_up = false;
        let quarantine = self.fleet.quarantine();
        for _ in 0..LOST_RACES_MAX {
            let Some(port) = self.fleet.try_port(env, purpose, &not, Utc::now()) else {
                if caught_up {
                    return Err(exhausted());
                }
                // what is known may lag behind: look once more when it does not
                caught_up = self.fleet.catch_up(&self.log).await?;
                continue;
            };
            let asked = PortAllocated { tenant: tenant.clone(), env: env.clone(), purpose };
            let rule = |state: &Port| allocate(state, asked.clone(), quarantine, Utc::now());
            match self.decide(port, cause, rule).await {
                Ok(()) => return Ok(port), // given back when the allocation is folded
                Err(DecideError::Refused(_)) => {
                    self.fleet.give_back(port);
                    not.insert(port);
                }
                Err(error) => {
                    self.fleet.give_back(port);
                    return Err(again(error));
                }
            }
        }
        Err(Trouble::Again(format!("lost {LOST_RACES_MAX} races for a port")))
    }

    /// Binds the port unless the purpose has one already that is not `old`.
    async fn bind(
        &self,
        tenant: &TenantId,
        id: &EnvId,
        purpose: PortPurpose,
        port: u16,
        old: Option<u16>,
        cause: &Cause,
    ) -> Result<Env, Trouble> {
        let pool = self.fleet.pool_name();
        let rule = |state: &Env| match state.port(purpose) {
            there if there == old => bind_port(state, PortBound { pool: pool.clone(), port, purpose }),
            _ => Ok(None),
        };
        let bound = self.log.decide::<Env, EnvRefusal>(tenant, id.as_str(), &fresh(cause), 0, rule).await;
        let bound = decided(bound);
        let in_use = matches!(&bound, Ok(bound) if bound.state.port(purpose) == Some(port));
        if !in_use && !matches!(bound, Err(Trouble::Again(_))) {
            self.release(id, port, cause).await?;
        }
        Ok(bound?.state)
    }

    async fn block(&self, port: u16, reason: &str, cause: &Cause) -> Result<(), Trouble> {
        let now = Utc::now();
        let rule = |state: &Port| block(state, reason, now + TimeDelta::seconds(BLOCKED_S), now);
        self.decide(port, cause, rule).await.map_err(again)
    }

    /// The environment holds this port no more. The container must be gone, or leave the port alone.
    pub async fn release(&self, env: &EnvId, port: u16, cause: &Cause) -> Result<(), Trouble> {
        self.decide(port, cause, |state| release(state, env)).await.map_err(again)
    }

    async fn decide(
        &self,
        port: u16,
        cause: &Cause,
        rule: impl FnMut(&Port) -> events::Decision<events::ports::PortEvent, PortRefusal>,
    ) -> Result<(), DecideError<PortRefusal>> {
        let id = port_id(&self.fleet.pool_name(), port);
        let decided = self.log.decide(&TenantId::system(), &id, &fresh(cause), 0, rule).await;
        decided.map(drop)
    }

    /// Releases every port that the environment holds or ever bound.
    pub async fn release_all(&self, id: &EnvId, env: &Env, cause: &Cause) -> Result<(), Trouble> {
        let held = self.fleet.held_ports().into_iter().filter(|held| held.env == *id).map(|held| held.port);
        let bound = env.ports.values().map(|(_, port)| *port);
        let ports: HashSet<u16> = held.chain(bound).collect();
        for port in ports {
            self.release(id, port, cause).await?;
        }
        Ok(())
    }
}

fn exhausted() -> Trouble {
    let refusal = PortRefusal::PoolExhausted;
    failed(Phase::Port, events::aggregate::Refusal::code(&refusal), refusal.to_string())
}
