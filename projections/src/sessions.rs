//! Who was connected, from when to when, and how much went through?

use std::net::IpAddr;

use chrono::{DateTime, Utc};
use events::ids::{EnvId, SessionId, TenantId};
use events::session::{SessionClosed, SessionEvent, SessionOpened};
use events::{Event, Recorded};
use serde::Serialize;
use sqlx::postgres::{PgConnection, PgRow};
use sqlx::{FromRow, QueryBuilder, Row};

use crate::columns::{RowError, column, get_parsed, get_parsed_option, get_unsigned, seq};
use crate::paging::{At, Page, QueryError, Window};
use crate::pool::Projections;
use crate::projection;

/// One connection of one person.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct SessionRow {
    pub session_id: SessionId,
    pub env_id: EnvId,
    #[serde(rename = "tenant_id")]
    pub tenant: TenantId,
    pub ip: IpAddr,
    pub user: String,
    /// `direct_port`, `gateway` or `web_terminal`.
    pub entrance: String,
    pub method: String,
    /// What connected, where it is known: an SSH client's identification or a browser's user agent.
    pub client: Option<String>,
    pub opened_at: DateTime<Utc>,
    /// `None` while it is open, and so the next three.
    pub closed_at: Option<DateTime<Utc>>,
    /// Bytes from the person to the environment.
    pub bytes_in: Option<u64>,
    /// Bytes from the environment to the person.
    pub bytes_out: Option<u64>,
    /// Why it ended: `client_left`, `environment_stopped`, `interrupted`, ...
    pub reason: Option<String>,
    #[serde(skip)]
    pub opened_seq: u64,
    pub seq: u64,
}

/// Which sessions; each part left out lets everything through.
#[derive(Debug, Clone, Default)]
pub struct Filter {
    pub tenant: Option<TenantId>,
    pub env: Option<EnvId>,
    /// Only those that are open now.
    pub open: bool,
}

const COLUMNS: &str = "session_id, env_id, tenant, host(ip) AS ip, username, entrance, method, client, \
    opened_at, closed_at, bytes_in::text AS bytes_in, bytes_out::text AS bytes_out, reason, opened_seq, seq";

/// One session; `tenant: None` looks in all.
pub async fn get(
    projections: &Projections,
    tenant: Option<&TenantId>,
    session: &SessionId,
) -> Result<At<Option<SessionRow>>, QueryError> {
    let mut snapshot = projections.snapshot(projection::of!("sessions")).await?;
    let mut query = QueryBuilder::new(format!("SELECT {COLUMNS} FROM sessions WHERE session_id = "));
    query.push_bind(session.as_str());
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
) -> Result<Page<SessionRow>, QueryError> {
    let window = Window::new("sessions", cursor, limit)?;
    let mut snapshot = projections.snapshot(projection::of!("sessions")).await?;
    let mut query = QueryBuilder::new(format!("SELECT {COLUMNS} FROM sessions WHERE opened_seq < "));
    query.push_bind(window.before);
    if let Some(tenant) = &filter.tenant {
        query.push(" AND tenant = ").push_bind(tenant.as_str());
    }
    if let Some(env) = &filter.env {
        query.push(" AND env_id = ").push_bind(env.as_str());
    }
    if filter.open {
        query.push(" AND closed_at IS NULL");
    }
    query.push(" ORDER BY opened_seq DESC LIMIT ").push_bind(window.fetch());
    let rows = query.build_query_as().fetch_all(&mut *snapshot.transaction).await?;
    Ok(window.page(rows, snapshot.position, |row: &SessionRow| row.opened_seq))
}

impl FromRow<'_, PgRow> for SessionRow {
    fn from_row(row: &PgRow) -> Result<Self, sqlx::Error> {
        Ok(Self {
            session_id: get_parsed(row, "session_id")?,
            env_id: get_parsed(row, "env_id")?,
            tenant: get_parsed(row, "tenant")?,
            ip: get_parsed(row, "ip")?,
            user: row.try_get("username")?,
            entrance: row.try_get("entrance")?,
            method: row.try_get("method")?,
            client: row.try_get("client")?,
            opened_at: row.try_get("opened_at")?,
            closed_at: row.try_get("closed_at")?,
            bytes_in: get_parsed_option(row, "bytes_in")?,
            bytes_out: get_parsed_option(row, "bytes_out")?,
            reason: row.try_get("reason")?,
            opened_seq: get_unsigned(row, "opened_seq")?,
            seq: get_unsigned(row, "seq")?,
        })
    }
}

/// New sessions with their ends, if these are among the events, then the ends of older ones.
pub(crate) async fn feed(connection: &mut PgConnection, events: &[&Recorded]) -> Result<(), RowError> {
    let (mut opened, mut closed) = (Vec::new(), Vec::new());
    for recorded in events {
        match &recorded.event {
            Event::Session(SessionEvent::SessionOpened(event)) => opened.push((*recorded, event)),
            Event::Session(SessionEvent::SessionClosed(event)) => closed.push((*recorded, event)),
            Event::Tenant(_)
            | Event::Quota(_)
            | Event::Env(_)
            | Event::Port(_)
            | Event::Credential(_)
            | Event::SshKey(_)
            | Event::Login(_)
            | Event::User(_)
            | Event::Token(_)
            | Event::Request(_) => {}
        }
    }
    open(connection, &opened).await?;
    close(connection, &closed).await
}

async fn open(connection: &mut PgConnection, rows: &[(&Recorded, &SessionOpened)]) -> Result<(), RowError> {
    if rows.is_empty() {
        return Ok(());
    }
    sqlx::query(
        "INSERT INTO sessions (session_id, env_id, tenant, ip, username, entrance, method, client, \
         opened_at, opened_seq, seq) \
         SELECT session_id, env_id, tenant, ip::inet, username, entrance, method, client, opened_at, seq, seq \
         FROM UNNEST($1::text[], $2::text[], $3::text[], $4::text[], $5::text[], $6::text[], $7::text[], \
         $8::text[], $9::timestamptz[], $10::bigint[]) \
         AS r(session_id, env_id, tenant, ip, username, entrance, method, client, opened_at, seq)",
    )
    .bind(column(rows, |(recorded, _)| recorded.subject.id.as_str()))
    .bind(column(rows, |(_, event)| event.env.as_str()))
    .bind(column(rows, |(recorded, _)| recorded.subject.tenant.as_str()))
    .bind(column(rows, |(_, event)| event.ip.to_string()))
    .bind(column(rows, |(_, event)| event.user.as_str()))
    .bind(column(rows, |(_, event)| event.entrance.name()))
    .bind(column(rows, |(_, event)| event.method.as_str()))
    .bind(column(rows, |(_, event)| event.client.as_deref()))
    .bind(column(rows, |(_, event)| event.at))
    .bind(column(rows, |(recorded, _)| seq(recorded.seq)))
    .execute(connection)
    .await?;
    Ok(())
}

async fn close(connection: &mut PgConnection, rows: &[(&Recorded, &SessionClosed)]) -> Result<(), RowError> {
    if rows.is_empty() {
        return Ok(());
    }
    sqlx::query(
        "UPDATE sessions s SET closed_at = r.at, bytes_in = r.bytes_in::numeric, \
         bytes_out = r.bytes_out::numeric, reason = r.reason, seq = r.seq \
         FROM UNNEST($1::text[], $2::timestamptz[], $3::text[], $4::text[], $5::text[], $6::bigint[]) \
         AS r(session_id, at, bytes_in, bytes_out, reason, seq) WHERE s.session_id = r.session_id",
    )
    .bind(column(rows, |(recorded, _)| recorded.subject.id.as_str()))
    .bind(column(rows, |(_, event)| event.at))
    .bind(column(rows, |(_, event)| event.bytes_in.to_string()))
    .bind(column(rows, |(_, event)| event.bytes_out.to_string()))
    .bind(column(rows, |(_, event)| event.reason.as_str()))
    .bind(column(rows, |(recorded, _)| seq(recorded.seq)))
    .execute(connection)
    .await?;
    Ok(())
}
