//! Which port led to which environment, from when to when?

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use events::ids::{EnvId, PoolName, TenantId};
use events::ports::{PortAllocated, PortEvent, parse_port_id, port_id};
use events::{Event, Recorded};
use serde::{Deserialize, Serialize};
use sqlx::postgres::{PgConnection, PgRow};
use sqlx::{FromRow, QueryBuilder, Row};

use crate::columns::{RowError, check_text, column, decode_error, get_parsed, get_unsigned, seq};
use crate::paging::{Page, QueryError, Window};
use crate::pool::Projections;
use crate::projection;
use crate::table::{self, Stored, Table};

/// One holding of a port; one port has as many as it was given out.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PortMappingRow {
    pub pool: PoolName,
    pub port: u16,
    pub env_id: EnvId,
    #[serde(rename = "tenant_id")]
    pub tenant: TenantId,
    /// `ssh` or `jupyter`.
    pub purpose: String,
    pub allocated_at: DateTime<Utc>,
    /// `None` while it is held.
    pub released_at: Option<DateTime<Utc>>,
    pub allocated_seq: u64,
    pub released_seq: Option<u64>,
}

/// Which mappings; each part left out lets everything through.
#[derive(Debug, Clone, Default)]
pub struct Filter {
    pub tenant: Option<TenantId>,
    pub env: Option<EnvId>,
    pub port: Option<u16>,
    /// Only those that are held now.
    pub held: bool,
}

impl Filter {
    /// The same as [`list`] asks PostgreSQL for.
    pub(crate) fn lets_through(&self, row: &PortMappingRow) -> bool {
        self.tenant.as_ref().is_none_or(|tenant| *tenant == row.tenant)
            && self.env.as_ref().is_none_or(|env| *env == row.env_id)
            && self.port.is_none_or(|port| port == row.port)
            && !(self.held && PortMappings::is_over(row))
    }
}

/// Newest allocation first. `cursor` is the `next_cursor` of the page before.
pub async fn list(
    projections: &Projections,
    filter: &Filter,
    cursor: Option<&str>,
    limit: u32,
) -> Result<Page<PortMappingRow>, QueryError> {
    let window = Window::new("port_mappings", cursor, limit)?;
    let mut snapshot = projections.snapshot(projection::of!("port_mappings")).await?;
    let mut query = QueryBuilder::new("SELECT * FROM port_mappings WHERE allocated_seq < ");
    query.push_bind(window.before);
    if let Some(tenant) = &filter.tenant {
        query.push(" AND tenant = ").push_bind(tenant.as_str());
    }
    if let Some(env) = &filter.env {
        query.push(" AND env_id = ").push_bind(env.as_str());
    }
    if let Some(port) = filter.port {
        query.push(" AND port = ").push_bind(i32::from(port));
    }
    if filter.held {
        query.push(" AND released_seq IS NULL");
    }
    query.push(" ORDER BY allocated_seq DESC LIMIT ").push_bind(window.fetch());
    let rows = query.build_query_as().fetch_all(&mut *snapshot.transaction).await?;
    Ok(window.page(rows, snapshot.position, |row: &PortMappingRow| row.allocated_seq))
}

impl FromRow<'_, PgRow> for PortMappingRow {
    fn from_row(row: &PgRow) -> Result<Self, sqlx::Error> {
        let released_seq: Option<i64> = row.try_get("released_seq")?;
        Ok(Self {
            pool: get_parsed(row, "pool")?,
            port: u16::try_from(row.try_get::<i32, _>("port")?)
                .map_err(|error| decode_error("port", error))?,
            env_id: get_parsed(row, "env_id")?,
            tenant: get_parsed(row, "tenant")?,
            purpose: row.try_get("purpose")?,
            allocated_at: row.try_get("allocated_at")?,
            released_at: row.try_get("released_at")?,
            allocated_seq: get_unsigned(row, "allocated_seq")?,
            released_seq: released_seq
                .map(u64::try_from)
                .transpose()
                .map_err(|error| decode_error("released_seq", error))?,
        })
    }
}

/// A port of a pool.
type Port = (PoolName, u16);

struct Block {
    port: Port,
    reason: String,
    until: DateTime<Utc>,
    at: DateTime<Utc>,
    seq: u64,
}

pub(crate) async fn feed(connection: &mut PgConnection, events: &[&Recorded]) -> Result<(), RowError> {
    table::feed::<PortMappings>(connection, events).await?;
    // the newest one per port
    let mut blocks = BTreeMap::new();
    for recorded in events {
        if let Some(PortEvent::PortBlocked(blocked)) = change(recorded) {
            let port = port_of(recorded)?;
            let (reason, until) = (blocked.reason.clone(), blocked.until);
            let (at, seq) = (recorded.meta.time, recorded.seq);
            blocks.insert(port.clone(), Block { port, reason, until, at, seq });
        }
    }
    block(connection, &blocks.into_values().collect::<Vec<_>>()).await
}

fn change(recorded: &Recorded) -> Option<&PortEvent> {
    match &recorded.event {
        Event::Port(event) => Some(event),
        Event::Tenant(_)
        | Event::Quota(_)
        | Event::Env(_)
        | Event::Credential(_)
        | Event::SshKey(_)
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
        | Event::Request(_) => None,
    }
}

fn port_of(recorded: &Recorded) -> Result<Port, RowError> {
    let id = &recorded.subject.id;
    parse_port_id(id).ok_or_else(|| RowError::Unfit(format!("{id:?} names no port")))
}

/// A row a holding: the newest of a port may still end, those before are history.
pub(crate) struct PortMappings;

impl Table for PortMappings {
    type Row = PortMappingRow;

    const PROJECTION: &'static str = "port_mappings";
    const NAME: &'static str = "port_mappings";
    const KEEPS_HISTORY: bool = true;

    fn key(recorded: &Recorded) -> Option<String> {
        change(recorded)?;
        let id = &recorded.subject.id;
        Some(parse_port_id(id).map_or_else(|| id.clone(), |(pool, port)| port_id(&pool, port)))
    }

    fn key_of(row: &PortMappingRow) -> String {
        port_id(&row.pool, row.port)
    }

    fn birth(row: &PortMappingRow) -> u64 {
        row.allocated_seq
    }

    fn born(row: &mut PortMappingRow, birth: u64) {
        row.allocated_seq = birth;
    }

    fn tenant(row: &PortMappingRow) -> &TenantId {
        &row.tenant
    }

    fn is_over(row: &PortMappingRow) -> bool {
        row.released_seq.is_some()
    }

    fn apply(row: Option<PortMappingRow>, recorded: &Recorded) -> Result<Option<PortMappingRow>, RowError> {
        let Some(event) = change(recorded) else { return Ok(row) };
        let port = port_of(recorded)?;
        let held = row.as_ref().is_some_and(|row| row.released_seq.is_none());
        match event {
            PortEvent::PortAllocated(_) if held => {
                Err(RowError::Unfit("a port is given out that is held".to_owned()))
            }
            PortEvent::PortAllocated(allocated) => {
                Ok(Some(PortMappingRow::allocated(port, recorded, allocated)))
            }
            PortEvent::PortReleased(_) => Ok(row.map(|row| match held {
                true => PortMappingRow {
                    released_at: Some(recorded.meta.time),
                    released_seq: Some(recorded.seq),
                    ..row
                },
                false => row,
            })),
            PortEvent::PortBlocked(blocked) => {
                check_text([&blocked.reason])?;
                Ok(row)
            }
        }
    }
}

impl PortMappingRow {
    fn allocated((pool, port): Port, recorded: &Recorded, allocated: &PortAllocated) -> Self {
        Self {
            pool,
            port,
            env_id: allocated.env.clone(),
            tenant: allocated.tenant.clone(),
            purpose: allocated.purpose.name().to_owned(),
            allocated_at: recorded.meta.time,
            released_at: None,
            allocated_seq: recorded.seq,
            released_seq: None,
        }
    }
}

impl Stored for PortMappings {
    /// Those that are held: the others never change.
    async fn load(
        connection: &mut PgConnection,
        keys: Vec<String>,
    ) -> Result<Vec<PortMappingRow>, sqlx::Error> {
        let ports: Vec<Port> = keys.iter().filter_map(|key| parse_port_id(key)).collect();
        let mut query = QueryBuilder::new("SELECT m.* FROM port_mappings m JOIN UNNEST(");
        query.push_bind(column(&ports, |(pool, _)| pool.as_str().to_owned()));
        query.push("::text[], ").push_bind(column(&ports, |(_, port)| i32::from(*port)));
        query.push(
            "::integer[]) AS r(pool, port) ON m.pool = r.pool AND m.port = r.port \
             WHERE m.released_seq IS NULL",
        );
        query.build_query_as().fetch_all(connection).await
    }

    /// In the order of their beginnings: what ends makes room for what follows.
    async fn store(connection: &mut PgConnection, rows: &[PortMappingRow]) -> Result<(), RowError> {
        sqlx::query(
            "INSERT INTO port_mappings (pool, port, env_id, tenant, purpose, allocated_at, released_at, \
             allocated_seq, released_seq) \
             SELECT * FROM UNNEST($1::text[], $2::integer[], $3::text[], $4::text[], $5::text[], \
             $6::timestamptz[], $7::timestamptz[], $8::bigint[], $9::bigint[]) \
             ON CONFLICT (allocated_seq) DO UPDATE SET released_at = EXCLUDED.released_at, \
             released_seq = EXCLUDED.released_seq",
        )
        .bind(column(rows, |row| row.pool.as_str()))
        .bind(column(rows, |row| i32::from(row.port)))
        .bind(column(rows, |row| row.env_id.as_str()))
        .bind(column(rows, |row| row.tenant.as_str()))
        .bind(column(rows, |row| row.purpose.as_str()))
        .bind(column(rows, |row| row.allocated_at))
        .bind(column(rows, |row| row.released_at))
        .bind(column(rows, |row| seq(row.allocated_seq)))
        .bind(column(rows, |row| row.released_seq.map(seq)))
        .execute(connection)
        .await?;
        Ok(())
    }
}

async fn block(connection: &mut PgConnection, rows: &[Block]) -> Result<(), RowError> {
    if rows.is_empty() {
        return Ok(());
    }
    sqlx::query(
        "INSERT INTO port_blocks (pool, port, reason, until, blocked_at, seq) \
         SELECT * FROM UNNEST($1::text[], $2::integer[], $3::text[], $4::timestamptz[], \
         $5::timestamptz[], $6::bigint[]) \
         ON CONFLICT (pool, port) DO UPDATE SET reason = EXCLUDED.reason, until = EXCLUDED.until, \
         blocked_at = EXCLUDED.blocked_at, seq = EXCLUDED.seq",
    )
    .bind(column(rows, |row| row.port.0.as_str()))
    .bind(column(rows, |row| i32::from(row.port.1)))
    .bind(column(rows, |row| row.reason.as_str()))
    .bind(column(rows, |row| row.until))
    .bind(column(rows, |row| row.at))
    .bind(column(rows, |row| seq(row.seq)))
    .execute(connection)
    .await?;
    Ok(())
}
