//! Who may do what on which servers, and which groups of people are there?

use std::collections::{BTreeMap, BTreeSet};

use chrono::{DateTime, Utc};
use events::access::{AccessEvent, Grant, GrantsSet, PeopleGroupSet, Scope};
use events::ids::{Tag, TenantId, UserName};
use events::{Event, Recorded};
use serde::Serialize;
use sqlx::postgres::{PgConnection, PgRow};
use sqlx::types::Json;
use sqlx::{FromRow, QueryBuilder, Row};

use crate::columns::{RowError, column, decode_error, get_parsed, get_unsigned, seq};
use crate::paging::{Page, QueryError, Window};
use crate::pool::Projections;
use crate::projection;

/// The grants of a server, a zone, a group or a label.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct GrantsRow {
    #[serde(rename = "tenant_id")]
    pub tenant: TenantId,
    pub servers: Scope,
    pub grants: Vec<Grant>,
    pub updated_at: DateTime<Utc>,
    pub seq: u64,
}

/// A group of people.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct PeopleGroupRow {
    #[serde(rename = "tenant_id")]
    pub tenant: TenantId,
    pub name: Tag,
    pub members: BTreeSet<UserName>,
    pub updated_at: DateTime<Utc>,
    pub seq: u64,
}

/// Changed last, first. `tenant: None` looks in all.
pub async fn list(
    projections: &Projections,
    tenant: Option<&TenantId>,
    servers: Option<&Scope>,
    cursor: Option<&str>,
    limit: u32,
) -> Result<Page<GrantsRow>, QueryError> {
    let window = Window::new("grants", cursor, limit)?;
    let mut snapshot = projections.snapshot(projection::of!("grants")).await?;
    let mut query = QueryBuilder::new("SELECT * FROM grants WHERE seq < ");
    query.push_bind(window.before);
    if let Some(tenant) = tenant {
        query.push(" AND tenant = ").push_bind(tenant.as_str());
    }
    if let Some(servers) = servers {
        query.push(" AND scope = ").push_bind(text_of(servers));
    }
    query.push(" ORDER BY seq DESC LIMIT ").push_bind(window.fetch());
    let rows = query.build_query_as().fetch_all(&mut *snapshot.transaction).await?;
    Ok(window.page(rows, snapshot.position, |row: &GrantsRow| row.seq))
}

/// Changed last, first. `tenant: None` looks in all.
pub async fn people_groups(
    projections: &Projections,
    tenant: Option<&TenantId>,
    cursor: Option<&str>,
    limit: u32,
) -> Result<Page<PeopleGroupRow>, QueryError> {
    let window = Window::new("people_groups", cursor, limit)?;
    let mut snapshot = projections.snapshot(projection::of!("grants")).await?;
    let mut query = QueryBuilder::new("SELECT * FROM people_groups WHERE seq < ");
    query.push_bind(window.before);
    if let Some(tenant) = tenant {
        query.push(" AND tenant = ").push_bind(tenant.as_str());
    }
    query.push(" ORDER BY seq DESC LIMIT ").push_bind(window.fetch());
    let rows = query.build_query_as().fetch_all(&mut *snapshot.transaction).await?;
    Ok(window.page(rows, snapshot.position, |row: &PeopleGroupRow| row.seq))
}

fn text_of(servers: &Scope) -> String {
    match servers {
        Scope::Server(id) => format!("server:{id}"),
        Scope::Zone(zone) => format!("zone:{zone}"),
        Scope::Group(group) => format!("group:{group}"),
        Scope::Label { key, value } => format!("label:{key}={value}"),
    }
}

impl FromRow<'_, PgRow> for GrantsRow {
    fn from_row(row: &PgRow) -> Result<Self, sqlx::Error> {
        Ok(Self {
            tenant: get_parsed(row, "tenant")?,
            servers: row.try_get::<Json<_>, _>("servers")?.0,
            grants: row.try_get::<Json<_>, _>("grants")?.0,
            updated_at: row.try_get("updated_at")?,
            seq: get_unsigned(row, "seq")?,
        })
    }
}

impl FromRow<'_, PgRow> for PeopleGroupRow {
    fn from_row(row: &PgRow) -> Result<Self, sqlx::Error> {
        let members: Vec<String> = row.try_get("members")?;
        Ok(Self {
            tenant: get_parsed(row, "tenant")?,
            name: get_parsed(row, "name")?,
            members: members
                .into_iter()
                .map(UserName::parse)
                .collect::<Result<_, _>>()
                .map_err(|error| decode_error("members", error))?,
            updated_at: row.try_get("updated_at")?,
            seq: get_unsigned(row, "seq")?,
        })
    }
}

/// The last event of a place or a group decides: a row, or none.
pub(crate) async fn feed(connection: &mut PgConnection, events: &[&Recorded]) -> Result<(), RowError> {
    let (mut grants, mut groups) = (BTreeMap::new(), BTreeMap::new());
    for recorded in events {
        let tenant = recorded.subject.tenant.as_str();
        match &recorded.event {
            Event::Access(AccessEvent::GrantsSet(set)) => {
                grants.insert((tenant, text_of(&set.servers)), (*recorded, set));
            }
            Event::Access(AccessEvent::PeopleGroupSet(set)) => {
                groups.insert((tenant, set.group.as_str()), (*recorded, set));
            }
            Event::Tenant(_)
            | Event::Quota(_)
            | Event::Env(_)
            | Event::Port(_)
            | Event::Credential(_)
            | Event::SshKey(_)
            | Event::Login(_)
            | Event::Session(_)
            | Event::Server(_)
            | Event::Relay(_)
            | Event::Batch(_)
            | Event::Command(_)
            | Event::Schedule(_)
            | Event::Subscription(_)
            | Event::User(_)
            | Event::Token(_)
            | Event::SignIn(_)
            | Event::NatsTap(_)
            | Event::Request(_) => {}
        }
    }
    store_grants(connection, &grants.into_values().collect::<Vec<_>>()).await?;
    store_groups(connection, &groups.into_values().collect::<Vec<_>>()).await
}

async fn store_grants(
    connection: &mut PgConnection,
    rows: &[(&Recorded, &GrantsSet)],
) -> Result<(), RowError> {
    if rows.is_empty() {
        return Ok(());
    }
    sqlx::query(
        "DELETE FROM grants g USING UNNEST($1::text[], $2::text[]) AS r(tenant, scope) \
         WHERE g.tenant = r.tenant AND g.scope = r.scope",
    )
    .bind(column(rows, |(recorded, _)| recorded.subject.tenant.as_str()))
    .bind(column(rows, |(_, set)| text_of(&set.servers)))
    .execute(&mut *connection)
    .await?;
    let rows: Vec<_> = rows.iter().filter(|(_, set)| !set.grants.is_empty()).collect();
    sqlx::query(
        "INSERT INTO grants (tenant, scope, servers, grants, updated_at, seq) \
         SELECT * FROM UNNEST($1::text[], $2::text[], $3::jsonb[], $4::jsonb[], $5::timestamptz[], \
         $6::bigint[])",
    )
    .bind(column(&rows, |(recorded, _)| recorded.subject.tenant.as_str()))
    .bind(column(&rows, |(_, set)| text_of(&set.servers)))
    .bind(column(&rows, |(_, set)| Json(&set.servers)))
    .bind(column(&rows, |(_, set)| Json(&set.grants)))
    .bind(column(&rows, |(recorded, _)| recorded.meta.time))
    .bind(column(&rows, |(recorded, _)| seq(recorded.seq)))
    .execute(connection)
    .await?;
    Ok(())
}

async fn store_groups(
    connection: &mut PgConnection,
    rows: &[(&Recorded, &PeopleGroupSet)],
) -> Result<(), RowError> {
    if rows.is_empty() {
        return Ok(());
    }
    sqlx::query(
        "DELETE FROM people_groups g USING UNNEST($1::text[], $2::text[]) AS r(tenant, name) \
         WHERE g.tenant = r.tenant AND g.name = r.name",
    )
    .bind(column(rows, |(recorded, _)| recorded.subject.tenant.as_str()))
    .bind(column(rows, |(_, set)| set.group.as_str()))
    .execute(&mut *connection)
    .await?;
    let rows: Vec<_> = rows.iter().filter(|(_, set)| !set.members.is_empty()).collect();
    sqlx::query(
        "INSERT INTO people_groups (tenant, name, members, updated_at, seq) \
         SELECT tenant, name, string_to_array(members, ' '), updated_at, seq \
         FROM UNNEST($1::text[], $2::text[], $3::text[], $4::timestamptz[], $5::bigint[]) \
         AS r(tenant, name, members, updated_at, seq)",
    )
    .bind(column(&rows, |(recorded, _)| recorded.subject.tenant.as_str()))
    .bind(column(&rows, |(_, set)| set.group.as_str()))
    // names have no blanks
    .bind(column(&rows, |(_, set)| set.members.iter().map(UserName::as_str).collect::<Vec<_>>().join(" ")))
    .bind(column(&rows, |(recorded, _)| recorded.meta.time))
    .bind(column(&rows, |(recorded, _)| seq(recorded.seq)))
    .execute(connection)
    .await?;
    Ok(())
}
