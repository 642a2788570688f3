//! How are records and events read to their end, also where a replica lags behind?

use std::time::Duration;

use nats::{Anchors, AnchorsError, StoredRecord};
use tokio::time::Instant;

use crate::evidence::Evidence;
use crate::record::Statement;

/// What the leader knows is there for every reader within.
pub const VISIBLE_WITHIN: Duration = Duration::from_secs(5);
pub const LOOK_EVERY: Duration = Duration::from_millis(50);

/// Reads all records after those that were read; `each` sees them as they are stored, and what they say if they are
/// believed.
pub async fn read_on(
    anchors: &Anchors,
    evidence: &mut Evidence,
    mut each: impl FnMut(&StoredRecord, Option<&Statement>),
) -> Result<(), AnchorsError> {
    let last = anchors.last().await?;
    let mut waiting: Option<Instant> = None;
    while evidence.number() < last {
        let records = anchors.read(evidence.number() + 1).await?;
        if records.is_empty() {
            if waiting.get_or_insert_with(Instant::now).elapsed() > VISIBLE_WITHIN {
                // they are gone: whoever reads the evidence sees where it ends
                return Ok(());
            }
            tokio::time::sleep(LOOK_EVERY).await;
            continue;
        }
        waiting = None;
        for record in &records {
            let statement = evidence.take(record.number, &record.bytes);
            each(record, statement.as_ref());
        }
    }
    Ok(())
}
