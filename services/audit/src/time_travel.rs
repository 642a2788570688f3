//! What was the fleet at an instant of the log? Folded from the nearest fleet that is at hand; the newest asked for are
//! kept in memory, for the next page of the same answer.

use std::sync::{Arc, Mutex, PoisonError};

use chrono::{DateTime, TimeDelta, Utc};
use nats::{Log, LogError};
use projections::Projections;
use projections::fleet::{Fleet, ReplayError};
use tokio::sync::Semaphore;

use crate::from_log::FromLog;

/// Fleets kept in memory; they share what did not change between them.
const FLEETS_MAX: usize = 4;
/// Fleets folded at once; others wait for their turn.
const FOLDS_MAX: usize = 2;

/// A point of the log, as people name it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Instant {
    /// After this event.
    Sequence(u64),
    /// After everything that was stored up to then.
    Time(DateTime<Utc>),
}

#[derive(Debug, thiserror::Error)]
pub enum TravelError {
    /// The caller's mistake.
    #[error("the log ends at sequence {head}, and {asked} was asked for")]
    NotYet { asked: u64, head: u64 },
    /// Likewise.
    #[error("{asked} is in the future; it is {now}")]
    Future { asked: DateTime<Utc>, now: DateTime<Utc> },
    #[error("the log does not answer")]
    Log(#[from] LogError),
    #[error("the fleet of sequence {at} cannot be folded")]
    Replay {
        at: u64,
        #[source]
        source: ReplayError,
    },
}

/// Reads the log, and snapshots where the projector kept some.
pub struct TimeTravel {
    log: Log,
    projections: Projections,
    /// The last one asked for stands last.
    fleets: Mutex<Vec<Arc<Fleet>>>,
    folds: Semaphore,
}

impl TimeTravel {
    pub fn new(log: Log, projections: Projections) -> Self {
        Self { log, projections, fleets: Mutex::default(), folds: Semaphore::new(FOLDS_MAX) }
    }

    /// The sequence that an instant stands for; 0 before the first event.
    pub async fn sequence(&self, instant: Instant, now: DateTime<Utc>) -> Result<u64, TravelError> {
        let time = match instant {
            Instant::Sequence(asked) => {
                let head = self.log.head().await?;
                return if asked <= head { Ok(asked) } else { Err(TravelError::NotYet { asked, head }) };
            }
            Instant::Time(asked) if asked > now => return Err(TravelError::Future { asked, now }),
            Instant::Time(asked) => asked,
        };
        // before what is looked for, so that nothing stored in between is called older
        let head = self.log.head().await?;
        let after = self.log.sequence_at(time + TimeDelta::nanoseconds(1)).await?;
        Ok(after.map_or(head, |after| after.saturating_sub(1)))
    }

    /// The fleet after the event of this sequence, which the log has.
    pub async fn fleet(&self, at: u64) -> Result<Arc<Fleet>, TravelError> {
        if let Some(fleet) = self.known(at) {
            return Ok(fleet);
        }
        // never closed
        let _turn = self.folds.acquire().await;
        if let Some(fleet) = self.known(at) {
            return Ok(fleet);
        }
        let known = self.fleets().clone();
        let read = |position| FromLog::after(&self.log, position);
        let fleet = self.projections.fleet_at(at, &known, read).await;
        let fleet = Arc::new(fleet.map_err(|source| TravelError::Replay { at, source })?);
        let mut fleets = self.fleets();
        if fleets.len() >= FLEETS_MAX {
            fleets.remove(0);
        }
        fleets.push(Arc::clone(&fleet));
        Ok(fleet)
    }

    fn known(&self, at: u64) -> Option<Arc<Fleet>> {
        let mut fleets = self.fleets();
        let place = fleets.iter().position(|fleet| fleet.position() == at)?;
        let fleet = fleets.remove(place);
        fleets.push(Arc::clone(&fleet));
        Some(fleet)
    }

    fn fleets(&self) -> std::sync::MutexGuard<'_, Vec<Arc<Fleet>>> {
        self.fleets.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
