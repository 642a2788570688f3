//! Who got in, who did not, which addresses were closed and opened?

use std::collections::BTreeMap;
use std::net::IpAddr;

use chrono::{DateTime, TimeDelta, Utc};
use events::ids::{EnvId, SessionId, TenantId};
use events::login::{LoginEvent, lockout};
use events::{Event, Recorded};
use serde::Serialize;
use sqlx::postgres::{PgConnection, PgRow};
use sqlx::{FromRow, QueryBuilder, Row};

use crate::columns::{RowError, column, get_parsed, get_parsed_option, get_unsigned, seq};
use crate::paging::{At, Page, QueryError, Window};
use crate::pool::Projections;
use crate::projection;

/// One thing that happened at an entrance.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct LoginRow {
    pub seq: u64,
    pub env_id: EnvId,
    #[serde(rename = "tenant_id")]
    pub tenant: TenantId,
    /// When it happened.
    pub at: DateTime<Utc>,
    /// `succeeded`, `failed`, `refused`, `locked` or `unlocked`.
    pub kind: String,
    /// `None` when every address was unlocked.
    pub ip: Option<IpAddr>,
    pub user: Option<String>,
    /// `password`, `publickey` or `certificate`.
    pub method: Option<String>,
    /// Why it failed: `wrong_password`, `unknown_user`, `account_locked`, ...
    pub class: Option<String>,
    /// `direct_port`, `gateway` or `web_terminal`.
    pub entrance: Option<String>,
    pub key_fingerprint: Option<String>,
    pub session_id: Option<SessionId>,
    /// The end of a lock; of refusals the last one.
    pub until: Option<DateTime<Utc>>,
    /// How many refusals there were from `at` to `until`.
    pub count: Option<u64>,
}

/// Which logins; each part left out lets everything through.
#[derive(Debug, Clone, Default)]
pub struct Filter {
    pub tenant: Option<TenantId>,
    pub env: Option<EnvId>,
    /// `succeeded`, `failed`, `refused`, `locked` or `unlocked`.
    pub kind: Option<String>,
    pub ip: Option<IpAddr>,
}

/// Newest first. `cursor` is the `next_cursor` of the page before.
pub async fn list(
    projections: &Projections,
    filter: &Filter,
    cursor: Option<&str>,
    limit: u32,
) -> Result<Page<LoginRow>, QueryError> {
    let window = Window::new("logins", cursor, limit)?;
    let mut snapshot = projections.snapshot(projection::of!("logins")).await?;
    let mut query = QueryBuilder::new(
        "SELECT seq, env_id, tenant, at, kind, host(ip) AS ip, username, method, class, entrance, \
         key_fingerprint, session_id, until, count FROM logins WHERE seq < ",
    );
    query.push_bind(window.before);
    if let Some(tenant) = &filter.tenant {
        query.push(" AND tenant = ").push_bind(tenant.as_str());
    }
    if let Some(env) = &filter.env {
        query.push(" AND env_id = ").push_bind(env.as_str());
    }
    if let Some(kind) = &filter.kind {
        query.push(" AND kind = ").push_bind(kind);
    }
    if let Some(ip) = &filter.ip {
        query.push(" AND ip = ").push_bind(ip.to_string()).push("::inet");
    }
    query.push(" ORDER BY seq DESC LIMIT ").push_bind(window.fetch());
    let rows = query.build_query_as().fetch_all(&mut *snapshot.transaction).await?;
    Ok(window.page(rows, snapshot.position, |row: &LoginRow| row.seq))
}

/// An address that may not try now.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Closed {
    /// IPv6: the first address of its /64.
    pub ip: IpAddr,
    pub until: DateTime<Utc>,
}

/// More locks and unlocks of the last half hour than this are not looked at.
const CLOSED_ROWS_MAX: i64 = 10_000;

/// The addresses of one environment whose lock is neither over nor opened.
pub async fn closed(
    projections: &Projections,
    tenant: &TenantId,
    env: &EnvId,
    now: DateTime<Utc>,
) -> Result<At<Vec<Closed>>, QueryError> {
    let mut snapshot = projections.snapshot(projection::of!("logins")).await?;
    let rows: Vec<(String, Option<String>, Option<DateTime<Utc>>)> = sqlx::query_as(
        "SELECT kind, host(ip), until FROM logins WHERE env_id = $1 AND tenant = $2 \
         AND kind IN ('locked', 'unlocked') AND at > $3 ORDER BY seq LIMIT $4",
    )
    .bind(env.as_str())
    .bind(tenant.as_str())
    .bind(now - TimeDelta::seconds(lockout::LOCK_DURATION_S))
    .bind(CLOSED_ROWS_MAX)
    .fetch_all(&mut *snapshot.transaction)
    .await?;
    let mut closed = BTreeMap::new();
    for (_, ip, until) in rows {
        let source = ip.and_then(|ip| ip.parse().ok()).map(lockout::source_of);
        match (source, until) {
            (Some(ip), Some(until)) => drop(closed.insert(ip, until)),
            (Some(ip), None) => drop(closed.remove(&ip)),
            (None, _) => closed.clear(),
        }
    }
    let still = |(ip, until): (IpAddr, DateTime<Utc>)| (until > now).then_some(Closed { ip, until });
    Ok(At { position: snapshot.position, value: closed.into_iter().filter_map(still).collect() })
}

impl FromRow<'_, PgRow> for LoginRow {
    fn from_row(row: &PgRow) -> Result<Self, sqlx::Error> {
        Ok(Self {
            seq: get_unsigned(row, "seq")?,
            env_id: get_parsed(row, "env_id")?,
            tenant: get_parsed(row, "tenant")?,
            at: row.try_get("at")?,
            kind: row.try_get("kind")?,
            ip: get_parsed_option(row, "ip")?,
            user: row.try_get("username")?,
            method: row.try_get("method")?,
            class: row.try_get("class")?,
            entrance: row.try_get("entrance")?,
            key_fingerprint: row.try_get("key_fingerprint")?,
            session_id: get_parsed_option(row, "session_id")?,
            until: row.try_get("until")?,
            count: row.try_get::<Option<i64>, _>("count")?.map(i64::unsigned_abs),
        })
    }
}

/// A row an event.
pub(crate) async fn feed(connection: &mut PgConnection, events: &[&Recorded]) -> Result<(), RowError> {
    let mut rows = Vec::new();
    for recorded in events {
        match &recorded.event {
            Event::Login(event) => rows.push(row_of(recorded, event)?),
            Event::Tenant(_)
            | Event::Quota(_)
            | Event::Env(_)
            | Event::Port(_)
            | Event::Credential(_)
            | Event::SshKey(_)
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
    if rows.is_empty() { Ok(()) } else { insert(connection, &rows).await }
}

fn row_of(recorded: &Recorded, event: &LoginEvent) -> Result<LoginRow, RowError> {
    let env_id =
        EnvId::parse(recorded.subject.id.as_str()).map_err(|error| RowError::Unfit(error.to_string()))?;
    let blank = LoginRow {
        seq: recorded.seq,
        env_id,
        tenant: recorded.subject.tenant.clone(),
        at: recorded.meta.time,
        kind: String::new(),
        ip: None,
        user: None,
        method: None,
        class: None,
        entrance: None,
        key_fingerprint: None,
        session_id: None,
        until: None,
        count: None,
    };
    Ok(match event {
        LoginEvent::LoginSucceeded(login) => LoginRow {
            kind: "succeeded".to_owned(),
            at: login.at,
            ip: Some(login.ip),
            user: Some(login.user.clone()),
            method: Some(login.method.clone()),
            entrance: Some(login.entrance.name().to_owned()),
            key_fingerprint: login.key_fingerprint.clone(),
            session_id: Some(login.session.clone()),
            ..blank
        },
        LoginEvent::LoginFailed(login) => LoginRow {
            kind: "failed".to_owned(),
            at: login.at,
            ip: Some(login.ip),
            user: Some(login.user.clone()),
            method: Some(login.method.clone()),
            class: Some(login.class.clone()),
            entrance: Some(login.entrance.name().to_owned()),
            ..blank
        },
        LoginEvent::LoginsRefused(refused) => LoginRow {
            kind: "refused".to_owned(),
            at: refused.from,
            ip: Some(refused.ip),
            entrance: Some(refused.entrance.name().to_owned()),
            until: Some(refused.to),
            count: Some(refused.count),
            ..blank
        },
        LoginEvent::LoginLocked(locked) => {
            LoginRow { kind: "locked".to_owned(), ip: Some(locked.ip), until: Some(locked.until), ..blank }
        }
        LoginEvent::LoginUnlocked(unlocked) => {
            LoginRow { kind: "unlocked".to_owned(), ip: unlocked.ip, ..blank }
        }
    })
}

async fn insert(connection: &mut PgConnection, rows: &[LoginRow]) -> Result<(), RowError> {
    sqlx::query(
        "INSERT INTO logins (seq, env_id, tenant, at, kind, ip, username, method, class, entrance, \
         key_fingerprint, session_id, until, count) \
         SELECT seq, env_id, tenant, at, kind, ip::inet, username, method, class, entrance, \
         key_fingerprint, session_id, until, count \
         FROM UNNEST($1::bigint[], $2::text[], $3::text[], $4::timestamptz[], $5::text[], $6::text[], \
         $7::text[], $8::text[], $9::text[], $10::text[], $11::text[], $12::text[], $13::timestamptz[], \
         $14::bigint[]) \
         AS r(seq, env_id, tenant, at, kind, ip, username, method, class, entrance, key_fingerprint, \
         session_id, until, count)",
    )
    .bind(column(rows, |row| seq(row.seq)))
    .bind(column(rows, |row| row.env_id.as_str()))
    .bind(column(rows, |row| row.tenant.as_str()))
    .bind(column(rows, |row| row.at))
    .bind(column(rows, |row| row.kind.as_str()))
    .bind(column(rows, |row| row.ip.map(|ip| ip.to_string())))
    .bind(column(rows, |row| row.user.as_deref()))
    .bind(column(rows, |row| row.method.as_deref()))
    .bind(column(rows, |row| row.class.as_deref()))
    .bind(column(rows, |row| row.entrance.as_deref()))
    .bind(column(rows, |row| row.key_fingerprint.as_deref()))
    .bind(column(rows, |row| row.session_id.as_ref().map(SessionId::as_str)))
    .bind(column(rows, |row| row.until))
    .bind(column(rows, |row| row.count.map(seq)))
    .execute(connection)
    .await?;
    Ok(())
}
