//! How do facts become ports, passwords and containers, and reports become facts?
//!
//! Knows nothing of SQL and the public API; the only importer of `bollard` and `kube`.

mod activity;
pub mod allow_list;
mod bridge;
mod bring_up;
mod capabilities;
pub mod compute;
mod container_body;
pub mod containers;
mod deadlines;
mod doors;
mod engine_answers;
pub mod fleet;
mod fold;
mod kube_answers;
mod kube_datasets;
mod kube_events;
mod kube_namespace;
mod kube_objects;
mod kube_pod;
mod kube_reasons;
pub mod kube_requests;
pub mod kube_settings;
mod kube_watch;
pub mod kubernetes;
mod left_reports;
mod listen;
pub mod machine_limits;
mod metrics;
mod notices;
mod passwords;
mod policy;
mod ports;
mod reconcile;
mod reports;
mod sentry_server;
mod standby;
mod step;
mod sweep;
mod take_down;
#[cfg(test)]
mod testing;
mod trouble;
mod user_ca;
mod worker;

use std::net::{IpAddr, SocketAddr};
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use chrono::TimeDelta;
use events::ids::{InvalidId, PoolName};
use events::ports::pool::Pool;
use kit::health::Health;
use nats::{ConnectError, LogError, MasterKeys, TopologyError, WorkError};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::activity::Activity;
use crate::compute::Compute;
use crate::containers::{Containers, Settings};
use crate::fleet::Fleet;
use crate::listen::{ListenError, Listeners};
use crate::machine_limits::MachineLimits;
use crate::metrics::Metrics;
use crate::passwords::Passwords;
use crate::ports::Ports;
use crate::reconcile::{Provisioner, Starts, Troubles, Turns};
use crate::reports::Recorder;
use crate::user_ca::UserCaError;

pub use crate::listen::SOCKET_NAME;
pub use crate::passwords::jupyter_ref;

/// The pool of the ports of this installation.
const POOL: &str = "main";
/// A port rests no longer than a year.
const PORT_QUARANTINE_MAX_S: u64 = 365 * 24 * 60 * 60;
/// Environments worked on at once; the engine's own bound is smaller.
const REACTIONS_MAX: usize = 64;
/// The fold must reach the head of the log within this time at the start.
const FOLD_MAX: Duration = Duration::from_secs(600);
/// What [`Health`] says while another provisioner works.
pub const STANDING_BY: &str = "standing by: another provisioner works on this engine";
/// Part of [`Health`].
const PART: &str = "provisioner";

/// Everything the provisioner is told.
#[derive(Clone)]
pub struct Config {
    pub nats: nats::Config,
    pub master_keys: MasterKeys,
    /// `unix:///path` or `tcp://host:port`; `None`: `DOCKER_HOST`, or Docker's usual socket.
    pub container_host: Option<String>,
    /// The pool of published ports.
    pub ports: RangeInclusive<u16>,
    /// A released port rests this long.
    pub port_quarantine_s: u64,
    /// Environments are Pods of this cluster instead of containers of an engine.
    pub kubernetes: Option<kube_settings::Settings>,
    /// Published ports are bound here; `0.0.0.0` means every address.
    pub bind_host: IpAddr,
    /// Meant when an environment names no image.
    pub image: String,
    /// The same for environments with JupyterLab.
    pub image_jupyter: String,
    /// Directory of the machine that is mounted into every container; `sentry.sock` is made in it.
    /// `None` where no environment is on this machine.
    pub sentry_socket_dir: Option<PathBuf>,
    /// Sentries may connect over TCP too.
    pub sentry_listen: Option<SocketAddr>,
    /// Names this installation: a label of every container it makes.
    pub instance: String,
    /// Seconds between two sweeps.
    pub sweep_interval_s: u64,
}

/// Why the provisioner could not start, or ended by itself.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    #[error("cannot connect to the log")]
    Connect(#[from] ConnectError),
    #[error("the log is not set up as it must be")]
    Topology(#[from] TopologyError),
    #[error("the log cannot be read")]
    Log(#[from] LogError),
    #[error("the fold did not reach sequence {head} within {FOLD_MAX:?}; it is at {folded}")]
    Behind { head: u64, folded: u64 },
    #[error("cannot lock the folder of the sentries' socket")]
    Lead(#[source] std::io::Error),
    #[error(transparent)]
    Listen(#[from] ListenError),
    #[error("reacting to events ended")]
    Work(#[from] WorkError),
    #[error("there is no SSH CA for the environments' inner doors")]
    UserCa(#[from] UserCaError),
    #[error("the cluster cannot be used")]
    Cluster(#[from] kube_requests::ConnectError),
    #[error(transparent)]
    Pool(#[from] InvalidId),
    #[error("a part of the provisioner broke off; its last log lines say why")]
    Part,
}

/// Runs until `shutdown`; then what is under way ends, within bounds.
pub async fn run(config: Config, health: Health, shutdown: CancellationToken) -> Result<(), RunError> {
    // what ends by itself ends its own parts, not those of others
    let shutdown = shutdown.child_token();
    health.not_ready(PART, "starting");
    let connection = nats::connect(&config.nats).await?;
    connection.check().await?;
    let metrics = Metrics::new(&health);
    let log = connection.log();
    let fleet = Arc::new(fleet(&config)?);
    let mut parts = JoinSet::new();
    parts.spawn({
        let (fleet, log) = (Arc::clone(&fleet), log.clone());
        let (metrics, shutdown) = (metrics.clone(), shutdown.clone());
        async move { log.follow(|| fleet.folded() + 1, |tailed| fleet.take(tailed, &metrics), shutdown).await }
    });
    let head = log.head().await?;
    let caught_up = shutdown.run_until_cancelled(fleet.wait_for(head, FOLD_MAX)).await;
    match caught_up {
        None => return Ok(()),
        Some(true) => {}
        Some(false) => return Err(RunError::Behind { head, folded: fleet.folded() }),
    }
    tracing::info!(event.seq = head, environments = fleet.count(), "the log is read up to its head");
    let _lead = match &config.sentry_socket_dir {
        // a cluster keeps several clients apart
        None => None,
        Some(folder) => {
            let standing_by = || {
                tracing::info!("another provisioner works on this engine: standing by");
                health.not_ready(PART, STANDING_BY);
            };
            match shutdown.run_until_cancelled(standby::lead(folder, standing_by)).await {
                None => return Ok(()),
                Some(lead) => Some(lead.map_err(RunError::Lead)?),
            }
        }
    };
    let listeners = Listeners::open(config.sentry_socket_dir.as_deref(), config.sentry_listen).await?;
    let engine: Arc<dyn Compute> = match &config.kubernetes {
        None => Arc::new(containers(&config)),
        Some(settings) => {
            let (engine, keeping) = kubernetes::connect(settings.clone(), &health).await?;
            let shutdown = shutdown.clone();
            parts.spawn(async move {
                shutdown.run_until_cancelled(keeping.run()).await;
            });
            engine
        }
    };
    let user_ca = user_ca::ensure(&connection.vault(config.master_keys.clone())).await?;
    let parts_of = (engine, fleet, metrics, health.clone());
    let provisioner = Arc::new(compose(&config, &connection, user_ca, parts_of));
    let routes = sentry_server::router(Arc::clone(&provisioner), shutdown.clone());
    let sweep_every = Duration::from_secs(config.sweep_interval_s.max(1));
    parts.spawn(listeners.serve(routes, shutdown.clone()));
    parts.spawn(deadlines::watch(Arc::clone(&provisioner), shutdown.clone()));
    parts.spawn(sweep::watch_endings(Arc::clone(&provisioner), shutdown.clone()));
    parts.spawn(notices::watch(Arc::clone(&provisioner), shutdown.clone()));
    parts.spawn(sweep::sweep(Arc::clone(&provisioner), sweep_every, shutdown.clone()));
    health.ready(PART);
    let reactions = Arc::new(worker::Reactions(provisioner));
    let ended = {
        let mut work = pin!(connection.work(reactions, REACTIONS_MAX, shutdown.clone()));
        tokio::select! {
            worked = work.as_mut() => worked.map_err(RunError::from),
            // every part runs until the shutdown: one that ended before is broken
            part = parts.join_next() => {
                let broken = !shutdown.is_cancelled() || !matches!(part, Some(Ok(())));
                shutdown.cancel();
                let worked = work.await.map_err(RunError::from);
                if broken { worked.and(Err(RunError::Part)) } else { worked }
            }
        }
    };
    health.not_ready(PART, "ending");
    shutdown.cancel();
    while parts.join_next().await.is_some() {}
    ended
}

fn fleet(config: &Config) -> Result<Fleet, InvalidId> {
    let name = PoolName::parse(POOL)?;
    let quarantine_s = config.port_quarantine_s.min(PORT_QUARANTINE_MAX_S);
    let quarantine = TimeDelta::seconds(i64::try_from(quarantine_s).unwrap_or(0));
    Ok(Fleet::new(name, Pool::new(config.ports.clone(), quarantine)))
}

fn containers(config: &Config) -> Containers {
    Containers::new(Settings {
        host: config.container_host.clone(),
        instance: config.instance.clone(),
        bind_host: config.bind_host,
        sentry_socket_dir: config.sentry_socket_dir.clone().unwrap_or_default(),
        machine_limits: MachineLimits::of_this_process(),
    })
}

fn compose(
    config: &Config,
    connection: &nats::Connection,
    user_ca: String,
    (engine, fleet, metrics, health): (Arc<dyn Compute>, Arc<Fleet>, Metrics, Health),
) -> Provisioner {
    let log = connection.log();
    let keys = config.master_keys.clone();
    Provisioner {
        ports: Ports::new(log.clone(), Arc::clone(&fleet)),
        passwords: Passwords::new(log.clone(), connection.vault(keys.clone()), keys.clone()),
        recorder: Recorder::new(log.clone(), Arc::clone(&fleet), metrics.clone()),
        engine,
        user_ca,
        activity: Activity::default(),
        image: config.image.clone(),
        image_jupyter: config.image_jupyter.clone(),
        turns: Turns::default(),
        troubles: Troubles::default(),
        starts: Starts::default(),
        health,
        log,
        keys,
        fleet,
        metrics,
    }
}
