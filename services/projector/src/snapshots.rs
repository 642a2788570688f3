//! How do snapshots of the fleet come about? One each 20,000 events, behind the read models, for whoever asks later what
//! was. Nothing waits for them.

use std::time::Duration;

use nats::{Log, LogError};
use projections::Projections;
use projections::fleet::ReplayError;
use tokio_util::sync::CancellationToken;

use crate::back_off::BackOff;
use crate::from_log::FromLog;

/// How often it is looked whether one is due.
const LOOK_EVERY: Duration = Duration::from_secs(5);

pub struct Snapshots {
    pub log: Log,
    pub projections: Projections,
    pub shutdown: CancellationToken,
}

#[derive(Debug, thiserror::Error)]
enum Trouble {
    #[error("the log does not answer")]
    Log(#[from] LogError),
    #[error("the fleet cannot be folded")]
    Replay(#[from] ReplayError),
}

impl Snapshots {
    /// Until shutdown. Two projectors make the same ones, which does no harm.
    pub async fn run(&self) {
        self.shutdown.run_until_cancelled(self.run_for_ever()).await;
    }

    async fn run_for_ever(&self) {
        let mut back_off = BackOff::new();
        loop {
            let pause = match self.keep().await {
                Ok(()) => {
                    back_off.reset();
                    LOOK_EVERY
                }
                Err(trouble) => {
                    let error = &trouble as &dyn std::error::Error;
                    tracing::warn!(error, "no snapshot of the fleet is kept; trying again");
                    back_off.next()
                }
            };
            tokio::time::sleep(pause).await;
        }
    }

    async fn keep(&self) -> Result<(), Trouble> {
        let head = self.log.head().await?;
        Ok(self.projections.keep_snapshots(head, |after| FromLog::after(&self.log, after)).await?)
    }
}
