//! `/api/tenants`: which tenants are there, and what may each have in use?

use axum::Json;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use events::ids::TenantId;
use events::quota::{Quota, set::set};
use events::tenant::{Tenant, TenantRefusal, register::register};
use events::user::Role;
use events::{Cause, Limits};
use projections::quotas::QuotaRow;
use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;

use crate::app::App;
use crate::auth::Caller;
use crate::fields::{Fields, Wrong};
use crate::idempotency::index;
use crate::incoming::Incoming;
use crate::params::Params;
use crate::position;
use crate::problem::{Problem, ProblemDetails};
use crate::readers::{self, LimitsShape};
use crate::reading::AS_OF;
use crate::routes::Listed;

/// The facts of one registration, by their index.
mod step {
    use super::index;
    pub const REGISTER: u32 = index::FIRST;
    pub const QUOTA: u32 = index::FIRST + 1;
}

#[derive(ToSchema)]
#[schema(as = TenantAsked, example = json!({"name": "Team Blue", "quota": {"environments": 10, "cpu": 16}}))]
pub struct Asked {
    /// The tenant's id is made from it: `team-blue`.
    name: String,
    #[schema(value_type = Option<LimitsShape>)]
    quota: Option<Limits>,
    #[schema(ignore)]
    id: TenantId,
}

#[derive(Serialize, ToSchema)]
#[schema(as = TenantMade, example = json!({"tenant_id": "team-blue", "name": "Team Blue"}))]
pub struct Made {
    #[schema(value_type = String)]
    tenant_id: TenantId,
    name: String,
}

/// Lower-case letters and digits, everything else becomes one '-'.
fn slug(name: &str) -> Result<TenantId, Wrong> {
    let mut slug = String::with_capacity(name.len());
    for c in name.chars().map(|c| c.to_ascii_lowercase()) {
        if c.is_ascii_lowercase() || c.is_ascii_digit() {
            slug.push(c);
        } else if !slug.is_empty() && !slug.ends_with('-') {
            slug.push('-');
        }
    }
    TenantId::parse(slug.trim_end_matches('-'))
        .map_err(|_| Wrong::new("malformed", "must have a letter a-z or a digit, of which the id is made"))
}

fn read(body: &Value) -> Result<Asked, Problem> {
    let mut fields = Fields::of(body);
    let named = fields.required("name", |value| {
        let name = readers::label(value)?;
        Ok((slug(&name)?, name))
    });
    let quota = fields.object("quota", false, |quota| Some(readers::limits(quota)));
    fields.finish(named.map(|(id, name)| Asked { name, quota, id }))
}

/// Register a tenant
///
/// For admins.
#[utoipa::path(
    post, path = "/api/tenants", tag = "tenants", request_body = Asked,
    responses(
        (status = 201, body = Made, headers(("Portreeve-Position" = u64))),
        (status = 409, description = "`tenant_exists`", body = ProblemDetails, content_type = "application/problem+json"),
        (status = 422, description = "`validation_failed`", body = ProblemDetails, content_type = "application/problem+json"),
    )
)]
pub async fn add(State(app): State<App>, incoming: Incoming) -> Result<Response, Problem> {
    incoming.caller.needs(&[Role::Admin])?;
    let asked = read(&incoming.body.json)?;
    let cause = incoming.accept(&app).await?;
    let rule = |tenant: &Tenant| register(tenant, &asked.name);
    let registered =
        app.log.decide::<Tenant, _>(&asked.id, asked.id.as_str(), &cause, step::REGISTER, rule).await?;
    let mut position = registered.seq;
    if let Some(limits) = asked.quota {
        position = position.max(set_limits(&app, &asked.id, limits, &cause, step::QUOTA).await?);
    }
    let made = Made { tenant_id: asked.id, name: asked.name };
    Ok((StatusCode::CREATED, position::header(position), Json(made)).into_response())
}

async fn set_limits(
    app: &App,
    tenant: &TenantId,
    limits: Limits,
    cause: &Cause,
    step: u32,
) -> Result<u64, Problem> {
    let rule = |quota: &Quota| set(quota, limits);
    let decided = app.log.decide::<Quota, _>(tenant, tenant.as_str(), cause, step, rule).await?;
    Ok(decided.seq)
}

/// List tenants
///
/// With limits and use; callers other than admins see their own.
#[utoipa::path(
    get, path = "/api/tenants", tag = "tenants",
    params(
        ("limit" = Option<u32>, Query, description = "1 to 500; 50 when absent"),
        ("cursor" = Option<String>, Query, description = "`next_cursor` of the page before"),
        ("after" = Option<u64>, Query, description = "Wait until the read model has this sequence"),
        ("as_of" = Option<String>, Query, description = AS_OF),
    ),
    responses(
        (status = 200, body = Listed<Value>, headers(("Portreeve-Position" = u64)), example = json!({"items": [{
            "tenant_id": "team-blue", "name": "Team Blue", "limits": {"environments": 10, "cpu": 16},
            "used": {"environments": 1, "cpu": 0.5, "memory": 1, "gpu": 0, "storage": 10}, "seq": 42,
        }], "next_cursor": null})),
        (status = "default", description = "Problem details", body = ProblemDetails, content_type = "application/problem+json"),
    )
)]
pub async fn list(State(app): State<App>, caller: Caller, mut params: Params) -> Result<Response, Problem> {
    let (limit, cursor) = params.page();
    let (after, as_of) = (params.number("after"), params.as_of());
    params.end()?;
    let reading = app.reading(after, as_of).await?;
    let page = reading.quotas(caller.tenant_seen(), cursor.as_deref(), limit).await?;
    Ok(position::page(page))
}

/// Show a tenant's limits and use
#[utoipa::path(
    get, path = "/api/tenants/{id}/quota", tag = "tenants",
    params(
        ("id" = String, Path, description = "Tenant id"),
        ("after" = Option<u64>, Query, description = "Wait until the read model has this sequence"),
        ("as_of" = Option<String>, Query, description = AS_OF),
    ),
    responses(
        (status = 200, body = Value, headers(("Portreeve-Position" = u64)), example = json!({
            "tenant_id": "team-blue", "name": "Team Blue", "limits": {"environments": 10, "cpu": 16},
            "used": {"environments": 1, "cpu": 0.5, "memory": 1, "gpu": 0, "storage": 10}, "seq": 42,
        })),
        (status = 404, description = "`not_found`", body = ProblemDetails, content_type = "application/problem+json"),
    )
)]
pub async fn quota(
    State(app): State<App>,
    caller: Caller,
    Path(id): Path<String>,
    mut params: Params,
) -> Result<Response, Problem> {
    let (after, as_of) = (params.number("after"), params.as_of());
    params.end()?;
    let unknown = || Problem::not_found("tenant");
    let id = TenantId::parse(id).map_err(|_| unknown())?;
    if id.is_system() || caller.tenant_seen().is_some_and(|tenant| *tenant != id) {
        return Err(unknown());
    }
    let found = app.reading(after, as_of).await?.quota(&id).await?;
    let row: QuotaRow = found.value.ok_or_else(unknown)?;
    Ok(position::shown(found.position, row))
}

/// Set a tenant's limits
///
/// All of them: what is absent is unlimited. What is in use beyond them stays. For admins.
#[utoipa::path(
    put, path = "/api/tenants/{id}/quota", tag = "tenants", request_body = LimitsShape,
    params(("id" = String, Path, description = "Tenant id")),
    responses(
        (status = 200, body = LimitsShape, headers(("Portreeve-Position" = u64))),
        (status = 404, description = "`not_found`", body = ProblemDetails, content_type = "application/problem+json"),
        (status = 422, description = "`validation_failed`", body = ProblemDetails, content_type = "application/problem+json"),
    )
)]
pub async fn set_quota(
    State(app): State<App>,
    Path(id): Path<String>,
    incoming: Incoming,
) -> Result<Response, Problem> {
    incoming.caller.needs(&[Role::Admin])?;
    let unknown = || Problem::refused(&TenantRefusal::NotFound);
    let id = TenantId::parse(id).map_err(|_| unknown())?;
    let tenant = app.log.load::<Tenant>(&id, id.as_str()).await?;
    if tenant.state.name.is_none() {
        return Err(unknown());
    }
    let mut fields = Fields::of(&incoming.body.json);
    let limits = readers::limits(&mut fields);
    let limits = fields.finish(Some(limits))?;
    let cause = incoming.accept(&app).await?;
    let position = set_limits(&app, &id, limits, &cause, index::FIRST).await?;
    Ok(position::shown(position, limits))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;

    #[test]
    fn a_tenants_id_is_made_from_its_name() {
        let of = |name: &str| slug(name).map(|id| id.to_string()).ok();
        assert_eq!(of("Team Blue"), Some("team-blue".to_owned()));
        assert_eq!(of("  (a) & b! "), Some("a-b".to_owned()));
        assert_eq!(of("Größe 1"), Some("gr-e-1".to_owned()));
        assert_eq!(of("_sys"), Some("sys".to_owned()));
        assert_eq!(of("+++"), None);
    }
}
