//! Our own relay: dials out to Portreeve from a network that accepts no connection, and runs commands there over SSH.
//!
//! `line` speaks Socket.IO, `tls` says whom it believes; `tasks` takes commands and gives results back, `spool` keeps
//! both on disk until they are acknowledged; `run` and `pool` are the way to servers,
//! `tunnels` what others send there. Speaks the protocol that relays
//! of others speak, and says more where it knows more (`wire`). Knows nothing of the log.

mod enroll;
mod line;
mod metrics;
mod pool;
mod run;
mod spool;
mod tasks;
mod tls;
mod tunnels;
mod wire;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use kit::error::chain;
use kit::health::Health;
use tokio_util::sync::CancellationToken;

use crate::enroll::EnrollError;
pub use crate::enroll::{Enrollment, Identity};
use crate::line::{Line, LineError};
use crate::metrics::Metrics;
use crate::pool::Pool;
use crate::spool::{Spool, SpoolError};
use crate::tasks::Tasks;
pub use crate::tls::Pin;

/// What the agent needs to run.
#[derive(Clone)]
pub struct Config {
    /// `https://portreeve.example.org`
    pub url: String,
    pub who: Who,
    /// Where results lie until they are acknowledged, and the key of an agent that registered itself.
    pub spool: PathBuf,
    /// Commands at once.
    pub commands_max: usize,
    /// The only certificate that is believed, instead of those of known authorities.
    pub pin: Option<Pin>,
}

/// As whom it connects.
#[derive(Clone)]
pub enum Who {
    Registered(Identity),
    /// As whom it registered itself before, else as whom it does so now. Without one it must have done so before.
    Enrolled(Option<Enrollment>),
}

#[derive(Debug, thiserror::Error)]
pub enum RunError {
    #[error(transparent)]
    Enroll(#[from] EnrollError),
    #[error("nobody registered this agent: name its proxyId and key, or give it a token to register itself")]
    Nobody,
    #[error(transparent)]
    Spool(#[from] SpoolError),
    #[error(transparent)]
    Line(#[from] LineError),
}

/// Part of the health.
const LINE: &str = "line";
/// Pauses between two attempts to connect: at random up to this, doubled with each failure.
const PAUSE_MIN: Duration = Duration::from_millis(500);
const PAUSE_MAX: Duration = Duration::from_secs(30);
/// Commands that run at the shutdown have so long.
const DRAIN_MAX: Duration = Duration::from_secs(10);

/// Connects and comes back, for ever, until shutdown.
pub async fn run(config: Config, health: Health, shutdown: CancellationToken) -> Result<(), RunError> {
    health.not_ready(LINE, "connecting");
    let spool = Arc::new(Spool::open(&config.spool)?);
    let metrics = Metrics::new(&health);
    let pool = Arc::new(Pool::new());
    let idle = tokio::spawn(Arc::clone(&pool).keep_tidy());
    let mut tasks = Tasks::new(spool, pool, metrics.clone(), config.commands_max);
    let connector = line::connector(&config)?;
    let Some(who) = shutdown.run_until_cancelled(identity(&config, &health)).await.transpose()? else {
        return Ok(());
    };
    let mut failures: u32 = 0;
    while !shutdown.is_cancelled() {
        let opened = shutdown.run_until_cancelled(Box::pin(Line::open(&config, &who, &connector))).await;
        match opened {
            None => break,
            Some(Ok(mut line)) => {
                failures = 0;
                health.ready(LINE);
                metrics.connected.set(1);
                tracing::info!(url = config.url, "connected");
                let ended = Box::pin(tasks.serve(&mut line, &shutdown, DRAIN_MAX)).await;
                metrics.connected.set(0);
                health.not_ready(LINE, ended.as_str());
                tracing::warn!(why = ended, "the connection ended");
                line.close().await;
            }
            Some(Err(error)) => {
                let why = chain(&error);
                health.not_ready(LINE, why.as_str());
                tracing::warn!(why, "no connection");
            }
        }
        failures = failures.saturating_add(1);
        shutdown.run_until_cancelled(tokio::time::sleep(pause(failures))).await;
    }
    idle.abort();
    Ok(())
}

/// Registers itself where it must, as often as that may help.
async fn identity(config: &Config, health: &Health) -> Result<Identity, RunError> {
    let enrollment = match &config.who {
        Who::Registered(identity) => return Ok(identity.clone()),
        Who::Enrolled(enrollment) => enrollment,
    };
    if let Some(identity) = enroll::kept(&config.spool)? {
        return Ok(identity);
    }
    let asked = enrollment.as_ref().ok_or(RunError::Nobody)?;
    let mut failures: u32 = 0;
    loop {
        let tls = tls::config(config.pin).map_err(EnrollError::Tls)?;
        match Box::pin(enroll::enroll(&config.url, tls, &config.spool, asked)).await {
            Ok(identity) => {
                tracing::info!(relay.id = identity.proxy_id, "registered: an operator must accept it now");
                return Ok(identity);
            }
            Err(error) if error.may_pass() => {
                let why = chain(&error);
                health.not_ready(LINE, why.as_str());
                tracing::warn!(why, "not registered yet");
            }
            Err(error) => return Err(error.into()),
        }
        failures = failures.saturating_add(1);
        tokio::time::sleep(pause(failures)).await;
    }
}

/// Full jitter: many agents that lost the same hub do not come back at once.
fn pause(failures: u32) -> Duration {
    let most = PAUSE_MIN.saturating_mul(1 << failures.min(10)).min(PAUSE_MAX);
    most.mul_f64(rand::random::<f64>())
}
