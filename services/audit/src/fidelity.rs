//! Are the read models what the log gives? The log is folded anew beside the live rows, by the statements that feed
//! them, and compared row for row.

use std::error::Error;
use std::time::{Duration, Instant};

use nats::{Log, LogError, TailError};
use projections::compare::Comparison;
use projections::fleet::{Fleet, ReplayError};
use projections::rebuild::BuildError;
use projections::{Gap, NAMES, Projections, QueryError};
use serde_json::Value;

use crate::from_log::FromLog;
use crate::verdict::{Difference, Fidelity, Verdict};

/// Another comparison of the same rows ends, or is given up for dead, within.
const BUSY_WAIT: Duration = Duration::from_secs(60);
const BUSY_PAUSE: Duration = Duration::from_millis(300);

#[derive(Debug, thiserror::Error)]
enum Trouble {
    #[error("the read models do not answer")]
    Query(#[from] QueryError),
    #[error("the log does not answer")]
    Log(#[from] LogError),
    #[error("the log cannot be folded anew")]
    Build(#[from] BuildError),
    #[error("the snapshots cannot be compared")]
    Replay(#[from] ReplayError),
}

/// Takes as long as a rebuild of everything; nothing waits for it.
pub async fn compare(log: &Log, projections: &Projections) -> Fidelity {
    match compare_all(log, projections).await {
        Ok(fidelity) => fidelity,
        Err(trouble) => match gap_in(&trouble) {
            Some(gap) => {
                let what = format!("the log cannot be folded: event {} is missing", gap.expected);
                Fidelity { verdict: Verdict::fails(gap.expected, what), ..Fidelity::unknown("") }
            }
            None => Fidelity::unknown(kit::error::chain(&trouble)),
        },
    }
}

async fn compare_all(log: &Log, projections: &Projections) -> Result<Fidelity, Trouble> {
    let mut fidelity = Fidelity { verdict: Verdict::holds(), ..Fidelity::unknown("") };
    let position = projections.position().await?;
    // asked afterwards, so that honest rows are never ahead
    let head = log.head().await?;
    if position > head {
        let what = format!("the read models have events up to {position}, the log ends at {head}");
        fidelity.verdict = Verdict::fails(head + 1, what);
        fidelity.position = position;
        return Ok(fidelity);
    }
    let mut positions = Vec::with_capacity(NAMES.len());
    for name in NAMES {
        let comparison = compare_one(log, projections, name).await?;
        positions.push(comparison.position);
        let rows =
            |rows: Vec<Value>, live: bool| rows.into_iter().map(move |row| difference(name, row, live));
        let found: Vec<Difference> =
            rows(comparison.only_live, true).chain(rows(comparison.only_log, false)).collect();
        for one in paired(found) {
            let which = match (&one.live, &one.log) {
                (Some(_), Some(_)) => "is another than the log gives",
                (Some(_), None) => "is none that the log gives",
                (None, _) => "is missing",
            };
            fidelity.verdict.fails_also(one.sequence, || format!("a row of {} {which}", one.table));
            fidelity.differences.push(one);
        }
    }
    compare_snapshots(log, projections, head, &mut fidelity.verdict).await?;
    fidelity.differences.sort_by_key(|one| one.sequence);
    fidelity.position = positions.into_iter().min().unwrap_or(position);
    fidelity.projections = NAMES.iter().map(|name| (*name).to_owned()).collect();
    Ok(fidelity)
}

/// What was is answered from snapshots: they are folded anew, too.
async fn compare_snapshots(
    log: &Log,
    projections: &Projections,
    head: u64,
    verdict: &mut Verdict,
) -> Result<(), Trouble> {
    let (mut fleet, mut source) = (Fleet::default(), FromLog::after(log, 0));
    for at in projections.snapshots().await? {
        if at > head {
            verdict
                .fails_also(head + 1, || format!("a snapshot has events up to {at}, the log ends at {head}"));
            return Ok(());
        }
        fleet.read_on(at, &mut source).await?;
        // one that is not whole is none: nobody is answered from it
        if let Some(kept) = projections.snapshot_at(at).await?
            && let Some(first) = fleet.first_difference(&kept)
        {
            verdict.fails_also(first.max(1), || {
                format!("the snapshot of event {at} is another than the log gives")
            });
        }
    }
    Ok(())
}

/// One after the other: who compares too is waited for, also one that was killed.
async fn compare_one(log: &Log, projections: &Projections, name: &str) -> Result<Comparison, BuildError> {
    let began = Instant::now();
    loop {
        match projections.compare(name, &mut FromLog::after(log, 0)).await {
            Err(BuildError::Busy(_)) if began.elapsed() < BUSY_WAIT => tokio::time::sleep(BUSY_PAUSE).await,
            compared => return compared,
        }
    }
}

fn difference(projection: &str, mut row: Value, live: bool) -> Difference {
    let mut take = |name: &str| row.as_object_mut().and_then(|row| row.remove(name)).unwrap_or_default();
    let table = take("table").as_str().unwrap_or_default().to_owned();
    let sequence = take("sequence").as_u64().unwrap_or_default();
    let (live, log) = if live { (Some(row), None) } else { (None, Some(row)) };
    Difference { projection: projection.to_owned(), table, sequence, live, log }
}

/// The two sides of one row as one difference: rows of a table that name the same thing.
fn paired(found: Vec<Difference>) -> Vec<Difference> {
    let mut paired: Vec<Difference> = Vec::with_capacity(found.len());
    for one in found {
        let same = paired.iter_mut().find(|other| {
            other.log.is_none()
                && one.log.is_some()
                && other.table == one.table
                && is_same(&one.table, other.live.as_ref(), one.log.as_ref())
        });
        match same {
            Some(other) => (other.log, other.sequence) = (one.log, one.sequence),
            None => paired.push(one),
        }
    }
    paired
}

/// Whether two rows stand for one thing: the columns that name it are the same.
fn is_same(table: &str, one: Option<&Value>, other: Option<&Value>) -> bool {
    let names: &[&str] = match table {
        "environments" => &["env_id"],
        "port_mappings" => &["allocated_seq"],
        "port_blocks" => &["pool", "port"],
        "ssh_keys" => &["key_id"],
        "sessions" => &["session_id"],
        "recordings" => &["session_id", "number"],
        "quotas" => &["tenant"],
        "quota_claims" => &["tenant", "env_id"],
        "users" => &["username"],
        "tokens" => &["token_id"],
        _ => &["seq"],
    };
    let (Some(one), Some(other)) = (one, other) else { return false };
    names.iter().all(|name| one.get(name).is_some() && one.get(name) == other.get(name))
}

/// The log's gap, if that is what it was.
fn gap_in(trouble: &Trouble) -> Option<Gap> {
    let mut source: Option<&(dyn Error + 'static)> = Some(trouble);
    while let Some(error) = source {
        if let Some(gap) = error.downcast_ref::<Gap>() {
            return Some(*gap);
        }
        if let Some(TailError::Gap { expected, found }) = error.downcast_ref() {
            return Some(Gap { expected: *expected, found: *found });
        }
        // an error that shows another one as itself hides it from `source`
        if let Some(BuildError::Gap(gap)) = error.downcast_ref() {
            return Some(*gap);
        }
        if let Some(ReplayError::Gap(gap)) = error.downcast_ref() {
            return Some(*gap);
        }
        source = error.source();
    }
    None
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use serde_json::json;

    use super::*;

    #[test]
    fn the_two_sides_of_a_row_are_one_difference() {
        let row = |gpu: u64, env: &str, sequence: u64| json!({"table": "environments", "sequence": sequence, "env_id": env, "gpu": gpu});
        let found = vec![
            difference("environments", row(7, "env-a", 3), true),
            difference("environments", row(7, "env-b", 9), true),
            difference("environments", row(0, "env-a", 5), false),
            difference("environments", row(0, "env-c", 6), false),
        ];
        let paired = paired(found);
        let seen: Vec<_> =
            paired.iter().map(|one| (one.sequence, one.live.is_some(), one.log.is_some())).collect();
        assert_eq!(seen, [(5, true, true), (9, true, false), (6, false, true)]);
        assert_eq!(paired[0].live, Some(json!({"env_id": "env-a", "gpu": 7})));
    }
}
