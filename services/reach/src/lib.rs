//! How is a server of somebody's own reached? By one account and one way, whoever asks: the test that says whether
//! it works, the terminal and the commands all come through [`Reach::connect`], so that they cannot disagree.
//!
//! `account` reads the log and the vault, `connect` goes there and keeps watch over the host key, `test` tries the
//! shell too and records how it went, `doctor` goes on from there and looks around (`script`). Knows nothing of HTTP and SQL, and not whether somebody may.

mod account;
mod accounts;
mod connect;
mod doctor;
mod facts;
mod script;
mod test;
mod trouble;

use std::time::Duration;

use events::server::ServerRefusal;
use nats::{DecideError, Log, LogError, Vault, VaultError};
use ssh::ca::CertifyError;
use ssh::client::Limits;
use ssh::keys::KeyError;

pub use accounts::{AccountChanged, AccountError, AccountOrder, AccountWish};
pub use connect::{Reached, Who};
pub use doctor::{Diagnosis, Finding, Status};
pub use facts::Gathered;
pub use test::Tested;
pub use trouble::{Step, Trouble};

/// A test answers a person who waits: each step has its limit, and so has the whole.
pub const LIMITS: Limits = Limits {
    name: Duration::from_secs(3),
    connect: Duration::from_secs(5),
    banner: Duration::from_secs(5),
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
}

impl Reach {
    pub fn new(log: Log, vault: Vault) -> Self {
        Self::with_limits(log, vault, LIMITS)
    }

    pub fn with_limits(log: Log, vault: Vault, limits: Limits) -> Self {
        Self { log, vault, limits }
    }
}
