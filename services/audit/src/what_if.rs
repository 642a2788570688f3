//! What does another policy say of a period of the log? Each part of it reads the events that it looks at and no
//! others, from as far back as they count; what it says of them is pure (`events::what_if`).

use std::time::Duration;

use chrono::TimeDelta;
use events::ids::TenantId;
use events::what_if::claims::Claims;
use events::what_if::doors::Doors;
use events::what_if::guests::Guests;
use events::what_if::{Found, OtherPolicy, Part};
use nats::{Log, LogError, Start, TailError, Tailed};

/// The longest that all of it takes: whoever asked is answered before they give up.
pub const WITHIN: Duration = Duration::from_secs(15);
/// Events taken at once.
const CHUNK_MAX: usize = 2_000;
/// Longest wait at the end of the log; a read that is under way is waited for.
const CHUNK_WAIT: Duration = Duration::from_millis(20);

/// Both sequences are in it, and the log has the last; it is empty when that is before the first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Period {
    pub first: u64,
    pub last: u64,
}

#[derive(Debug, thiserror::Error)]
pub enum WhatIfError {
    #[error("the log does not answer")]
    Log(#[from] LogError),
    #[error("the log cannot be read on")]
    Tail(#[from] TailError),
    #[error("the period could not be looked at within {} s", WITHIN.as_secs())]
    TooLong,
}

/// The decisions of the period that would have been others; those of one tenant, or of all.
pub async fn what_if(
    log: &Log,
    policy: OtherPolicy,
    tenant: Option<&TenantId>,
    period: Period,
) -> Result<Found, WhatIfError> {
    let looking = tokio::time::timeout(WITHIN, all_parts(log, policy, tenant, period));
    looking.await.unwrap_or(Err(WhatIfError::TooLong))
}

async fn all_parts(
    log: &Log,
    policy: OtherPolicy,
    tenant: Option<&TenantId>,
    period: Period,
) -> Result<Found, WhatIfError> {
    let OtherPolicy { lockout, quota, allow_list } = policy;
    let mut found = Found::default();
    if period.first > period.last {
        return Ok(found);
    }
    if lockout.is_some() || allow_list.is_some() {
        let doors = Doors::new(lockout, allow_list.clone(), tenant);
        let start = before(log, period.first, doors.remembered()).await?;
        found = found.and(hold(log, doors, start, period).await?);
    }
    if let Some(list) = allow_list {
        found = found.and(hold(log, Guests::new(list), period.first, period).await?);
    }
    if let Some(quota) = quota {
        // a claim counts until it is released, however old it is
        found = found.and(hold(log, Claims::new(quota), 1, period).await?);
    }
    Ok(found)
}

/// The first sequence that was stored at most so long before this one.
async fn before(log: &Log, sequence: u64, span: TimeDelta) -> Result<u64, LogError> {
    let Some(stored) = log.stored_at(sequence).await? else { return Ok(sequence) };
    let start = log.sequence_at(stored.time - span).await?;
    Ok(start.map_or(sequence, |start| start.min(sequence)))
}

/// Reads from `start` to the end of the period.
async fn hold(log: &Log, mut part: impl Part, start: u64, period: Period) -> Result<Found, WhatIfError> {
    let mut found = Found::default();
    let mut tail = log.tail(Start::Sequence(start), vec![part.subject()]);
    while tail.position() <= period.last {
        for tailed in tail.next_chunk(CHUNK_MAX, CHUNK_WAIT).await? {
            if tailed.seq() > period.last {
                return Ok(found);
            }
            match tailed {
                Tailed::Event(recorded) if recorded.seq < period.first => part.before(&recorded),
                Tailed::Event(recorded) => part.within(&recorded, &mut found),
                Tailed::Unreadable { seq, subject, why, raw: _ } => {
                    tracing::warn!(event.seq = seq, subject, why, "a what-if leaves out what cannot be read");
                }
            }
        }
    }
    Ok(found)
}
