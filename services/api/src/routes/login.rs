//! `POST /api/auth/login`, `GET /api/me`: who are you? A token for programs.

use std::net::IpAddr;

use axum::Json;
use axum::extract::{Request, State};
use axum::http::{HeaderValue, header};
use axum::response::{IntoResponse, Response};
use chrono::{DateTime, Utc};
use events::ids::UserName;
use secrecy::SecretString;
use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;

use crate::app::App;
use crate::auth::{Caller, registered};
use crate::client_address;
use crate::fields::{self, Fields, Wrong};
use crate::incoming::read_json;
use crate::problem::{Problem, ProblemDetails};

/// Longer user names and passwords cannot be anybody's.
pub const TEXT_LENGTH_MAX: usize = 256;

#[derive(ToSchema)]
#[schema(as = LoginAsked, example = json!({"username": "alice", "password": "a long sentence is best"}))]
pub struct Asked {
    username: String,
    #[schema(value_type = String)]
    password: SecretString,
}

#[derive(Serialize, ToSchema)]
#[schema(as = LoggedIn, example = json!({"token": "eyJ0eXAi...", "expires_at": "2026-01-02T15:04:05Z"}))]
pub struct LoggedIn {
    /// A JWT; send it as `Authorization: Bearer`.
    token: String,
    /// 12 hours from now.
    expires_at: DateTime<Utc>,
}

/// What the caller is.
#[derive(Serialize, ToSchema)]
#[schema(example = json!({"actor": "user:alice", "owner": "alice", "tenant_id": "default", "role": "developer"}))]
pub struct Me {
    /// As events name it.
    actor: String,
    /// In whose name it acts.
    owner: String,
    tenant_id: String,
    role: &'static str,
}

fn read(body: &Value) -> Result<Asked, Problem> {
    let mut fields = Fields::of(body);
    let asked = name_and_password(&mut fields);
    fields.finish(asked)
}

pub fn name_and_password(fields: &mut Fields<'_>) -> Option<Asked> {
    let username = fields.required("username", fields::text(1, TEXT_LENGTH_MAX));
    let password = fields.required("password", secret);
    username.zip(password).map(|(username, password)| Asked { username, password })
}

/// A text that is nobody else's business.
pub fn secret(value: &Value) -> Result<SecretString, Wrong> {
    let text = value.as_str().ok_or_else(|| Wrong::kind("a string", value))?;
    if text.chars().count() > TEXT_LENGTH_MAX {
        return Err(Wrong::new("too_long", format!("must have at most {TEXT_LENGTH_MAX} characters")));
    }
    Ok(SecretString::from(text.to_owned()))
}

/// The user whose name and password these are. The same answer, and the same work, for a wrong
/// password, an unknown user and one shut out.
pub async fn prove(app: &App, asked: Asked, from: Option<IpAddr>) -> Result<UserName, Problem> {
    app.rate_limits.sign_in(from, Some(&asked.username))?;
    let user = match UserName::parse(asked.username) {
        Ok(name) => registered(app, &name).await?.map(|user| (name, user)),
        Err(_) => None,
    };
    let hash = match &user {
        Some((_, user)) => app.vault.get(&user.password_ref).await?,
        None => None,
    };
    let right = app.hashing.verify(asked.password, hash).await?;
    let failed = || Problem::new("login_failed", "user name or password is wrong");
    user.filter(|_| right).map(|(name, _)| name).ok_or_else(failed)
}

/// Log in
///
/// For programs; a browser asks for a session at `POST /api/session`.
#[utoipa::path(
    post, path = "/api/auth/login", tag = "auth", request_body = Asked, security(()),
    responses(
        (status = 200, body = LoggedIn),
        (status = 401, description = "`login_failed`", body = ProblemDetails, content_type = "application/problem+json"),
        (status = 429, description = "`sign_in_limit_address`, `sign_in_limit_user`; `Retry-After` says when", body = ProblemDetails, content_type = "application/problem+json"),
    )
)]
pub async fn login(State(app): State<App>, request: Request) -> Result<Response, Problem> {
    let (parts, body) = request.into_parts();
    let body = read_json(&parts.headers, body).await?;
    let from = client_address::of_parts(&parts, &app.trusted_proxies);
    let name = prove(&app, read(&body.json)?, from).await?;
    let (token, expires_at) =
        app.login_keys.sign(&name, Utc::now()).map_err(|error| Problem::internal(&error))?;
    let no_store = [(header::CACHE_CONTROL, HeaderValue::from_static("no-store"))];
    Ok((no_store, Json(LoggedIn { token, expires_at })).into_response())
}

/// Show the caller
#[utoipa::path(
    get, path = "/api/me", tag = "auth",
    responses(
        (status = 200, body = Me),
        (status = 401, description = "`unauthorized`", body = ProblemDetails, content_type = "application/problem+json"),
    )
)]
pub async fn me(caller: Caller) -> Json<Me> {
    Json(Me {
        actor: caller.actor,
        owner: caller.owner.to_string(),
        tenant_id: caller.tenant.to_string(),
        role: caller.role.name(),
    })
}
