//! What is to be run when, in whose name, and when is it due next?
//!
//! When something is due next is computed with the tables of time zones of the release: raise the version of the
//! projection with them.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use events::ids::{BatchId, ScheduleId, TenantId, UserName};
use events::schedule::{Schedule, ScheduleEvent, ScheduleSet, due};
use events::{Aggregate as _, Event, Recorded};
use sqlx::postgres::{PgConnection, PgRow};
use sqlx::types::Json;
use sqlx::{FromRow, QueryBuilder, Row};

use crate::columns::{
    RowError, check_text, column, get_parsed, get_parsed_option, get_unsigned, instant, seq,
};
use crate::paging::{At, Page, QueryError, Window};
use crate::pool::Projections;
use crate::projection;
use crate::schedule_runs;

/// What is true of a schedule after its events.
#[derive(Debug, Clone, PartialEq)]
pub struct ScheduleRow {
    pub schedule_id: ScheduleId,
    pub tenant: TenantId,
    pub set: ScheduleSet,
    pub paused: bool,
    pub removed: bool,
    /// Every time up to then is on record, or does not count.
    pub covered: DateTime<Utc>,
    /// The first time that is not on record; `None`: it is never due again, or not as it is.
    pub next_due: Option<DateTime<Utc>>,
    /// What began last.
    pub batch_id: Option<BatchId>,
    pub created_at: DateTime<Utc>,
    pub updated_at: DateTime<Utc>,
    pub created_seq: u64,
    pub seq: u64,
}

/// Which schedules; each part left out lets everything through. Removed ones are never listed.
#[derive(Debug, Clone, Default)]
pub struct Filter {
    pub tenant: Option<TenantId>,
    pub owner: Option<UserName>,
}

const COLUMNS: &str = "schedule_id, tenant, settings, paused, removed, covered, next_due, batch_id, created_at, \
    updated_at, created_seq, seq";

/// One schedule, a removed one too.
pub async fn get(
    projections: &Projections,
    filter: &Filter,
    schedule: &ScheduleId,
) -> Result<At<Option<ScheduleRow>>, QueryError> {
    let mut snapshot = projections.snapshot(projection::of!("schedules")).await?;
    let mut query = QueryBuilder::new(format!("SELECT {COLUMNS} FROM schedules WHERE schedule_id = "));
    query.push_bind(schedule.as_str());
    confine(&mut query, filter);
    let value = query.build_query_as().fetch_optional(&mut *snapshot.transaction).await?;
    Ok(At { position: snapshot.position, value })
}

/// Newest first. `cursor` is the `next_cursor` of the page before.
pub async fn list(
    projections: &Projections,
    filter: &Filter,
    cursor: Option<&str>,
    limit: u32,
) -> Result<Page<ScheduleRow>, QueryError> {
    let window = Window::new("schedules", cursor, limit)?;
    let mut snapshot = projections.snapshot(projection::of!("schedules")).await?;
    let mut query =
        QueryBuilder::new(format!("SELECT {COLUMNS} FROM schedules WHERE NOT removed AND created_seq < "));
    query.push_bind(window.before);
    confine(&mut query, filter);
    query.push(" ORDER BY created_seq DESC LIMIT ").push_bind(window.fetch());
    let rows = query.build_query_as().fetch_all(&mut *snapshot.transaction).await?;
    Ok(window.page(rows, snapshot.position, |row: &ScheduleRow| row.created_seq))
}

/// How many this tenant has.
pub async fn count(projections: &Projections, tenant: &TenantId) -> Result<u64, QueryError> {
    let mut snapshot = projections.snapshot(projection::of!("schedules")).await?;
    let query = sqlx::query("SELECT count(*) AS count FROM schedules WHERE tenant = $1 AND NOT removed");
    let row = query.bind(tenant.as_str()).fetch_one(&mut *snapshot.transaction).await?;
    Ok(get_unsigned(&row, "count")?)
}

/// Those of which something may be due by then, the longest due first.
pub async fn waiting(
    projections: &Projections,
    by: DateTime<Utc>,
    limit: u32,
) -> Result<Vec<(TenantId, ScheduleId)>, QueryError> {
    let mut query = QueryBuilder::new("SELECT tenant, schedule_id FROM schedules WHERE next_due <= ");
    query.push_bind(by).push(" ORDER BY next_due LIMIT ").push_bind(i64::from(limit));
    named(projections, query).await
}

/// Those of which a due time is begun and its batch is not: whoever began it is gone.
pub async fn left_behind(
    projections: &Projections,
    limit: u32,
) -> Result<Vec<(TenantId, ScheduleId)>, QueryError> {
    let mut query = QueryBuilder::new(
        "SELECT tenant, schedule_id FROM schedules s WHERE batch_id IS NOT NULL AND NOT EXISTS \
         (SELECT FROM batches b WHERE b.batch_id = s.batch_id) ORDER BY seq LIMIT ",
    );
    query.push_bind(i64::from(limit));
    named(projections, query).await
}

async fn named(
    projections: &Projections,
    mut query: QueryBuilder<sqlx::Postgres>,
) -> Result<Vec<(TenantId, ScheduleId)>, QueryError> {
    let mut snapshot = projections.snapshot(projection::of!("schedules")).await?;
    let rows = query.build().fetch_all(&mut *snapshot.transaction).await?;
    let of = |row: &PgRow| Ok((get_parsed(row, "tenant")?, get_parsed(row, "schedule_id")?));
    rows.iter().map(of).collect::<Result<_, sqlx::Error>>().map_err(QueryError::from)
}

fn confine(query: &mut QueryBuilder<sqlx::Postgres>, filter: &Filter) {
    if let Some(tenant) = &filter.tenant {
        query.push(" AND tenant = ").push_bind(tenant.to_string());
    }
    if let Some(owner) = &filter.owner {
        query.push(" AND owner = ").push_bind(owner.to_string());
    }
}

impl FromRow<'_, PgRow> for ScheduleRow {
    fn from_row(row: &PgRow) -> Result<Self, sqlx::Error> {
        Ok(Self {
            schedule_id: get_parsed(row, "schedule_id")?,
            tenant: get_parsed(row, "tenant")?,
            set: row.try_get::<Json<_>, _>("settings")?.0,
            paused: row.try_get("paused")?,
            removed: row.try_get("removed")?,
            covered: row.try_get("covered")?,
            next_due: row.try_get("next_due")?,
            batch_id: get_parsed_option(row, "batch_id")?,
            created_at: row.try_get("created_at")?,
            updated_at: row.try_get("updated_at")?,
            created_seq: get_unsigned(row, "created_seq")?,
            seq: get_unsigned(row, "seq")?,
        })
    }
}

/// Loads the rows that the events change, folds, and writes each once.
pub(crate) async fn feed(connection: &mut PgConnection, events: &[&Recorded]) -> Result<(), RowError> {
    let changes: Vec<(&Recorded, &ScheduleEvent)> = events.iter().filter_map(|event| change(event)).collect();
    if changes.is_empty() {
        return Ok(());
    }
    let mut ids = column(&changes, |(recorded, _)| recorded.subject.id.as_str());
    ids.sort_unstable();
    ids.dedup();
    let mut query = QueryBuilder::new(format!("SELECT {COLUMNS} FROM schedules WHERE schedule_id = ANY("));
    query.push_bind(ids).push(")");
    let rows: Vec<ScheduleRow> = query.build_query_as().fetch_all(&mut *connection).await?;
    let mut rows: BTreeMap<String, ScheduleRow> =
        rows.into_iter().map(|row| (row.schedule_id.to_string(), row)).collect();
    for (recorded, event) in &changes {
        let before = rows.remove(&recorded.subject.id);
        let after = apply(before, recorded, event)?;
        rows.insert(recorded.subject.id.clone(), after);
    }
    store(connection, &rows.into_values().collect::<Vec<_>>()).await?;
    schedule_runs::feed(connection, &changes).await
}

fn change(recorded: &Recorded) -> Option<(&Recorded, &ScheduleEvent)> {
    match &recorded.event {
        Event::Schedule(event) => Some((recorded, event)),
        Event::Tenant(_)
        | Event::Quota(_)
        | Event::Env(_)
        | Event::Port(_)
        | Event::Credential(_)
        | Event::SshKey(_)
        | Event::Login(_)
        | Event::Session(_)
        | Event::Server(_)
        | Event::Access(_)
        | Event::Relay(_)
        | Event::Batch(_)
        | Event::Command(_)
        | Event::Subscription(_)
        | Event::User(_)
        | Event::SignIn(_)
        | Event::Token(_)
        | Event::Request(_) => None,
    }
}

fn apply(
    row: Option<ScheduleRow>,
    recorded: &Recorded,
    event: &ScheduleEvent,
) -> Result<ScheduleRow, RowError> {
    let at = recorded.meta.time;
    let mut row = match (row, event) {
        (Some(row), _) => row,
        (None, ScheduleEvent::ScheduleSet(set)) => ScheduleRow {
            schedule_id: ScheduleId::parse(recorded.subject.id.as_str())
                .map_err(|error| RowError::Unfit(error.to_string()))?,
            tenant: recorded.subject.tenant.clone(),
            set: set.clone(),
            paused: false,
            removed: false,
            covered: DateTime::default(),
            next_due: None,
            batch_id: None,
            created_at: at,
            updated_at: at,
            created_seq: recorded.seq,
            seq: recorded.seq,
        },
        (None, _) => {
            let kind = recorded.event.event_type();
            return Err(RowError::Unfit(format!("{kind} of a schedule that has no row")));
        }
    };
    // when it is due next is decided where everybody decides it
    let mut state = Schedule {
        set: Some(row.set),
        paused: row.paused,
        removed: row.removed,
        covered: row.covered,
        newest: None,
    };
    state.evolve(event, at);
    match event {
        ScheduleEvent::ScheduleSet(set) => check_text([&set.name, &set.run.command, &set.actor])?,
        ScheduleEvent::ScheduleFired(fired) => row.batch_id = Some(fired.batch_id.clone()),
        ScheduleEvent::SchedulePaused(_)
        | ScheduleEvent::ScheduleResumed(_)
        | ScheduleEvent::ScheduleRemoved(_)
        | ScheduleEvent::ScheduleSkipped(_) => {}
    }
    row.covered = instant(state.covered);
    row.next_due = due::next(&state).map(instant);
    (row.paused, row.removed) = (state.paused, state.removed);
    row.set = state.set.ok_or_else(|| RowError::Unfit("a schedule that was never set".to_owned()))?;
    (row.updated_at, row.seq) = (at, recorded.seq);
    Ok(row)
}

const STORE: &str = "INSERT INTO schedules (schedule_id, tenant, owner, settings, paused, removed, covered, next_due, \
    batch_id, created_at, updated_at, created_seq, seq) \
    SELECT schedule_id, tenant, owner, settings, paused, removed, covered, next_due, batch_id, created_at, \
    updated_at, created_seq, seq \
    FROM UNNEST($1::text[], $2::text[], $3::text[], $4::jsonb[], $5::boolean[], $6::boolean[], $7::timestamptz[], \
    $8::timestamptz[], $9::text[], $10::timestamptz[], $11::timestamptz[], $12::bigint[], $13::bigint[]) AS \
    r(schedule_id, tenant, owner, settings, paused, removed, covered, next_due, batch_id, created_at, updated_at, \
    created_seq, seq) \
    ON CONFLICT (schedule_id) DO UPDATE SET settings = EXCLUDED.settings, paused = EXCLUDED.paused, \
    removed = EXCLUDED.removed, covered = EXCLUDED.covered, next_due = EXCLUDED.next_due, \
    batch_id = EXCLUDED.batch_id, updated_at = EXCLUDED.updated_at, seq = EXCLUDED.seq";

async fn store(connection: &mut PgConnection, rows: &[ScheduleRow]) -> Result<(), RowError> {
    sqlx::query(STORE)
        .bind(column(rows, |row| row.schedule_id.as_str()))
        .bind(column(rows, |row| row.tenant.as_str()))
        .bind(column(rows, |row| row.set.by.as_str()))
        .bind(column(rows, |row| Json(&row.set)))
        .bind(column(rows, |row| row.paused))
        .bind(column(rows, |row| row.removed))
        .bind(column(rows, |row| row.covered))
        .bind(column(rows, |row| row.next_due))
        .bind(column(rows, |row| row.batch_id.as_ref().map(ToString::to_string)))
        .bind(column(rows, |row| row.created_at))
        .bind(column(rows, |row| row.updated_at))
        .bind(column(rows, |row| seq(row.created_seq)))
        .bind(column(rows, |row| seq(row.seq)))
        .execute(connection)
        .await?;
    Ok(())
}
