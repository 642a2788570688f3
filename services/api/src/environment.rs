//! Which environment is meant, what does it look like from outside, and how does one get in?

use chrono::{DateTime, Utc};
use events::credential::{Credential, SecretRef, reveal};
use events::env::{Env, EnvRefusal, PortPurpose, Status};
use events::ids::{EnvId, TenantId};
use events::{Cause, Kind, Resources, Subject};
use ipnet::IpNet;
use kit::sentry_protocol::jupyter_base_url;
use projections::environments::EnvironmentRow;
use secrecy::{ExposeSecret, SecretString};
use serde::Serialize;
use utoipa::ToSchema;
use uuid::Uuid;

use crate::access::Caller;
use crate::app::{App, Shown};
use crate::idempotency::index;
use crate::problem::Problem;
use crate::readers::ResourcesShape;

/// The account inside every environment.
pub const USERNAME: &str = "developer";

/// An environment that exists for the caller, as the log has it.
pub struct Found {
    pub tenant: TenantId,
    pub id: EnvId,
    pub env: Env,
    /// Its last sequence.
    pub seq: u64,
}

/// Looks in the caller's tenant; for an admin then in all, where the read model says which.
pub async fn find(app: &App, caller: &Caller, id: &str) -> Result<Found, Problem> {
    let unknown = || Problem::not_found("environment");
    let id = EnvId::parse(id).map_err(|_| unknown())?;
    let mut tenant = caller.tenant.clone();
    let mut loaded = app.log.load::<Env>(&tenant, id.as_str()).await?;
    if loaded.state.status == Status::Absent && caller.tenant_seen().is_none() {
        let row = projections::environments::get(&app.projections, None, &id).await?.value;
        tenant = row.ok_or_else(unknown)?.tenant;
        loaded = app.log.load::<Env>(&tenant, id.as_str()).await?;
    }
    let there = loaded.state.status != Status::Absent && caller.sees(&tenant, loaded.state.owner());
    there.then_some(Found { tenant, id, env: loaded.state, seq: loaded.seq }).ok_or_else(unknown)
}

impl Found {
    pub fn subject(&self, kind: Kind) -> Subject {
        Subject::new(self.tenant.clone(), kind, self.id.as_str())
    }

    /// Neither deleted nor on the way there.
    pub fn stays(&self) -> Result<(), Problem> {
        if !self.env.exists() {
            Err(Problem::refused(&EnvRefusal::NotFound))
        } else if self.env.delete_requested() {
            Err(Problem::refused(&EnvRefusal::Deleting))
        } else {
            Ok(())
        }
    }
}

/// The password in force, its showing on record before it is shown. `None` before there is one.
pub async fn reveal_password(
    app: &App,
    tenant: &TenantId,
    id: &EnvId,
    cause: &Cause,
) -> Result<Option<(SecretString, u64)>, Problem> {
    // each showing is a fact of its own, a repeated request's too
    let cause = Cause { command: Uuid::now_v7(), ..cause.clone() };
    let decided = app.log.decide::<Credential, _>(tenant, id.as_str(), &cause, index::FIRST, reveal::reveal);
    let decided = decided.await?;
    let Some(secret_ref) = decided.state.password else { return Ok(None) };
    Ok(app.vault.get(&secret_ref).await?.map(|secret| (secret, decided.seq)))
}

/// The address of its JupyterLab with the token that opens it; `None` where there is none.
pub async fn jupyter_url(app: &App, id: &EnvId, env: &Env) -> Result<Option<String>, Problem> {
    let Some(port) = env.port(PortPurpose::Jupyter) else { return Ok(None) };
    let token = app.vault.get(&SecretRef::jupyter(id)).await?;
    Ok(token.map(|token| app.shown.jupyter_url(id, port, token.expose_secret())))
}

/// Who to be and where to knock.
pub struct Entrance {
    /// The account inside, or the environment's id at the gateway.
    pub user: String,
    pub port: u16,
}

impl Entrance {
    /// The user that is shown, also while there is no entrance yet.
    pub fn user_of(entrance: Option<&Self>) -> String {
        entrance.map_or_else(|| USERNAME.to_owned(), |entrance| entrance.user.clone())
    }
}

impl Shown {
    /// A literal IPv6 address stands in brackets in a URL.
    pub fn host_in_url(&self) -> String {
        if self.ssh_host.contains(':') { format!("[{}]", self.ssh_host) } else { self.ssh_host.clone() }
    }

    /// The main way in: its own port, or the gateway where it has none by design; `None` while none
    /// is bound.
    pub fn entrance(&self, id: &EnvId, port: Option<u16>, gateway_only: bool) -> Option<Entrance> {
        match port {
            Some(port) => Some(Entrance { user: USERNAME.to_owned(), port }),
            None if gateway_only => Some(Entrance { user: id.to_string(), port: self.gateway_port }),
            None => None,
        }
    }

    pub fn ssh_command(&self, entrance: &Entrance) -> String {
        format!("ssh {}@{} -p {}", entrance.user, self.ssh_host, entrance.port)
    }

    pub fn gateway_command(&self, id: &EnvId) -> String {
        format!("ssh {id}@{} -p {}", self.ssh_host, self.gateway_port)
    }

    pub fn sftp_url(&self, entrance: &Entrance) -> String {
        format!("sftp://{}@{}:{}", entrance.user, self.host_in_url(), entrance.port)
    }

    /// A block for `~/.ssh/config`, as VS Code Remote-SSH reads it.
    pub fn vscode_config(&self, id: &EnvId, entrance: &Entrance) -> String {
        let Entrance { user, port } = entrance;
        format!("Host {id}\n    HostName {}\n    Port {port}\n    User {user}\n", self.ssh_host)
    }

    pub fn jupyter_url(&self, id: &EnvId, port: u16, token: &str) -> String {
        format!("http://{}:{port}{}lab?token={token}", self.host_in_url(), jupyter_base_url(id.as_str()))
    }
}

/// An environment as lists and pages show it.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Environment, example = json!({
    "env_id": "env-abcdefghijkl", "tenant_id": "default", "owner": "alice", "name": "my-env",
    "status": "running", "phase": null, "code": null, "reason": null, "image": "portreeve/env:dev",
    "resources": {"cpu": 1, "memory": 2, "gpu": 0, "storage": 10}, "jupyter": false,
    "ssh_host": "127.0.0.1", "ssh_port": 30000, "ssh_username": "developer",
    "ssh_command": "ssh developer@127.0.0.1 -p 30000", "jupyter_port": null, "allow_list": [],
    "ttl_s": null, "expires_at": null, "idle_s": 7200, "job_until": null, "stops_at": null,
    "deletes_at": null, "created_at": "2026-01-02T03:04:05Z",
    "updated_at": "2026-01-02T03:04:07Z",
}))]
pub struct View {
    #[schema(value_type = String)]
    pub env_id: EnvId,
    #[schema(value_type = String)]
    pub tenant_id: TenantId,
    pub owner: String,
    pub name: String,
    /// `creating`, `running`, `stopping`, `stopped`, `starting`, `failed`, `deleting`, `deleted`.
    pub status: String,
    /// Where it failed, or how far it is while it is coming up: `port`, `credentials`, `schedule`,
    /// `image`, `volume`, `create`, `start`, `ready`, ...
    pub phase: Option<String>,
    /// Why it failed, or what happened last on its way up, for programs.
    pub code: Option<String>,
    /// The same for a person.
    pub reason: Option<String>,
    pub image: String,
    #[schema(value_type = ResourcesShape)]
    pub resources: Resources,
    pub jupyter: bool,
    pub ssh_host: String,
    pub ssh_port: Option<u16>,
    /// The account, or the environment's id where only the gateway leads to it.
    pub ssh_username: String,
    pub ssh_command: Option<String>,
    pub jupyter_port: Option<u16>,
    /// Source ranges that may connect; empty means everyone.
    #[schema(value_type = Vec<String>)]
    pub allow_list: Vec<IpNet>,
    pub ttl_s: Option<u64>,
    pub expires_at: Option<DateTime<Utc>>,
    /// Seconds without traffic after which it is stopped.
    pub idle_s: Option<u64>,
    /// Somebody marked a job: until then it is neither stopped as idle nor deleted.
    pub job_until: Option<DateTime<Utc>>,
    /// Warning: it is stopped then, because it is idle, unless it is used.
    pub stops_at: Option<DateTime<Utc>>,
    /// Warning: it is deleted then, because its time ends, unless a job is marked.
    pub deletes_at: Option<DateTime<Utc>>,
    pub created_at: DateTime<Utc>,
    pub updated_at: DateTime<Utc>,
}

impl View {
    pub fn of(row: EnvironmentRow, shown: &Shown) -> Self {
        let image = if row.image.is_empty() { shown.default_image.clone() } else { row.image };
        let entrance = shown.entrance(&row.env_id, row.ssh_port, shown.gateway_only);
        Self {
            ssh_host: shown.ssh_host.clone(),
            ssh_port: entrance.as_ref().map(|entrance| entrance.port),
            ssh_command: entrance.as_ref().map(|entrance| shown.ssh_command(entrance)),
            ssh_username: Entrance::user_of(entrance.as_ref()),
            owner: row.owner.to_string(),
            env_id: row.env_id,
            tenant_id: row.tenant,
            name: row.name,
            status: row.status,
            phase: row.phase,
            code: row.code,
            reason: row.reason,
            image,
            resources: row.resources,
            jupyter: row.jupyter,
            jupyter_port: row.jupyter_port,
            allow_list: row.allow_list,
            ttl_s: row.ttl_s,
            expires_at: row.expires_at,
            idle_s: row.idle_s,
            job_until: row.job_until,
            stops_at: row.stops_at,
            deletes_at: row.deletes_at,
            created_at: row.created_at,
            updated_at: row.updated_at,
        }
    }
}

/// What a stop, a start or a delete answers.
#[derive(Debug, Serialize, ToSchema)]
#[schema(example = json!({"env_id": "env-abcdefghijkl", "name": "my-env", "status": "stopping", "position": 42}))]
pub struct Changing {
    #[schema(value_type = String)]
    pub env_id: EnvId,
    pub name: String,
    /// The status on the way to the one asked for, or that one.
    pub status: &'static str,
    /// Sequence in the log; also in the header `Portreeve-Position`.
    pub position: u64,
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;

    fn shown() -> Shown {
        let default_image = String::new();
        Shown { ssh_host: "::1".to_owned(), gateway_port: 2222, gateway_only: false, default_image }
    }

    #[test]
    fn an_ipv6_host_is_bracketed_in_urls_only() {
        let (shown, id) = (shown(), EnvId::parse("env-abcdefghijkl").unwrap());
        let own = shown.entrance(&id, Some(30000), false).unwrap();
        assert_eq!(shown.ssh_command(&own), "ssh developer@::1 -p 30000");
        assert_eq!(shown.gateway_command(&id), "ssh env-abcdefghijkl@::1 -p 2222");
        assert_eq!(shown.sftp_url(&own), "sftp://developer@[::1]:30000");
        assert_eq!(
            shown.jupyter_url(&id, 30001, "t"),
            "http://[::1]:30001/jupyter/env-abcdefghijkl/lab?token=t"
        );
        assert!(
            shown.vscode_config(&id, &own).contains("HostName ::1\n    Port 30000\n    User developer\n")
        );
    }

    #[test]
    fn without_a_port_of_its_own_the_gateway_is_the_entrance() {
        let (shown, id) = (shown(), EnvId::parse("env-abcdefghijkl").unwrap());
        assert!(shown.entrance(&id, None, false).is_none(), "its port is not bound yet");
        let gateway = shown.entrance(&id, None, true).unwrap();
        assert_eq!(shown.ssh_command(&gateway), shown.gateway_command(&id));
        assert_eq!(shown.sftp_url(&gateway), "sftp://env-abcdefghijkl@[::1]:2222");
        assert!(shown.vscode_config(&id, &gateway).contains("Port 2222\n    User env-abcdefghijkl\n"));
        assert_eq!(shown.entrance(&id, Some(30000), true).unwrap().port, 30000, "made before");
    }
}
