//! `/api/servers/{id}/grants`, `/api/server-grants`: who may do what on which servers, from when until when?

use axum::extract::{Path, State};
use axum::response::Response;
use chrono::{DateTime, Utc};
use events::access::set_grants::{GRANTS_MAX, set_grants};
use events::access::{Access, Grant, Grantee, GrantsSet, Right, Scope};
use events::ids::{ServerId, Tag, TenantId, UserName};
use events::user::Role;
use projections::grants::{self, GrantsRow};
use serde::Serialize;
use serde_json::{Value, json};
use utoipa::ToSchema;

use crate::access::Caller;
use crate::app::App;
use crate::command_patterns::{self, CommandsView};
use crate::fields::{self, Fields, Wrong};
use crate::idempotency::index;
use crate::incoming::Incoming;
use crate::params::Params;
use crate::position;
use crate::problem::{Problem, ProblemDetails};
use crate::readers;
use crate::routes::Listed;
use crate::server::find;

/// Somebody may do something. Of `user`, `role` and `group` there is one.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Grant, example = json!({"user": "alice", "may": ["terminal", "command"], "until": "2026-12-31T00:00:00Z"}))]
pub struct GrantView {
    #[serde(skip_serializing_if = "Option::is_none")]
    user: Option<String>,
    /// `developer`, ...
    #[serde(skip_serializing_if = "Option::is_none")]
    role: Option<&'static str>,
    /// A group of people.
    #[serde(skip_serializing_if = "Option::is_none")]
    group: Option<String>,
    /// Of `terminal`, `command`, `facts`.
    may: Vec<&'static str>,
    /// What is said of commands; nothing when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    commands: Option<CommandsView>,
    /// Not before; at once when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    from: Option<DateTime<Utc>>,
    /// Not from then on; for ever when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    until: Option<DateTime<Utc>>,
}

impl From<Grant> for GrantView {
    fn from(grant: Grant) -> Self {
        let Grant { to, may, commands, from, until } = grant;
        let may = may.into_iter().map(Right::name).collect();
        let commands = CommandsView::of(commands);
        let nobody = Self { user: None, role: None, group: None, may, commands, from, until };
        match to {
            Grantee::User(user) => Self { user: Some(user.into()), ..nobody },
            Grantee::Role(role) => Self { role: Some(role.name()), ..nobody },
            Grantee::Group(group) => Self { group: Some(group.into()), ..nobody },
        }
    }
}

#[derive(ToSchema)]
#[schema(as = GrantsAsked, example = json!({"grants": [{"user": "alice", "may": ["terminal"]}]}))]
#[allow(dead_code)] // a description
pub struct AskedShape {
    /// At most 100; none takes all away.
    grants: Vec<GrantView>,
}

/// On which servers; there is one of the four.
#[derive(ToSchema)]
#[schema(as = GrantScope, example = json!({"zone": "dmz"}))]
#[allow(dead_code)] // a description
pub struct ScopeShape {
    /// Server id.
    server: Option<String>,
    zone: Option<String>,
    /// A group of servers.
    group: Option<String>,
    /// `key=value`
    label: Option<String>,
}

#[derive(ToSchema)]
#[schema(as = ScopedGrantsAsked, example = json!({
    "servers": {"label": "env=test"}, "grants": [{"group": "ops", "may": ["terminal", "command", "facts"]}],
}))]
#[allow(dead_code)] // a description
pub struct ScopedShape {
    servers: ScopeShape,
    grants: Vec<GrantView>,
}

#[derive(Serialize, ToSchema)]
#[schema(as = Grants)]
pub struct GrantsView {
    /// In lists, because an admin is shown those of all tenants.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    tenant_id: Option<TenantId>,
    #[schema(value_type = ScopeShape)]
    servers: Value,
    grants: Vec<GrantView>,
}

impl GrantsView {
    fn of(servers: &Scope, grants: Vec<Grant>) -> Self {
        let grants = grants.into_iter().map(GrantView::from).collect();
        Self { tenant_id: None, servers: shown(servers), grants }
    }
}

fn shown(servers: &Scope) -> Value {
    match servers {
        Scope::Server(id) => json!({"server": id}),
        Scope::Zone(zone) => json!({"zone": zone}),
        Scope::Group(group) => json!({"group": group}),
        Scope::Label { key, value } => json!({"label": format!("{key}={value}")}),
    }
}

fn grant(fields: &mut Fields<'_>) -> Option<Grant> {
    let user = fields.optional("user", fields::id(UserName::parse)).map(Grantee::User);
    let role = fields.optional("role", readers::role).map(Grantee::Role);
    let group = fields.optional("group", fields::id(Tag::parse)).map(Grantee::Group);
    let may = fields.required_list("may", Right::ALL.len(), right);
    let commands = fields.object("commands", false, |inner| Some(command_patterns::read(inner)));
    let from = fields.optional("from", instant);
    let until = fields.optional("until", instant);
    if may.is_empty() && !fields.has_errors() {
        let detail = "must have at least one of terminal, command, facts";
        fields.note("may", Wrong::new("too_short", detail));
    }
    if from.zip(until).is_some_and(|(from, until)| until <= from) {
        fields.note("until", Wrong::new("out_of_range", "must be after from"));
    }
    let mut given = [user, role, group].into_iter().flatten();
    match (given.next(), given.next()) {
        (Some(to), None) => {
            let (may, commands) = (may.into_iter().collect(), commands.unwrap_or_default());
            Some(Grant { to, may, commands, from, until })
        }
        (None, None) if fields.has_errors() => None,
        _ => {
            fields.note("", Wrong::new("malformed", "must have one of user, role and group"));
            None
        }
    }
}

fn right(value: &Value) -> Result<Right, Wrong> {
    let known = Right::ALL.into_iter().find(|right| value.as_str() == Some(right.name()));
    known.ok_or_else(|| Wrong::new("malformed", "must be terminal, command or facts"))
}

fn instant(value: &Value) -> Result<DateTime<Utc>, Wrong> {
    let text = value.as_str().ok_or_else(|| Wrong::kind("a string", value))?;
    let parsed = DateTime::parse_from_rfc3339(text);
    parsed
        .map(|at| at.to_utc())
        .map_err(|_| Wrong::new("malformed", "must be a time like 2026-01-02T03:04:05Z"))
}

fn scope(fields: &mut Fields<'_>) -> Option<Scope> {
    let server = fields.optional("server", fields::id(ServerId::parse)).map(Scope::Server);
    let zone = fields.optional("zone", fields::id(Tag::parse)).map(Scope::Zone);
    let group = fields.optional("group", fields::id(Tag::parse)).map(Scope::Group);
    let label = fields.optional("label", label);
    let mut given = [server, zone, group, label].into_iter().flatten();
    match (given.next(), given.next()) {
        (Some(scope), None) => Some(scope),
        (None, None) if fields.has_errors() => None,
        _ => {
            fields.note("", Wrong::new("malformed", "must have one of server, zone, group and label"));
            None
        }
    }
}

fn label(value: &Value) -> Result<Scope, Wrong> {
    let text = value.as_str().ok_or_else(|| Wrong::kind("a string", value))?;
    let (key, value) = text.split_once('=').ok_or_else(|| Wrong::new("malformed", "must be key=value"))?;
    let tag = fields::id(Tag::parse);
    Ok(Scope::Label { key: tag(&Value::from(key))?, value: tag(&Value::from(value))? })
}

/// Say who may use a server
///
/// Replaces what was granted on this server; what is granted on its zone, groups and labels stays beside it.
#[utoipa::path(
    put, path = "/api/servers/{id}/grants", tag = "servers", request_body = AskedShape,
    params(("id" = String, Path, description = "Server id")),
    responses(
        (status = 200, body = GrantsView, headers(("Portreeve-Position" = u64))),
        (status = 403, description = "`forbidden`", body = ProblemDetails, content_type = "application/problem+json"),
        (status = 404, description = "`not_found`", body = ProblemDetails, content_type = "application/problem+json"),
        (status = 422, description = "`validation_failed`", body = ProblemDetails, content_type = "application/problem+json"),
    )
)]
pub async fn set(
    State(app): State<App>,
    Path(id): Path<String>,
    incoming: Incoming,
) -> Result<Response, Problem> {
    let found = find(&app, &incoming.caller, &id).await?;
    incoming.caller.keeps_servers()?;
    let mut fields = Fields::of(&incoming.body.json);
    let grants = fields.required_objects("grants", GRANTS_MAX, grant);
    let grants = fields.finish(Some(grants))?;
    store(&app, &incoming, &found.tenant, GrantsSet { servers: Scope::Server(found.id), grants }).await
}

/// Say who may use the servers of a zone, a group or a label
#[utoipa::path(
    put, path = "/api/server-grants", tag = "servers", request_body = ScopedShape,
    responses(
        (status = 200, body = GrantsView, headers(("Portreeve-Position" = u64))),
        (status = 403, description = "`forbidden`", body = ProblemDetails, content_type = "application/problem+json"),
        (status = 422, description = "`validation_failed`", body = ProblemDetails, content_type = "application/problem+json"),
    )
)]
pub async fn set_scoped(State(app): State<App>, incoming: Incoming) -> Result<Response, Problem> {
    incoming.caller.keeps_servers()?;
    let mut fields = Fields::of(&incoming.body.json);
    let servers = fields.object("servers", true, scope);
    let grants = fields.required_objects("grants", GRANTS_MAX, grant);
    let asked = fields.finish(servers.map(|servers| GrantsSet { servers, grants }))?;
    let mut tenant = incoming.caller.tenant.clone();
    if let Scope::Server(id) = &asked.servers {
        tenant = find(&app, &incoming.caller, id.as_str()).await?.tenant;
    }
    store(&app, &incoming, &tenant, asked).await
}

async fn store(
    app: &App,
    incoming: &Incoming,
    tenant: &TenantId,
    asked: GrantsSet,
) -> Result<Response, Problem> {
    let cause = incoming.accept(app).await?;
    let rule = |access: &Access| set_grants(access, asked.clone());
    let decided = app.log.decide::<Access, _>(tenant, tenant.as_str(), &cause, index::FIRST, rule).await?;
    Ok(position::shown(decided.seq, GrantsView::of(&asked.servers, asked.grants)))
}

fn sees_grants(caller: &Caller) -> Result<(), Problem> {
    caller.needs(&[Role::Admin, Role::Operator, Role::Auditor])
}

/// Show who may use a server
///
/// What is granted on this server itself; `GET /api/server-grants` has those of zones, groups and labels.
#[utoipa::path(
    get, path = "/api/servers/{id}/grants", tag = "servers",
    params(
        ("id" = String, Path, description = "Server id"),
        ("after" = Option<u64>, Query, description = "Wait until the read model has this sequence"),
    ),
    responses(
        (status = 200, body = GrantsView, headers(("Portreeve-Position" = u64))),
        (status = 404, description = "`not_found`", body = ProblemDetails, content_type = "application/problem+json"),
    )
)]
pub async fn show(
    State(app): State<App>,
    caller: Caller,
    Path(id): Path<String>,
    mut params: Params,
) -> Result<Response, Problem> {
    let after = params.number("after");
    params.end()?;
    app.caught_up(after).await?;
    let found = find(&app, &caller, &id).await?;
    sees_grants(&caller)?;
    let scope = Scope::Server(found.id);
    let page = grants::list(&app.projections, Some(&found.tenant), Some(&scope), None, 1).await?;
    let granted = page.items.into_iter().flat_map(|row| row.grants).collect();
    Ok(position::shown(page.position, GrantsView::of(&scope, granted)))
}

/// Those of one place; at most one is said.
fn of_place(params: &mut Params) -> Option<Scope> {
    let tag = |text: &str| Tag::parse(text).map_err(|invalid| format!("must be {}", invalid.rule));
    let zone = params.parsed("zone", tag).map(Scope::Zone);
    let group = params.parsed("group", tag).map(Scope::Group);
    let label = params.parsed("label", |text| label(&text.into()).map_err(|wrong| wrong.detail));
    let several =
        [zone.is_some(), group.is_some(), label.is_some()].into_iter().filter(|said| *said).count() > 1;
    if several {
        params.wrong("zone", "malformed", "only one of zone, group and label may be there");
    }
    zone.or(group).or(label)
}

/// List grants
///
/// Of servers, zones, groups and labels; changed last, first.
#[utoipa::path(
    get, path = "/api/server-grants", tag = "servers",
    params(
        ("zone" = Option<String>, Query, description = "Only those of this zone"),
        ("group" = Option<String>, Query, description = "Only those of this group of servers"),
        ("label" = Option<String>, Query, description = "Only those of this label, `key=value`"),
        ("limit" = Option<u32>, Query, description = "1 to 500; 50 when absent"),
        ("cursor" = Option<String>, Query, description = "`next_cursor` of the page before"),
        ("after" = Option<u64>, Query, description = "Wait until the read model has this sequence"),
    ),
    responses(
        (status = 200, body = Listed<GrantsView>, headers(("Portreeve-Position" = u64))),
        (status = 403, description = "`forbidden`", body = ProblemDetails, content_type = "application/problem+json"),
    )
)]
pub async fn list(State(app): State<App>, caller: Caller, mut params: Params) -> Result<Response, Problem> {
    let place = of_place(&mut params);
    let (limit, cursor) = params.page();
    let after = params.number("after");
    params.end()?;
    sees_grants(&caller)?;
    app.caught_up(after).await?;
    let (tenant, cursor) = (caller.tenant_seen(), cursor.as_deref());
    let page = grants::list(&app.projections, tenant, place.as_ref(), cursor, limit).await?;
    let view = |row: GrantsRow| {
        let tenant_id = Some(row.tenant);
        GrantsView { tenant_id, ..GrantsView::of(&row.servers, row.grants) }
    };
    Ok(position::page(page.map(view)))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;

    fn read(value: Value) -> Result<Grant, (String, &'static str)> {
        let body = json!({ "grants": [value] });
        let mut fields = Fields::of(&body);
        let mut grants = fields.required_objects("grants", 1, grant);
        let read = fields.finish(Some(grants.pop()));
        read.map(Option::unwrap)
            .map_err(|problem| (problem.errors()[0].field.clone(), problem.errors()[0].code))
    }

    #[test]
    fn a_grant_is_to_somebody_for_something_and_reads_as_it_was_written() {
        let asked = json!({"group": "ops", "may": ["command", "terminal"], "until": "2026-12-31T00:00:00Z"});
        let view = serde_json::to_value(GrantView::from(read(asked.clone()).unwrap())).unwrap();
        assert_eq!(view["group"], "ops");
        assert_eq!((&view["may"], &view["until"]), (&json!(["terminal", "command"]), &asked["until"]));
        let patterns = json!({"deny": ["*rm*"], "dangerous": ["reboot"]});
        let with = json!({"user": "alice", "may": ["command"], "commands": patterns});
        assert_eq!(serde_json::to_value(GrantView::from(read(with.clone()).unwrap())).unwrap(), with);
        let cases = [
            (json!("alice"), "", "wrong_type"),
            (json!({"may": ["terminal"]}), "", "malformed"),
            (json!({"user": "alice", "group": "ops", "may": ["terminal"]}), "", "malformed"),
            (json!({"user": "Alice", "may": ["terminal"]}), ".user", "malformed"),
            (json!({"role": "root", "may": ["terminal"]}), ".role", "malformed"),
            (json!({"user": "alice"}), ".may", "missing"),
            (json!({"may": null}), ".may", "missing"),
            (json!({"user": "alice", "may": []}), ".may", "too_short"),
            (json!({"user": "alice", "may": ["reboot"]}), ".may[0]", "malformed"),
            (json!({"user": "alice", "may": ["facts"], "until": "soon"}), ".until", "malformed"),
            (json!({"user": "alice", "may": ["facts"], "rights": 1}), ".rights", "unknown"),
            (json!({"user": "alice", "may": ["command"], "commands": []}), ".commands", "wrong_type"),
            (
                json!({"user": "alice", "may": ["facts"], "from": "2026-01-02T00:00:00Z", "until": "2026-01-02T00:00:00Z"}),
                ".until",
                "out_of_range",
            ),
        ];
        for (value, field, code) in cases {
            assert_eq!(read(value.clone()), Err((format!("grants[0]{field}"), code)), "{value}");
        }
    }

    #[test]
    fn one_place_is_meant() {
        let read = |value: Value| {
            let body = json!({ "servers": value });
            let mut fields = Fields::of(&body);
            let scope = fields.object("servers", true, scope);
            fields.finish(scope).map_err(|problem| problem.errors()[0].field.clone())
        };
        assert_eq!(shown(&read(json!({"label": "env=prod"})).unwrap()), json!({"label": "env=prod"}));
        for (wrong, field) in [
            (json!({}), "servers"),
            (json!({"zone": "a", "group": "b"}), "servers"),
            (json!({"label": "env"}), "servers.label"),
            (json!({"server": "env-abcdefghijkl"}), "servers.server"),
        ] {
            assert_eq!(read(wrong), Err(field.to_owned()));
        }
    }
}
