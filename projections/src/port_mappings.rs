//! Which port led to which environment, from when to when?

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use events::ids::{EnvId, PoolName, TenantId};
use events::ports::{PortEvent, parse_port_id};
use events::{Event, Recorded};
use serde::Serialize;
use sqlx::postgres::{PgConnection, PgRow};
use sqlx::{FromRow, QueryBuilder, Row};

use crate::columns::{RowError, check_text, column, decode_error, get_parsed, get_unsigned, seq};
use crate::paging::{Page, QueryError, Window};
use crate::pool::Projections;
use crate::projection;

/// One holding of a port; one port has as many as it was given out.
#[derive(Debug, Clone, PartialEq, Serialize)]
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

struct Release {
    port: Port,
    at: DateTime<Utc>,
    seq: u64,
}

struct Block {
    port: Port,
    reason: String,
    until: DateTime<Utc>,
    at: DateTime<Utc>,
    seq: u64,
}

/// What the events change: releases of rows that are there, new rows, blocks.
#[derive(Default)]
struct Changes {
    releases: Vec<Release>,
    allocated: Vec<PortMappingRow>,
    /// The newest one per port.
    blocks: BTreeMap<Port, Block>,
}

/// Releases first: a port given out again within the events must be free in the table by then.
pub(crate) async fn feed(connection: &mut PgConnection, events: &[&Recorded]) -> Result<(), RowError> {
    let mut changes = Changes::default();
    for recorded in events {
        match &recorded.event {
            Event::Port(event) => changes.note(recorded, event)?,
            Event::Tenant(_)
            | Event::Quota(_)
            | Event::Env(_)
            | Event::Credential(_)
            | Event::SshKey(_)
            | Event::Login(_)
            | Event::Session(_)
            | Event::User(_)
            | Event::Token(_)
            | Event::Request(_) => {}
        }
    }
    release(connection, &changes.releases).await?;
    allocate(connection, &changes.allocated).await?;
    block(connection, &changes.blocks.into_values().collect::<Vec<_>>()).await
}

impl Changes {
    fn note(&mut self, recorded: &Recorded, event: &PortEvent) -> Result<(), RowError> {
        let id = &recorded.subject.id;
        let port = parse_port_id(id).ok_or_else(|| RowError::Unfit(format!("{id:?} names no port")))?;
        let (at, seq) = (recorded.meta.time, recorded.seq);
        match event {
            PortEvent::PortAllocated(allocated) => self.allocated.push(PortMappingRow {
                pool: port.0,
                port: port.1,
                env_id: allocated.env.clone(),
                tenant: allocated.tenant.clone(),
                purpose: allocated.purpose.name().to_owned(),
                allocated_at: at,
                released_at: None,
                allocated_seq: seq,
                released_seq: None,
            }),
            PortEvent::PortReleased(_) => {
                let held = self
                    .allocated
                    .iter_mut()
                    .rev()
                    .find(|row| row.pool == port.0 && row.port == port.1 && row.released_seq.is_none());
                match held {
                    Some(row) => (row.released_at, row.released_seq) = (Some(at), Some(seq)),
                    None => self.releases.push(Release { port, at, seq }),
                }
            }
            PortEvent::PortBlocked(blocked) => {
                check_text([&blocked.reason])?;
                let (reason, until) = (blocked.reason.clone(), blocked.until);
                self.blocks.insert(port.clone(), Block { port, reason, until, at, seq });
            }
        }
        Ok(())
    }
}

async fn release(connection: &mut PgConnection, rows: &[Release]) -> Result<(), RowError> {
    if rows.is_empty() {
        return Ok(());
    }
    sqlx::query(
        "UPDATE port_mappings m SET released_at = r.at, released_seq = r.seq \
         FROM UNNEST($1::text[], $2::integer[], $3::timestamptz[], $4::bigint[]) AS r(pool, port, at, seq) \
         WHERE m.pool = r.pool AND m.port = r.port AND m.released_seq IS NULL",
    )
    .bind(column(rows, |row| row.port.0.as_str()))
    .bind(column(rows, |row| i32::from(row.port.1)))
    .bind(column(rows, |row| row.at))
    .bind(column(rows, |row| seq(row.seq)))
    .execute(connection)
    .await?;
    Ok(())
}

async fn allocate(connection: &mut PgConnection, rows: &[PortMappingRow]) -> Result<(), RowError> {
    if rows.is_empty() {
        return Ok(());
    }
    sqlx::query(
        "INSERT INTO port_mappings (pool, port, env_id, tenant, purpose, allocated_at, released_at, \
         allocated_seq, released_seq) \
         SELECT * FROM UNNEST($1::text[], $2::integer[], $3::text[], $4::text[], $5::text[], \
         $6::timestamptz[], $7::timestamptz[], $8::bigint[], $9::bigint[])",
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
