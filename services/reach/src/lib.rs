//! How is a server of somebody's own reached? By one account and one way, whoever asks: the test that says whether
//! it works, the terminal and the commands all come through [`Reach::connect`], so that they cannot disagree.
//!
//! `account` reads the log and the vault, `connect` goes there (through a relay of ours by `tunnel`) and keeps watch
//! over the host key, `test` tries the shell too and records how it went, `doctor` goes on from there and looks around
//! (`script`); `courier` asks where relays of others carry commands alone. Knows nothing of HTTP and SQL, and not
//! whether somebody may.

mod account;
mod accounts;
mod connect;
mod courier;
mod doctor;
mod facts;
mod inside;
mod script;
mod test;
mod trouble;
mod tunnel;

use std::sync::Arc;
use std::time::Duration;

use events::server::ServerRefusal;
use kit::tunnel::TunnelKey;
use nats::{DecideError, Log, LogError, MasterKeys, Vault, VaultError};
use ssh::ca::CertifyError;
use ssh::client::Limits;
use ssh::keys::KeyError;

pub use accounts::{AccountChanged, AccountError, AccountOrder, AccountWish};
pub use connect::{Reached, Who};
pub use courier::{Courier, CourierError, Running};
pub use doctor::{Diagnosis, Finding, Status};
pub use facts::Gathered;
pub use script::Said;
pub use test::Tested;
pub use trouble::{Step, Trouble};
pub use tunnel::Through;

/// A test answers a person who waits: each step has its limit, and so has the whole.
pub const LIMITS: Limits = Limits {
    name: Duration::from_secs(3),
    connect: Duration::from_secs(5),
    // libwrap closes what hosts.deny names five seconds after it came
    banner: Duration::from_secs(7),
    kex: Duration::from_secs(5),
    auth: Duration::from_secs(10),
};

/// Why nobody got there.
#[derive(Debug, thiserror::Error)]
pub enum ReachError {
    #[error("there is no such server")]
    NotFound,
    #[error("{}", .0.reason)]
    Trouble(Trouble),
    #[error("the log does not answer")]
    Log(#[source] LogError),
    #[error("too many others changed the server at the same moment")]
    Contended,
    #[error("the vault does not answer")]
    Vault(#[source] VaultError),
    #[error("the installation's authority for servers is unusable")]
    Authority(#[source] KeyError),
    #[error("no certificate could be made")]
    Certify(#[source] CertifyError),
    #[error("a stored key is unusable")]
    Stored(#[source] KeyError),
}

impl From<DecideError<ServerRefusal>> for ReachError {
    fn from(error: DecideError<ServerRefusal>) -> Self {
        match error {
            // the rules about keys and tests refuse nothing else
            DecideError::Refused(_) => Self::NotFound,
            DecideError::Contended { .. } => Self::Contended,
            DecideError::Log(error) => Self::Log(error),
        }
    }
}

/// Reaches servers; cheap to clone.
#[derive(Clone)]
pub struct Reach {
    log: Log,
    vault: Vault,
    limits: Limits,
    tunnels: TunnelKey,
    by: By,
}

/// Which way.
#[derive(Clone)]
enum By {
    Direct,
    Tunnel(Through),
    Courier(Arc<dyn Courier>),
    /// A relay serves the server, and none is connected.
    Nowhere,
}

impl Reach {
    pub fn new(log: Log, vault: Vault, keys: &MasterKeys) -> Self {
        Self::with_limits(log, vault, keys, LIMITS)
    }

    pub fn with_limits(log: Log, vault: Vault, keys: &MasterKeys, limits: Limits) -> Self {
        let tunnels = TunnelKey::new(keys.derive(TunnelKey::LABEL));
        Self { log, vault, limits, tunnels, by: By::Direct }
    }

    /// Goes to servers through a relay, and no other way.
    #[must_use]
    pub fn through(self, relay: Through) -> Self {
        Self { by: By::Tunnel(relay), ..self }
    }

    /// Goes nowhere: a relay serves the server, and none is connected.
    #[must_use]
    pub fn nowhere(self) -> Self {
        Self { by: By::Nowhere, ..self }
    }

    /// Asks by somebody who runs commands there, and no other way; nobody gets a connection.
    #[must_use]
    pub fn by_courier(self, courier: Arc<dyn Courier>) -> Self {
        Self { by: By::Courier(courier), ..self }
    }
}
