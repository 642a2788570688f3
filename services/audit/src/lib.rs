//! What vouches for the log? A chain of hashes over its messages as they are stored, anchored by signatures; and who
//! checks it: the log that is there, or a bundle of it without any server.
//!
//! [`run`] is the service that writes anchors; [`live`], [`export`], [`offline`], [`report`], [`time_travel`] and
//! [`what_if`] are for those who ask. Knows nothing of HTTP.

pub mod chain;
pub mod check;
pub mod evidence;
pub mod export;
mod fidelity;
mod from_log;
mod keeper;
mod keys;
pub mod line;
pub mod live;
mod metrics;
pub mod offline;
mod reading;
pub mod record;
pub mod report;
#[cfg(test)]
mod testing;
pub mod time_travel;
pub mod verdict;
pub mod what_if;
pub mod wishes;
mod witness;

use std::path::PathBuf;
use std::time::Duration;

use kit::health::Health;
use nats::{AuditBell, MasterKeys};
use tokio_util::sync::CancellationToken;

use keeper::{Keeper, Standing, Trouble};
pub use keeper::{Pace, feed, written_out};
use metrics::Metrics;
use wishes::Wish;

/// The part of the process's health that this service answers for.
const PART: &str = "audit";
/// Between two looks at the log.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// After trouble.
const AGAIN_AFTER: Duration = Duration::from_secs(1);
/// Wishes heard at once.
const WISHES_MAX: usize = 64;

/// What the service needs.
#[derive(Clone)]
pub struct Config {
    pub nats: nats::Config,
    pub master_keys: MasterKeys,
    pub pace: Pace,
    /// Where records are written out to, beside the store; on another disk they are worth more.
    pub file: Option<PathBuf>,
}

#[derive(Debug, thiserror::Error)]
pub enum RunError {
    #[error("the log cannot be reached")]
    Log(#[source] nats::ConnectError),
    #[error("the log is not the one that is expected")]
    Topology(#[source] nats::TopologyError),
    #[error("the bell cannot be heard")]
    Bell(#[source] nats::AnchorsError),
}

/// Chains and anchors until `shutdown`.
pub async fn run(config: Config, health: Health, shutdown: CancellationToken) -> Result<(), RunError> {
    health.not_ready(PART, "starting");
    let connection = nats::connect(&config.nats).await.map_err(RunError::Log)?;
    connection.check().await.map_err(RunError::Topology)?;
    let keeper = Keeper {
        log: connection.log(),
        anchors: connection.anchors(),
        vault: connection.vault(config.master_keys),
        pace: config.pace,
        file: config.file,
        metrics: Metrics::new(&health),
    };
    let mut bell = keeper.anchors.bell().await.map_err(RunError::Bell)?;
    shutdown.run_until_cancelled(for_ever(&keeper, &mut bell, &health)).await;
    health.not_ready(PART, "ended");
    Ok(())
}

async fn for_ever(keeper: &Keeper, bell: &mut AuditBell, health: &Health) {
    loop {
        let trouble = match keeper.begin().await {
            Ok(standing) => {
                health.ready(PART);
                go_on(keeper, standing, bell).await
            }
            Err(trouble) => trouble,
        };
        if matches!(trouble, Trouble::Outrun) {
            tracing::debug!("somebody else writes anchors too; going on after theirs");
            continue;
        }
        tracing::warn!(error = &trouble as &dyn std::error::Error, "anchors are not written; trying again");
        health.not_ready(PART, kit::error::chain(&trouble));
        tokio::time::sleep(AGAIN_AFTER).await;
    }
}

/// Until trouble.
async fn go_on(keeper: &Keeper, mut standing: Standing, bell: &mut AuditBell) -> Trouble {
    let mut wishes = Vec::new();
    loop {
        if let Err(trouble) = keeper.step(&mut standing, &wishes).await {
            return trouble;
        }
        wishes = heard(bell, if standing.more { Duration::ZERO } else { LOOK_EVERY }).await;
    }
}

/// What is wished for by then; what cannot be read is none.
async fn heard(bell: &mut AuditBell, within: Duration) -> Vec<Wish> {
    let mut wishes = Vec::new();
    let mut wait = within;
    while wishes.len() < WISHES_MAX {
        match tokio::time::timeout(wait, bell.next()).await {
            Ok(Some(wish)) => wishes.extend(serde_json::from_slice::<Wish>(&wish)),
            // closed for good: the next step says so
            Ok(None) => tokio::time::sleep(within).await,
            Err(_) => return wishes,
        }
        wait = Duration::ZERO;
    }
    wishes
}
