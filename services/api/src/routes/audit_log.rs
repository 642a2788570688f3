//! `GET /api/audit`: what happened, to what, by whom?

use axum::extract::State;
use axum::response::Response;
use chrono::{DateTime, Utc};
use events::ids::TenantId;
use events::user::Role;
use projections::audit_log::{self, Filter};
use serde_json::Value;

use crate::app::App;
use crate::auth::Caller;
use crate::params::Params;
use crate::position;
use crate::problem::{Problem, ProblemDetails};
use crate::routes::Listed;
use crate::routes::event_stream::{event_type, kind};

fn time(text: &str) -> Result<DateTime<Utc>, String> {
    // a plus sign that was not escaped arrives as a blank
    let parsed = DateTime::parse_from_rfc3339(&text.replace(' ', "+"));
    parsed.map(|time| time.to_utc()).map_err(|_| "must be an RFC 3339 time".to_owned())
}

/// List the audit log
///
/// Newest first; for admins (all tenants), auditors and operators (their tenant).
#[utoipa::path(
    get, path = "/api/audit", tag = "audit",
    params(
        ("tenant" = Option<String>, Query, description = "Only this tenant (admins)"),
        ("kind" = Option<String>, Query, description = "Kind of aggregate, for example `env`"),
        ("id" = Option<String>, Query, description = "Id of the aggregate"),
        ("type" = Option<String>, Query, description = "Event type"),
        ("actor" = Option<String>, Query, description = "`user:<name>`, `token:<id>`, `service:<name>`, `sentry:<env id>`"),
        ("correlation_id" = Option<String>, Query, description = "Everything one request set in motion"),
        ("from" = Option<String>, Query, description = "RFC 3339, inclusive"),
        ("to" = Option<String>, Query, description = "RFC 3339, exclusive"),
        ("limit" = Option<u32>, Query, description = "1 to 500; 50 when absent"),
        ("cursor" = Option<String>, Query, description = "`next_cursor` of the page before"),
        ("after" = Option<u64>, Query, description = "Wait until the read model has this sequence"),
    ),
    responses(
        (status = 200, body = Listed<Value>, headers(("Portreeve-Position" = u64)), example = json!({"items": [{
            "seq": 42, "time": "2026-01-02T03:04:05Z", "tenant": "default", "kind": "env",
            "aggregate_id": "env-abcdefghijkl", "type": "EnvStopRequested", "version": 1,
            "actor": "user:alice", "correlation_id": "0190a1b2-c3d4-7e5f-8a9b-0c1d2e3f4a5b",
            "causation_id": null, "event_id": "1190a1b2-c3d4-5e5f-8a9b-0c1d2e3f4a5b",
            "data": {"cause": "asked", "deadline": "2026-01-02T03:06:05Z"},
        }], "next_cursor": null})),
        (status = 403, description = "`forbidden`", body = ProblemDetails, content_type = "application/problem+json"),
    )
)]
pub async fn list(State(app): State<App>, caller: Caller, mut params: Params) -> Result<Response, Problem> {
    caller.needs(&[Role::Admin, Role::Auditor, Role::Operator])?;
    let tenant = params.parsed("tenant", |text| {
        TenantId::parse(text).map_err(|invalid| format!("must be {}", invalid.rule))
    });
    let filter = Filter {
        tenant: caller.tenant_seen().cloned().or_else(|| tenant.clone()),
        kind: params.parsed("kind", kind),
        aggregate_id: params.text("id"),
        event_type: params.parsed("type", event_type),
        actor: params.text("actor"),
        correlation_id: params
            .parsed("correlation_id", |text| text.parse().map_err(|_| "must be a UUID".to_owned())),
        from: params.parsed("from", time),
        to: params.parsed("to", time),
    };
    let (limit, cursor) = params.page();
    let after = params.number("after");
    params.end()?;
    if tenant.is_some_and(|asked| filter.tenant.as_ref() != Some(&asked)) {
        return Err(Problem::not_found("tenant"));
    }
    app.caught_up(after).await?;
    Ok(position::page(audit_log::list(&app.projections, &filter, cursor.as_deref(), limit).await?))
}
