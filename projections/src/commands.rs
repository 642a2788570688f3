//! What became of each command on each server?

use std::collections::{BTreeMap, HashMap};

use chrono::{DateTime, Utc};
use events::batch::BatchEvent;
use events::command::output::Stored;
use events::command::{CommandEvent, Output};
use events::ids::{BatchId, CommandId, RelayId, ServerId, TenantId, UserName};
use events::{Event, Recorded};
use serde::{Deserialize, Serialize};
use sqlx::postgres::{PgConnection, PgRow};
use sqlx::types::Json;
use sqlx::{FromRow, QueryBuilder, Row};

pub use crate::batch_commands::{Filter, of_batch};
use crate::columns::{RowError, column, get_parsed, get_parsed_option, get_unsigned, seq};
use crate::command_rows::{AWAITING, Answer, OrderRow};
use crate::paging::{At, QueryError};
use crate::pool::Projections;
use crate::projection;

/// What is true of a command after its batch's events and its own.
#[derive(Debug, Clone, PartialEq)]
pub struct CommandRow {
    pub command_id: CommandId,
    pub tenant: TenantId,
    pub batch_id: BatchId,
    pub server_id: ServerId,
    /// Its place in the batch.
    pub place: u64,
    pub owner: UserName,
    pub requested_at: DateTime<Utc>,
    pub state: CommandState,
}

/// What became of it so far.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct CommandState {
    /// `awaiting_approval`, `queued`, `dispatched`, or its outcome.
    pub status: String,
    /// The relay that has or had it; `None` when it went directly.
    pub relay_id: Option<RelayId>,
    pub attempts: u64,
    pub exit_code: Option<i32>,
    /// `None` while there is none, and in lists.
    #[serde(skip)]
    pub stdout: Option<Kept>,
    #[serde(skip)]
    pub stderr: Option<Kept>,
    pub class: Option<String>,
    pub reason: Option<String>,
    pub suggestion: Option<String>,
    #[serde(skip)]
    pub late: Option<Late>,
    pub dispatched_at: Option<DateTime<Utc>>,
    pub deadline: Option<DateTime<Utc>>,
    pub ended_at: Option<DateTime<Utc>>,
    pub seq: u64,
}

/// One output.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Kept {
    pub bytes: Vec<u8>,
    /// In all, where not all are kept.
    pub total: Option<u64>,
    /// Where more of it lies.
    pub stored: Option<Stored>,
}

impl Kept {
    /// Some of it is nowhere.
    pub fn truncated(&self) -> bool {
        let stored = self.stored.as_ref().map_or(0, |stored| stored.bytes);
        self.total.is_some_and(|total| total > stored)
    }
}

impl From<&Output> for Kept {
    fn from(output: &Output) -> Self {
        Self { bytes: output.bytes(), total: output.bytes_total, stored: output.stored.clone() }
    }
}

/// An answer that was not the outcome.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Late {
    pub relay_id: Option<RelayId>,
    pub exit_code: i32,
    pub stdout: Output,
    pub stderr: Output,
    pub at: DateTime<Utc>,
}

pub(crate) const LISTED: &str = "command_id, tenant, batch_id, server_id, place, owner, status, relay_id, attempts, exit_code, \
    class, reason, suggestion, requested_at, dispatched_at, deadline, ended_at, seq";
const WHOLE: &str = ", stdout, stderr, stdout_total, stderr_total, stdout_stored, stderr_stored, late";
pub(crate) const WITHOUT: &str = ", NULL::bytea AS stdout, NULL::bytea AS stderr, NULL::bigint AS stdout_total, \
    NULL::bigint AS stderr_total, NULL::jsonb AS stdout_stored, NULL::jsonb AS stderr_stored, NULL::jsonb AS late";

/// One command, with its outputs; `tenant: None` looks in all, `owner: None` for everybody's.
pub async fn get(
    projections: &Projections,
    tenant: Option<&TenantId>,
    owner: Option<&UserName>,
    command: &CommandId,
) -> Result<At<Option<CommandRow>>, QueryError> {
    let mut snapshot = projections.snapshot(projection::of!("commands")).await?;
    let mut query = QueryBuilder::new(format!("SELECT {LISTED}{WHOLE} FROM commands WHERE command_id = "));
    query.push_bind(command.as_str());
    if let Some(tenant) = tenant {
        query.push(" AND tenant = ").push_bind(tenant.as_str());
    }
    if let Some(owner) = owner {
        query.push(" AND owner = ").push_bind(owner.as_str());
    }
    let value = query.build_query_as().fetch_optional(&mut *snapshot.transaction).await?;
    Ok(At { position: snapshot.position, value })
}

impl FromRow<'_, PgRow> for CommandRow {
    fn from_row(row: &PgRow) -> Result<Self, sqlx::Error> {
        let kept = |name: &str| -> Result<Option<Kept>, sqlx::Error> {
            let total: Option<i64> = row.try_get(&*format!("{name}_total"))?;
            let stored: Option<Json<Stored>> = row.try_get(&*format!("{name}_stored"))?;
            let bytes: Option<Vec<u8>> = row.try_get(name)?;
            let (total, stored) = (total.map(i64::unsigned_abs), stored.map(|json| json.0));
            Ok(bytes.map(|bytes| Kept { bytes, total, stored }))
        };
        Ok(Self {
            command_id: get_parsed(row, "command_id")?,
            tenant: get_parsed(row, "tenant")?,
            batch_id: get_parsed(row, "batch_id")?,
            server_id: get_parsed(row, "server_id")?,
            place: get_unsigned(row, "place")?,
            owner: get_parsed(row, "owner")?,
            requested_at: row.try_get("requested_at")?,
            state: CommandState {
                status: row.try_get("status")?,
                relay_id: get_parsed_option(row, "relay_id")?,
                attempts: get_unsigned(row, "attempts")?,
                exit_code: row.try_get("exit_code")?,
                stdout: kept("stdout")?,
                stderr: kept("stderr")?,
                class: row.try_get("class")?,
                reason: row.try_get("reason")?,
                suggestion: row.try_get("suggestion")?,
                late: row.try_get::<Option<Json<Late>>, _>("late")?.map(|json| json.0),
                dispatched_at: row.try_get("dispatched_at")?,
                deadline: row.try_get("deadline")?,
                ended_at: row.try_get("ended_at")?,
                seq: get_unsigned(row, "seq")?,
            },
        })
    }
}

/// A batch makes the rows of its commands; what then happens to each is folded and written once.
pub(crate) async fn feed(connection: &mut PgConnection, events: &[&Recorded]) -> Result<(), RowError> {
    let (mut rows, mut changes, mut answers) = (BTreeMap::new(), Vec::new(), Vec::new());
    for recorded in events {
        match &recorded.event {
            Event::Batch(BatchEvent::BatchRequested(requested)) => {
                for row in OrderRow::of(recorded, requested)?.commands(0) {
                    rows.entry(row.command_id.to_string()).or_insert(row);
                }
            }
            Event::Batch(event) => {
                if let Some(answer) = Answer::of(recorded, event)? {
                    answers.push((recorded.subject.id.as_str(), answer));
                }
            }
            Event::Command(event) => changes.push((*recorded, event)),
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
            | Event::Schedule(_)
            | Event::Subscription(_)
            | Event::User(_)
            | Event::SignIn(_)
            | Event::Token(_)
            | Event::NatsTap(_)
            | Event::Request(_) => {}
        }
    }
    load(connection, &changes, &answers, &mut rows).await?;
    // a command of its own has nothing before its batch has an answer
    end_waiting(&mut rows, &answers);
    for (recorded, event) in changes {
        let kind = recorded.event.event_type();
        let row = rows.get_mut(&recorded.subject.id);
        let row = row.ok_or_else(|| RowError::Unfit(format!("{kind} of a command that has no row")))?;
        row.state.change(recorded, event)?;
        row.state.hear(recorded, event);
    }
    let rows: Vec<CommandRow> = rows.into_values().collect();
    if rows.is_empty() { Ok(()) } else { store(connection, &rows).await }
}

/// Of a batch, by its id.
type Answering<'e> = (&'e str, Answer);

fn end_waiting(rows: &mut BTreeMap<String, CommandRow>, answers: &[Answering<'_>]) {
    if answers.is_empty() {
        return;
    }
    let mut waiting: HashMap<String, Vec<&mut CommandRow>> = HashMap::new();
    for row in rows.values_mut().filter(|row| row.state.status == AWAITING) {
        waiting.entry(row.batch_id.to_string()).or_default().push(row);
    }
    for (batch, answer) in answers {
        // the first answer counts
        for row in waiting.remove(*batch).unwrap_or_default() {
            answer.end_waiting(&mut row.state);
        }
    }
}

async fn load(
    connection: &mut PgConnection,
    changes: &[(&Recorded, &CommandEvent)],
    answers: &[Answering<'_>],
    rows: &mut BTreeMap<String, CommandRow>,
) -> Result<(), RowError> {
    let mut ids = column(changes, |(recorded, _)| recorded.subject.id.as_str());
    ids.retain(|id| !rows.contains_key(*id));
    ids.sort_unstable();
    ids.dedup();
    if ids.is_empty() && answers.is_empty() {
        return Ok(());
    }
    let batches = column(answers, |(batch, _)| *batch);
    let mut query =
        QueryBuilder::new(format!("SELECT {LISTED}{WHOLE} FROM commands WHERE command_id = ANY("));
    query.push_bind(ids).push(") OR (batch_id = ANY(").push_bind(batches);
    query.push(") AND status = ").push_bind(AWAITING).push(")");
    let found: Vec<CommandRow> = query.build_query_as().fetch_all(connection).await?;
    rows.extend(found.into_iter().map(|row| (row.command_id.to_string(), row)));
    Ok(())
}

const STORE: &str = "INSERT INTO commands (command_id, tenant, batch_id, server_id, place, owner, status, relay_id, \
    attempts, exit_code, stdout, stderr, stdout_total, stderr_total, stdout_stored, stderr_stored, class, reason, suggestion, late, requested_at, \
    dispatched_at, deadline, ended_at, seq) \
    SELECT * FROM UNNEST($1::text[], $2::text[], $3::text[], $4::text[], $5::bigint[], $6::text[], \
    $7::text[], $8::text[], $9::bigint[], $10::integer[], $11::bytea[], $12::bytea[], $13::bigint[], \
    $14::bigint[], $15::jsonb[], $16::jsonb[], $17::text[], $18::text[], $19::text[], $20::jsonb[], \
    $21::timestamptz[], $22::timestamptz[], $23::timestamptz[], $24::timestamptz[], $25::bigint[]) \
    ON CONFLICT (command_id) DO UPDATE SET status = EXCLUDED.status, relay_id = EXCLUDED.relay_id, \
    attempts = EXCLUDED.attempts, exit_code = EXCLUDED.exit_code, stdout = EXCLUDED.stdout, \
    stderr = EXCLUDED.stderr, stdout_total = EXCLUDED.stdout_total, stderr_total = EXCLUDED.stderr_total, \
    stdout_stored = EXCLUDED.stdout_stored, stderr_stored = EXCLUDED.stderr_stored, \
    class = EXCLUDED.class, reason = EXCLUDED.reason, suggestion = EXCLUDED.suggestion, late = EXCLUDED.late, \
    dispatched_at = EXCLUDED.dispatched_at, deadline = EXCLUDED.deadline, ended_at = EXCLUDED.ended_at, \
    seq = EXCLUDED.seq";

async fn store(connection: &mut PgConnection, rows: &[CommandRow]) -> Result<(), RowError> {
    let bytes = |kept: &Option<Kept>| kept.as_ref().map(|kept| kept.bytes.clone());
    let total = |kept: &Option<Kept>| kept.as_ref().and_then(|kept| kept.total).map(seq);
    let stored = |kept: &Option<Kept>| kept.as_ref().and_then(|kept| kept.stored.clone()).map(Json);
    sqlx::query(STORE)
        .bind(column(rows, |row| row.command_id.as_str()))
        .bind(column(rows, |row| row.tenant.as_str()))
        .bind(column(rows, |row| row.batch_id.as_str()))
        .bind(column(rows, |row| row.server_id.as_str()))
        .bind(column(rows, |row| seq(row.place)))
        .bind(column(rows, |row| row.owner.as_str()))
        .bind(column(rows, |row| row.state.status.as_str()))
        .bind(column(rows, |row| row.state.relay_id.as_ref().map(ToString::to_string)))
        .bind(column(rows, |row| seq(row.state.attempts)))
        .bind(column(rows, |row| row.state.exit_code))
        .bind(column(rows, |row| bytes(&row.state.stdout)))
        .bind(column(rows, |row| bytes(&row.state.stderr)))
        .bind(column(rows, |row| total(&row.state.stdout)))
        .bind(column(rows, |row| total(&row.state.stderr)))
        .bind(column(rows, |row| stored(&row.state.stdout)))
        .bind(column(rows, |row| stored(&row.state.stderr)))
        .bind(column(rows, |row| row.state.class.clone()))
        .bind(column(rows, |row| row.state.reason.clone()))
        .bind(column(rows, |row| row.state.suggestion.clone()))
        .bind(column(rows, |row| row.state.late.as_ref().map(Json)))
        .bind(column(rows, |row| row.requested_at))
        .bind(column(rows, |row| row.state.dispatched_at))
        .bind(column(rows, |row| row.state.deadline))
        .bind(column(rows, |row| row.state.ended_at))
        .bind(column(rows, |row| seq(row.state.seq)))
        .execute(connection)
        .await?;
    Ok(())
}
