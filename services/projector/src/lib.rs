//! How do the read models follow the log? Glue: `nats::tail` -> `projections::feed`, rebuilds, and snapshots of the
//! fleet.
//!
//! Two of it at once are safe: the checkpoint lets one of them feed a chunk, the other one goes on
//! after it.

mod back_off;
mod follow;
mod from_log;
mod metrics;
mod rebuilds;
mod snapshots;

use kit::health::Health;
use projections::Projections;
use tokio_util::sync::CancellationToken;

use metrics::Metrics;

/// What the projector needs.
#[derive(Clone)]
pub struct Config {
    pub nats: nats::Config,
    /// `postgres://user:password@host:port/name`
    pub database_url: String,
}

/// The projector cannot begin.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    #[error("the log cannot be reached")]
    Log(#[source] nats::ConnectError),
    #[error("the log is not the one that is expected")]
    Topology(#[source] nats::TopologyError),
    #[error("the read models cannot be reached")]
    Database(#[source] projections::ConnectError),
    #[error("the tables of the read models cannot be made")]
    Migrate(#[source] projections::MigrateError),
}

/// The part of the process's health that this service answers for.
const PART: &str = "projector";

/// Follows the log until `shutdown`; a chunk that is being written is finished. Waits for servers
/// that are away, saying so in `health`.
pub async fn run(config: Config, health: Health, shutdown: CancellationToken) -> Result<(), RunError> {
    health.not_ready(PART, "starting");
    let connection = nats::connect(&config.nats).await.map_err(RunError::Log)?;
    connection.check().await.map_err(RunError::Topology)?;
    let projections = Projections::connect(&config.database_url).await.map_err(RunError::Database)?;
    projections.migrate().await.map_err(RunError::Migrate)?;
    let metrics = Metrics::new(&health);
    let log = connection.log();
    let follower = follow::Follower {
        log: log.clone(),
        projections: projections.clone(),
        health: health.clone(),
        metrics: metrics.clone(),
        shutdown: shutdown.clone(),
    };
    let snapshots = snapshots::Snapshots {
        log: log.clone(),
        projections: projections.clone(),
        shutdown: shutdown.clone(),
    };
    let rebuilder = rebuilds::Rebuilder { log, projections, metrics, shutdown };
    tokio::join!(follower.run(), rebuilder.run(), snapshots.run());
    health.not_ready(PART, "ended");
    Ok(())
}
