//! What was to be run on which servers, by whom, and how far is it?

use chrono::{DateTime, Utc};
use events::batch::{Answer, ApprovalAsked, BatchEvent, BatchRequested};
use events::ids::{BatchId, TenantId, UserName};
use events::{Event, Recorded};
use serde::Serialize;
use sqlx::postgres::{PgConnection, PgRow};
use sqlx::types::Json;
use sqlx::{FromRow, QueryBuilder, Row};

use crate::columns::{RowError, check_text, column, get_parsed, get_parsed_option, get_unsigned, seq};
use crate::paging::{At, Page, QueryError, Window};
use crate::pool::Projections;
use crate::projection;

/// One batch, without its commands.
#[derive(Debug, Clone, PartialEq)]
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
    pub created_seq: u64,
    pub seq: u64,
    pub counts: Counts,
}

/// How the waiting for a second person ended.
#[derive(Debug, Clone, PartialEq, Eq)]
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
}

/// Which batches; each part left out lets everything through.
#[derive(Debug, Clone, Default)]
pub struct Filter {
    pub tenant: Option<TenantId>,
    pub owner: Option<UserName>,
    /// Those alone that wait for a second person.
    pub awaiting: bool,
}

/// The counts come from the commands, whose table is fed in the same transaction.
const SELECT: &str = "SELECT b.batch_id, b.tenant, b.owner, b.command, b.timeout_ms, b.idempotent, b.concurrency, \
    b.servers, b.stop_after_failures, b.cancelled_at, b.stopped_at, b.approval, b.awaiting, b.answer, \
    b.answered_by, b.answered_at, b.answer_reason, b.created_at, b.created_seq, b.seq, c.* FROM batches b, LATERAL (SELECT \
    count(*) FILTER (WHERE status = 'awaiting_approval') AS awaiting_approval, \
    count(*) FILTER (WHERE status = 'queued') AS queued, count(*) FILTER (WHERE status = 'dispatched') AS dispatched, \
    count(*) FILTER (WHERE status = 'completed') AS completed, \
    count(*) FILTER (WHERE status = 'completed' AND exit_code <> 0) AS completed_nonzero, \
    count(*) FILTER (WHERE status = 'failed') AS failed, count(*) FILTER (WHERE status = 'timed_out') AS timed_out, \
    count(*) FILTER (WHERE status = 'lost') AS lost, count(*) FILTER (WHERE status = 'cancelled') AS cancelled \
    FROM commands WHERE commands.batch_id = b.batch_id) c";

/// One batch; `tenant: None` looks in all, `owner: None` for everybody's.
pub async fn get(
    projections: &Projections,
    filter: &Filter,
    batch: &BatchId,
) -> Result<At<Option<BatchRow>>, QueryError> {
    let mut snapshot = projections.snapshot(projection::of!("batches")).await?;
    let mut query = QueryBuilder::new(format!("{SELECT} WHERE b.batch_id = "));
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
    let mut query = QueryBuilder::new(format!("{SELECT} WHERE b.created_seq < "));
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
    let (mut begun, mut cancelled, mut stopped) = (Vec::new(), Vec::new(), Vec::new());
    let mut answers = Vec::new();
    for recorded in events {
        match &recorded.event {
            Event::Batch(BatchEvent::BatchRequested(requested)) => begun.push((*recorded, requested)),
            Event::Batch(BatchEvent::BatchCancelled(_)) => cancelled.push(*recorded),
            Event::Batch(BatchEvent::BatchStopped(_)) => stopped.push(*recorded),
            Event::Batch(BatchEvent::BatchApproved(approved)) => {
                answers.push((*recorded, Answer::Approved, Some(&approved.by), None));
            }
            Event::Batch(BatchEvent::BatchRejected(rejected)) => {
                check_text(&rejected.reason)?;
                answers.push((*recorded, Answer::Rejected, Some(&rejected.by), rejected.reason.as_deref()));
            }
            Event::Batch(BatchEvent::BatchExpired(_)) => {
                answers.push((*recorded, Answer::Expired, None, None));
            }
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
            | Event::Command(_)
            | Event::Schedule(_)
            | Event::Subscription(_)
            | Event::User(_)
            | Event::SignIn(_)
            | Event::Token(_)
            | Event::Request(_) => {}
        }
    }
    begin(connection, &begun).await?;
    answer(connection, &answers).await?;
    mark(connection, CANCELLED, &cancelled).await?;
    mark(connection, STOPPED, &stopped).await
}

async fn begin(connection: &mut PgConnection, rows: &[(&Recorded, &BatchRequested)]) -> Result<(), RowError> {
    if rows.is_empty() {
        return Ok(());
    }
    for (_, requested) in rows {
        check_text([&requested.command])?;
    }
    sqlx::query(
        "INSERT INTO batches (batch_id, tenant, owner, command, timeout_ms, idempotent, concurrency, servers, \
         stop_after_failures, approval, awaiting, created_at, created_seq, seq) \
         SELECT batch_id, tenant, owner, command, timeout_ms, idempotent, concurrency, servers, stop_after_failures, \
         approval, approval IS NOT NULL, created_at, seq, seq \
         FROM UNNEST($1::text[], $2::text[], $3::text[], $4::text[], $5::bigint[], $6::boolean[], $7::bigint[], \
         $8::bigint[], $9::bigint[], $10::jsonb[], $11::timestamptz[], $12::bigint[]) AS r(batch_id, tenant, owner, \
         command, timeout_ms, idempotent, concurrency, servers, stop_after_failures, approval, created_at, seq)",
    )
    .bind(column(rows, |(recorded, _)| recorded.subject.id.as_str()))
    .bind(column(rows, |(recorded, _)| recorded.subject.tenant.as_str()))
    .bind(column(rows, |(_, requested)| requested.by.as_str()))
    .bind(column(rows, |(_, requested)| requested.command.as_str()))
    .bind(column(rows, |(_, requested)| seq(requested.timeout_ms)))
    .bind(column(rows, |(_, requested)| requested.idempotent))
    .bind(column(rows, |(_, requested)| i64::from(requested.concurrency)))
    .bind(column(rows, |(_, requested)| seq(requested.servers.len() as u64)))
    .bind(column(rows, |(_, requested)| requested.stop_after_failures.map(i64::from)))
    .bind(column(rows, |(_, requested)| requested.approval.as_ref().map(Json)))
    .bind(column(rows, |(recorded, _)| recorded.meta.time))
    .bind(column(rows, |(recorded, _)| seq(recorded.seq)))
    .execute(connection)
    .await?;
    Ok(())
}

type Answering<'e> = (&'e Recorded, Answer, Option<&'e UserName>, Option<&'e str>);

async fn answer(connection: &mut PgConnection, rows: &[Answering<'_>]) -> Result<(), RowError> {
    if rows.is_empty() {
        return Ok(());
    }
    sqlx::query(
        "UPDATE batches b SET awaiting = false, answer = r.answer, answered_by = r.by, answered_at = r.at, \
         answer_reason = r.reason, seq = r.seq FROM UNNEST($1::text[], $2::text[], $3::text[], $4::timestamptz[], \
         $5::text[], $6::bigint[]) AS r(batch_id, answer, by, at, reason, seq) WHERE b.batch_id = r.batch_id",
    )
    .bind(column(rows, |(recorded, ..)| recorded.subject.id.as_str()))
    .bind(column(rows, |(_, answer, ..)| answer.name()))
    .bind(column(rows, |(_, _, by, _)| by.map(UserName::as_str)))
    .bind(column(rows, |(recorded, ..)| recorded.meta.time))
    .bind(column(rows, |(.., reason)| *reason))
    .bind(column(rows, |(recorded, ..)| seq(recorded.seq)))
    .execute(connection)
    .await?;
    Ok(())
}

const CANCELLED: &str = "UPDATE batches b SET cancelled_at = r.at, awaiting = false, seq = r.seq \
    FROM UNNEST($1::text[], $2::timestamptz[], $3::bigint[]) AS r(batch_id, at, seq) WHERE b.batch_id = r.batch_id";
const STOPPED: &str = "UPDATE batches b SET stopped_at = r.at, seq = r.seq \
    FROM UNNEST($1::text[], $2::timestamptz[], $3::bigint[]) AS r(batch_id, at, seq) WHERE b.batch_id = r.batch_id";

async fn mark(
    connection: &mut PgConnection,
    update: &'static str,
    rows: &[&Recorded],
) -> Result<(), RowError> {
    if rows.is_empty() {
        return Ok(());
    }
    sqlx::query(update)
        .bind(column(rows, |recorded| recorded.subject.id.as_str()))
        .bind(column(rows, |recorded| recorded.meta.time))
        .bind(column(rows, |recorded| seq(recorded.seq)))
        .execute(connection)
        .await?;
    Ok(())
}
