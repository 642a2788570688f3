//! How is the fleet of an instant come by? From the newest one before it that is at hand, by what the log says since.

use std::error::Error;
use std::sync::Arc;

use super::Fleet;
use super::kept::SNAPSHOT_EVERY;
use crate::beside::Source;
use crate::chunk::Gap;
use crate::paging::QueryError;
use crate::pool::Projections;

/// Messages read and folded at once.
const CHUNK_MAX: usize = 2_000;
/// Reads in a row that may give nothing, where the log said that there is more.
const EMPTY_READS_MAX: u32 = 10;

/// There is no fleet of that instant.
#[derive(Debug, thiserror::Error)]
pub enum ReplayError {
    #[error("the snapshots cannot be read")]
    Snapshots(#[from] QueryError),
    #[error("the log could not be read")]
    Source(#[source] Box<dyn Error + Send + Sync>),
    #[error(transparent)]
    Gap(#[from] Gap),
    #[error("the log gave nothing after sequence {position}, and {at} was asked for")]
    Short { position: u64, at: u64 },
}

impl Fleet {
    /// Folds up to and with `at`; `source` begins with what follows.
    pub async fn read_on<S: Source>(&mut self, at: u64, source: &mut S) -> Result<(), ReplayError> {
        let mut empty_reads = 0;
        while self.position() < at {
            let missing = usize::try_from(at - self.position()).unwrap_or(usize::MAX);
            let chunk = source.next(missing.min(CHUNK_MAX)).await.map_err(ReplayError::Source)?;
            empty_reads = if chunk.is_empty() { empty_reads + 1 } else { 0 };
            if empty_reads > EMPTY_READS_MAX {
                return Err(ReplayError::Short { position: self.position(), at });
            }
            self.take(&chunk)?;
        }
        Ok(())
    }
}

impl Projections {
    /// The fleet after the event `at`, which the log must have. `known` are fleets in memory; `read` gives the log
    /// after a sequence.
    pub async fn fleet_at<S: Source>(
        &self,
        at: u64,
        known: &[Arc<Fleet>],
        read: impl FnOnce(u64) -> S,
    ) -> Result<Fleet, ReplayError> {
        let before = known.iter().filter(|fleet| fleet.position() <= at).max_by_key(|fleet| fleet.position());
        let mut fleet = match before {
            Some(before) if at - before.position() < SNAPSHOT_EVERY => Fleet::clone(before),
            before => {
                let before = before.map(|fleet| Fleet::clone(fleet)).unwrap_or_default();
                let kept = self.nearest_snapshot(at, known).await?;
                kept.filter(|kept| kept.position() > before.position()).unwrap_or(before)
            }
        };
        if fleet.position() < at {
            fleet.read_on(at, &mut read(fleet.position())).await?;
        }
        Ok(fleet)
    }

    /// Keeps the snapshots that are due up to `head`; the newest one is the beginning.
    pub async fn keep_snapshots<S: Source>(
        &self,
        head: u64,
        read: impl FnOnce(u64) -> S,
    ) -> Result<(), ReplayError> {
        let newest = self.snapshots().await?.pop().unwrap_or_default();
        if head < newest.saturating_add(SNAPSHOT_EVERY) {
            return Ok(());
        }
        let mut fleet = self.nearest_snapshot(head, &[]).await?.unwrap_or_default();
        let mut source = read(fleet.position());
        loop {
            let next = (fleet.position() / SNAPSHOT_EVERY + 1) * SNAPSHOT_EVERY;
            if next > head {
                return Ok(());
            }
            fleet.read_on(next, &mut source).await?;
            self.keep_snapshot(&fleet).await?;
        }
    }
}
