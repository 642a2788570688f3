//! `/api/tenants/{id}/recording`: are the terminals of a tenant's environments recorded?

use axum::extract::{Path, State};
use axum::response::Response;
use events::ids::TenantId;
use events::tenant::recording::set_recording;
use events::tenant::{Tenant, TenantRefusal};
use events::user::Role;
use serde::Serialize;
use utoipa::ToSchema;

use crate::app::App;
use crate::auth::Caller;
use crate::fields::{self, Fields};
use crate::idempotency::index;
use crate::incoming::Incoming;
use crate::params::Params;
use crate::position;
use crate::problem::{Problem, ProblemDetails};

#[derive(Serialize, ToSchema)]
#[schema(as = TenantRecording, example = json!({"enabled": true}))]
pub struct Switch {
    /// What terminals show is recorded, never what is typed.
    enabled: bool,
}

fn parse(caller: &Caller, id: String) -> Result<TenantId, Problem> {
    let unknown = || Problem::refused(&TenantRefusal::NotFound);
    let id = TenantId::parse(id).map_err(|_| unknown())?;
    if id.is_system() || caller.tenant_seen().is_some_and(|tenant| *tenant != id) {
        return Err(unknown());
    }
    Ok(id)
}

/// Show whether terminals are recorded
#[utoipa::path(
    get, path = "/api/tenants/{id}/recording", tag = "tenants",
    params(
        ("id" = String, Path, description = "Tenant id"),
        ("after" = Option<u64>, Query, description = "Taken as everywhere; this answer is always the newest"),
    ),
    responses(
        (status = 200, body = Switch, headers(("Portreeve-Position" = u64))),
        (status = 404, description = "`not_found`", body = ProblemDetails, content_type = "application/problem+json"),
    )
)]
pub async fn show(
    State(app): State<App>,
    caller: Caller,
    Path(id): Path<String>,
    mut params: Params,
) -> Result<Response, Problem> {
    // what the log says is never behind
    let _after = params.number("after");
    params.end()?;
    let id = parse(&caller, id)?;
    let tenant = app.log.load::<Tenant>(&id, id.as_str()).await?;
    if tenant.state.name.is_none() {
        return Err(Problem::refused(&TenantRefusal::NotFound));
    }
    Ok(position::shown(tenant.seq, Switch { enabled: tenant.state.records }))
}

/// Set whether terminals are recorded
///
/// Holds for terminals that are opened from now on, through the gateway and in the browser; an environment's own
/// port is not recorded. For admins, and for operators of the tenant.
#[utoipa::path(
    put, path = "/api/tenants/{id}/recording", tag = "tenants", request_body = Switch,
    params(("id" = String, Path, description = "Tenant id")),
    responses(
        (status = 200, body = Switch, headers(("Portreeve-Position" = u64))),
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
    let id = parse(&incoming.caller, id)?;
    incoming.caller.needs(&[Role::Admin, Role::Operator])?;
    let mut fields = Fields::of(&incoming.body.json);
    let enabled = fields.required("enabled", fields::boolean);
    let asked = fields.finish(enabled.map(|enabled| Switch { enabled }))?;
    let cause = incoming.accept(&app).await?;
    let rule = |tenant: &Tenant| set_recording(tenant, asked.enabled);
    let decided = app.log.decide::<Tenant, _>(&id, id.as_str(), &cause, index::FIRST, rule).await?;
    Ok(position::shown(decided.seq, asked))
}
