//! Who may follow which events by NATS? Never the digests of passwords.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use events::ids::{NatsTapId, TenantId, UserName};
use events::nats_tap::{NatsTapEvent, NatsTapIssued};
use events::{Event, Recorded};
use serde::Serialize;
use sqlx::postgres::{PgConnection, PgRow};
use sqlx::{FromRow, QueryBuilder, Row};

use crate::columns::{RowError, column, get_parsed, get_unsigned, seq};
use crate::paging::{At, Page, QueryError, Window};
use crate::pool::Projections;
use crate::projection;

/// A tap, without its password.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct NatsTapRow {
    pub tap_id: NatsTapId,
    #[serde(rename = "tenant_id")]
    pub tenant: TenantId,
    pub name: String,
    /// Kinds of things whose events it shows.
    pub kinds: Vec<String>,
    /// Who asked for it.
    pub issued_by: UserName,
    /// Its place on the server.
    pub consumer: String,
    /// `None`: it was not revoked.
    pub revoked_at: Option<DateTime<Utc>>,
    pub created_at: DateTime<Utc>,
    #[serde(skip)]
    pub created_seq: u64,
    pub seq: u64,
}

/// Which taps; each part left out lets everything through.
#[derive(Debug, Clone, Default)]
pub struct Filter {
    pub tenant: Option<TenantId>,
    /// Revoked ones too.
    pub revoked: bool,
}

/// One tap, a revoked one too; `tenant: None` looks in all.
pub async fn get(
    projections: &Projections,
    tenant: Option<&TenantId>,
    tap: &NatsTapId,
) -> Result<At<Option<NatsTapRow>>, QueryError> {
    let mut snapshot = projections.snapshot(projection::of!("nats_taps")).await?;
    let mut query = QueryBuilder::new("SELECT * FROM nats_taps WHERE tap_id = ");
    query.push_bind(tap.as_str());
    if let Some(tenant) = tenant {
        query.push(" AND tenant = ").push_bind(tenant.as_str());
    }
    let value = query.build_query_as().fetch_optional(&mut *snapshot.transaction).await?;
    Ok(At { position: snapshot.position, value })
}

/// Newest first. `cursor` is the `next_cursor` of the page before.
pub async fn list(
    projections: &Projections,
    filter: &Filter,
    cursor: Option<&str>,
    limit: u32,
) -> Result<Page<NatsTapRow>, QueryError> {
    let window = Window::new("nats_taps", cursor, limit)?;
    let mut snapshot = projections.snapshot(projection::of!("nats_taps")).await?;
    let mut query = QueryBuilder::new("SELECT * FROM nats_taps WHERE created_seq < ");
    query.push_bind(window.before);
    if let Some(tenant) = &filter.tenant {
        query.push(" AND tenant = ").push_bind(tenant.as_str());
    }
    if !filter.revoked {
        query.push(" AND revoked_at IS NULL");
    }
    query.push(" ORDER BY created_seq DESC LIMIT ").push_bind(window.fetch());
    let rows = query.build_query_as().fetch_all(&mut *snapshot.transaction).await?;
    Ok(window.page(rows, snapshot.position, |row: &NatsTapRow| row.created_seq))
}

impl FromRow<'_, PgRow> for NatsTapRow {
    fn from_row(row: &PgRow) -> Result<Self, sqlx::Error> {
        Ok(Self {
            tap_id: get_parsed(row, "tap_id")?,
            tenant: get_parsed(row, "tenant")?,
            name: row.try_get("name")?,
            kinds: row.try_get("kinds")?,
            issued_by: get_parsed(row, "issued_by")?,
            consumer: row.try_get("consumer")?,
            revoked_at: row.try_get("revoked_at")?,
            created_at: row.try_get("created_at")?,
            created_seq: get_unsigned(row, "created_seq")?,
            seq: get_unsigned(row, "seq")?,
        })
    }
}

/// New taps, then those that are revoked.
pub(crate) async fn feed(connection: &mut PgConnection, events: &[&Recorded]) -> Result<(), RowError> {
    let mut issued = BTreeMap::new();
    let mut revoked = Vec::new();
    for recorded in events {
        match &recorded.event {
            Event::NatsTap(NatsTapEvent::NatsTapIssued(event)) => {
                issued.insert(recorded.subject.id.as_str(), (*recorded, event));
            }
            Event::NatsTap(NatsTapEvent::NatsTapRevoked(_)) => revoked.push(*recorded),
            Event::Tenant(_)
            | Event::Quota(_)
            | Event::Env(_)
            | Event::Port(_)
            | Event::Credential(_)
            | Event::SshKey(_)
            | Event::Login(_)
            | Event::Session(_)
            | Event::User(_)
            | Event::SignIn(_)
            | Event::Server(_)
            | Event::Access(_)
            | Event::Relay(_)
            | Event::Batch(_)
            | Event::Command(_)
            | Event::Schedule(_)
            | Event::Subscription(_)
            | Event::Token(_)
            | Event::Request(_) => {}
        }
    }
    issue(connection, &issued.into_values().collect::<Vec<_>>()).await?;
    revoke(connection, &revoked).await
}

async fn issue(connection: &mut PgConnection, rows: &[(&Recorded, &NatsTapIssued)]) -> Result<(), RowError> {
    if rows.is_empty() {
        return Ok(());
    }
    let mut consumers = Vec::with_capacity(rows.len());
    for (recorded, event) in rows {
        let id = NatsTapId::parse(recorded.subject.id.as_str());
        consumers.push(event.consumer(&id.map_err(|error| RowError::Unfit(error.to_string()))?));
    }
    sqlx::query(
        "INSERT INTO nats_taps (tap_id, tenant, name, kinds, issued_by, consumer, created_at, created_seq, seq) \
         SELECT tap_id, tenant, name, string_to_array(kinds, ' '), issued_by, consumer, at, seq, seq \
         FROM UNNEST($1::text[], $2::text[], $3::text[], $4::text[], $5::text[], $6::text[], \
         $7::timestamptz[], $8::bigint[]) AS r(tap_id, tenant, name, kinds, issued_by, consumer, at, seq) \
         ON CONFLICT (tap_id) DO UPDATE SET tenant = EXCLUDED.tenant, name = EXCLUDED.name, \
         kinds = EXCLUDED.kinds, issued_by = EXCLUDED.issued_by, consumer = EXCLUDED.consumer, \
         seq = EXCLUDED.seq",
    )
    .bind(column(rows, |(recorded, _)| recorded.subject.id.as_str()))
    .bind(column(rows, |(recorded, _)| recorded.subject.tenant.as_str()))
    .bind(column(rows, |(_, event)| event.name.as_str()))
    // kinds have no blanks
    .bind(column(rows, |(_, event)| event.kinds.iter().map(String::as_str).collect::<Vec<_>>().join(" ")))
    .bind(column(rows, |(_, event)| event.by.as_str()))
    .bind(consumers)
    .bind(column(rows, |(recorded, _)| recorded.meta.time))
    .bind(column(rows, |(recorded, _)| seq(recorded.seq)))
    .execute(connection)
    .await?;
    Ok(())
}

async fn revoke(connection: &mut PgConnection, rows: &[&Recorded]) -> Result<(), RowError> {
    if rows.is_empty() {
        return Ok(());
    }
    sqlx::query(
        "UPDATE nats_taps t SET revoked_at = r.at, seq = r.seq \
         FROM UNNEST($1::text[], $2::timestamptz[], $3::bigint[]) AS r(tap_id, at, seq) \
         WHERE t.tap_id = r.tap_id",
    )
    .bind(column(rows, |recorded| recorded.subject.id.as_str()))
    .bind(column(rows, |recorded| recorded.meta.time))
    .bind(column(rows, |recorded| seq(recorded.seq)))
    .execute(connection)
    .await?;
    Ok(())
}
