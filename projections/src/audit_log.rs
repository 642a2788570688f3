//! What happened, to what, by whom? A row an event, never changed.

use chrono::{DateTime, Utc};
use events::ids::TenantId;
use events::{Kind, Recorded};
use serde::Serialize;
use sqlx::postgres::PgConnection;
use sqlx::{FromRow, QueryBuilder, Row};
use uuid::Uuid;

use crate::columns::{RowError, column, get_parsed, get_unsigned, seq};
use crate::paging::{Page, QueryError, Window};
use crate::pool::Projections;
use crate::projection;

/// An event as an auditor reads it; the names are those of the CloudEvent.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct AuditRow {
    pub seq: u64,
    /// When it was decided.
    pub time: DateTime<Utc>,
    /// Of the subject; `_sys` for ports, users and tokens.
    pub tenant: TenantId,
    pub kind: String,
    pub aggregate_id: String,
    #[serde(rename = "type")]
    pub event_type: String,
    pub version: u32,
    /// `user:<name>`, `token:<id>`, `service:<name>` or `sentry:<env id>`.
    pub actor: String,
    pub correlation_id: Uuid,
    pub causation_id: Option<Uuid>,
    pub event_id: Uuid,
    /// The payload as it stands in the log, in today's version.
    pub data: serde_json::Value,
}

/// Which events; each part left out lets everything through.
#[derive(Debug, Clone, Default)]
pub struct Filter {
    pub tenant: Option<TenantId>,
    pub kind: Option<Kind>,
    pub aggregate_id: Option<String>,
    pub event_type: Option<String>,
    pub actor: Option<String>,
    pub correlation_id: Option<Uuid>,
    /// At or after this instant.
    pub from: Option<DateTime<Utc>>,
    /// Before this instant.
    pub to: Option<DateTime<Utc>>,
}

/// Newest first. `cursor` is the `next_cursor` of the page before.
pub async fn list(
    projections: &Projections,
    filter: &Filter,
    cursor: Option<&str>,
    limit: u32,
) -> Result<Page<AuditRow>, QueryError> {
    let window = Window::new("audit_log", cursor, limit)?;
    let mut snapshot = projections.snapshot(projection::of!("audit_log")).await?;
    let mut query = QueryBuilder::new("SELECT * FROM audit_log WHERE seq < ");
    query.push_bind(window.before);
    if let Some(tenant) = &filter.tenant {
        query.push(" AND tenant = ").push_bind(tenant.as_str());
    }
    if let Some(kind) = filter.kind {
        query.push(" AND kind = ").push_bind(kind.wire_name());
    }
    if let Some(id) = &filter.aggregate_id {
        query.push(" AND aggregate_id = ").push_bind(id);
    }
    if let Some(event_type) = &filter.event_type {
        query.push(" AND type = ").push_bind(event_type);
    }
    if let Some(actor) = &filter.actor {
        query.push(" AND actor = ").push_bind(actor);
    }
    if let Some(correlation) = filter.correlation_id {
        query.push(" AND correlation_id = ").push_bind(correlation);
    }
    if let Some(from) = filter.from {
        query.push(" AND time >= ").push_bind(from);
    }
    if let Some(to) = filter.to {
        query.push(" AND time < ").push_bind(to);
    }
    query.push(" ORDER BY seq DESC LIMIT ").push_bind(window.fetch());
    let rows = query.build_query_as().fetch_all(&mut *snapshot.transaction).await?;
    Ok(window.page(rows, snapshot.position, |row: &AuditRow| row.seq))
}

impl FromRow<'_, sqlx::postgres::PgRow> for AuditRow {
    fn from_row(row: &sqlx::postgres::PgRow) -> Result<Self, sqlx::Error> {
        Ok(Self {
            seq: get_unsigned(row, "seq")?,
            time: row.try_get("time")?,
            tenant: get_parsed(row, "tenant")?,
            kind: row.try_get("kind")?,
            aggregate_id: row.try_get("aggregate_id")?,
            event_type: row.try_get("type")?,
            version: u32::try_from(row.try_get::<i32, _>("version")?).unwrap_or_default(),
            actor: row.try_get("actor")?,
            correlation_id: row.try_get("correlation_id")?,
            causation_id: row.try_get("causation_id")?,
            event_id: row.try_get("event_id")?,
            data: row.try_get("data")?,
        })
    }
}

/// Every event of every kind is a row.
pub(crate) async fn feed(connection: &mut PgConnection, events: &[&Recorded]) -> Result<(), RowError> {
    if events.is_empty() {
        return Ok(());
    }
    sqlx::query(
        "INSERT INTO audit_log (seq, time, tenant, kind, aggregate_id, type, version, actor, \
         correlation_id, causation_id, event_id, data) \
         SELECT seq, time, tenant, kind, aggregate_id, type, version, actor, correlation_id, causation_id, \
         event_id, data::jsonb \
         FROM UNNEST($1::bigint[], $2::timestamptz[], $3::text[], $4::text[], $5::text[], $6::text[], \
         $7::integer[], $8::text[], $9::uuid[], $10::uuid[], $11::uuid[], $12::text[]) \
         AS r(seq, time, tenant, kind, aggregate_id, type, version, actor, correlation_id, causation_id, \
         event_id, data)",
    )
    .bind(column(events, |event| seq(event.seq)))
    .bind(column(events, |event| event.meta.time))
    .bind(column(events, |event| event.subject.tenant.as_str()))
    .bind(column(events, |event| event.subject.kind.wire_name()))
    .bind(column(events, |event| event.subject.id.as_str()))
    .bind(column(events, |event| event.event.event_type()))
    .bind(column(events, |event| i32::try_from(event.event.version()).unwrap_or(i32::MAX)))
    .bind(column(events, |event| event.meta.actor.as_str()))
    .bind(column(events, |event| event.meta.correlation))
    .bind(column(events, |event| event.meta.causation.map(|id| id.0)))
    .bind(column(events, |event| event.meta.id.0))
    .bind(column(events, |event| event.event.to_json().to_string()))
    .execute(connection)
    .await?;
    Ok(())
}
