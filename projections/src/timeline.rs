//! What led to an event, what came of it, and what else happened to the same environment, person, server or address?
//! Events of the audit log, found by what the other read models know of them.

use std::net::IpAddr;

use events::ids::{EnvId, ServerId, TenantId, UserName};
use sqlx::{Postgres, QueryBuilder};
use uuid::Uuid;

use crate::audit_log::AuditRow;
use crate::columns::seq;
use crate::paging::{At, Page, QueryError, Window};
use crate::pool::Projections;
use crate::projection;

/// Which event is meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Named {
    Id(Uuid),
    Sequence(u64),
}

/// Of whom or what.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Subject {
    Environment(EnvId),
    /// What they did by themselves or by their tokens, and what is about them.
    User(UserName),
    Server(ServerId),
    Address(IpAddr),
}

/// One event; `tenant: None` looks in all.
pub async fn event(
    projections: &Projections,
    tenant: Option<&TenantId>,
    named: Named,
) -> Result<At<Option<AuditRow>>, QueryError> {
    let mut snapshot = projections.snapshot(projection::of!("audit_log")).await?;
    let mut query = QueryBuilder::new("SELECT * FROM audit_log WHERE ");
    match named {
        Named::Id(id) => query.push("event_id = ").push_bind(id),
        Named::Sequence(sequence) => query.push("seq = ").push_bind(seq(sequence)),
    };
    of_tenant(&mut query, tenant);
    let value = query.build_query_as().fetch_optional(&mut *snapshot.transaction).await?;
    Ok(At { position: snapshot.position, value })
}

/// What one request set in motion, the oldest first; at most `max`.
pub async fn of_request(
    projections: &Projections,
    tenant: Option<&TenantId>,
    correlation: Uuid,
    max: u32,
) -> Result<Vec<AuditRow>, QueryError> {
    let mut snapshot = projections.snapshot(projection::of!("audit_log")).await?;
    let mut query = QueryBuilder::new("SELECT * FROM audit_log WHERE correlation_id = ");
    query.push_bind(correlation);
    of_tenant(&mut query, tenant);
    query.push(" ORDER BY seq LIMIT ").push_bind(i64::from(max));
    Ok(query.build_query_as().fetch_all(&mut *snapshot.transaction).await?)
}

/// Everything about it, newest first. `cursor` is the `next_cursor` of the page before.
pub async fn list(
    projections: &Projections,
    tenant: Option<&TenantId>,
    subject: &Subject,
    cursor: Option<&str>,
    limit: u32,
) -> Result<Page<AuditRow>, QueryError> {
    let window = Window::new("timeline", cursor, limit)?;
    let mut snapshot = projections.snapshot(projection::of!("audit_log")).await?;
    let mut query = QueryBuilder::new("SELECT a.* FROM audit_log a WHERE a.seq < ");
    query.push_bind(window.before);
    of_tenant(&mut query, tenant);
    query.push(" AND (");
    match subject {
        Subject::Environment(env) => about_environment(&mut query, env),
        Subject::User(user) => about_user(&mut query, user),
        Subject::Server(server) => about_server(&mut query, server),
        Subject::Address(ip) => about_address(&mut query, *ip),
    }
    query.push(") ORDER BY a.seq DESC LIMIT ").push_bind(window.fetch());
    let rows = query.build_query_as().fetch_all(&mut *snapshot.transaction).await?;
    Ok(window.page(rows, snapshot.position, |row: &AuditRow| row.seq))
}

fn of_tenant(query: &mut QueryBuilder<Postgres>, tenant: Option<&TenantId>) {
    if let Some(tenant) = tenant {
        query.push(" AND tenant = ").push_bind(tenant.as_str().to_owned());
    }
}

/// Its own events, those of its password, its logins and its sessions, its ports, and its share of the quota.
fn about_environment(query: &mut QueryBuilder<Postgres>, env: &EnvId) {
    let env = env.as_str().to_owned();
    query.push("a.seq IN (SELECT seq FROM audit_log WHERE kind IN ('env', 'credential', 'login') AND aggregate_id = ");
    query.push_bind(env.clone());
    query.push(" UNION ALL SELECT allocated_seq FROM port_mappings WHERE env_id = ").push_bind(env.clone());
    query.push(
        " UNION ALL SELECT released_seq FROM port_mappings WHERE released_seq IS NOT NULL AND env_id = ",
    );
    query.push_bind(env.clone());
    query.push(" UNION ALL SELECT l.seq FROM sessions s JOIN audit_log l ON l.kind = 'session' AND ");
    query.push("l.aggregate_id = s.session_id WHERE s.env_id = ").push_bind(env.clone());
    query.push(" UNION ALL SELECT l.seq FROM environments e JOIN audit_log l ON l.kind = 'quota' AND ");
    query.push("l.aggregate_id = e.tenant AND l.data ->> 'env' = e.env_id WHERE e.env_id = ");
    query.push_bind(env).push(")");
}

fn about_user(query: &mut QueryBuilder<Postgres>, user: &UserName) {
    let name = user.as_str().to_owned();
    query.push("a.actor = ").push_bind(format!("user:{name}"));
    query
        .push(" OR a.actor IN (SELECT 'token:' || token_id FROM tokens WHERE owner = ")
        .push_bind(name.clone());
    query.push(") OR (a.kind = 'user' AND a.aggregate_id = ").push_bind(name.clone());
    query.push(") OR (a.kind = 'token' AND a.aggregate_id IN (SELECT token_id FROM tokens WHERE owner = ");
    query.push_bind(name.clone());
    query.push(")) OR (a.kind = 'sign_in' AND a.data ->> 'user' = ").push_bind(name.clone());
    query.push(") OR (a.kind = 'session' AND a.data ->> 'user' = ").push_bind(name).push(")");
}

/// Its own events, its sessions, and its own grants.
fn about_server(query: &mut QueryBuilder<Postgres>, server: &ServerId) {
    let server = server.as_str().to_owned();
    query.push("a.seq IN (SELECT seq FROM audit_log WHERE kind = 'server' AND aggregate_id = ");
    query.push_bind(server.clone());
    query.push(" UNION ALL SELECT l.seq FROM sessions s JOIN audit_log l ON l.kind = 'session' AND ");
    query.push("l.aggregate_id = s.session_id WHERE s.server_id = ").push_bind(server.clone());
    query.push(
        " UNION ALL SELECT seq FROM audit_log WHERE kind = 'access' AND data -> 'servers' ->> 'server' = ",
    );
    query.push_bind(server).push(")");
}

/// Sign-ins and logins from there, locks of it, and the sessions of who came from there.
fn about_address(query: &mut QueryBuilder<Postgres>, ip: IpAddr) {
    let ip = ip.to_string();
    query.push("a.seq IN (SELECT seq FROM logins WHERE ip = ").push_bind(ip.clone());
    query.push("::inet UNION ALL SELECT l.seq FROM sessions s JOIN audit_log l ON l.kind = 'session' AND ");
    query.push("l.aggregate_id = s.session_id WHERE s.ip = ").push_bind(ip.clone());
    query.push("::inet UNION ALL SELECT seq FROM audit_log WHERE kind = 'sign_in' AND data ->> 'ip' = ");
    query.push_bind(ip).push(")");
}
