//! Which API tokens were issued? Never their digests.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use events::ids::{TenantId, TokenId, UserName};
use events::token::{TokenEvent, TokenIssued};
use events::{Event, Recorded};
use serde::Serialize;
use sqlx::postgres::{PgConnection, PgRow};
use sqlx::{FromRow, QueryBuilder, Row};

use crate::columns::{RowError, column, get_parsed, get_unsigned, seq};
use crate::paging::{At, Page, QueryError, Window};
use crate::pool::Projections;
use crate::projection;

/// A token, without the token.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct TokenRow {
    pub token_id: TokenId,
    pub name: String,
    #[serde(rename = "tenant_id")]
    pub tenant: TenantId,
    /// `admin`, `operator`, `developer` or `auditor`.
    pub role: String,
    /// In whose name it acts.
    pub owner: UserName,
    /// `None`: it does not expire.
    pub expires_at: Option<DateTime<Utc>>,
    /// `None`: it was not revoked.
    pub revoked_at: Option<DateTime<Utc>>,
    pub created_at: DateTime<Utc>,
    #[serde(skip)]
    pub created_seq: u64,
    pub seq: u64,
}

/// Which tokens; each part left out lets everything through.
#[derive(Debug, Clone, Default)]
pub struct Filter {
    pub tenant: Option<TenantId>,
    pub owner: Option<UserName>,
    /// Revoked ones too.
    pub revoked: bool,
}

/// One token, a revoked one too; `tenant: None` looks in all.
pub async fn get(
    projections: &Projections,
    tenant: Option<&TenantId>,
    token: &TokenId,
) -> Result<At<Option<TokenRow>>, QueryError> {
    let mut snapshot = projections.snapshot(projection::of!("tokens")).await?;
    let mut query = QueryBuilder::new("SELECT * FROM tokens WHERE token_id = ");
    query.push_bind(token.as_str());
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
) -> Result<Page<TokenRow>, QueryError> {
    let window = Window::new("tokens", cursor, limit)?;
    let mut snapshot = projections.snapshot(projection::of!("tokens")).await?;
    let mut query = QueryBuilder::new("SELECT * FROM tokens WHERE created_seq < ");
    query.push_bind(window.before);
    if let Some(tenant) = &filter.tenant {
        query.push(" AND tenant = ").push_bind(tenant.as_str());
    }
    if let Some(owner) = &filter.owner {
        query.push(" AND owner = ").push_bind(owner.as_str());
    }
    if !filter.revoked {
        query.push(" AND revoked_at IS NULL");
    }
    query.push(" ORDER BY created_seq DESC LIMIT ").push_bind(window.fetch());
    let rows = query.build_query_as().fetch_all(&mut *snapshot.transaction).await?;
    Ok(window.page(rows, snapshot.position, |row: &TokenRow| row.created_seq))
}

impl FromRow<'_, PgRow> for TokenRow {
    fn from_row(row: &PgRow) -> Result<Self, sqlx::Error> {
        Ok(Self {
            token_id: get_parsed(row, "token_id")?,
            name: row.try_get("name")?,
            tenant: get_parsed(row, "tenant")?,
            role: row.try_get("role")?,
            owner: get_parsed(row, "owner")?,
            expires_at: row.try_get("expires_at")?,
            revoked_at: row.try_get("revoked_at")?,
            created_at: row.try_get("created_at")?,
            created_seq: get_unsigned(row, "created_seq")?,
            seq: get_unsigned(row, "seq")?,
        })
    }
}

/// New tokens, then those that are revoked.
pub(crate) async fn feed(connection: &mut PgConnection, events: &[&Recorded]) -> Result<(), RowError> {
    let mut issued = BTreeMap::new();
    let mut revoked = Vec::new();
    for recorded in events {
        match &recorded.event {
            Event::Token(TokenEvent::TokenIssued(event)) => {
                issued.insert(recorded.subject.id.as_str(), (*recorded, event));
            }
            Event::Token(TokenEvent::TokenRevoked(_)) => revoked.push(*recorded),
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
            | Event::NatsTap(_)
            | Event::Request(_) => {}
        }
    }
    issue(connection, &issued.into_values().collect::<Vec<_>>()).await?;
    revoke(connection, &revoked).await
}

async fn issue(connection: &mut PgConnection, rows: &[(&Recorded, &TokenIssued)]) -> Result<(), RowError> {
    if rows.is_empty() {
        return Ok(());
    }
    sqlx::query(
        "INSERT INTO tokens (token_id, name, tenant, role, owner, expires_at, created_at, created_seq, seq) \
         SELECT token_id, name, tenant, role, owner, expires_at, at, seq, seq \
         FROM UNNEST($1::text[], $2::text[], $3::text[], $4::text[], $5::text[], $6::timestamptz[], \
         $7::timestamptz[], $8::bigint[]) AS r(token_id, name, tenant, role, owner, expires_at, at, seq) \
         ON CONFLICT (token_id) DO UPDATE SET name = EXCLUDED.name, tenant = EXCLUDED.tenant, \
         role = EXCLUDED.role, owner = EXCLUDED.owner, expires_at = EXCLUDED.expires_at, seq = EXCLUDED.seq",
    )
    .bind(column(rows, |(recorded, _)| recorded.subject.id.as_str()))
    .bind(column(rows, |(_, event)| event.name.as_str()))
    .bind(column(rows, |(_, event)| event.tenant.as_str()))
    .bind(column(rows, |(_, event)| event.role.name()))
    .bind(column(rows, |(_, event)| event.owner.as_str()))
    .bind(column(rows, |(_, event)| event.expires_at))
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
        "UPDATE tokens t SET revoked_at = r.at, seq = r.seq \
         FROM UNNEST($1::text[], $2::timestamptz[], $3::bigint[]) AS r(token_id, at, seq) \
         WHERE t.token_id = r.token_id",
    )
    .bind(column(rows, |recorded| recorded.subject.id.as_str()))
    .bind(column(rows, |recorded| recorded.meta.time))
    .bind(column(rows, |recorded| seq(recorded.seq)))
    .execute(connection)
    .await?;
    Ok(())
}
