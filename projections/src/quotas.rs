//! What may a tenant have in use, and what has it?

use chrono::{DateTime, Utc};
use events::ids::{EnvId, TenantId};
use events::quota::QuotaEvent;
use events::tenant::TenantEvent;
use events::{Event, Limits, Milli, Recorded, Resources};
use serde::{Deserialize, Serialize};
use sqlx::postgres::{PgConnection, PgRow};
use sqlx::{FromRow, QueryBuilder, Row};

use crate::columns::{
    RowError, check_text, column, decode_error, get_milli, get_parsed, get_resources, get_unsigned, milli,
    seq,
};
use crate::paging::{At, Page, QueryError, Window};
use crate::pool::Projections;
use crate::projection;
use crate::table::{self, Stored, Table};

/// A tenant with its limits and what it has in use.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct QuotaRow {
    #[serde(rename = "tenant_id")]
    pub tenant: TenantId,
    /// `None` while the tenant is not registered.
    pub name: Option<String>,
    pub limits: Limits,
    pub used: Used,
    /// Terminals are recorded.
    pub recording: bool,
    #[serde(skip)]
    pub created_seq: u64,
    pub seq: u64,
}

/// The sum of the claims.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub struct Used {
    pub environments: u64,
    /// Cores.
    pub cpu: Milli,
    /// GiB.
    pub memory: Milli,
    pub gpu: u64,
    /// GiB.
    pub storage: Milli,
}

const QUERY: &str = "SELECT q.tenant, q.name, q.limits, q.recording, q.created_seq, q.seq, u.* FROM quotas q, LATERAL ( \
    SELECT count(*) AS environments, coalesce(sum(cpu_milli), 0)::bigint AS cpu_milli, \
    coalesce(sum(memory_milli), 0)::bigint AS memory_milli, coalesce(sum(gpu), 0)::bigint AS gpu, \
    coalesce(sum(storage_milli), 0)::bigint AS storage_milli FROM quota_claims c WHERE c.tenant = q.tenant) u";

/// The quota of one tenant.
pub async fn get(projections: &Projections, tenant: &TenantId) -> Result<At<Option<QuotaRow>>, QueryError> {
    let mut snapshot = projections.snapshot(projection::of!("quotas")).await?;
    let mut query = QueryBuilder::new(format!("{QUERY} WHERE q.tenant = "));
    query.push_bind(tenant.as_str());
    let value = query.build_query_as().fetch_optional(&mut *snapshot.transaction).await?;
    Ok(At { position: snapshot.position, value })
}

/// All tenants (or `tenant` alone), newest first. `cursor` is the `next_cursor` of the page before.
pub async fn list(
    projections: &Projections,
    tenant: Option<&TenantId>,
    cursor: Option<&str>,
    limit: u32,
) -> Result<Page<QuotaRow>, QueryError> {
    let window = Window::new("quotas", cursor, limit)?;
    let mut snapshot = projections.snapshot(projection::of!("quotas")).await?;
    let mut query = QueryBuilder::new(format!("{QUERY} WHERE q.created_seq < "));
    query.push_bind(window.before);
    if let Some(tenant) = tenant {
        query.push(" AND q.tenant = ").push_bind(tenant.as_str());
    }
    query.push(" ORDER BY q.created_seq DESC LIMIT ").push_bind(window.fetch());
    let rows = query.build_query_as().fetch_all(&mut *snapshot.transaction).await?;
    Ok(window.page(rows, snapshot.position, |row: &QuotaRow| row.created_seq))
}

impl FromRow<'_, PgRow> for QuotaRow {
    fn from_row(row: &PgRow) -> Result<Self, sqlx::Error> {
        Ok(Self {
            tenant: get_parsed(row, "tenant")?,
            name: row.try_get("name")?,
            limits: get_limits(row)?.unwrap_or_default(),
            used: Used {
                environments: get_unsigned(row, "environments")?,
                cpu: get_milli(row, "cpu_milli")?,
                memory: get_milli(row, "memory_milli")?,
                gpu: get_unsigned(row, "gpu")?,
                storage: get_milli(row, "storage_milli")?,
            },
            recording: row.try_get("recording")?,
            created_seq: get_unsigned(row, "created_seq")?,
            seq: get_unsigned(row, "seq")?,
        })
    }
}

/// A tenant without what it has in use.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct TenantRow {
    pub tenant: TenantId,
    /// `None` while it is not registered.
    pub name: Option<String>,
    /// `None` while no limit was ever set.
    pub limits: Option<Limits>,
    pub recording: bool,
    pub created_seq: u64,
    pub seq: u64,
}

/// What an environment holds of its tenant's quota.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct ClaimRow {
    pub tenant: TenantId,
    pub env_id: EnvId,
    pub resources: Resources,
    pub claimed_at: DateTime<Utc>,
    pub seq: u64,
}

impl QuotaRow {
    /// The same as [`QUERY`] asks PostgreSQL for.
    pub(crate) fn of(tenant: &TenantRow, used: Used) -> Self {
        Self {
            tenant: tenant.tenant.clone(),
            name: tenant.name.clone(),
            limits: tenant.limits.unwrap_or_default(),
            used,
            recording: tenant.recording,
            created_seq: tenant.created_seq,
            seq: tenant.seq,
        }
    }
}

impl Used {
    pub(crate) fn add(&mut self, claimed: &Resources) {
        let sum = |one: Milli, other: Milli| {
            Milli::from_thousandths(one.thousandths().saturating_add(other.thousandths()))
        };
        self.environments += 1;
        self.cpu = sum(self.cpu, claimed.cpu);
        self.memory = sum(self.memory, claimed.memory);
        self.gpu = self.gpu.saturating_add(claimed.gpu.into());
        self.storage = sum(self.storage, claimed.storage);
    }
}

pub(crate) async fn feed(connection: &mut PgConnection, events: &[&Recorded]) -> Result<(), RowError> {
    table::feed::<Tenants>(connection, events).await?;
    table::feed::<Claims>(connection, events).await
}

pub(crate) struct Tenants;

impl Table for Tenants {
    type Row = TenantRow;

    const PROJECTION: &'static str = "quotas";
    const NAME: &'static str = "quotas";

    fn key(recorded: &Recorded) -> Option<String> {
        match &recorded.event {
            Event::Tenant(TenantEvent::TenantRegistered(_) | TenantEvent::TenantRecordingSet(_))
            | Event::Quota(_) => Some(recorded.subject.tenant.as_str().to_owned()),
            Event::Tenant(TenantEvent::TenantAllowListSet(_))
            | Event::Env(_)
            | Event::Port(_)
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

    fn key_of(row: &TenantRow) -> String {
        row.tenant.as_str().to_owned()
    }

    fn birth(row: &TenantRow) -> u64 {
        row.created_seq
    }

    fn born(row: &mut TenantRow, birth: u64) {
        row.created_seq = birth;
    }

    fn tenant(row: &TenantRow) -> &TenantId {
        &row.tenant
    }

    fn is_over(_row: &TenantRow) -> bool {
        false
    }

    fn apply(row: Option<TenantRow>, recorded: &Recorded) -> Result<Option<TenantRow>, RowError> {
        let mut row = row.unwrap_or_else(|| TenantRow {
            tenant: recorded.subject.tenant.clone(),
            name: None,
            limits: None,
            recording: false,
            created_seq: recorded.seq,
            seq: recorded.seq,
        });
        row.seq = recorded.seq;
        if let Event::Tenant(TenantEvent::TenantRegistered(registered)) = &recorded.event {
            check_text([&registered.name])?;
            row.name = Some(registered.name.clone());
        } else if let Event::Tenant(TenantEvent::TenantRecordingSet(set)) = &recorded.event {
            row.recording = set.enabled;
        } else if let Event::Quota(QuotaEvent::QuotaSet(set)) = &recorded.event {
            row.limits = Some(set.limits);
        }
        Ok(Some(row))
    }
}

impl Stored for Tenants {
    async fn load(connection: &mut PgConnection, keys: Vec<String>) -> Result<Vec<TenantRow>, sqlx::Error> {
        let mut query = QueryBuilder::new("SELECT * FROM quotas WHERE tenant = ANY(");
        query.push_bind(keys).push(")");
        query.build_query_as().fetch_all(connection).await
    }

    async fn store(connection: &mut PgConnection, rows: &[TenantRow]) -> Result<(), RowError> {
        let mut limits = Vec::with_capacity(rows.len());
        for row in rows {
            let json = row.limits.as_ref().map(serde_json::to_value).transpose();
            limits.push(json.map_err(|error| RowError::Unfit(error.to_string()))?);
        }
        sqlx::query(
            "INSERT INTO quotas (tenant, name, limits, recording, created_seq, seq) \
             SELECT * FROM UNNEST($1::text[], $2::text[], $3::jsonb[], $4::boolean[], $5::bigint[], $6::bigint[]) \
             ON CONFLICT (tenant) DO UPDATE SET name = EXCLUDED.name, limits = EXCLUDED.limits, \
             recording = EXCLUDED.recording, seq = EXCLUDED.seq",
        )
        .bind(column(rows, |row| row.tenant.as_str()))
        .bind(column(rows, |row| row.name.as_deref()))
        .bind(limits)
        .bind(column(rows, |row| row.recording))
        .bind(column(rows, |row| seq(row.created_seq)))
        .bind(column(rows, |row| seq(row.seq)))
        .execute(connection)
        .await?;
        Ok(())
    }
}

impl FromRow<'_, PgRow> for TenantRow {
    fn from_row(row: &PgRow) -> Result<Self, sqlx::Error> {
        Ok(Self {
            tenant: get_parsed(row, "tenant")?,
            name: row.try_get("name")?,
            limits: get_limits(row)?,
            recording: row.try_get("recording")?,
            created_seq: get_unsigned(row, "created_seq")?,
            seq: get_unsigned(row, "seq")?,
        })
    }
}

fn get_limits(row: &PgRow) -> Result<Option<Limits>, sqlx::Error> {
    let limits: Option<serde_json::Value> = row.try_get("limits")?;
    let limits = limits.map(serde_json::from_value).transpose();
    limits.map_err(|error| decode_error("limits", error))
}

pub(crate) struct Claims;

impl Claims {
    fn key(tenant: &TenantId, env: &EnvId) -> String {
        format!("{tenant} {env}")
    }
}

impl Table for Claims {
    type Row = ClaimRow;

    const PROJECTION: &'static str = "quotas";
    const NAME: &'static str = "quota_claims";

    fn key(recorded: &Recorded) -> Option<String> {
        let Event::Quota(event) = &recorded.event else { return None };
        let env = match event {
            QuotaEvent::QuotaClaimed(claimed) => &claimed.env,
            QuotaEvent::QuotaReleased(released) => &released.env,
            QuotaEvent::QuotaSet(_) => return None,
        };
        Some(Self::key(&recorded.subject.tenant, env))
    }

    fn key_of(row: &ClaimRow) -> String {
        Self::key(&row.tenant, &row.env_id)
    }

    fn birth(row: &ClaimRow) -> u64 {
        row.seq
    }

    fn born(row: &mut ClaimRow, birth: u64) {
        row.seq = birth;
    }

    fn tenant(row: &ClaimRow) -> &TenantId {
        &row.tenant
    }

    fn is_over(_row: &ClaimRow) -> bool {
        false
    }

    /// The last event of an environment decides: a claim, or none.
    fn apply(row: Option<ClaimRow>, recorded: &Recorded) -> Result<Option<ClaimRow>, RowError> {
        let Event::Quota(event) = &recorded.event else { return Ok(row) };
        Ok(match event {
            QuotaEvent::QuotaSet(_) => row,
            QuotaEvent::QuotaReleased(_) => None,
            QuotaEvent::QuotaClaimed(claimed) => Some(ClaimRow {
                tenant: recorded.subject.tenant.clone(),
                env_id: claimed.env.clone(),
                resources: claimed.resources,
                claimed_at: recorded.meta.time,
                seq: recorded.seq,
            }),
        })
    }
}

impl Stored for Claims {
    async fn load(connection: &mut PgConnection, keys: Vec<String>) -> Result<Vec<ClaimRow>, sqlx::Error> {
        let mut query =
            QueryBuilder::new("SELECT * FROM quota_claims WHERE (tenant, env_id) IN (SELECT * FROM UNNEST(");
        let parts: Vec<(&str, &str)> = keys.iter().filter_map(|key| key.split_once(' ')).collect();
        query.push_bind(column(&parts, |(tenant, _)| (*tenant).to_owned()));
        query.push("::text[], ").push_bind(column(&parts, |(_, env)| (*env).to_owned()));
        query.push("::text[]))");
        query.build_query_as().fetch_all(connection).await
    }

    async fn store(connection: &mut PgConnection, rows: &[ClaimRow]) -> Result<(), RowError> {
        sqlx::query(
            "INSERT INTO quota_claims (tenant, env_id, cpu_milli, memory_milli, gpu, storage_milli, \
             claimed_at, seq) \
             SELECT * FROM UNNEST($1::text[], $2::text[], $3::bigint[], $4::bigint[], $5::bigint[], \
             $6::bigint[], $7::timestamptz[], $8::bigint[]) \
             ON CONFLICT (tenant, env_id) DO UPDATE SET cpu_milli = EXCLUDED.cpu_milli, \
             memory_milli = EXCLUDED.memory_milli, gpu = EXCLUDED.gpu, \
             storage_milli = EXCLUDED.storage_milli, claimed_at = EXCLUDED.claimed_at, seq = EXCLUDED.seq",
        )
        .bind(column(rows, |row| row.tenant.as_str()))
        .bind(column(rows, |row| row.env_id.as_str()))
        .bind(column(rows, |row| milli(row.resources.cpu)))
        .bind(column(rows, |row| milli(row.resources.memory)))
        .bind(column(rows, |row| i64::from(row.resources.gpu)))
        .bind(column(rows, |row| milli(row.resources.storage)))
        .bind(column(rows, |row| row.claimed_at))
        .bind(column(rows, |row| seq(row.seq)))
        .execute(connection)
        .await?;
        Ok(())
    }

    async fn remove(connection: &mut PgConnection, rows: &[ClaimRow]) -> Result<(), RowError> {
        sqlx::query(
            "DELETE FROM quota_claims c USING UNNEST($1::text[], $2::text[]) AS r(tenant, env_id) \
             WHERE c.tenant = r.tenant AND c.env_id = r.env_id",
        )
        .bind(column(rows, |row| row.tenant.as_str()))
        .bind(column(rows, |row| row.env_id.as_str()))
        .execute(connection)
        .await?;
        Ok(())
    }
}

impl FromRow<'_, PgRow> for ClaimRow {
    fn from_row(row: &PgRow) -> Result<Self, sqlx::Error> {
        Ok(Self {
            tenant: get_parsed(row, "tenant")?,
            env_id: get_parsed(row, "env_id")?,
            resources: get_resources(row)?,
            claimed_at: row.try_get("claimed_at")?,
            seq: get_unsigned(row, "seq")?,
        })
    }
}
