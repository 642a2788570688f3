//! Who was connected, from when to when, and how much went through?

use std::net::IpAddr;

use chrono::{DateTime, Utc};
use events::ids::{EnvId, ServerId, SessionId, TenantId};
use events::session::{SessionEvent, SessionOpened};
use events::{Event, Recorded};
use serde::{Deserialize, Serialize};
use sqlx::postgres::{PgConnection, PgRow};
use sqlx::{FromRow, QueryBuilder, Row};

use crate::columns::{
    RowError, check_text, column, get_parsed, get_parsed_option, get_unsigned, instant, seq,
};
use crate::paging::{At, Page, QueryError, Window};
use crate::pool::Projections;
use crate::projection;
use crate::table::{self, Stored, Table};

/// One connection of one person.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SessionRow {
    pub session_id: SessionId,
    /// Where it takes place; one of the two.
    pub env_id: Option<EnvId>,
    pub server_id: Option<ServerId>,
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
    pub server: Option<ServerId>,
    /// Only those that are open now.
    pub open: bool,
}

impl Filter {
    /// The same as [`list`] asks PostgreSQL for.
    pub(crate) fn lets_through(&self, row: &SessionRow) -> bool {
        self.tenant.as_ref().is_none_or(|tenant| *tenant == row.tenant)
            && self.env.as_ref().is_none_or(|env| row.env_id.as_ref() == Some(env))
            && self.server.as_ref().is_none_or(|server| row.server_id.as_ref() == Some(server))
            && !(self.open && Sessions::is_over(row))
    }
}

const COLUMNS: &str = "session_id, env_id, server_id, tenant, host(ip) AS ip, username, entrance, method, client, \
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
    if let Some(server) = &filter.server {
        query.push(" AND server_id = ").push_bind(server.as_str());
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
            env_id: get_parsed_option(row, "env_id")?,
            server_id: get_parsed_option(row, "server_id")?,
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

pub(crate) async fn feed(connection: &mut PgConnection, events: &[&Recorded]) -> Result<(), RowError> {
    table::feed::<Sessions>(connection, events).await
}

pub(crate) struct Sessions;

impl Table for Sessions {
    type Row = SessionRow;

    const PROJECTION: &'static str = "sessions";
    const NAME: &'static str = "sessions";

    fn key(recorded: &Recorded) -> Option<String> {
        match &recorded.event {
            Event::Session(SessionEvent::SessionOpened(_) | SessionEvent::SessionClosed(_)) => {
                Some(recorded.subject.id.clone())
            }
            Event::Session(
                SessionEvent::RecordingStarted(_)
                | SessionEvent::RecordingKept(_)
                | SessionEvent::RecordingEnded(_)
                | SessionEvent::RecordingViewed(_)
                | SessionEvent::SessionShared(_)
                | SessionEvent::SessionUnshared(_)
                | SessionEvent::SessionJoined(_)
                | SessionEvent::SessionLeft(_),
            )
            | Event::Tenant(_)
            | Event::Quota(_)
            | Event::Env(_)
            | Event::Port(_)
            | Event::Credential(_)
            | Event::SshKey(_)
            | Event::Login(_)
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
            | Event::Request(_) => None,
        }
    }

    fn key_of(row: &SessionRow) -> String {
        row.session_id.as_str().to_owned()
    }

    fn birth(row: &SessionRow) -> u64 {
        row.opened_seq
    }

    fn born(row: &mut SessionRow, birth: u64) {
        row.opened_seq = birth;
    }

    fn tenant(row: &SessionRow) -> &TenantId {
        &row.tenant
    }

    fn is_over(row: &SessionRow) -> bool {
        row.closed_at.is_some()
    }

    fn apply(row: Option<SessionRow>, recorded: &Recorded) -> Result<Option<SessionRow>, RowError> {
        match (&recorded.event, row) {
            (Event::Session(SessionEvent::SessionOpened(opened)), None) => {
                SessionRow::opened(recorded, opened).map(Some)
            }
            (Event::Session(SessionEvent::SessionOpened(_)), Some(_)) => {
                Err(RowError::Unfit("a session is opened twice".to_owned()))
            }
            (Event::Session(SessionEvent::SessionClosed(closed)), Some(row)) => {
                check_text([&closed.reason])?;
                Ok(Some(SessionRow {
                    closed_at: Some(instant(closed.at)),
                    bytes_in: Some(closed.bytes_in),
                    bytes_out: Some(closed.bytes_out),
                    reason: Some(closed.reason.clone()),
                    seq: recorded.seq,
                    ..row
                }))
            }
            // the end of a session whose beginning is not known says nothing
            (_, row) => Ok(row),
        }
    }
}

impl SessionRow {
    fn opened(recorded: &Recorded, opened: &SessionOpened) -> Result<Self, RowError> {
        check_text([&opened.user, &opened.method].into_iter().chain(&opened.client))?;
        let session_id = SessionId::parse(recorded.subject.id.as_str())
            .map_err(|error| RowError::Unfit(error.to_string()))?;
        Ok(Self {
            session_id,
            env_id: opened.place.env().cloned(),
            server_id: opened.place.server().cloned(),
            tenant: recorded.subject.tenant.clone(),
            ip: opened.ip,
            user: opened.user.clone(),
            entrance: opened.entrance.name().to_owned(),
            method: opened.method.clone(),
            client: opened.client.clone(),
            opened_at: instant(opened.at),
            closed_at: None,
            bytes_in: None,
            bytes_out: None,
            reason: None,
            opened_seq: recorded.seq,
            seq: recorded.seq,
        })
    }
}

impl Stored for Sessions {
    async fn load(connection: &mut PgConnection, keys: Vec<String>) -> Result<Vec<SessionRow>, sqlx::Error> {
        let mut query = QueryBuilder::new(format!("SELECT {COLUMNS} FROM sessions WHERE session_id = ANY("));
        query.push_bind(keys).push(")");
        query.build_query_as().fetch_all(connection).await
    }

    async fn store(connection: &mut PgConnection, rows: &[SessionRow]) -> Result<(), RowError> {
        sqlx::query(
            "INSERT INTO sessions (session_id, env_id, server_id, tenant, ip, username, entrance, method, \
             client, opened_at, opened_seq, closed_at, bytes_in, bytes_out, reason, seq) \
             SELECT session_id, env_id, server_id, tenant, ip::inet, username, entrance, method, client, \
             opened_at, opened_seq, closed_at, bytes_in::numeric, bytes_out::numeric, reason, seq \
             FROM UNNEST($1::text[], $2::text[], $3::text[], $4::text[], $5::text[], $6::text[], $7::text[], \
             $8::text[], $9::text[], $10::timestamptz[], $11::bigint[], $12::timestamptz[], $13::text[], \
             $14::text[], $15::text[], $16::bigint[]) \
             AS r(session_id, env_id, server_id, tenant, ip, username, entrance, method, client, opened_at, \
             opened_seq, closed_at, bytes_in, bytes_out, reason, seq) \
             ON CONFLICT (session_id) DO UPDATE SET closed_at = EXCLUDED.closed_at, \
             bytes_in = EXCLUDED.bytes_in, bytes_out = EXCLUDED.bytes_out, reason = EXCLUDED.reason, \
             seq = EXCLUDED.seq",
        )
        .bind(column(rows, |row| row.session_id.as_str()))
        .bind(column(rows, |row| row.env_id.as_ref().map(EnvId::as_str)))
        .bind(column(rows, |row| row.server_id.as_ref().map(ServerId::as_str)))
        .bind(column(rows, |row| row.tenant.as_str()))
        .bind(column(rows, |row| row.ip.to_string()))
        .bind(column(rows, |row| row.user.as_str()))
        .bind(column(rows, |row| row.entrance.as_str()))
        .bind(column(rows, |row| row.method.as_str()))
        .bind(column(rows, |row| row.client.as_deref()))
        .bind(column(rows, |row| row.opened_at))
        .bind(column(rows, |row| seq(row.opened_seq)))
        .bind(column(rows, |row| row.closed_at))
        .bind(column(rows, |row| row.bytes_in.map(|bytes| bytes.to_string())))
        .bind(column(rows, |row| row.bytes_out.map(|bytes| bytes.to_string())))
        .bind(column(rows, |row| row.reason.as_deref()))
        .bind(column(rows, |row| seq(row.seq)))
        .execute(connection)
        .await?;
        Ok(())
    }
}
