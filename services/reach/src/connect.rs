//! How does one get into a server? With the settings of this moment, the stored credential and the pinned key.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use events::Cause;
use events::ids::{ServerId, TenantId};
use events::server::{HostKey, Server, Settings, host_key::shown};
use ssh::client::{Attempt, Connection, Dialler, Passed, Target, attempt};
use ssh::keys::PublicLine;
use uuid::Uuid;

use crate::trouble::{Step, Trouble};
use crate::tunnel::{Through, Tunnels};
use crate::{By, Reach, ReachError};

/// Which of the events of one visit's command.
pub(crate) mod index {
    pub const HOST_KEY: u32 = 0;
    pub const TESTED: u32 = 1;
    pub const FACTS: u32 = 2;
    pub const ACCOUNT_ASKED: u32 = 3;
    pub const ACCOUNT_ENDED: u32 = 4;
}

/// On whose behalf; certificates name both, so the server's own log does too.
#[derive(Debug, Clone, Copy)]
pub struct Who<'w> {
    pub session: &'w str,
    pub user: &'w str,
}

/// A login to a server.
#[derive(Debug)]
pub struct Reached {
    pub connection: Connection,
    /// With which it was reached.
    pub settings: Settings,
}

/// One way there, and what became of it.
pub(crate) struct Way {
    pub settings: Settings,
    pub outcome: Result<Connection, Trouble>,
    pub learnt: Learnt,
}

/// What is known of a server after trying, whether it let somebody in or not.
#[derive(Debug, Clone, Default)]
pub(crate) struct Learnt {
    pub identification: Option<String>,
    pub addresses: Vec<SocketAddr>,
    pub passed: Vec<(Passed, Duration)>,
    /// Fingerprint of the key that it showed.
    pub host_key: Option<String>,
    /// A key was believed before.
    pub was_pinned: bool,
}

/// The events that reaching a server causes are those of a command of their own.
pub(crate) fn own(cause: &Cause) -> Cause {
    Cause { command: Uuid::new_v5(&cause.command, b"reach"), ..cause.clone() }
}

impl Reach {
    /// Logs in. A host key that is seen first is pinned, another one than the pinned is recorded and refused.
    pub async fn connect(
        &self,
        tenant: &TenantId,
        id: &ServerId,
        who: Who<'_>,
        cause: &Cause,
    ) -> Result<Reached, ReachError> {
        let way = self.go(tenant, id, who, &own(cause)).await?;
        let connection = way.outcome.map_err(ReachError::Trouble)?;
        Ok(Reached { connection, settings: way.settings })
    }

    pub(crate) async fn go(
        &self,
        tenant: &TenantId,
        id: &ServerId,
        who: Who<'_>,
        own: &Cause,
    ) -> Result<Way, ReachError> {
        let server = self.log.load::<Server>(tenant, id.as_str()).await.map_err(ReachError::Log)?.state;
        let settings = server.there().ok_or(ReachError::NotFound)?.clone();
        let failed = |settings, trouble| Way { settings, outcome: Err(trouble), learnt: Learnt::default() };
        // never past the relay that the settings name
        let through = match &self.by {
            By::Tunnel(through) => Some(through),
            By::Direct => None,
            By::Courier(_) => return Ok(failed(settings, Trouble::commands_alone())),
            By::Nowhere => return Ok(failed(settings, Trouble::relay_unavailable())),
        };
        let relay = through.map(|through| &through.relay);
        if settings.relay.is_some() && settings.relay.as_ref() != relay {
            return Ok(failed(settings, Trouble::relay_unavailable()));
        }
        let login = match self.login(&settings, who).await {
            Ok(login) => login,
            Err(ReachError::Trouble(trouble)) => return Ok(failed(settings, trouble)),
            Err(error) => return Err(error),
        };
        let pinned = server.host_key.as_ref().map(|key| PublicLine::read(&key.line)).transpose();
        let target = Target {
            host: settings.host.clone(),
            port: settings.port,
            user: settings.username.clone(),
            host_key: pinned.map_err(ReachError::Stored)?,
            through: through.map(|through| self.tunnels(tenant, through)),
        };
        let Attempt { outcome, host_key, identification, addresses, passed } =
            attempt(&target, &login, &self.limits).await;
        let learnt = Learnt {
            identification,
            addresses,
            passed,
            host_key: host_key.as_ref().map(PublicLine::fingerprint),
            was_pinned: target.host_key.is_some(),
        };
        let mut outcome = outcome.map_err(|error| Trouble::from(&error));
        if let Some(key) = host_key {
            let believed = self.keep_watch(tenant, id, &settings, &key, own).await?;
            if let (Ok(_), Some(believed)) = (&outcome, believed) {
                // of two that came first, one decided
                outcome = Err(Trouble::host_key_mismatch(&believed, &key.fingerprint()));
            }
        }
        Ok(Way { settings, outcome, learnt })
    }

    fn tunnels(&self, tenant: &TenantId, through: &Through) -> Arc<dyn Dialler> {
        Arc::new(Tunnels { tenant: tenant.clone(), through: through.clone(), key: self.tunnels.clone() })
    }

    /// Records what the server showed; answers the fingerprint that is believed if that is another one.
    async fn keep_watch(
        &self,
        tenant: &TenantId,
        id: &ServerId,
        tried: &Settings,
        key: &PublicLine,
        own: &Cause,
    ) -> Result<Option<String>, ReachError> {
        let key = HostKey { line: key.line(), fingerprint: key.fingerprint() };
        let rule = |server: &Server| shown(server, tried, &key);
        let decided = self.log.decide::<Server, _>(tenant, id.as_str(), own, index::HOST_KEY, rule).await?;
        let now = decided.state;
        let same_place = now.there().is_some_and(|settings| settings.same_place(tried));
        let believed = now.host_key.filter(|believed| same_place && believed.line != key.line);
        Ok(believed.map(|believed| believed.fingerprint))
    }
}

impl Way {
    pub(crate) fn step(&self) -> Step {
        self.outcome.as_ref().map_or_else(|trouble| trouble.step, |_| Step::Authentication)
    }
}
