//! `/api/users`: who may log in, in which tenant and role?

use axum::Json;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use events::credential::SecretRef;
use events::ids::{NAMESPACE, TenantId, UserName};
use events::tenant::Tenant;
use events::user::{Role, User, UserRegistered, disable::disable as disable_rule, register::register};
use projections::users;
use secrecy::SecretString;
use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;
use uuid::Uuid;

use crate::app::App;
use crate::auth::Caller;
use crate::fields::{Fields, Wrong};
use crate::idempotency::index;
use crate::incoming::Incoming;
use crate::params::Params;
use crate::position;
use crate::problem::{FieldError, Problem, ProblemDetails};
use crate::readers::{self, PASSWORD_LENGTH_MAX, PASSWORD_LENGTH_MIN};
use crate::routes::Listed;

#[derive(ToSchema)]
#[schema(as = UserAsked, example = json!({
    "username": "alice", "password": "a long sentence is best", "tenant_id": "default", "role": "developer",
}))]
pub struct Asked {
    #[schema(value_type = String)]
    username: UserName,
    /// 12 to 256 characters.
    #[schema(value_type = String)]
    password: SecretString,
    #[schema(value_type = String)]
    tenant_id: TenantId,
    /// `admin`, `operator`, `developer` or `auditor`.
    #[schema(value_type = String)]
    role: Role,
}

#[derive(Serialize, ToSchema)]
#[schema(as = UserMade, example = json!({"username": "alice", "tenant_id": "default", "role": "developer"}))]
pub struct Made {
    #[schema(value_type = String)]
    username: UserName,
    #[schema(value_type = String)]
    tenant_id: TenantId,
    role: &'static str,
}

/// A password as it is; its text is in no error.
pub fn password(value: &Value) -> Result<SecretString, Wrong> {
    let text = value.as_str().ok_or_else(|| Wrong::kind("a string", value))?;
    let length = text.chars().count();
    if length < PASSWORD_LENGTH_MIN {
        return Err(Wrong::new("too_short", format!("must have at least {PASSWORD_LENGTH_MIN} characters")));
    }
    if length > PASSWORD_LENGTH_MAX {
        return Err(Wrong::new("too_long", format!("must have at most {PASSWORD_LENGTH_MAX} characters")));
    }
    Ok(SecretString::from(text.to_owned()))
}

fn read(body: &Value) -> Result<Asked, Problem> {
    let mut fields = Fields::of(body);
    let username = fields.required("username", readers::user_name);
    let password = fields.required("password", password);
    let tenant_id = fields.required("tenant_id", readers::tenant);
    let role = fields.required("role", readers::role);
    let asked = username.zip(password).zip(tenant_id.zip(role));
    fields.finish(asked.map(|((username, password), (tenant_id, role))| Asked {
        username,
        password,
        tenant_id,
        role,
    }))
}

/// Where the hash of a user's password lies; one per registration. A user name has letters that a
/// name in the vault cannot have, so its digest stands for it.
fn password_ref(username: &UserName, command: &Uuid) -> SecretRef {
    let digest = Uuid::new_v5(&NAMESPACE, format!("user\n{username}").as_bytes());
    SecretRef {
        owner: format!("user-{}", digest.simple()),
        name: "password_hash".to_owned(),
        version: Uuid::new_v5(command, b"password_hash"),
    }
}

/// Register a user
///
/// For admins. The name is unique in all tenants.
#[utoipa::path(
    post, path = "/api/users", tag = "users", request_body = Asked,
    responses(
        (status = 201, body = Made, headers(("Portreeve-Position" = u64))),
        (status = 409, description = "`user_exists`", body = ProblemDetails, content_type = "application/problem+json"),
        (status = 422, description = "`validation_failed`", body = ProblemDetails, content_type = "application/problem+json"),
    )
)]
pub async fn add(State(app): State<App>, incoming: Incoming) -> Result<Response, Problem> {
    incoming.caller.needs(&[Role::Admin])?;
    let asked = read(&incoming.body.json)?;
    must_exist(&app, &asked.tenant_id).await?;
    let cause = incoming.accept(&app).await?;
    let secret_ref = password_ref(&asked.username, &cause.command);
    let registered = UserRegistered {
        tenant: asked.tenant_id.clone(),
        role: asked.role,
        password_ref: secret_ref.clone(),
    };
    // a hash is expensive: who cannot get the name learns it first
    let known = app.log.load::<User>(&TenantId::system(), asked.username.as_str()).await?;
    register(&known.state, registered.clone()).map_err(|refusal| Problem::refused(&refusal))?;
    let hash = app.hashing.hash(asked.password).await?;
    app.vault.put(&secret_ref, &hash).await?;
    let rule = |user: &User| register(user, registered.clone());
    let system = TenantId::system();
    let decided =
        app.log.decide::<User, _>(&system, asked.username.as_str(), &cause, index::FIRST, rule).await?;
    let made = Made { username: asked.username, tenant_id: asked.tenant_id, role: asked.role.name() };
    Ok((StatusCode::CREATED, position::header(decided.seq), Json(made)).into_response())
}

/// The tenant that a field names is there.
pub async fn must_exist(app: &App, tenant: &TenantId) -> Result<(), Problem> {
    if app.log.load::<Tenant>(tenant, tenant.as_str()).await?.state.name.is_some() {
        return Ok(());
    }
    let detail = format!("there is no tenant {tenant}");
    Err(Problem::fields(vec![FieldError { field: "tenant_id".to_owned(), code: "not_found", detail }]))
}

/// List users
///
/// For admins (all), operators and auditors (their tenant's).
#[utoipa::path(
    get, path = "/api/users", tag = "users",
    params(
        ("limit" = Option<u32>, Query, description = "1 to 500; 50 when absent"),
        ("cursor" = Option<String>, Query, description = "`next_cursor` of the page before"),
        ("after" = Option<u64>, Query, description = "Wait until the read model has this sequence"),
    ),
    responses(
        (status = 200, body = Listed<Value>, headers(("Portreeve-Position" = u64)), example = json!({"items": [{
            "username": "alice", "tenant_id": "default", "role": "developer", "disabled": false,
            "created_at": "2026-01-02T03:04:05Z", "seq": 42,
        }], "next_cursor": null})),
        (status = 403, description = "`forbidden`", body = ProblemDetails, content_type = "application/problem+json"),
    )
)]
pub async fn list(State(app): State<App>, caller: Caller, mut params: Params) -> Result<Response, Problem> {
    caller.needs(&[Role::Admin, Role::Operator, Role::Auditor])?;
    let (limit, cursor) = params.page();
    let after = params.number("after");
    params.end()?;
    app.caught_up(after).await?;
    let page = users::list(&app.projections, caller.tenant_seen(), cursor.as_deref(), limit).await?;
    Ok(position::page(page))
}

/// Shut a user out
///
/// Logins and tokens of the user open nothing any more, from now on. For admins.
#[utoipa::path(
    delete, path = "/api/users/{username}", tag = "users",
    params(("username" = String, Path, description = "User name")),
    responses(
        (status = 200, body = Value, headers(("Portreeve-Position" = u64)), example = json!({"username": "alice", "disabled": true})),
        (status = 404, description = "`not_found`", body = ProblemDetails, content_type = "application/problem+json"),
    )
)]
pub async fn disable(
    State(app): State<App>,
    Path(username): Path<String>,
    incoming: Incoming,
) -> Result<Response, Problem> {
    incoming.caller.needs(&[Role::Admin])?;
    let username = UserName::parse(username).map_err(|_| Problem::not_found("user"))?;
    Fields::of(&incoming.body.json).finish(Some(()))?;
    let cause = incoming.accept(&app).await?;
    let system = TenantId::system();
    let decided =
        app.log.decide::<User, _>(&system, username.as_str(), &cause, index::FIRST, disable_rule).await?;
    Ok(position::shown(decided.seq, serde_json::json!({"username": username, "disabled": true})))
}
