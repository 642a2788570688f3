//! Which servers are there, how is each reached, and how did it go last?

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use events::access::Scope;
use events::access::may::Visible;
use events::ids::{ServerId, Tag, TenantId};
use events::server::{HostKey, Server, Stage};
use serde::{Deserialize, Serialize};
use sqlx::postgres::PgRow;
use sqlx::types::Json;
use sqlx::{FromRow, QueryBuilder, Row};

use crate::columns::{get_parsed, get_unsigned};
use crate::paging::{At, Page, QueryError, Window};
use crate::pool::Projections;
use crate::projection;
pub(crate) use crate::server_rows::feed;

/// What is true of a server after its events. Written as JSON for the snapshots of the fleet alone.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ServerRow {
    pub server_id: ServerId,
    pub tenant: TenantId,
    /// The fold of its events. Names its secret, which is nobody's to know: show a view of it.
    pub server: Server,
    /// When `server.tested` was.
    pub tested_at: Option<DateTime<Utc>>,
    /// When `server.facts` were gathered.
    pub facts_at: Option<DateTime<Utc>>,
    pub created_at: DateTime<Utc>,
    pub updated_at: DateTime<Utc>,
    pub created_seq: u64,
    /// Sequence of its newest event.
    pub seq: u64,
}

/// Which servers; each part left out lets everything through. Removed ones are never listed.
#[derive(Debug, Clone, Default)]
pub struct Filter {
    pub tenant: Option<TenantId>,
    /// Those that somebody is shown; `None` means all.
    pub visible: Option<Visible>,
    pub name: Option<String>,
    pub zone: Option<Tag>,
    pub group: Option<Tag>,
    pub label: Option<(Tag, Tag)>,
    /// Those whose newest test went well, or did not.
    pub ok: Option<bool>,
}

impl Filter {
    /// The same as [`list`] asks PostgreSQL for.
    pub(crate) fn lets_through(&self, row: &ServerRow) -> bool {
        let Some(settings) = row.server.there() else { return false };
        let has_label = |key: &Tag, value: &Tag| settings.labels.get(key) == Some(value);
        let visible = match &self.visible {
            None | Some(Visible::All) => true,
            Some(Visible::In(scopes)) => scopes.iter().any(|scope| match scope {
                Scope::Server(id) => *id == row.server_id,
                Scope::Zone(zone) => settings.zone.as_ref() == Some(zone),
                Scope::Group(group) => settings.groups.contains(group),
                Scope::Label { key, value } => has_label(key, value),
            }),
        };
        visible
            && self.tenant.as_ref().is_none_or(|tenant| *tenant == row.tenant)
            && self.name.as_ref().is_none_or(|name| *name == settings.name)
            && self.zone.as_ref().is_none_or(|zone| settings.zone.as_ref() == Some(zone))
            && self.group.as_ref().is_none_or(|group| settings.groups.contains(group))
            && self.label.as_ref().is_none_or(|(key, value)| has_label(key, value))
            && self.ok.is_none_or(|ok| row.server.tested.as_ref().map(|tested| tested.ok) == Some(ok))
    }
}

pub(crate) const COLUMNS: &str = "server_id, tenant, removed, settings, host_key, host_key_seen, tested, tested_at, \
    facts, facts_at, accounts, created_at, updated_at, created_seq, seq";

/// One server, a removed one too; `tenant: None` looks in all.
pub async fn get(
    projections: &Projections,
    tenant: Option<&TenantId>,
    server: &ServerId,
) -> Result<At<Option<ServerRow>>, QueryError> {
    let mut snapshot = projections.snapshot(projection::of!("servers")).await?;
    let mut query = QueryBuilder::new(format!("SELECT {COLUMNS} FROM servers WHERE server_id = "));
    query.push_bind(server.as_str());
    if let Some(tenant) = tenant {
        query.push(" AND tenant = ").push_bind(tenant.as_str());
    }
    let value = query.build_query_as().fetch_optional(&mut *snapshot.transaction).await?;
    Ok(At { position: snapshot.position, value })
}

/// The servers of a tenant that have these names; removed ones are none.
pub async fn named(
    projections: &Projections,
    tenant: &TenantId,
    names: &[String],
) -> Result<BTreeMap<String, Vec<ServerId>>, QueryError> {
    let mut snapshot = projections.snapshot(projection::of!("servers")).await?;
    let mut query = QueryBuilder::new("SELECT name, server_id FROM servers WHERE NOT removed AND tenant = ");
    query
        .push_bind(tenant.as_str())
        .push(" AND name = ANY(")
        .push_bind(names.to_vec())
        .push(") ORDER BY 1, 2");
    let mut found: BTreeMap<String, Vec<ServerId>> = BTreeMap::new();
    for row in query.build().fetch_all(&mut *snapshot.transaction).await? {
        found.entry(row.try_get("name")?).or_default().push(get_parsed(&row, "server_id")?);
    }
    Ok(found)
}

/// Servers with changes of accounts that must have ended by then; at most `limit`.
pub async fn account_due(
    projections: &Projections,
    by: DateTime<Utc>,
    limit: u32,
) -> Result<Vec<(TenantId, ServerId)>, QueryError> {
    let mut snapshot = projections.snapshot(projection::of!("servers")).await?;
    let mut query = QueryBuilder::new("SELECT tenant, server_id FROM servers WHERE account_due <= ");
    query.push_bind(by).push(" ORDER BY account_due LIMIT ").push_bind(i64::from(limit));
    let rows = query.build().fetch_all(&mut *snapshot.transaction).await?;
    let of = |row: &PgRow| Ok((get_parsed(row, "tenant")?, get_parsed(row, "server_id")?));
    rows.iter().map(of).collect::<Result<_, sqlx::Error>>().map_err(QueryError::from)
}

/// Newest first. `cursor` is the `next_cursor` of the page before.
pub async fn list(
    projections: &Projections,
    filter: &Filter,
    cursor: Option<&str>,
    limit: u32,
) -> Result<Page<ServerRow>, QueryError> {
    let window = Window::new("servers", cursor, limit)?;
    let mut snapshot = projections.snapshot(projection::of!("servers")).await?;
    let mut query =
        QueryBuilder::new(format!("SELECT {COLUMNS} FROM servers WHERE NOT removed AND created_seq < "));
    query.push_bind(window.before);
    if let Some(tenant) = &filter.tenant {
        query.push(" AND tenant = ").push_bind(tenant.as_str());
    }
    if let Some(name) = &filter.name {
        query.push(" AND name = ").push_bind(name);
    }
    if let Some(zone) = &filter.zone {
        query.push(" AND zone = ").push_bind(zone.as_str());
    }
    if let Some(group) = &filter.group {
        query.push(" AND groups && ").push_bind(vec![group.as_str()]);
    }
    if let Some((key, value)) = &filter.label {
        query.push(" AND labels && ").push_bind(vec![label(key, value)]);
    }
    if let Some(ok) = filter.ok {
        query.push(" AND ok = ").push_bind(ok);
    }
    if let Some(Visible::In(scopes)) = &filter.visible {
        let (mut ids, mut zones, mut groups, mut labels) = (vec![], vec![], vec![], vec![]);
        for scope in scopes {
            match scope {
                Scope::Server(id) => ids.push(id.to_string()),
                Scope::Zone(zone) => zones.push(zone.to_string()),
                Scope::Group(group) => groups.push(group.to_string()),
                Scope::Label { key, value } => labels.push(label(key, value)),
            }
        }
        query.push(" AND (server_id = ANY(").push_bind(ids);
        query.push(") OR zone = ANY(").push_bind(zones);
        query.push(") OR groups && ").push_bind(groups);
        query.push(" OR labels && ").push_bind(labels).push(")");
    }
    query.push(" ORDER BY created_seq DESC LIMIT ").push_bind(window.fetch());
    let rows = query.build_query_as().fetch_all(&mut *snapshot.transaction).await?;
    Ok(window.page(rows, snapshot.position, |row: &ServerRow| row.created_seq))
}

pub(crate) fn label(key: &Tag, value: &Tag) -> String {
    format!("{key}={value}")
}

impl FromRow<'_, PgRow> for ServerRow {
    fn from_row(row: &PgRow) -> Result<Self, sqlx::Error> {
        let key = |column| -> Result<Option<HostKey>, sqlx::Error> {
            Ok(row.try_get::<Option<Json<HostKey>>, _>(column)?.map(|json| json.0))
        };
        let removed: bool = row.try_get("removed")?;
        let tested: Option<Json<_>> = row.try_get("tested")?;
        Ok(Self {
            server_id: get_parsed(row, "server_id")?,
            tenant: get_parsed(row, "tenant")?,
            server: Server {
                stage: if removed { Stage::Removed } else { Stage::There },
                settings: Some(row.try_get::<Json<_>, _>("settings")?.0),
                host_key: key("host_key")?,
                host_key_seen: key("host_key_seen")?,
                tested: tested.map(|json| json.0),
                facts: row.try_get::<Option<Json<_>>, _>("facts")?.map(|json| json.0),
                accounts: row.try_get::<Json<_>, _>("accounts")?.0,
            },
            tested_at: row.try_get("tested_at")?,
            facts_at: row.try_get("facts_at")?,
            created_at: row.try_get("created_at")?,
            updated_at: row.try_get("updated_at")?,
            created_seq: get_unsigned(row, "created_seq")?,
            seq: get_unsigned(row, "seq")?,
        })
    }
}
