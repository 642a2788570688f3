//! Which server is meant, may the caller do that there, and what does it look like from outside?

use std::collections::{BTreeMap, BTreeSet};

use chrono::{DateTime, Utc};
use events::access::may::{Person, rights};
use events::access::{Access, Right};
use events::ids::{RelayId, ServerId, Tag, TenantId};
use events::server::{ConnectionTested, Server, Settings, Stage};
use events::user::Role;
use projections::servers::ServerRow;
use reach::ReachError;
use serde::Serialize;
use utoipa::ToSchema;

use crate::access::Caller;
use crate::app::App;
use crate::problem::Problem;

/// Who registers, changes and removes servers and says who may use them.
const KEEPERS: [Role; 2] = [Role::Admin, Role::Operator];

/// A server that exists for the caller, as the log has it.
pub struct Found {
    pub tenant: TenantId,
    pub id: ServerId,
    pub settings: Settings,
    /// What the caller may do there now.
    pub may: BTreeSet<Right>,
}

impl Caller {
    pub fn person(&self) -> Person<'_> {
        Person { user: &self.owner, role: self.role }
    }

    pub fn keeps_servers(&self) -> Result<(), Problem> {
        self.needs(&KEEPERS)
    }
}

/// Looks in the caller's tenant; for an admin then in all, where the read model says which. A server on which the
/// caller may do nothing does not exist for them.
pub async fn find(app: &App, caller: &Caller, id: &str) -> Result<Found, Problem> {
    let unknown = || Problem::not_found("server");
    let (tenant, id, server) = find_any(app, caller, id).await?;
    let settings = server.there().ok_or_else(unknown)?.clone();
    let access = app.log.load::<Access>(&tenant, tenant.as_str()).await?.state;
    let may = rights(&access, caller.person(), &id, &settings, Utc::now());
    if may.is_empty() {
        return Err(unknown());
    }
    Ok(Found { tenant, id, settings, may })
}

/// Also one that was removed, and whoever asks: not to be shown to anybody but keepers.
pub async fn find_any(app: &App, caller: &Caller, id: &str) -> Result<(TenantId, ServerId, Server), Problem> {
    let unknown = || Problem::not_found("server");
    let id = ServerId::parse(id).map_err(|_| unknown())?;
    let mut tenant = caller.tenant.clone();
    let mut server = app.log.load::<Server>(&tenant, id.as_str()).await?.state;
    if server.stage == Stage::Absent && caller.tenant_seen().is_none() {
        let row = projections::servers::get(&app.projections, None, &id).await?.value;
        tenant = row.ok_or_else(unknown)?.tenant;
        server = app.log.load::<Server>(&tenant, id.as_str()).await?.state;
    }
    if server.stage == Stage::Absent { Err(unknown()) } else { Ok((tenant, id, server)) }
}

impl Found {
    /// What is seen and may not be done is forbidden, not unknown.
    pub fn needs(&self, any_of: &[Right]) -> Result<(), Problem> {
        if any_of.iter().any(|right| self.may.contains(right)) {
            return Ok(());
        }
        let names: Vec<_> = any_of.iter().map(|right| right.name()).collect();
        let detail = format!("you have no grant for {} on this server", names.join(" or "));
        Err(Problem::new("forbidden", detail))
    }
}

impl From<ReachError> for Problem {
    fn from(error: ReachError) -> Self {
        match error {
            ReachError::NotFound => Self::not_found("server"),
            ReachError::Log(error) => error.into(),
            ReachError::Vault(error) => error.into(),
            ReachError::Contended => {
                Self::new("contended", "others changed the server at the same moment; try again")
            }
            ReachError::Trouble(_)
            | ReachError::Authority(_)
            | ReachError::Certify(_)
            | ReachError::Stored(_) => Self::internal(&error),
        }
    }
}

/// How a test went.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = ServerTest)]
pub struct TestView {
    pub ok: bool,
    /// Which way it failed, for programs; `null` when it went well.
    #[schema(example = "auth_failed")]
    pub class: Option<String>,
    /// The same in a sentence.
    pub reason: Option<String>,
    /// What a person can do about it.
    pub suggestion: Option<String>,
    /// How far it came: `preparation`, `network`, `identification`, `key_exchange`, `host_key`,
    /// `authentication` or `shell`.
    #[schema(example = "authentication")]
    pub step: String,
    /// What the server says it is.
    #[schema(example = "SSH-2.0-OpenSSH_9.2p1")]
    pub identification: Option<String>,
    pub duration_ms: u64,
    /// `null` in the answer of the test itself.
    pub at: Option<DateTime<Utc>>,
}

impl TestView {
    pub fn of(tested: ConnectionTested, at: Option<DateTime<Utc>>) -> Self {
        let ConnectionTested { ok, class, reason, suggestion, step, identification, duration_ms, .. } =
            tested;
        Self { ok, class, reason, suggestion, step, identification, duration_ms, at }
    }
}

/// A server from outside: everything but its credential.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Server)]
pub struct View {
    #[schema(value_type = String, example = "srv-abcdefghijkl")]
    pub server_id: ServerId,
    #[schema(value_type = String)]
    pub tenant_id: TenantId,
    pub name: String,
    #[schema(example = "web1.example.org")]
    pub host: String,
    pub port: u16,
    #[schema(example = "deploy")]
    pub username: String,
    /// `password`, `private_key` or `certificate`.
    pub method: &'static str,
    #[schema(value_type = Option<String>)]
    pub zone: Option<Tag>,
    #[schema(value_type = Option<String>)]
    pub relay: Option<RelayId>,
    #[schema(value_type = Vec<String>)]
    pub groups: BTreeSet<Tag>,
    #[schema(value_type = std::collections::HashMap<String, String>)]
    pub labels: BTreeMap<Tag, Tag>,
    /// The key that is believed, as an OpenSSH line; `null` before the server was reached once.
    pub host_key: Option<String>,
    pub host_key_fingerprint: Option<String>,
    /// Another key that the server showed since: nobody gets in until somebody accepts it.
    pub host_key_seen_fingerprint: Option<String>,
    /// What the caller may do there now: `terminal`, `command`, `facts`.
    #[schema(value_type = Vec<String>)]
    pub may: BTreeSet<Right>,
    /// The newest test of these settings.
    pub test: Option<TestView>,
    pub created_at: DateTime<Utc>,
    pub updated_at: DateTime<Utc>,
}

impl View {
    /// `None` if there is nothing for the caller: it is gone, or not theirs to use.
    pub fn of(row: ServerRow, access: &Access, caller: &Caller, now: DateTime<Utc>) -> Option<Self> {
        let settings = row.server.there()?.clone();
        let may = rights(access, caller.person(), &row.server_id, &settings, now);
        if may.is_empty() {
            return None;
        }
        let Server { host_key, host_key_seen, tested, .. } = row.server;
        let Settings { name, host, port, username, credential, zone, relay, groups, labels } = settings;
        Some(Self {
            server_id: row.server_id,
            tenant_id: row.tenant,
            name,
            host,
            port,
            username,
            method: credential.method.name(),
            zone,
            relay,
            groups,
            labels,
            host_key: host_key.as_ref().map(|key| key.line.clone()),
            host_key_fingerprint: host_key.map(|key| key.fingerprint),
            host_key_seen_fingerprint: host_key_seen.map(|key| key.fingerprint),
            may,
            test: tested.map(|tested| TestView::of(tested, row.tested_at)),
            created_at: row.created_at,
            updated_at: row.updated_at,
        })
    }
}

/// By what a developer's servers are decided; everybody else's by their role alone.
pub async fn access_of(app: &App, caller: &Caller) -> Result<Access, Problem> {
    match caller.role {
        Role::Developer => {
            let tenant = &caller.tenant;
            Ok(app.log.load::<Access>(tenant, tenant.as_str()).await?.state)
        }
        Role::Admin | Role::Operator | Role::Auditor | Role::Enroller => Ok(Access::default()),
    }
}
