//! Who may log in to the control plane?

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use events::ids::{TenantId, UserName};
use events::user::UserEvent;
use events::{Event, Recorded};
use serde::Serialize;
use sqlx::postgres::{PgConnection, PgRow};
use sqlx::{FromRow, QueryBuilder, Row};

use crate::columns::{RowError, column, get_parsed, get_unsigned, seq};
use crate::paging::{At, Page, QueryError, Window};
use crate::pool::Projections;
use crate::projection;

/// A person.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct UserRow {
    pub username: UserName,
    #[serde(rename = "tenant_id")]
    pub tenant: TenantId,
    /// `admin`, `operator`, `developer` or `auditor`.
    pub role: String,
    pub disabled: bool,
    pub created_at: DateTime<Utc>,
    #[serde(skip)]
    pub created_seq: u64,
    pub seq: u64,
}

/// One user, a disabled one too; `tenant: None` looks in all.
pub async fn get(
    projections: &Projections,
    tenant: Option<&TenantId>,
    user: &UserName,
) -> Result<At<Option<UserRow>>, QueryError> {
    let mut snapshot = projections.snapshot(projection::of!("users")).await?;
    let mut query = QueryBuilder::new("SELECT * FROM users WHERE username = ");
    query.push_bind(user.as_str());
    if let Some(tenant) = tenant {
        query.push(" AND tenant = ").push_bind(tenant.as_str());
    }
    let value = query.build_query_as().fetch_optional(&mut *snapshot.transaction).await?;
    Ok(At { position: snapshot.position, value })
}

/// Newest first, disabled ones too. `cursor` is the `next_cursor` of the page before.
pub async fn list(
    projections: &Projections,
    tenant: Option<&TenantId>,
    cursor: Option<&str>,
    limit: u32,
) -> Result<Page<UserRow>, QueryError> {
    let window = Window::new("users", cursor, limit)?;
    let mut snapshot = projections.snapshot(projection::of!("users")).await?;
    let mut query = QueryBuilder::new("SELECT * FROM users WHERE created_seq < ");
    query.push_bind(window.before);
    if let Some(tenant) = tenant {
        query.push(" AND tenant = ").push_bind(tenant.as_str());
    }
    query.push(" ORDER BY created_seq DESC LIMIT ").push_bind(window.fetch());
    let rows = query.build_query_as().fetch_all(&mut *snapshot.transaction).await?;
    Ok(window.page(rows, snapshot.position, |row: &UserRow| row.created_seq))
}

impl FromRow<'_, PgRow> for UserRow {
    fn from_row(row: &PgRow) -> Result<Self, sqlx::Error> {
        Ok(Self {
            username: get_parsed(row, "username")?,
            tenant: get_parsed(row, "tenant")?,
            role: row.try_get("role")?,
            disabled: row.try_get("disabled")?,
            created_at: row.try_get("created_at")?,
            created_seq: get_unsigned(row, "created_seq")?,
            seq: get_unsigned(row, "seq")?,
        })
    }
}

/// New users, then those that are shut out.
pub(crate) async fn feed(connection: &mut PgConnection, events: &[&Recorded]) -> Result<(), RowError> {
    let mut registered = BTreeMap::new();
    let mut disabled = Vec::new();
    for recorded in events {
        match &recorded.event {
            Event::User(UserEvent::UserRegistered(event)) => {
                registered.insert(recorded.subject.id.as_str(), (*recorded, event));
            }
            Event::User(UserEvent::UserDisabled(_)) => disabled.push(*recorded),
            Event::Tenant(_)
            | Event::Quota(_)
            | Event::Env(_)
            | Event::Port(_)
            | Event::Credential(_)
            | Event::SshKey(_)
            | Event::Login(_)
            | Event::Session(_)
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
    let rows: Vec<_> = registered.into_values().collect();
    if !rows.is_empty() {
        sqlx::query(
            "INSERT INTO users (username, tenant, role, disabled, created_at, created_seq, seq) \
             SELECT username, tenant, role, false, at, seq, seq \
             FROM UNNEST($1::text[], $2::text[], $3::text[], $4::timestamptz[], $5::bigint[]) \
             AS r(username, tenant, role, at, seq) \
             ON CONFLICT (username) DO UPDATE SET tenant = EXCLUDED.tenant, role = EXCLUDED.role, \
             seq = EXCLUDED.seq",
        )
        .bind(column(&rows, |(recorded, _)| recorded.subject.id.as_str()))
        .bind(column(&rows, |(_, event)| event.tenant.as_str()))
        .bind(column(&rows, |(_, event)| event.role.name()))
        .bind(column(&rows, |(recorded, _)| recorded.meta.time))
        .bind(column(&rows, |(recorded, _)| seq(recorded.seq)))
        .execute(&mut *connection)
        .await?;
    }
    disable(connection, &disabled).await
}

async fn disable(connection: &mut PgConnection, rows: &[&Recorded]) -> Result<(), RowError> {
    if rows.is_empty() {
        return Ok(());
    }
    sqlx::query(
        "UPDATE users u SET disabled = true, seq = r.seq \
         FROM UNNEST($1::text[], $2::bigint[]) AS r(username, seq) WHERE u.username = r.username",
    )
    .bind(column(rows, |recorded| recorded.subject.id.as_str()))
    .bind(column(rows, |recorded| seq(recorded.seq)))
    .execute(connection)
    .await?;
    Ok(())
}
