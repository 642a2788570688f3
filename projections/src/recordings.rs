//! Which terminals were recorded, and how much of each is stored?

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use events::ids::{EnvId, ServerId, SessionId, TenantId};
use events::session::{RecordingEnded, RecordingKept, RecordingStarted, SessionClosed, SessionEvent};
use events::{Event, Recorded};
use serde::Serialize;
use sqlx::postgres::{PgConnection, PgRow};
use sqlx::{FromRow, QueryBuilder, Row};

use crate::columns::{RowError, check_text, column, get_parsed, get_parsed_option, get_unsigned, seq};
use crate::paging::{At, Page, QueryError, Window};
use crate::pool::Projections;
use crate::projection;

/// One recorded terminal.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct RecordingRow {
    pub session_id: SessionId,
    /// Terminals of a session are counted from 1.
    pub number: u64,
    /// Where it was recorded; one of the two.
    pub env_id: Option<EnvId>,
    pub server_id: Option<ServerId>,
    #[serde(rename = "tenant_id")]
    pub tenant: TenantId,
    pub user: String,
    /// `gateway` or `web_terminal`.
    pub entrance: String,
    pub cols: u64,
    pub rows: u64,
    pub started_at: DateTime<Utc>,
    /// `None` while it goes on.
    pub ended_at: Option<DateTime<Utc>>,
    /// It ended, and all that the terminal showed is in it.
    pub complete: bool,
    /// Of the asciicast, as far as the log vouches for it.
    pub bytes: u64,
    /// Output that is missing.
    pub lost_bytes: u64,
    /// Of these bytes; `None` before the log was told of any.
    pub sha256: Option<String>,
    #[serde(skip)]
    pub started_seq: u64,
    pub seq: u64,
}

/// Which recordings; each part left out lets everything through.
#[derive(Debug, Clone, Default)]
pub struct Filter {
    pub tenant: Option<TenantId>,
    pub env: Option<EnvId>,
    pub server: Option<ServerId>,
}

/// One recording; `tenant: None` looks in all.
pub async fn get(
    projections: &Projections,
    tenant: Option<&TenantId>,
    session: &SessionId,
    number: u32,
) -> Result<At<Option<RecordingRow>>, QueryError> {
    let mut snapshot = projections.snapshot(projection::of!("recordings")).await?;
    let mut query = QueryBuilder::new("SELECT * FROM recordings WHERE session_id = ");
    query.push_bind(session.as_str()).push(" AND number = ").push_bind(i64::from(number));
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
) -> Result<Page<RecordingRow>, QueryError> {
    let window = Window::new("recordings", cursor, limit)?;
    let mut snapshot = projections.snapshot(projection::of!("recordings")).await?;
    let mut query = QueryBuilder::new("SELECT * FROM recordings WHERE started_seq < ");
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
    query.push(" ORDER BY started_seq DESC LIMIT ").push_bind(window.fetch());
    let rows = query.build_query_as().fetch_all(&mut *snapshot.transaction).await?;
    Ok(window.page(rows, snapshot.position, |row: &RecordingRow| row.started_seq))
}

impl FromRow<'_, PgRow> for RecordingRow {
    fn from_row(row: &PgRow) -> Result<Self, sqlx::Error> {
        Ok(Self {
            session_id: get_parsed(row, "session_id")?,
            number: get_unsigned(row, "number")?,
            env_id: get_parsed_option(row, "env_id")?,
            server_id: get_parsed_option(row, "server_id")?,
            tenant: get_parsed(row, "tenant")?,
            user: row.try_get("username")?,
            entrance: row.try_get("entrance")?,
            cols: get_unsigned(row, "cols")?,
            rows: get_unsigned(row, "rows")?,
            started_at: row.try_get("started_at")?,
            ended_at: row.try_get("ended_at")?,
            complete: row.try_get("complete")?,
            bytes: get_unsigned(row, "bytes")?,
            lost_bytes: get_unsigned(row, "lost_bytes")?,
            sha256: row.try_get("sha256")?,
            started_seq: get_unsigned(row, "started_seq")?,
            seq: get_unsigned(row, "seq")?,
        })
    }
}

type Key<'e> = (&'e str, u32);

/// What is new of recordings and sessions; of what is told again and again, the last.
#[derive(Default)]
struct Changes<'e> {
    started: Vec<(&'e Recorded, &'e RecordingStarted)>,
    kept: BTreeMap<Key<'e>, (u64, &'e RecordingKept)>,
    ended: BTreeMap<Key<'e>, (u64, &'e RecordingEnded)>,
    closed: Vec<(&'e Recorded, &'e SessionClosed)>,
}

pub(crate) async fn feed(connection: &mut PgConnection, events: &[&Recorded]) -> Result<(), RowError> {
    let mut changes = Changes::default();
    for recorded in events {
        match &recorded.event {
            Event::Session(event) => changes.session(recorded, event)?,
            Event::Tenant(_)
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
            | Event::Request(_) => {}
        }
    }
    start(connection, &changes.started).await?;
    keep(connection, &changes.kept).await?;
    // an end that was told stands, whether the session's end came before or after it
    end(connection, &changes.ended).await?;
    close(connection, &changes.closed).await
}

impl<'e> Changes<'e> {
    fn session(&mut self, recorded: &'e Recorded, event: &'e SessionEvent) -> Result<(), RowError> {
        let (session, seq) = (recorded.subject.id.as_str(), recorded.seq);
        match event {
            SessionEvent::RecordingStarted(event) => self.started.push((recorded, event)),
            SessionEvent::RecordingKept(event) => {
                check_text([&event.sha256])?;
                self.kept.insert((session, event.recording), (seq, event));
            }
            SessionEvent::RecordingEnded(event) => {
                check_text([&event.sha256])?;
                self.ended.insert((session, event.recording), (seq, event));
            }
            SessionEvent::SessionClosed(event) => self.closed.push((recorded, event)),
            SessionEvent::SessionOpened(_)
            | SessionEvent::RecordingViewed(_)
            | SessionEvent::SessionShared(_)
            | SessionEvent::SessionUnshared(_)
            | SessionEvent::SessionJoined(_)
            | SessionEvent::SessionLeft(_) => {}
        }
        Ok(())
    }
}

/// A count of bytes as PostgreSQL holds it; no recording reaches the bound.
fn count(bytes: u64) -> i64 {
    i64::try_from(bytes).unwrap_or(i64::MAX)
}

async fn start(
    connection: &mut PgConnection,
    rows: &[(&Recorded, &RecordingStarted)],
) -> Result<(), RowError> {
    if rows.is_empty() {
        return Ok(());
    }
    sqlx::query(
        "INSERT INTO recordings (session_id, number, env_id, server_id, tenant, username, entrance, cols, rows, \
         started_at, started_seq, seq) \
         SELECT session_id, number, env_id, server_id, tenant, username, entrance, cols, rows, started_at, \
         seq, seq \
         FROM UNNEST($1::text[], $2::bigint[], $3::text[], $4::text[], $5::text[], $6::text[], $7::text[], \
         $8::bigint[], $9::bigint[], $10::timestamptz[], $11::bigint[]) \
         AS r(session_id, number, env_id, server_id, tenant, username, entrance, cols, rows, started_at, seq)",
    )
    .bind(column(rows, |(recorded, _)| recorded.subject.id.as_str()))
    .bind(column(rows, |(_, event)| i64::from(event.recording)))
    .bind(column(rows, |(_, event)| event.place.env().map(EnvId::as_str)))
    .bind(column(rows, |(_, event)| event.place.server().map(ServerId::as_str)))
    .bind(column(rows, |(recorded, _)| recorded.subject.tenant.as_str()))
    .bind(column(rows, |(_, event)| event.user.as_str()))
    .bind(column(rows, |(_, event)| event.entrance.name()))
    .bind(column(rows, |(_, event)| i64::from(event.cols)))
    .bind(column(rows, |(_, event)| i64::from(event.rows)))
    .bind(column(rows, |(_, event)| event.at))
    .bind(column(rows, |(recorded, _)| seq(recorded.seq)))
    .execute(connection)
    .await?;
    Ok(())
}

async fn keep(
    connection: &mut PgConnection,
    kept: &BTreeMap<Key<'_>, (u64, &RecordingKept)>,
) -> Result<(), RowError> {
    if kept.is_empty() {
        return Ok(());
    }
    let rows: Vec<_> = kept.iter().collect();
    sqlx::query(
        "UPDATE recordings s SET bytes = r.bytes, sha256 = r.sha256, seq = greatest(s.seq, r.seq) \
         FROM UNNEST($1::text[], $2::bigint[], $3::bigint[], $4::text[], $5::bigint[]) \
         AS r(session_id, number, bytes, sha256, seq) \
         WHERE s.session_id = r.session_id AND s.number = r.number",
    )
    .bind(column(&rows, |((session, _), _)| *session))
    .bind(column(&rows, |((_, number), _)| i64::from(*number)))
    .bind(column(&rows, |(_, (_, event))| count(event.bytes)))
    .bind(column(&rows, |(_, (_, event))| event.sha256.as_str()))
    .bind(column(&rows, |(_, (at, _))| seq(*at)))
    .execute(connection)
    .await?;
    Ok(())
}

async fn end(
    connection: &mut PgConnection,
    ended: &BTreeMap<Key<'_>, (u64, &RecordingEnded)>,
) -> Result<(), RowError> {
    if ended.is_empty() {
        return Ok(());
    }
    let rows: Vec<_> = ended.iter().collect();
    sqlx::query(
        "UPDATE recordings s SET told = true, ended_at = r.ended_at, complete = r.complete, bytes = r.bytes, \
         lost_bytes = r.lost_bytes, sha256 = r.sha256, seq = greatest(s.seq, r.seq) \
         FROM UNNEST($1::text[], $2::bigint[], $3::timestamptz[], $4::boolean[], $5::bigint[], $6::bigint[], \
         $7::text[], $8::bigint[]) \
         AS r(session_id, number, ended_at, complete, bytes, lost_bytes, sha256, seq) \
         WHERE s.session_id = r.session_id AND s.number = r.number",
    )
    .bind(column(&rows, |((session, _), _)| *session))
    .bind(column(&rows, |((_, number), _)| i64::from(*number)))
    .bind(column(&rows, |(_, (_, event))| event.at))
    .bind(column(&rows, |(_, (_, event))| event.complete))
    .bind(column(&rows, |(_, (_, event))| count(event.bytes)))
    .bind(column(&rows, |(_, (_, event))| count(event.lost_bytes)))
    .bind(column(&rows, |(_, (_, event))| event.sha256.as_str()))
    .bind(column(&rows, |(_, (at, _))| seq(*at)))
    .execute(connection)
    .await?;
    Ok(())
}

/// Recordings whose recorder has not told their end (yet): it may have been killed.
async fn close(connection: &mut PgConnection, rows: &[(&Recorded, &SessionClosed)]) -> Result<(), RowError> {
    if rows.is_empty() {
        return Ok(());
    }
    sqlx::query(
        "UPDATE recordings s SET ended_at = r.at, seq = greatest(s.seq, r.seq) \
         FROM UNNEST($1::text[], $2::timestamptz[], $3::bigint[]) AS r(session_id, at, seq) \
         WHERE s.session_id = r.session_id AND NOT s.told",
    )
    .bind(column(rows, |(recorded, _)| recorded.subject.id.as_str()))
    .bind(column(rows, |(_, event)| event.at))
    .bind(column(rows, |(recorded, _)| seq(recorded.seq)))
    .execute(connection)
    .await?;
    Ok(())
}
