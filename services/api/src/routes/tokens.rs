//! `/api/tokens`: which API tokens are there, for whom, until when?

use axum::Json;
use axum::extract::{Path, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use chrono::{DateTime, TimeDelta, Utc};
use events::ids::{TenantId, TokenId, UserName};
use events::token::{Token, TokenIssued, TokenRefusal, issue::issue, revoke::revoke as revoke_rule};
use events::user::Role;
use projections::tokens::{self, Filter};
use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;

use crate::access::Caller;
use crate::app::App;
use crate::auth::{new_token, registered, token_digest};
use crate::fields::{self, Fields};
use crate::idempotency::index;
use crate::incoming::Incoming;
use crate::params::{Params, yes_or_no};
use crate::position;
use crate::problem::{FieldError, Problem, ProblemDetails};
use crate::readers;
use crate::routes::Listed;
use crate::routes::users::must_exist;

/// A second to ten years.
const EXPIRES_IN_S: (u64, u64) = (1, 315_360_000);

#[derive(ToSchema)]
#[schema(as = TokenAsked, example = json!({"name": "ci", "tenant_id": "default", "role": "developer", "expires_in_s": 86400}))]
pub struct Asked {
    name: String,
    /// The caller's own when absent.
    #[schema(value_type = Option<String>)]
    tenant_id: Option<TenantId>,
    /// The caller's own when absent; never more than it. `enroller`: registers relays, which wait to be accepted, and
    /// nothing else.
    #[schema(value_type = Option<String>)]
    role: Option<Role>,
    /// A user in whose name it acts. Absent: a token of the caller's tenant and role acts in the
    /// caller's name, any other in its own (its id).
    #[schema(value_type = Option<String>)]
    owner: Option<UserName>,
    /// 1 to 315360000; for ever when absent.
    expires_in_s: Option<u64>,
}

#[derive(Serialize, ToSchema)]
#[schema(as = TokenShown, example = json!({
    "token_id": "tok-abcdefghijkl", "token": "ptr_abcdefghijkl_abcdefghijklmnopqrstuvwxyz234567abcdefgh",
    "name": "ci", "tenant_id": "default", "role": "developer", "owner": "tok-abcdefghijkl",
    "expires_at": "2026-01-03T03:04:05Z",
}))]
pub struct Shown {
    #[schema(value_type = String)]
    token_id: TokenId,
    /// Shown this once.
    token: String,
    name: String,
    #[schema(value_type = String)]
    tenant_id: TenantId,
    role: &'static str,
    owner: String,
    expires_at: Option<DateTime<Utc>>,
}

fn read(body: &Value) -> Result<Asked, Problem> {
    let mut fields = Fields::of(body);
    let name = fields.required("name", readers::label);
    let tenant_id = fields.optional("tenant_id", readers::tenant);
    let role = fields.optional("role", readers::token_role);
    let owner = fields.optional("owner", readers::user_name);
    let expires_in_s = fields.optional("expires_in_s", fields::whole(EXPIRES_IN_S.0, EXPIRES_IN_S.1));
    fields.finish(name.map(|name| Asked { name, tenant_id, role, owner, expires_in_s }))
}

/// Issue a token
///
/// It has at most the rights of the caller. Its text is shown once: repeating the request with the
/// same `Idempotency-Key` is answered with 409 `token_shown_before`.
#[utoipa::path(
    post, path = "/api/tokens", tag = "tokens", request_body = Asked,
    responses(
        (status = 201, body = Shown, headers(("Portreeve-Position" = u64))),
        (status = 403, description = "`forbidden`", body = ProblemDetails, content_type = "application/problem+json"),
        (status = 422, description = "`validation_failed`", body = ProblemDetails, content_type = "application/problem+json"),
    )
)]
pub async fn add(State(app): State<App>, incoming: Incoming) -> Result<Response, Problem> {
    let asked = read(&incoming.body.json)?;
    let caller = &incoming.caller;
    let tenant = asked.tenant_id.clone().unwrap_or_else(|| caller.tenant.clone());
    let role = asked.role.unwrap_or(caller.role);
    caller.may_issue(&tenant, role)?;
    must_exist(&app, &tenant).await?;
    if let Some(owner) = &asked.owner {
        may_act_for(&app, caller, owner, &tenant).await?;
    }
    let cause = incoming.accept(&app).await?;
    let id = TokenId::from_seed(&cause.command);
    let token = new_token(&id).map_err(|error| Problem::internal(&error))?;
    let expires_at =
        asked.expires_in_s.and_then(|s| i64::try_from(s).ok()).map(|s| Utc::now() + TimeDelta::seconds(s));
    let issued = TokenIssued {
        owner: owner_of(caller, &id, &asked, &tenant, role)?,
        tenant,
        name: asked.name,
        role,
        digest: token_digest(&token),
        expires_at,
    };
    let rule = |token: &Token| issue(token, issued.clone());
    let system = TenantId::system();
    let decided = app.log.decide::<Token, _>(&system, id.as_str(), &cause, index::FIRST, rule).await?;
    // a repeated command finds the token it made before, whose text nobody has any more
    if decided.state.issued.as_ref().is_none_or(|there| there.digest != issued.digest) {
        return Err(Problem::refused(&TokenRefusal::ShownBefore));
    }
    let shown = Shown {
        token_id: id,
        token,
        name: issued.name,
        tenant_id: issued.tenant,
        role: role.name(),
        owner: issued.owner.to_string(),
        expires_at,
    };
    let no_store = [(header::CACHE_CONTROL, HeaderValue::from_static("no-store"))];
    Ok((StatusCode::CREATED, no_store, position::header(decided.seq), Json(shown)).into_response())
}

/// In whose name the token acts.
fn owner_of(
    caller: &Caller,
    id: &TokenId,
    asked: &Asked,
    tenant: &TenantId,
    role: Role,
) -> Result<UserName, Problem> {
    match &asked.owner {
        Some(owner) => Ok(owner.clone()),
        None if *tenant == caller.tenant && role == caller.role => Ok(caller.owner.clone()),
        None => UserName::parse(id.as_str()).map_err(|error| Problem::internal(&error)),
    }
}

/// Oneself; for admins any user of that tenant.
async fn may_act_for(app: &App, caller: &Caller, owner: &UserName, tenant: &TenantId) -> Result<(), Problem> {
    if *owner == caller.owner && *tenant == caller.tenant {
        return Ok(());
    }
    caller.needs(&[Role::Admin])?;
    if registered(app, owner).await?.is_some_and(|user| user.tenant == *tenant) {
        return Ok(());
    }
    let detail = format!("there is no user {owner} in {tenant}");
    Err(Problem::fields(vec![FieldError { field: "owner".to_owned(), code: "not_found", detail }]))
}

/// List tokens
///
/// The caller's own; operators and auditors see the tenant's, admins all. Never their texts.
#[utoipa::path(
    get, path = "/api/tokens", tag = "tokens",
    params(
        ("revoked" = Option<bool>, Query, description = "Revoked ones too"),
        ("limit" = Option<u32>, Query, description = "1 to 500; 50 when absent"),
        ("cursor" = Option<String>, Query, description = "`next_cursor` of the page before"),
        ("after" = Option<u64>, Query, description = "Wait until the read model has this sequence"),
    ),
    responses(
        (status = 200, body = Listed<Value>, headers(("Portreeve-Position" = u64)), example = json!({"items": [{
            "token_id": "tok-abcdefghijkl", "name": "ci", "tenant_id": "default", "role": "developer",
            "owner": "alice", "expires_at": null, "revoked_at": null,
            "created_at": "2026-01-02T03:04:05Z", "seq": 42,
        }], "next_cursor": null})),
        (status = "default", description = "Problem details", body = ProblemDetails, content_type = "application/problem+json"),
    )
)]
pub async fn list(State(app): State<App>, caller: Caller, mut params: Params) -> Result<Response, Problem> {
    let revoked = params.parsed("revoked", yes_or_no).unwrap_or_default();
    let (limit, cursor) = params.page();
    let after = params.number("after");
    params.end()?;
    app.caught_up(after).await?;
    let filter =
        Filter { tenant: caller.tenant_seen().cloned(), owner: caller.owner_seen().cloned(), revoked };
    Ok(position::page(tokens::list(&app.projections, &filter, cursor.as_deref(), limit).await?))
}

/// Revoke a token
///
/// It opens nothing any more, from now on; streams it opened end. Its owner may, an operator of the
/// tenant, and an admin.
#[utoipa::path(
    delete, path = "/api/tokens/{id}", tag = "tokens",
    params(("id" = String, Path, description = "Token id")),
    responses(
        (status = 200, body = Value, headers(("Portreeve-Position" = u64)), example = json!({"token_id": "tok-abcdefghijkl", "revoked": true})),
        (status = 404, description = "`not_found`", body = ProblemDetails, content_type = "application/problem+json"),
    )
)]
pub async fn revoke(
    State(app): State<App>,
    Path(id): Path<String>,
    incoming: Incoming,
) -> Result<Response, Problem> {
    let unknown = || Problem::refused(&TokenRefusal::NotFound);
    let id = TokenId::parse(id).map_err(|_| unknown())?;
    Fields::of(&incoming.body.json).finish(Some(()))?;
    let system = TenantId::system();
    let token = app.log.load::<Token>(&system, id.as_str()).await?.state;
    let issued = token.issued.ok_or_else(unknown)?;
    if !incoming.caller.sees(&issued.tenant, Some(&issued.owner)) {
        return Err(unknown());
    }
    let cause = incoming.accept(&app).await?;
    let decided = app.log.decide::<Token, _>(&system, id.as_str(), &cause, index::FIRST, revoke_rule).await?;
    Ok(position::shown(decided.seq, serde_json::json!({"token_id": id, "revoked": true})))
}
