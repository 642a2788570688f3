//! How does one port lead into every environment? `ssh <env id>@host -p 2222`: the person proves who they
//! are here, and their connection goes on to the environment's inner door with a certificate of minutes.
//!
//! Knows nothing of SQL, HTTP and containers; asks the log, and the vault for the hash of a password.

mod attempt;
mod connection;
mod directory;
mod door;
mod host_key;
mod listen;
mod metrics;
mod refusals;
mod session;
mod trouble;
mod who;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use kit::health::Health;
use nats::{ConnectError, LogError, MasterKeys, TopologyError};
use ssh::server::Server;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::attempt::Attempts;
use crate::connection::Gateway;
use crate::directory::Directory;
use crate::door::Door;
use crate::host_key::HostKeyError;
use crate::metrics::Metrics;
use crate::refusals::Refusals;

/// The directory must reach the head of the log within this time at the start.
const CATCH_UP_MAX: Duration = Duration::from_secs(600);
/// Part of [`Health`].
const PART: &str = "gateway";

/// Everything the gateway is told.
#[derive(Clone)]
pub struct Config {
    pub nats: nats::Config,
    pub master_keys: MasterKeys,
    /// Where people connect.
    pub listen: SocketAddr,
    /// When the gateway ends, sessions may go on for so many seconds.
    pub drain_s: u64,
}

/// Why the gateway could not start.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    #[error("cannot connect to the log")]
    Connect(#[from] ConnectError),
    #[error("the log is not set up as it must be")]
    Topology(#[from] TopologyError),
    #[error("the log cannot be read")]
    Log(#[from] LogError),
    #[error("the directory did not reach sequence {head} of the log within {CATCH_UP_MAX:?}")]
    Behind { head: u64 },
    #[error(transparent)]
    HostKey(#[from] HostKeyError),
    #[error("cannot listen on {address}")]
    Listen {
        address: SocketAddr,
        #[source]
        source: std::io::Error,
    },
}

/// Serves until `shutdown`; then nobody new comes in, and sessions end within [`Config::drain_s`].
pub async fn run(config: Config, health: Health, shutdown: CancellationToken) -> Result<(), RunError> {
    health.not_ready(PART, "starting");
    let connection = nats::connect(&config.nats).await?;
    connection.check().await?;
    let (log, vault) = (connection.log(), connection.vault(config.master_keys.clone()));
    let metrics = Metrics::new(&health);
    let directory = Arc::new(Directory::default());
    // it must answer as long as somebody is connected, so it ends with this function
    let following = CancellationToken::new();
    let _ends_following = following.clone().drop_guard();
    tokio::spawn(directory::follow(Arc::clone(&directory), log.clone(), following.clone()));
    let head = log.head().await?;
    match shutdown.run_until_cancelled(directory.wait_for(head, CATCH_UP_MAX)).await {
        None => return Ok(()),
        Some(true) => {}
        Some(false) => return Err(RunError::Behind { head }),
    }
    let server = Server::new(&host_key::ensure(&vault).await?);
    let listener =
        listen::bind(config.listen).map_err(|source| RunError::Listen { address: config.listen, source })?;
    let refusals = Arc::new(Refusals::new(log.clone()));
    tokio::spawn(Arc::clone(&refusals).keep_recording(following.clone()));
    let (sessions, cut) = (TaskTracker::new(), CancellationToken::new());
    let gateway = Arc::new(Gateway {
        attempts: Attempts::new(log.clone(), vault.clone(), Arc::clone(&refusals)),
        directory,
        log,
        vault,
        server,
        metrics,
        door: Door::default(),
        cut: cut.clone(),
        sessions: sessions.clone(),
    });
    health.ready(PART);
    tracing::info!(address = %config.listen, "accepting SSH connections");
    shutdown.run_until_cancelled(listen::accept(listener, gateway)).await;
    health.not_ready(PART, "ending");
    sessions.close();
    if tokio::time::timeout(Duration::from_secs(config.drain_s), sessions.wait()).await.is_err() {
        tracing::info!(sessions = sessions.len(), "sessions are ended: their time to drain is over");
        cut.cancel();
        tokio::time::timeout(session::CLOSE_WITHIN, sessions.wait()).await.ok();
    }
    refusals.record().await;
    Ok(())
}
