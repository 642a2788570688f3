//! Who holds which port? One subject per port is the uniqueness constraint.

pub mod allocate;
pub mod block;
pub mod pool;
pub mod release;

use chrono::{DateTime, Utc};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::aggregate::{Aggregate, Refusal};
pub use crate::catalogue::PortEvent;
use crate::env::PortPurpose;
use crate::ids::{EnvId, PoolName, TenantId};

/// A port belongs to an environment from now on.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct PortAllocated {
    pub tenant: TenantId,
    pub env: EnvId,
    pub purpose: PortPurpose,
}

/// The environment gave the port back; it rests before it is given out again.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct PortReleased {
    pub env: EnvId,
}

/// Something outside holds the port on the machine; it is not given out for a while.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct PortBlocked {
    pub reason: String,
    pub until: DateTime<Utc>,
}

/// The id of a port's aggregate: `<pool>-<port>`.
pub fn port_id(pool: &PoolName, port: u16) -> String {
    format!("{pool}-{port}")
}

/// The inverse of [`port_id`].
pub fn parse_port_id(id: &str) -> Option<(PoolName, u16)> {
    let (pool, port) = id.rsplit_once('-')?;
    Some((PoolName::parse(pool).ok()?, port.parse().ok()?))
}

#[derive(Debug, Clone, PartialEq)]
pub struct Holder {
    pub tenant: TenantId,
    pub env: EnvId,
    pub purpose: PortPurpose,
    pub since: DateTime<Utc>,
}

#[derive(Debug, Clone, Default, PartialEq)]
pub struct Port {
    pub holder: Option<Holder>,
    pub released_at: Option<DateTime<Utc>>,
    pub blocked_until: Option<DateTime<Utc>>,
}

impl Aggregate for Port {
    type Event = PortEvent;

    fn evolve(&mut self, event: &PortEvent, at: DateTime<Utc>) {
        match event {
            PortEvent::PortAllocated(allocated) => {
                self.holder = Some(Holder {
                    tenant: allocated.tenant.clone(),
                    env: allocated.env.clone(),
                    purpose: allocated.purpose,
                    since: at,
                });
            }
            PortEvent::PortReleased(_) => {
                self.holder = None;
                self.released_at = Some(at);
            }
            PortEvent::PortBlocked(blocked) => self.blocked_until = Some(blocked.until),
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PortRefusal {
    #[error("the port is held by {0}")]
    Held(EnvId),
    #[error("the port rests until {0}")]
    Resting(DateTime<Utc>),
    #[error(
        "every port of the pool is held, resting or blocked: delete an environment, or ask an administrator for a larger pool"
    )]
    PoolExhausted,
}

impl Refusal for PortRefusal {
    fn code(&self) -> &'static str {
        match self {
            Self::Held(_) => "port_held",
            Self::Resting(_) => "port_resting",
            Self::PoolExhausted => crate::env::give_up::PORT_POOL_EXHAUSTED,
        }
    }
}
