//! Who may follow a tenant's events by NATS itself? Answers the server when it asks who somebody is, and keeps what taps
//! read: a consumer each, none for one that was revoked, and nobody connected by it.
//!
//! Several of it at once do no harm: the server asks one of them, and what is kept may be made and removed twice. While
//! none is there nobody new comes in by a tap, and who is in stays. Knows nothing of HTTP or SQL.

mod desk;
mod door;
mod upkeep;

use std::sync::Arc;

use kit::health::Health;
use nats::Issuer;
use tokio_util::sync::CancellationToken;

use crate::desk::{Desk, SUBJECTS};
use crate::door::Door;
use crate::upkeep::Upkeep;

/// What the service needs.
#[derive(Clone)]
pub struct Config {
    /// From the password the key derives by which the server knows this service's word.
    pub nats: nats::Config,
}

/// The service cannot begin.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    #[error("the log cannot be reached")]
    Log(#[from] nats::ConnectError),
    #[error("the log is not the one that is expected")]
    Topology(#[from] nats::TopologyError),
    #[error("the server cannot be answered")]
    Callout(#[from] nats::CalloutError),
}

/// The part of the process's health that this service answers for.
const PART: &str = "taps";

/// Lets people in and out until `shutdown`.
pub async fn run(config: Config, health: Health, shutdown: CancellationToken) -> Result<(), RunError> {
    health.not_ready(PART, "starting");
    let connection = nats::connect(&config.nats).await?;
    connection.check().await?;
    if !connection.has_accounts() {
        tracing::info!("this server has one account for everything: nobody is let in to see only their own");
        health.ready(PART);
        shutdown.cancelled().await;
        return Ok(());
    }
    let desk = Arc::new(Desk::default());
    let door = Arc::new(Door {
        callout: connection.callout(Issuer::of(&config.nats.password)),
        desk: Arc::clone(&desk),
        followers: connection.followers(),
    });
    let knocks = door.callout.listen().await?;
    let upkeep = Upkeep::new(Arc::clone(&desk), connection.followers());
    let log = connection.log();
    let following = log.follow_those(
        vec![SUBJECTS.to_owned()],
        || desk.folded() + 1,
        |tailed| desk.take(tailed),
        shutdown.clone(),
    );
    health.ready(PART);
    tokio::join!(following, door.keep_answering(knocks, shutdown.clone()), upkeep.keep(shutdown.clone()));
    health.not_ready(PART, "ended");
    Ok(())
}
