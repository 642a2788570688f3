//! What was to be run on which servers, by whom, and how far is it?

use chrono::{DateTime, Utc};
use events::batch::{Answer, ApprovalAsked, BatchEvent, BatchRequested};
use events::ids::{BatchId, TenantId, UserName};
use events::{Event, Recorded};
use serde::{Deserialize, Serialize};
use sqlx::postgres::{PgConnection, PgRow};
use sqlx::types::Json;
use sqlx::{FromRow, QueryBuilder, Row};

use crate::columns::{RowError, check_text, column, get_parsed, get_parsed_option, get_unsigned, seq};
use crate::commands::CommandState;
use crate::paging::{At, Page, QueryError, Window};
use crate::pool::Projections;
use crate::projection;
use crate::table::{self, Stored, Table};

/// One batch, without its commands.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct BatchRow {
    pub batch_id: BatchId,
    pub tenant: TenantId,
    pub owner: UserName,
    pub command: String,
    pub timeout_ms: u64,
    pub idempotent: bool,
    pub concurrency: u64,
    /// Commands in it.
    pub servers: u64,
    pub stop_after_failures: Option<u64>,
    pub cancelled_at: Option<DateTime<Utc>>,
    /// When too much of it had gone wrong.
    pub stopped_at: Option<DateTime<Utc>>,
    /// What it waits or waited for; `None` where nobody had to be asked.
    pub approval: Option<ApprovalAsked>,
    /// It waits for a second person.
    pub awaiting: bool,
    /// What became of that.
    pub answer: Option<Answered>,
    pub created_at: DateTime<Utc>,
    #[serde(skip)]
    pub created_seq: u64,
    pub seq: u64,
    /// Its commands' affair: who folds a batch counts none.
    #[serde(skip)]
    pub counts: Counts,
}

/// How the waiting for a second person ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Answered {
    /// `approved`, `rejected` or `expired`.
    pub answer: String,
    /// `None`: nobody answered.
    pub by: Option<UserName>,
    pub at: DateTime<Utc>,
    pub reason: Option<String>,
}

/// Commands by what became of them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Counts {
    pub awaiting_approval: u64,
    pub queued: u64,
    pub dispatched: u64,
    pub completed: u64,
    /// Of the completed ones, those with another exit code than 0.
    pub completed_nonzero: u64,
    pub failed: u64,
    pub timed_out: u64,
    pub lost: u64,
    pub cancelled: u64,
}

impl Counts {
    pub fn pending(&self) -> u64 {
        self.awaiting_approval + self.queued + self.dispatched
    }

    pub(crate) fn total(&self) -> u64 {
        self.pending() + self.completed + self.failed + self.timed_out + self.lost + self.cancelled
    }

    /// So many more commands of which this is true; the same as [`COUNTS`] asks PostgreSQL for.
    pub(crate) fn add(&mut self, state: &CommandState, commands: u64) {
        let count = match state.status.as_str() {
            "awaiting_approval" => &mut self.awaiting_approval,
            "queued" => &mut self.queued,
            "dispatched" => &mut self.dispatched,
            "completed" => &mut self.completed,
            "failed" => &mut self.failed,
            "timed_out" => &mut self.timed_out,
            "lost" => &mut self.lost,
            "cancelled" => &mut self.cancelled,
            _ => return,
        };
        *count += commands;
        if state.status == "completed" && state.exit_code.is_some_and(|code| code != 0) {
            self.completed_nonzero += commands;
        }
    }
}

/// Which batches; each part left out lets everything through.
#[derive(Debug, Clone, Default)]
pub struct Filter {
    pub tenant: Option<TenantId>,
    pub owner: Option<UserName>,
    /// Those alone that wait for a second person.
    pub awaiting: bool,
}

impl Filter {
    /// The same as [`list`] asks PostgreSQL for.
    pub(crate) fn lets_through(&self, row: &BatchRow) -> bool {
        self.tenant.as_ref().is_none_or(|tenant| *tenant == row.tenant)
            && self.owner.as_ref().is_none_or(|owner| *owner == row.owner)
            && (row.awaiting || !self.awaiting)
    }
}

const COLUMNS: &str = "b.batch_id, b.tenant, b.owner, b.command, b.timeout_ms, b.idempotent, b.concurrency, \
    b.servers, b.stop_after_failures, b.cancelled_at, b.stopped_at, b.approval, b.awaiting, b.answer, \
    b.answered_by, b.answered_at, b.answer_reason, b.created_at, b.created_seq, b.seq";
/// They come from the commands, whose table is fed in the same transaction.
const COUNTS: &str = "LATERAL (SELECT \
    count(*) FILTER (WHERE status = 'awaiting_approval') AS awaiting_approval, \
    count(*) FILTER (WHERE status = 'queued') AS queued, count(*) FILTER (WHERE status = 'dispatched') AS dispatched, \
    count(*) FILTER (WHERE status = 'completed') AS completed, \
    count(*) FILTER (WHERE status = 'completed' AND exit_code <> 0) AS completed_nonzero, \
    count(*) FILTER (WHERE status = 'failed') AS failed, count(*) FILTER (WHERE status = 'timed_out') AS timed_out, \
    count(*) FILTER (WHERE status = 'lost') AS lost, count(*) FILTER (WHERE status = 'cancelled') AS cancelled \
    FROM commands WHERE commands.batch_id = b.batch_id)";
/// For who feeds: it looks at nothing but its own table, and writes no count.
const UNCOUNTED: &str = "(SELECT 0::bigint AS awaiting_approval, 0::bigint AS queued, 0::bigint AS dispatched, \
    0::bigint AS completed, 0::bigint AS completed_nonzero, 0::bigint AS failed, 0::bigint AS timed_out, \
    0::bigint AS lost, 0::bigint AS cancelled)";

/// One batch; `tenant: None` looks in all, `owner: None` for everybody's.
pub async fn get(
    projections: &Projections,
    filter: &Filter,
    batch: &BatchId,
) -> Result<At<Option<BatchRow>>, QueryError> {
    let mut snapshot = projections.snapshot(projection::of!("batches")).await?;
    let mut query =
        QueryBuilder::new(format!("SELECT {COLUMNS}, c.* FROM batches b, {COUNTS} c WHERE b.batch_id = "));
    query.push_bind(batch.as_str());
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
) -> Result<Page<BatchRow>, QueryError> {
    let window = Window::new("batches", cursor, limit)?;
    let mut snapshot = projections.snapshot(projection::of!("batches")).await?;
    let mut query =
        QueryBuilder::new(format!("SELECT {COLUMNS}, c.* FROM batches b, {COUNTS} c WHERE b.created_seq < "));
    query.push_bind(window.before);
    confine(&mut query, filter);
    query.push(" ORDER BY b.created_seq DESC LIMIT ").push_bind(window.fetch());
    let rows = query.build_query_as().fetch_all(&mut *snapshot.transaction).await?;
    Ok(window.page(rows, snapshot.position, |row: &BatchRow| row.created_seq))
}

fn confine(query: &mut QueryBuilder<sqlx::Postgres>, filter: &Filter) {
    if let Some(tenant) = &filter.tenant {
        query.push(" AND b.tenant = ").push_bind(tenant.to_string());
    }
    if let Some(owner) = &filter.owner {
        query.push(" AND b.owner = ").push_bind(owner.to_string());
    }
    if filter.awaiting {
        query.push(" AND b.awaiting");
    }
}

impl FromRow<'_, PgRow> for BatchRow {
    fn from_row(row: &PgRow) -> Result<Self, sqlx::Error> {
        Ok(Self {
            batch_id: get_parsed(row, "batch_id")?,
            tenant: get_parsed(row, "tenant")?,
            owner: get_parsed(row, "owner")?,
            command: row.try_get("command")?,
            timeout_ms: get_unsigned(row, "timeout_ms")?,
            idempotent: row.try_get("idempotent")?,
            concurrency: get_unsigned(row, "concurrency")?,
            servers: get_unsigned(row, "servers")?,
            stop_after_failures: row.try_get::<Option<i64>, _>("stop_after_failures")?.map(i64::unsigned_abs),
            cancelled_at: row.try_get("cancelled_at")?,
            stopped_at: row.try_get("stopped_at")?,
            approval: row.try_get::<Option<Json<_>>, _>("approval")?.map(|json| json.0),
            awaiting: row.try_get("awaiting")?,
            answer: answered(row)?,
            created_at: row.try_get("created_at")?,
            created_seq: get_unsigned(row, "created_seq")?,
            seq: get_unsigned(row, "seq")?,
            counts: Counts {
                awaiting_approval: get_unsigned(row, "awaiting_approval")?,
                queued: get_unsigned(row, "queued")?,
                dispatched: get_unsigned(row, "dispatched")?,
                completed: get_unsigned(row, "completed")?,
                completed_nonzero: get_unsigned(row, "completed_nonzero")?,
                failed: get_unsigned(row, "failed")?,
                timed_out: get_unsigned(row, "timed_out")?,
                lost: get_unsigned(row, "lost")?,
                cancelled: get_unsigned(row, "cancelled")?,
            },
        })
    }
}

fn answered(row: &PgRow) -> Result<Option<Answered>, sqlx::Error> {
    let Some(answer) = row.try_get("answer")? else { return Ok(None) };
    let by = get_parsed_option(row, "answered_by")?;
    Ok(Some(Answered { answer, by, at: row.try_get("answered_at")?, reason: row.try_get("answer_reason")? }))
}

pub(crate) async fn feed(connection: &mut PgConnection, events: &[&Recorded]) -> Result<(), RowError> {
    table::feed::<Batches>(connection, events).await
}

pub(crate) struct Batches;

impl Table for Batches {
    type Row = BatchRow;

    const PROJECTION: &'static str = "batches";
    const NAME: &'static str = "batches";

    fn key(recorded: &Recorded) -> Option<String> {
        let Event::Batch(_) = &recorded.event else { return None };
        Some(recorded.subject.id.clone())
    }

    fn key_of(row: &BatchRow) -> String {
        row.batch_id.as_str().to_owned()
    }

    fn birth(row: &BatchRow) -> u64 {
        row.created_seq
    }

    fn born(row: &mut BatchRow, birth: u64) {
        row.created_seq = birth;
    }

    fn tenant(row: &BatchRow) -> &TenantId {
        &row.tenant
    }

    /// Only its commands say: asked of a row that is counted.
    fn is_over(row: &BatchRow) -> bool {
        row.counts.pending() == 0
    }

    fn apply(row: Option<BatchRow>, recorded: &Recorded) -> Result<Option<BatchRow>, RowError> {
        let Event::Batch(event) = &recorded.event else { return Ok(row) };
        let mut row = match (row, event) {
            (None, BatchEvent::BatchRequested(requested)) => return begun(recorded, requested).map(Some),
            (Some(row), _) => row,
            (None, _) => {
                let kind = recorded.event.event_type();
                return Err(RowError::Unfit(format!("{kind} of a batch that has no row")));
            }
        };
        let at = recorded.meta.time;
        match event {
            BatchEvent::BatchRequested(_) => {
                return Err(RowError::Unfit("a batch is asked for that has a row".to_owned()));
            }
            BatchEvent::BatchCancelled(_) => (row.awaiting, row.cancelled_at) = (false, Some(at)),
            BatchEvent::BatchStopped(_) => row.stopped_at = Some(at),
            BatchEvent::BatchApproved(approved) => {
                row.answered(at, Answer::Approved, Some(&approved.by), None);
            }
            BatchEvent::BatchRejected(rejected) => {
                check_text(&rejected.reason)?;
                row.answered(at, Answer::Rejected, Some(&rejected.by), rejected.reason.clone());
            }
            BatchEvent::BatchExpired(_) => row.answered(at, Answer::Expired, None, None),
        }
        row.seq = recorded.seq;
        Ok(Some(row))
    }
}

fn begun(recorded: &Recorded, requested: &BatchRequested) -> Result<BatchRow, RowError> {
    check_text([&requested.command])?;
    Ok(BatchRow {
        batch_id: BatchId::parse(recorded.subject.id.as_str())
            .map_err(|error| RowError::Unfit(error.to_string()))?,
        tenant: recorded.subject.tenant.clone(),
        owner: requested.by.clone(),
        command: requested.command.clone(),
        timeout_ms: requested.timeout_ms,
        idempotent: requested.idempotent,
        concurrency: requested.concurrency.into(),
        servers: requested.servers.len() as u64,
        stop_after_failures: requested.stop_after_failures.map(u64::from),
        cancelled_at: None,
        stopped_at: None,
        awaiting: requested.approval.is_some(),
        approval: requested.approval.clone(),
        answer: None,
        created_at: recorded.meta.time,
        created_seq: recorded.seq,
        seq: recorded.seq,
        counts: Counts::default(),
    })
}

impl BatchRow {
    fn answered(&mut self, at: DateTime<Utc>, answer: Answer, by: Option<&UserName>, reason: Option<String>) {
        self.awaiting = false;
        self.answer = Some(Answered { answer: answer.name().to_owned(), by: by.cloned(), at, reason });
    }
}

const STORE: &str = "INSERT INTO batches (batch_id, tenant, owner, command, timeout_ms, idempotent, concurrency, \
    servers, stop_after_failures, cancelled_at, stopped_at, approval, awaiting, answer, answered_by, answered_at, \
    answer_reason, created_at, created_seq, seq) \
    SELECT * FROM UNNEST($1::text[], $2::text[], $3::text[], $4::text[], $5::bigint[], $6::boolean[], $7::bigint[], \
    $8::bigint[], $9::bigint[], $10::timestamptz[], $11::timestamptz[], $12::jsonb[], $13::boolean[], $14::text[], \
    $15::text[], $16::timestamptz[], $17::text[], $18::timestamptz[], $19::bigint[], $20::bigint[]) \
    ON CONFLICT (batch_id) DO UPDATE SET cancelled_at = EXCLUDED.cancelled_at, stopped_at = EXCLUDED.stopped_at, \
    awaiting = EXCLUDED.awaiting, answer = EXCLUDED.answer, answered_by = EXCLUDED.answered_by, \
    answered_at = EXCLUDED.answered_at, answer_reason = EXCLUDED.answer_reason, seq = EXCLUDED.seq";

impl Stored for Batches {
    async fn load(connection: &mut PgConnection, keys: Vec<String>) -> Result<Vec<BatchRow>, sqlx::Error> {
        let mut query = QueryBuilder::new(format!(
            "SELECT {COLUMNS}, c.* FROM batches b, {UNCOUNTED} c WHERE b.batch_id = ANY("
        ));
        query.push_bind(keys).push(")");
        query.build_query_as().fetch_all(connection).await
    }

    async fn store(connection: &mut PgConnection, rows: &[BatchRow]) -> Result<(), RowError> {
        let answer = |row: &BatchRow| row.answer.clone();
        let by = |row: &BatchRow| answer(row).and_then(|answered| answered.by).map(String::from);
        sqlx::query(STORE)
            .bind(column(rows, |row| row.batch_id.as_str()))
            .bind(column(rows, |row| row.tenant.as_str()))
            .bind(column(rows, |row| row.owner.as_str()))
            .bind(column(rows, |row| row.command.as_str()))
            .bind(column(rows, |row| seq(row.timeout_ms)))
            .bind(column(rows, |row| row.idempotent))
            .bind(column(rows, |row| seq(row.concurrency)))
            .bind(column(rows, |row| seq(row.servers)))
            .bind(column(rows, |row| row.stop_after_failures.map(seq)))
            .bind(column(rows, |row| row.cancelled_at))
            .bind(column(rows, |row| row.stopped_at))
            .bind(column(rows, |row| row.approval.as_ref().map(Json)))
            .bind(column(rows, |row| row.awaiting))
            .bind(column(rows, |row| answer(row).map(|answered| answered.answer)))
            .bind(column(rows, by))
            .bind(column(rows, |row| answer(row).map(|answered| answered.at)))
            .bind(column(rows, |row| answer(row).and_then(|answered| answered.reason)))
            .bind(column(rows, |row| row.created_at))
            .bind(column(rows, |row| seq(row.created_seq)))
            .bind(column(rows, |row| seq(row.seq)))
            .execute(connection)
            .await?;
        Ok(())
    }
}
