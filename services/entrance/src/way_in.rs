//! Where does one get into an environment, and with what? At its inner door, with a certificate of minutes.

use std::time::SystemTime;

use events::credential::SecretRef;
use events::env::{Env, InnerDoor, Status};
use events::ids::{EnvId, SessionId, TenantId};
use nats::{Log, LogError, Vault, VaultError};
use ssh::ca::{CertifyError, Holder, UserCa};
use ssh::client::{Login, Target};
use ssh::keys::{KeyError, PublicLine};

/// The account of every environment.
pub const ACCOUNT: &str = "developer";

/// Why there is no way in. The person is told the text.
#[derive(Debug, thiserror::Error)]
pub enum WayInError {
    #[error("the environment is {0}; start it first")]
    NotRunning(&'static str),
    #[error("the environment has no inner door yet; stop and start it once, or use its own port")]
    NoInnerDoor,
    #[error("the log does not answer")]
    Log(#[source] LogError),
    #[error("the vault does not answer")]
    Vault(#[source] VaultError),
    #[error("the installation has no SSH authority yet")]
    NoAuthority,
    #[error("the installation's SSH authority is unusable")]
    Authority(#[source] KeyError),
    #[error("no certificate could be made")]
    Certify(#[source] CertifyError),
    #[error("the environment's host key is unusable")]
    HostKey(#[source] KeyError),
}

/// Finds ways in; cheap to clone.
#[derive(Clone)]
pub struct WayIn {
    log: Log,
    vault: Vault,
}

impl WayIn {
    pub fn new(log: Log, vault: Vault) -> Self {
        Self { log, vault }
    }

    /// `name`: who the person is, for the records of both sides.
    pub async fn find(
        &self,
        tenant: &TenantId,
        env: &EnvId,
        session: &SessionId,
        name: &str,
    ) -> Result<(Target, Login), WayInError> {
        let id = env.as_str();
        let state = self.log.load::<Env>(tenant, id).await.map_err(WayInError::Log)?.state;
        if state.status != Status::Running {
            return Err(WayInError::NotRunning(state.status.name()));
        }
        let InnerDoor { addr, host_key } = state.inner.ok_or(WayInError::NoInnerDoor)?;
        let authority = self.vault.get(&SecretRef::user_ca()).await.map_err(WayInError::Vault)?;
        let authority =
            UserCa::read(&authority.ok_or(WayInError::NoAuthority)?).map_err(WayInError::Authority)?;
        let holder = Holder { principal: id, session: session.as_str(), user: name };
        let key = authority.certify(&holder, SystemTime::now()).map_err(WayInError::Certify)?;
        let target = Target {
            host: addr.ip().to_string(),
            port: addr.port(),
            user: ACCOUNT.to_owned(),
            host_key: Some(PublicLine::read(&host_key).map_err(WayInError::HostKey)?),
            through: None,
        };
        Ok((target, Login::Certificate(key)))
    }
}
