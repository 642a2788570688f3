//! `POST /api/auth/login`, `GET /api/me`: who are you? A token for programs.

use std::net::IpAddr;

use axum::Json;
use axum::extract::{Request, State};
use axum::http::request::Parts;
use axum::http::{HeaderValue, header};
use axum::response::{IntoResponse, Response};
use chrono::{DateTime, Utc};
use events::ids::{SignInId, TenantId, UserName};
use events::sign_in::{RefusalClass, Side};
use events::user::User;
use secrecy::SecretString;
use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;
use uuid::Uuid;

use crate::app::App;
use crate::auth::{Caller, of_user};
use crate::correlation::Correlation;
use crate::fields::{self, Fields, Wrong};
use crate::idempotency::fresh_cause;
use crate::incoming::read_json;
use crate::login_keys::{Login, SignedIn};
use crate::problem::{Problem, ProblemDetails};
use crate::sign_ins::Coming;
use crate::{client_address, position, user_agent};

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
pub async fn prove(app: &App, asked: Asked, from: IpAddr) -> Result<Caller, Problem> {
    may_try(app, from, Some(&asked.username)).await?;
    let known = match UserName::parse(asked.username) {
        Ok(name) => {
            let user = app.log.load::<User>(&TenantId::system(), name.as_str()).await?.state;
            user.registered.map(|registered| (name, registered, user.disabled))
        }
        Err(_) => None,
    };
    let hash = match &known {
        Some((_, registered, _)) => app.vault.get(&registered.password_ref).await?,
        None => None,
    };
    let right = app.hashing.verify(asked.password, hash).await?;
    let (whose, class) = match known {
        Some((name, registered, false)) if right => return Ok(of_user(name, registered)),
        Some((name, registered, false)) => (Some((registered.tenant, name)), RefusalClass::WrongPassword),
        Some((name, registered, true)) => (Some((registered.tenant, name)), RefusalClass::UserDisabled),
        None => (None, RefusalClass::UnknownUser),
    };
    app.sign_ins.refused(whose, from, class).await;
    Err(Problem::new("login_failed", "user name or password is wrong"))
}

/// One more attempt, if it is not one too many.
pub async fn may_try(app: &App, from: IpAddr, user: Option<&str>) -> Result<(), Problem> {
    let tried = app.rate_limits.sign_in(Some(from), user);
    if tried.is_err() {
        app.sign_ins.refused(None, from, RefusalClass::TooManyAttempts).await;
    }
    tried
}

impl Coming {
    pub fn of(app: &App, parts: &Parts, side: Side) -> Result<Self, Problem> {
        let ip = client_address::needed_of_parts(parts, &app.trusted_proxies)?;
        Ok(Self { side, ip, client: user_agent::of(&parts.headers) })
    }
}

/// A sign-in that is on record.
pub struct Begun {
    pub token: String,
    pub expires_at: DateTime<Utc>,
    pub position: u64,
}

/// Whom `caller` stands for is signed in from now on. With a word it is a browser's session.
pub async fn begin(
    app: &App,
    who: SignedIn,
    caller: &Caller,
    (coming, correlation): (&Coming, &Correlation),
    word: Option<&str>,
) -> Result<Begun, Problem> {
    let (login, now) = (Login { who, sign_in: SignInId::from_seed(&Uuid::new_v4()) }, Utc::now());
    let signed = match word {
        Some(word) => app.login_keys.sign_session(&login, word, now),
        None => app.login_keys.sign(&login, now),
    };
    let (token, expires_at) = signed.map_err(|error| Problem::internal(&error))?;
    let cause = fresh_cause(caller, correlation);
    let position = app.sign_ins.begin(caller, &login.sign_in, coming, expires_at, &cause).await?;
    Ok(Begun { token, expires_at, position })
}

/// Log in
///
/// For programs; a browser asks for a session at `POST /api/session`. On record, as every sign-in and
/// every one that is refused. `DELETE /api/session` ends it before its time.
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
    let (coming, correlation) = (Coming::of(&app, &parts, Side::Program)?, Correlation::of_parts(&parts));
    let caller = prove(&app, read(&body.json)?, coming.ip).await?;
    let who = SignedIn::User(caller.owner.clone());
    let Begun { token, expires_at, position } =
        begin(&app, who, &caller, (&coming, &correlation), None).await?;
    let no_store = [(header::CACHE_CONTROL, HeaderValue::from_static("no-store"))];
    Ok((no_store, position::header(position), Json(LoggedIn { token, expires_at })).into_response())
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
