//! What do all routes share? The log, the vault, the read model, and what they are set up with.

use std::ops::Deref;
use std::sync::Arc;
use std::time::Duration;

use audit::time_travel::TimeTravel;
use entrance::refusals::Refusals;
use entrance::visit::Visits;
use entrance::way_in::WayIn;
use ipnet::IpNet;
use kit::health::Health;
use nats::{Anchors, Log, Outputs, Positions, Recordings, Vault};
use projections::Projections;
use reach::Reach;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use crate::hashing::Hashing;
use crate::idempotency::Fingerprints;
use crate::jupyter::Jupyter;
use crate::live::Live;
use crate::login_keys::LoginKeys;
use crate::metrics::Metrics;
use crate::nats_taps::NatsTaps;
use crate::rate_limits::RateLimits;
use crate::sign_ins::SignIns;
use crate::terminal::shells::Terminals;
use crate::webhooks::send::Postman;

/// Handed to every route; cheap to clone.
#[derive(Clone)]
pub struct App(Arc<Parts>);

pub struct Parts {
    pub log: Log,
    pub vault: Vault,
    pub recordings: Recordings,
    pub outputs: Outputs,
    pub anchors: Anchors,
    /// How far subscriptions have got.
    pub positions: Positions,
    /// Who posts to webhooks.
    pub postman: Postman,
    pub projections: Projections,
    /// What was.
    pub time_travel: TimeTravel,
    pub live: Live,
    pub nats_taps: NatsTaps,
    pub health: Health,
    pub metrics: Metrics,
    pub login_keys: LoginKeys,
    pub fingerprints: Fingerprints,
    pub hashing: Hashing,
    pub sign_ins: Arc<SignIns>,
    pub rate_limits: RateLimits,
    /// How an entrance of ours gets into an environment.
    pub way_in: WayIn,
    /// What is recorded of who got in.
    pub visits: Visits,
    /// How often closed addresses were turned away.
    pub refusals: Arc<Refusals>,
    /// How anybody gets into a server.
    pub reach: Reach,
    pub jupyter: Jupyter,
    /// Whose `X-Forwarded-For` is believed.
    pub trusted_proxies: Vec<IpNet>,
    /// HTTP is served over TLS.
    pub tls: bool,
    pub shown: Shown,
    /// How long a create waits for port and password.
    pub create_wait: Duration,
    /// Places for event streams.
    pub taps: Arc<Semaphore>,
    /// Places for recordings that are shown.
    pub playbacks: Arc<Semaphore>,
    /// Places for checks of the whole log.
    pub checks: Arc<Semaphore>,
    pub terminals: Terminals,
    pub shutdown: CancellationToken,
}

/// What people are told about the way to their environments.
pub struct Shown {
    /// Host name or address of the SSH ports and of the gateway.
    pub ssh_host: String,
    pub gateway_port: u16,
    /// New environments have no port of their own: the gateway is their only entrance.
    pub gateway_only: bool,
    /// Shown where an environment asked for no image.
    pub default_image: String,
}

impl App {
    pub fn new(parts: Parts) -> Self {
        Self(Arc::new(parts))
    }
}

impl Deref for App {
    type Target = Parts;

    fn deref(&self) -> &Parts {
        &self.0
    }
}
