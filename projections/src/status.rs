//! How is each projection: how far, built anew, with what left aside?

use serde::Serialize;

use crate::paging::QueryError;
use crate::pool::Projections;

/// More parked subjects than this are counted, not shown.
const PARKED_SHOWN_MAX: i64 = 100;

/// One projection as an operator sees it.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ProjectionStatus {
    pub name: String,
    /// The last sequence of the log whose changes are in the rows.
    pub position: u64,
    #[serde(flatten)]
    pub state: State,
    /// Why the last try of its rebuild ended early.
    pub rebuild_trouble: Option<String>,
    /// Subjects it does not follow any more.
    pub parked_subjects: u64,
    /// The first hundred of them.
    pub parked: Vec<Parked>,
    /// Messages of the log that no projection can read.
    pub unreadable: u64,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "state", rename_all = "snake_case")]
pub enum State {
    /// Fed with every event.
    Live,
    /// A rebuild was asked for and has not begun.
    Requested,
    /// Built anew beside the live rows, which are read until the switch.
    Rebuilding { rebuild_position: u64 },
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Parked {
    pub subject: String,
    /// The event whose row could not be written.
    pub seq: u64,
    pub reason: String,
    /// Later events of the subject, not applied.
    pub skipped: u64,
}

type StatusRow = (String, i64, bool, Option<i64>, Option<String>, i64, i64);
type ParkedRow = (String, String, i64, String, i64);

impl Projections {
    /// All projections by name.
    pub async fn status(&self) -> Result<Vec<ProjectionStatus>, QueryError> {
        let mut transaction =
            self.pool().begin_with("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY").await?;
        let rows: Vec<StatusRow> = sqlx::query_as(
            "SELECT c.name, c.seq, s.lane IS NOT NULL, s.seq, s.trouble, \
             (SELECT count(*) FROM parked p WHERE p.lane = c.name), (SELECT count(*) FROM unreadable) \
             FROM checkpoint c LEFT JOIN shadow s ON s.lane = 'rebuild_' || c.name ORDER BY c.name",
        )
        .fetch_all(&mut *transaction)
        .await?;
        let parked: Vec<ParkedRow> = sqlx::query_as(
            "SELECT lane, subject, seq, reason, skipped FROM ( \
             SELECT *, row_number() OVER (PARTITION BY lane ORDER BY seq) AS n FROM parked) p \
             WHERE n <= $1 ORDER BY seq",
        )
        .bind(PARKED_SHOWN_MAX)
        .fetch_all(&mut *transaction)
        .await?;
        Ok(rows.into_iter().map(|row| status_of(row, &parked)).collect())
    }
}

fn status_of(row: StatusRow, parked: &[ParkedRow]) -> ProjectionStatus {
    let (name, position, has_shadow, shadow_position, rebuild_trouble, parked_subjects, unreadable) = row;
    let count = |number: i64| u64::try_from(number).unwrap_or_default();
    let state = match (has_shadow, shadow_position) {
        (false, _) => State::Live,
        (true, None) => State::Requested,
        (true, Some(position)) => State::Rebuilding { rebuild_position: count(position) },
    };
    let parked = parked.iter().filter(|(lane, ..)| *lane == name);
    ProjectionStatus {
        position: count(position),
        state,
        rebuild_trouble,
        parked_subjects: count(parked_subjects),
        parked: parked
            .map(|(_, subject, at, reason, skipped)| Parked {
                subject: subject.clone(),
                seq: count(*at),
                reason: reason.clone(),
                skipped: count(*skipped),
            })
            .collect(),
        unreadable: count(unreadable),
        name,
    }
}
