//! What became of the times at which a schedule was due?

use chrono::{DateTime, Utc};
use events::ids::{BatchId, ScheduleId, TenantId};
use events::schedule::{ScheduleEvent, ScheduleFired, ScheduleSkipped};
use events::{Event, Recorded};
use serde::{Deserialize, Serialize};
use sqlx::postgres::{PgConnection, PgRow};
use sqlx::{FromRow, QueryBuilder, Row};

use crate::batches::Counts;
use crate::columns::{
    RowError, check_text, column, get_parsed, get_parsed_option, get_unsigned, instant, seq,
};
use crate::paging::{At, QueryError};
use crate::pool::Projections;
use crate::projection;
use crate::table::Table;

/// A due time that was begun, or several that were skipped together.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RunRow {
    pub schedule_id: ScheduleId,
    /// The first of them.
    pub due_at: DateTime<Utc>,
    /// The last of them.
    pub last_due_at: DateTime<Utc>,
    pub count: u64,
    /// What was begun; `None` where it was skipped.
    pub batch_id: Option<BatchId>,
    pub servers: u64,
    /// Servers that were named and are not among them.
    pub left_out: u64,
    /// Why it was skipped.
    pub why: Option<String>,
    pub reason: Option<String>,
    pub at: DateTime<Utc>,
    #[serde(skip)]
    pub seq: u64,
    /// Commands of the batch that are known, those that have not ended, and those that ended with exit code 0; who
    /// folds a run counts none.
    #[serde(skip)]
    pub known: u64,
    #[serde(skip)]
    pub pending: u64,
    #[serde(skip)]
    pub good: u64,
}

impl RunRow {
    /// The same as [`COUNTED`] asks PostgreSQL for.
    pub(crate) fn count_commands(&mut self, batch: &Counts) {
        self.known = batch.total();
        self.pending = batch.queued + batch.dispatched;
        self.good = batch.completed - batch.completed_nonzero;
    }
}

/// The counts come from the commands, whose table is fed in the same transaction.
const COUNTED: &str = "r, LATERAL (SELECT count(*) AS known, \
    count(*) FILTER (WHERE status IN ('queued', 'dispatched')) AS pending, \
    count(*) FILTER (WHERE status = 'completed' AND exit_code = 0) AS good \
    FROM commands WHERE commands.batch_id = r.batch_id) c";

/// The newest ones of a schedule, newest first.
pub async fn of_schedule(
    projections: &Projections,
    schedule: &ScheduleId,
    limit: u32,
) -> Result<At<Vec<RunRow>>, QueryError> {
    let mut snapshot = projections.snapshot(projection::of!("schedules")).await?;
    let mut query =
        QueryBuilder::new("SELECT r.*, c.* FROM (SELECT * FROM schedule_runs WHERE schedule_id = ");
    query.push_bind(schedule.as_str()).push(" ORDER BY seq DESC LIMIT ").push_bind(i64::from(limit));
    query.push(format!(") {COUNTED} ORDER BY r.seq DESC"));
    let value = query.build_query_as().fetch_all(&mut *snapshot.transaction).await?;
    Ok(At { position: snapshot.position, value })
}

/// The newest one of each of these.
pub async fn newest<'s>(
    projections: &Projections,
    schedules: impl IntoIterator<Item = &'s ScheduleId>,
) -> Result<At<Vec<RunRow>>, QueryError> {
    let ids: Vec<String> = schedules.into_iter().map(ToString::to_string).collect();
    let mut snapshot = projections.snapshot(projection::of!("schedules")).await?;
    let mut query = QueryBuilder::new(
        "SELECT r.*, c.* FROM (SELECT DISTINCT ON (schedule_id) * FROM schedule_runs WHERE schedule_id = ANY(",
    );
    query.push_bind(ids).push(format!(") ORDER BY schedule_id, seq DESC) {COUNTED}"));
    let value = query.build_query_as().fetch_all(&mut *snapshot.transaction).await?;
    Ok(At { position: snapshot.position, value })
}

impl FromRow<'_, PgRow> for RunRow {
    fn from_row(row: &PgRow) -> Result<Self, sqlx::Error> {
        Ok(Self {
            schedule_id: get_parsed(row, "schedule_id")?,
            due_at: row.try_get("due_at")?,
            last_due_at: row.try_get("last_due_at")?,
            count: get_unsigned(row, "count")?,
            batch_id: get_parsed_option(row, "batch_id")?,
            servers: get_unsigned(row, "servers")?,
            left_out: get_unsigned(row, "left_out")?,
            why: row.try_get("why")?,
            reason: row.try_get("reason")?,
            at: row.try_get("at")?,
            seq: get_unsigned(row, "seq")?,
            known: get_unsigned(row, "known")?,
            pending: get_unsigned(row, "pending")?,
            good: get_unsigned(row, "good")?,
        })
    }
}

pub(crate) async fn feed(connection: &mut PgConnection, events: &[&Recorded]) -> Result<(), RowError> {
    let mut rows = Vec::new();
    for recorded in events {
        rows.extend(decided(recorded)?);
    }
    if rows.is_empty() {
        return Ok(());
    }
    sqlx::query(
        "INSERT INTO schedule_runs (schedule_id, due_at, last_due_at, count, batch_id, servers, left_out, why, \
         reason, at, seq) SELECT * FROM UNNEST($1::text[], $2::timestamptz[], $3::timestamptz[], $4::bigint[], \
         $5::text[], $6::bigint[], $7::bigint[], $8::text[], $9::text[], $10::timestamptz[], $11::bigint[])",
    )
    .bind(column(&rows, |row| row.schedule_id.as_str()))
    .bind(column(&rows, |row| row.due_at))
    .bind(column(&rows, |row| row.last_due_at))
    .bind(column(&rows, |row| seq(row.count)))
    .bind(column(&rows, |row| row.batch_id.as_ref().map(ToString::to_string)))
    .bind(column(&rows, |row| seq(row.servers)))
    .bind(column(&rows, |row| seq(row.left_out)))
    .bind(column(&rows, |row| row.why.clone()))
    .bind(column(&rows, |row| row.reason.clone()))
    .bind(column(&rows, |row| row.at))
    .bind(column(&rows, |row| seq(row.seq)))
    .execute(connection)
    .await?;
    Ok(())
}

/// What an event says of due times; `None`: nothing.
fn decided(recorded: &Recorded) -> Result<Option<RunRow>, RowError> {
    let Event::Schedule(event) = &recorded.event else { return Ok(None) };
    match event {
        ScheduleEvent::ScheduleFired(fired) => begun(recorded, fired).map(Some),
        ScheduleEvent::ScheduleSkipped(skipped) => skip(recorded, skipped).map(Some),
        ScheduleEvent::ScheduleSet(_)
        | ScheduleEvent::SchedulePaused(_)
        | ScheduleEvent::ScheduleResumed(_)
        | ScheduleEvent::ScheduleRemoved(_) => Ok(None),
    }
}

fn begun(recorded: &Recorded, fired: &ScheduleFired) -> Result<RunRow, RowError> {
    let due_at = instant(fired.due_at);
    Ok(RunRow {
        batch_id: Some(fired.batch_id.clone()),
        servers: fired.servers.len() as u64,
        left_out: fired.left_out.into(),
        ..run(recorded, due_at, fired.at)?
    })
}

fn skip(recorded: &Recorded, skipped: &ScheduleSkipped) -> Result<RunRow, RowError> {
    check_text(&skipped.reason)?;
    Ok(RunRow {
        last_due_at: instant(skipped.last),
        count: skipped.count.into(),
        why: Some(skipped.why.name().to_owned()),
        reason: skipped.reason.clone(),
        ..run(recorded, instant(skipped.first), skipped.at)?
    })
}

fn run(recorded: &Recorded, due_at: DateTime<Utc>, at: DateTime<Utc>) -> Result<RunRow, RowError> {
    Ok(RunRow {
        schedule_id: ScheduleId::parse(recorded.subject.id.as_str())
            .map_err(|error| RowError::Unfit(error.to_string()))?,
        due_at,
        last_due_at: due_at,
        count: 1,
        batch_id: None,
        servers: 0,
        left_out: 0,
        why: None,
        reason: None,
        at: instant(at),
        seq: recorded.seq,
        known: 0,
        pending: 0,
        good: 0,
    })
}

/// A run as the fleet of an instant has it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct FleetRun {
    pub tenant: TenantId,
    pub run: RunRow,
}

/// A row a run: the newest of a schedule, and those before as history.
pub(crate) struct Runs;

impl Table for Runs {
    type Row = FleetRun;

    const PROJECTION: &'static str = "schedules";
    const NAME: &'static str = "schedule_runs";
    const KEEPS_HISTORY: bool = true;

    fn key(recorded: &Recorded) -> Option<String> {
        let Event::Schedule(_) = &recorded.event else { return None };
        Some(recorded.subject.id.clone())
    }

    fn key_of(row: &FleetRun) -> String {
        row.run.schedule_id.as_str().to_owned()
    }

    fn birth(row: &FleetRun) -> u64 {
        row.run.seq
    }

    fn born(row: &mut FleetRun, birth: u64) {
        row.run.seq = birth;
    }

    fn tenant(row: &FleetRun) -> &TenantId {
        &row.tenant
    }

    fn is_over(_row: &FleetRun) -> bool {
        false
    }

    fn apply(row: Option<FleetRun>, recorded: &Recorded) -> Result<Option<FleetRun>, RowError> {
        let run = decided(recorded)?.map(|run| FleetRun { tenant: recorded.subject.tenant.clone(), run });
        Ok(run.or(row))
    }
}
