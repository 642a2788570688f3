//! What may a tenant have in use, and what has it?

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use events::ids::TenantId;
use events::quota::QuotaEvent;
use events::tenant::TenantEvent;
use events::{Event, Limits, Milli, Recorded, Resources};
use serde::Serialize;
use sqlx::postgres::{PgConnection, PgRow};
use sqlx::{FromRow, QueryBuilder, Row};

use crate::columns::{
    RowError, check_text, column, decode_error, get_milli, get_parsed, get_unsigned, milli, seq,
};
use crate::paging::{At, Page, QueryError, Window};
use crate::pool::Projections;
use crate::projection;

/// A tenant with its limits and what it has in use.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct QuotaRow {
    #[serde(rename = "tenant_id")]
    pub tenant: TenantId,
    /// `None` while the tenant is not registered.
    pub name: Option<String>,
    pub limits: Limits,
    pub used: Used,
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

const QUERY: &str = "SELECT q.tenant, q.name, q.limits, q.created_seq, q.seq, u.* FROM quotas q, LATERAL ( \
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
        let limits: Option<serde_json::Value> = row.try_get("limits")?;
        let limits = limits.map(serde_json::from_value).transpose();
        Ok(Self {
            tenant: get_parsed(row, "tenant")?,
            name: row.try_get("name")?,
            limits: limits.map_err(|error| decode_error("limits", error))?.unwrap_or_default(),
            used: Used {
                environments: get_unsigned(row, "environments")?,
                cpu: get_milli(row, "cpu_milli")?,
                memory: get_milli(row, "memory_milli")?,
                gpu: get_unsigned(row, "gpu")?,
                storage: get_milli(row, "storage_milli")?,
            },
            created_seq: get_unsigned(row, "created_seq")?,
            seq: get_unsigned(row, "seq")?,
        })
    }
}

/// What is known anew of a tenant; `None` leaves what stands in the row.
#[derive(Default)]
struct Change {
    name: Option<String>,
    limits: Option<Limits>,
    first_seq: u64,
    seq: u64,
}

/// The last event of an environment decides: a claim, or none.
enum Claim {
    Held { resources: Resources, since: DateTime<Utc>, seq: u64 },
    Released,
}

#[derive(Default)]
struct Changes<'e> {
    tenants: BTreeMap<&'e str, Change>,
    claims: BTreeMap<(&'e str, &'e str), Claim>,
}

pub(crate) async fn feed(connection: &mut PgConnection, events: &[&Recorded]) -> Result<(), RowError> {
    let mut changes = Changes::default();
    for recorded in events {
        match &recorded.event {
            Event::Tenant(TenantEvent::TenantRegistered(registered)) => {
                check_text([&registered.name])?;
                changes.tenant(recorded).name = Some(registered.name.clone());
            }
            Event::Quota(event) => changes.quota(recorded, event),
            Event::Tenant(TenantEvent::TenantAllowListSet(_))
            | Event::Env(_)
            | Event::Port(_)
            | Event::Credential(_)
            | Event::SshKey(_)
            | Event::Login(_)
            | Event::Session(_)
            | Event::User(_)
            | Event::Token(_)
            | Event::Request(_) => {}
        }
    }
    store_tenants(connection, &changes.tenants).await?;
    store_claims(connection, &changes.claims).await
}

impl<'e> Changes<'e> {
    fn tenant(&mut self, recorded: &'e Recorded) -> &mut Change {
        let change = self
            .tenants
            .entry(recorded.subject.tenant.as_str())
            .or_insert_with(|| Change { first_seq: recorded.seq, ..Change::default() });
        change.seq = recorded.seq;
        change
    }

    fn quota(&mut self, recorded: &'e Recorded, event: &'e QuotaEvent) {
        let tenant = recorded.subject.tenant.as_str();
        let change = self.tenant(recorded);
        match event {
            QuotaEvent::QuotaSet(set) => change.limits = Some(set.limits),
            QuotaEvent::QuotaClaimed(claimed) => {
                let (resources, since, seq) = (claimed.resources, recorded.meta.time, recorded.seq);
                self.claims.insert((tenant, claimed.env.as_str()), Claim::Held { resources, since, seq });
            }
            QuotaEvent::QuotaReleased(released) => {
                self.claims.insert((tenant, released.env.as_str()), Claim::Released);
            }
        }
    }
}

async fn store_tenants(
    connection: &mut PgConnection,
    tenants: &BTreeMap<&str, Change>,
) -> Result<(), RowError> {
    if tenants.is_empty() {
        return Ok(());
    }
    let rows: Vec<(&&str, &Change)> = tenants.iter().collect();
    let mut limits = Vec::with_capacity(rows.len());
    for (_, change) in &rows {
        let json = change.limits.as_ref().map(serde_json::to_value).transpose();
        limits.push(json.map_err(|error| RowError::Unfit(error.to_string()))?);
    }
    sqlx::query(
        "INSERT INTO quotas (tenant, name, limits, created_seq, seq) \
         SELECT * FROM UNNEST($1::text[], $2::text[], $3::jsonb[], $4::bigint[], $5::bigint[]) \
         ON CONFLICT (tenant) DO UPDATE SET name = coalesce(EXCLUDED.name, quotas.name), \
         limits = coalesce(EXCLUDED.limits, quotas.limits), seq = EXCLUDED.seq",
    )
    .bind(column(&rows, |(tenant, _)| **tenant))
    .bind(column(&rows, |(_, change)| change.name.as_deref()))
    .bind(limits)
    .bind(column(&rows, |(_, change)| seq(change.first_seq)))
    .bind(column(&rows, |(_, change)| seq(change.seq)))
    .execute(connection)
    .await?;
    Ok(())
}

async fn store_claims(
    connection: &mut PgConnection,
    claims: &BTreeMap<(&str, &str), Claim>,
) -> Result<(), RowError> {
    let (mut held, mut released) = (Vec::new(), Vec::new());
    for ((tenant, env), claim) in claims {
        match claim {
            Claim::Held { resources, since, seq } => held.push((*tenant, *env, resources, *since, *seq)),
            Claim::Released => released.push((*tenant, *env)),
        }
    }
    if !released.is_empty() {
        sqlx::query(
            "DELETE FROM quota_claims c USING UNNEST($1::text[], $2::text[]) AS r(tenant, env_id) \
             WHERE c.tenant = r.tenant AND c.env_id = r.env_id",
        )
        .bind(column(&released, |(tenant, _)| *tenant))
        .bind(column(&released, |(_, env)| *env))
        .execute(&mut *connection)
        .await?;
    }
    if !held.is_empty() {
        sqlx::query(
            "INSERT INTO quota_claims (tenant, env_id, cpu_milli, memory_milli, gpu, storage_milli, \
             claimed_at, seq) \
             SELECT * FROM UNNEST($1::text[], $2::text[], $3::bigint[], $4::bigint[], $5::bigint[], \
             $6::bigint[], $7::timestamptz[], $8::bigint[]) \
             ON CONFLICT (tenant, env_id) DO UPDATE SET cpu_milli = EXCLUDED.cpu_milli, \
             memory_milli = EXCLUDED.memory_milli, gpu = EXCLUDED.gpu, \
             storage_milli = EXCLUDED.storage_milli, claimed_at = EXCLUDED.claimed_at, seq = EXCLUDED.seq",
        )
        .bind(column(&held, |(tenant, ..)| *tenant))
        .bind(column(&held, |(_, env, ..)| *env))
        .bind(column(&held, |(_, _, resources, ..)| milli(resources.cpu)))
        .bind(column(&held, |(_, _, resources, ..)| milli(resources.memory)))
        .bind(column(&held, |(_, _, resources, ..)| i64::from(resources.gpu)))
        .bind(column(&held, |(_, _, resources, ..)| milli(resources.storage)))
        .bind(column(&held, |(.., since, _)| *since))
        .bind(column(&held, |(.., at)| seq(*at)))
        .execute(connection)
        .await?;
    }
    Ok(())
}
