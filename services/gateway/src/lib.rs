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
mod proxy_header;
mod recording;
mod session;
pub mod settings;
mod who;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use entrance::refusals::Refusals;
use entrance::visit::{CLOSE_WITHIN, Visits};
use entrance::way_in::WayIn;
use kit::health::Health;
use nats::{ConnectError, LogError, MasterKeys, TopologyError};
use recorder::Recorders;
use ssh::server::Server;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::attempt::Attempts;
use crate::connection::Gateway;
use crate::directory::Directory;
use crate::door::Door;
use crate::host_key::HostKeyError;
use crate::metrics::Metrics;
use crate::settings::{Settings, SettingsError};

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
    pub settings: Settings,
    /// May say others, now and whenever it changes.
    pub settings_file: Option<PathBuf>,
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
    #[error("the settings cannot be used")]
    Settings(#[from] SettingsError),
    #[error("cannot listen on {address}")]
    Listen {
        address: SocketAddr,
        #[source]
        source: std::io::Error,
    },
}

/// Serves until `shutdown`; then nobody new comes in, and sessions end within [`Settings::drain_s`].
pub async fn run(config: Config, health: Health, shutdown: CancellationToken) -> Result<(), RunError> {
    health.not_ready(PART, "starting");
    let connection = nats::connect(&config.nats).await?;
    connection.check().await?;
    let (log, vault) = (connection.log(), connection.vault(config.master_keys.clone()));
    let recordings = connection.recordings(config.master_keys.clone());
    let metrics = Metrics::new(&health);
    let directory = Arc::new(Directory::default());
    // it must answer as long as somebody is connected, so it ends with this function
    let following = CancellationToken::new();
    let _ends_following = following.clone().drop_guard();
    tokio::spawn({
        let (directory, log, following) = (Arc::clone(&directory), log.clone(), following.clone());
        async move {
            log.follow(|| directory.folded() + 1, |tailed| directory.take(tailed), following).await;
        }
    });
    let head = log.head().await?;
    match shutdown.run_until_cancelled(directory.wait_for(head, CATCH_UP_MAX)).await {
        None => return Ok(()),
        Some(true) => {}
        Some(false) => return Err(RunError::Behind { head }),
    }
    let settings = follow_settings(&config, following.clone())?;
    let server = Server::new(&host_key::ensure(&vault).await?);
    let listener =
        listen::bind(config.listen).map_err(|source| RunError::Listen { address: config.listen, source })?;
    let refusals = Arc::new(Refusals::new(log.clone(), "service:gateway"));
    let all_left = CancellationToken::new();
    let telling = tokio::spawn(Arc::clone(&refusals).keep_recording(all_left.clone()));
    let (sessions, cut) = (TaskTracker::new(), CancellationToken::new());
    let gateway = Arc::new(Gateway {
        attempts: Attempts::new(log.clone(), vault.clone(), refusals),
        directory,
        way_in: WayIn::new(log.clone(), vault),
        visits: Visits::new(log.clone()),
        recorders: Recorders::new(log.clone(), recordings, "service:gateway"),
        log,
        server,
        metrics,
        door: Door::default(),
        settings: settings.clone(),
        cut: cut.clone(),
        sessions: sessions.clone(),
    });
    health.ready(PART);
    tracing::info!(address = %config.listen, "accepting SSH connections");
    shutdown.run_until_cancelled(listen::accept(listener, gateway)).await;
    health.not_ready(PART, "ending");
    sessions.close();
    let drain = Duration::from_secs(settings.borrow().drain_s);
    if tokio::time::timeout(drain, sessions.wait()).await.is_err() {
        tracing::info!(sessions = sessions.len(), "sessions are ended: their time to drain is over");
        cut.cancel();
        tokio::time::timeout(CLOSE_WITHIN, sessions.wait()).await.ok();
    }
    all_left.cancel();
    telling.await.ok();
    Ok(())
}

fn follow_settings(
    config: &Config,
    shutdown: CancellationToken,
) -> Result<watch::Receiver<Settings>, SettingsError> {
    let at_start = config.settings.clone();
    let Some(file) = config.settings_file.clone() else { return Ok(watch::channel(at_start).1) };
    let settings = at_start.changed_by(&file)?;
    if settings.log.is_some() {
        settings::refilter(&settings);
    }
    let (in_force, seen) = watch::channel(settings);
    tokio::spawn(settings::keep_fresh(file, at_start, in_force, shutdown));
    Ok(seen)
}
