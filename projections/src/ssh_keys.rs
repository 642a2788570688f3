//! Which public keys does a person have now?

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use events::ids::{SshKeyId, TenantId, UserName};
use events::ssh_key::{SshKeyAdded, SshKeyEvent};
use events::{Event, Recorded};
use serde::Serialize;
use sqlx::postgres::{PgConnection, PgRow};
use sqlx::{FromRow, QueryBuilder, Row};

use crate::columns::{RowError, check_text, column, get_parsed, get_unsigned, seq};
use crate::paging::{At, Page, QueryError, Window};
use crate::pool::Projections;
use crate::projection;

/// A key that opens all environments of its owner. A removed one has no row.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct SshKeyRow {
    pub key_id: SshKeyId,
    #[serde(rename = "tenant_id")]
    pub tenant: TenantId,
    pub owner: UserName,
    pub name: String,
    /// OpenSSH public key line.
    pub public_key: String,
    /// `SHA256:...`
    pub fingerprint: String,
    pub created_at: DateTime<Utc>,
    pub seq: u64,
}

/// Which keys; each part left out lets everything through.
#[derive(Debug, Clone, Default)]
pub struct Filter {
    pub tenant: Option<TenantId>,
    pub owner: Option<UserName>,
}

/// One key; `tenant: None` looks in all.
pub async fn get(
    projections: &Projections,
    tenant: Option<&TenantId>,
    key: &SshKeyId,
) -> Result<At<Option<SshKeyRow>>, QueryError> {
    let mut snapshot = projections.snapshot(projection::of!("ssh_keys")).await?;
    let mut query = QueryBuilder::new("SELECT * FROM ssh_keys WHERE key_id = ");
    query.push_bind(key.as_str());
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
) -> Result<Page<SshKeyRow>, QueryError> {
    let window = Window::new("ssh_keys", cursor, limit)?;
    let mut snapshot = projections.snapshot(projection::of!("ssh_keys")).await?;
    let mut query = QueryBuilder::new("SELECT * FROM ssh_keys WHERE seq < ");
    query.push_bind(window.before);
    if let Some(tenant) = &filter.tenant {
        query.push(" AND tenant = ").push_bind(tenant.as_str());
    }
    if let Some(owner) = &filter.owner {
        query.push(" AND owner = ").push_bind(owner.as_str());
    }
    query.push(" ORDER BY seq DESC LIMIT ").push_bind(window.fetch());
    let rows = query.build_query_as().fetch_all(&mut *snapshot.transaction).await?;
    Ok(window.page(rows, snapshot.position, |row: &SshKeyRow| row.seq))
}

impl FromRow<'_, PgRow> for SshKeyRow {
    fn from_row(row: &PgRow) -> Result<Self, sqlx::Error> {
        Ok(Self {
            key_id: get_parsed(row, "key_id")?,
            tenant: get_parsed(row, "tenant")?,
            owner: get_parsed(row, "owner")?,
            name: row.try_get("name")?,
            public_key: row.try_get("public_key")?,
            fingerprint: row.try_get("fingerprint")?,
            created_at: row.try_get("created_at")?,
            seq: get_unsigned(row, "seq")?,
        })
    }
}

/// The last event of a key decides: a row, or none.
pub(crate) async fn feed(connection: &mut PgConnection, events: &[&Recorded]) -> Result<(), RowError> {
    let mut last: BTreeMap<&str, (&Recorded, &SshKeyEvent)> = BTreeMap::new();
    for recorded in events {
        match &recorded.event {
            Event::SshKey(event) => {
                if let SshKeyEvent::SshKeyAdded(key) = event {
                    check_text([&key.name, &key.public_key, &key.fingerprint])?;
                }
                last.insert(&recorded.subject.id, (recorded, event));
            }
            Event::Tenant(_)
            | Event::Quota(_)
            | Event::Env(_)
            | Event::Port(_)
            | Event::Credential(_)
            | Event::Login(_)
            | Event::Session(_)
            | Event::User(_)
            | Event::Token(_)
            | Event::SignIn(_)
            | Event::Server(_)
            | Event::Access(_)
            | Event::Relay(_)
            | Event::Batch(_)
            | Event::Command(_)
            | Event::Schedule(_)
            | Event::Subscription(_)
            | Event::NatsTap(_)
            | Event::Request(_) => {}
        }
    }
    let (mut added, mut removed) = (Vec::new(), Vec::new());
    for (key, (recorded, event)) in last {
        match event {
            SshKeyEvent::SshKeyAdded(key) => added.push((recorded, key)),
            SshKeyEvent::SshKeyRemoved(_) => removed.push(key),
        }
    }
    remove(connection, &removed).await?;
    add(connection, &added).await
}

async fn remove(connection: &mut PgConnection, keys: &[&str]) -> Result<(), RowError> {
    if !keys.is_empty() {
        sqlx::query("DELETE FROM ssh_keys WHERE key_id = ANY($1)").bind(keys).execute(connection).await?;
    }
    Ok(())
}

async fn add(connection: &mut PgConnection, rows: &[(&Recorded, &SshKeyAdded)]) -> Result<(), RowError> {
    if rows.is_empty() {
        return Ok(());
    }
    sqlx::query(
        "INSERT INTO ssh_keys (key_id, tenant, owner, name, public_key, fingerprint, created_at, seq) \
         SELECT * FROM UNNEST($1::text[], $2::text[], $3::text[], $4::text[], $5::text[], $6::text[], \
         $7::timestamptz[], $8::bigint[]) \
         ON CONFLICT (key_id) DO UPDATE SET owner = EXCLUDED.owner, name = EXCLUDED.name, \
         public_key = EXCLUDED.public_key, fingerprint = EXCLUDED.fingerprint, \
         created_at = EXCLUDED.created_at, seq = EXCLUDED.seq",
    )
    .bind(column(rows, |(recorded, _)| recorded.subject.id.as_str()))
    .bind(column(rows, |(recorded, _)| recorded.subject.tenant.as_str()))
    .bind(column(rows, |(_, key)| key.owner.as_str()))
    .bind(column(rows, |(_, key)| key.name.as_str()))
    .bind(column(rows, |(_, key)| key.public_key.as_str()))
    .bind(column(rows, |(_, key)| key.fingerprint.as_str()))
    .bind(column(rows, |(recorded, _)| recorded.meta.time))
    .bind(column(rows, |(recorded, _)| seq(recorded.seq)))
    .execute(connection)
    .await?;
    Ok(())
}
