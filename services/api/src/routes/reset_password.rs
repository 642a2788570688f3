//! `POST /api/environments/{id}/reset-password`: another password; the old one is void before the answer.

use std::time::Duration;

use axum::extract::{Path, State};
use axum::http::{HeaderValue, header};
use axum::response::{IntoResponse, Response};
use events::Kind;
use events::credential::{Credential, SecretRef, reset::reset};
use events::env::{Env, Status};
use secrecy::{ExposeSecret, SecretString};
use serde::Serialize;
use utoipa::ToSchema;
use uuid::Uuid;

use crate::app::App;
use crate::environment::{Found, find, reveal_password};
use crate::fields::{self, Fields};
use crate::idempotency::index;
use crate::incoming::Incoming;
use crate::live::Bell;
use crate::position;
use crate::problem::{Problem, ProblemDetails};

/// The longest wait for the environment to enforce the new password.
const CONFIRM_WAIT: Duration = Duration::from_secs(10);
const REASON_LENGTH_MAX: usize = 200;

/// The body may be left out.
#[derive(ToSchema)]
#[schema(as = PasswordResetAsked, example = json!({"reason": "it was shown on a screen"}))]
pub struct Asked {
    /// For the audit log; at most 200 characters.
    #[schema(value_type = Option<String>)]
    reason: String,
}

#[derive(Serialize, ToSchema)]
#[schema(as = PasswordShown, example = json!({"ssh_password": "k7-Wq2mX:Rt4_bNp9cYd"}))]
pub struct Answer {
    ssh_password: String,
}

fn read(body: &serde_json::Value) -> Result<Asked, Problem> {
    let mut fields = Fields::of(body);
    let reason = fields.optional("reason", fields::text(1, REASON_LENGTH_MAX));
    fields.finish(Some(Asked { reason: reason.unwrap_or_else(|| "asked".to_owned()) }))
}

/// Reset the password
///
/// If the environment runs, the answer comes when it enforces the new password. 504
/// `reset_not_confirmed` means that the reset is recorded and takes effect as soon as the
/// environment answers again.
#[utoipa::path(
    post, path = "/api/environments/{id}/reset-password", tag = "environments", request_body = Option<Asked>,
    params(
        ("id" = String, Path, description = "Environment id"),
        ("Idempotency-Key" = Option<String>, Header, description = "Repeating the key repeats the answer"),
    ),
    responses(
        (status = 200, body = Answer, headers(("Portreeve-Position" = u64))),
        (status = 409, description = "`password_not_issued`, `password_superseded`, `environment_deleting`", body = ProblemDetails, content_type = "application/problem+json"),
        (status = 504, description = "`reset_not_confirmed`", body = ProblemDetails, content_type = "application/problem+json"),
    )
)]
pub async fn reset_password(
    State(app): State<App>,
    Path(id): Path<String>,
    incoming: Incoming,
) -> Result<Response, Problem> {
    let found = find(&app, &incoming.caller, &id).await?;
    found.stays()?;
    let asked = read(&incoming.body.json)?;
    let cause = incoming.accept(&app).await?;
    let secret_ref = SecretRef::password(&found.id, Uuid::new_v5(&cause.command, b"password"));
    ensure_secret(&app, &secret_ref).await?;
    let bell = app.live.bell(vec![found.subject(Kind::Credential), found.subject(Kind::Env)], CONFIRM_WAIT);
    let rule = |credential: &Credential| reset(credential, secret_ref.clone(), &asked.reason);
    let decided =
        app.log.decide::<Credential, _>(&found.tenant, found.id.as_str(), &cause, index::FIRST, rule).await?;
    if decided.state.password.as_ref() != Some(&secret_ref) {
        let detail =
            "a later reset replaced this password; reset again, or ask for the connection information";
        return Err(Problem::new("password_superseded", detail));
    }
    confirm(&app, &found, decided.state.number, bell).await?;
    let revealed = reveal_password(&app, &found.tenant, &found.id, &cause).await?;
    let (secret, position) = revealed.ok_or_else(|| Problem::not_found("environment"))?;
    let no_store = [(header::CACHE_CONTROL, HeaderValue::from_static("no-store"))];
    let answer = Answer { ssh_password: secret.expose_secret().to_owned() };
    Ok((no_store, position::shown(position, answer)).into_response())
}

/// The vault has a password under this name; a repeated request keeps the first one.
async fn ensure_secret(app: &App, secret_ref: &SecretRef) -> Result<(), Problem> {
    if app.vault.get(secret_ref).await?.is_some() {
        return Ok(());
    }
    let password: SecretString =
        kit::password::generate(getrandom::fill).map_err(|error| Problem::internal(&error))?;
    let to_hash = password.clone();
    let hashed = tokio::task::spawn_blocking(move || kit::password::argon2id(&to_hash)).await;
    let hash = hashed.map_err(|error| Problem::internal(&error))?;
    let hash = hash.map_err(|error| Problem::internal(&error))?;
    // the hash first: a password that is there has one
    app.vault.put(&secret_ref.argon2id(), &hash).await?;
    Ok(app.vault.put(secret_ref, &password).await?)
}

/// Until the environment enforces the password of this number. One that does not run has no door
/// at which the old one could be tried.
async fn confirm(app: &App, found: &Found, number: u64, mut bell: Bell) -> Result<(), Problem> {
    loop {
        let credential = app.log.load::<Credential>(&found.tenant, found.id.as_str()).await?;
        let env = app.log.load::<Env>(&found.tenant, found.id.as_str()).await?;
        if credential.state.number_applied >= number || env.state.status != Status::Running {
            return Ok(());
        }
        if !bell.ring().await {
            let wait_s = CONFIRM_WAIT.as_secs();
            let detail = format!(
                "the reset is recorded, but the environment has not confirmed it within {wait_s} seconds; it takes effect as soon as the environment answers"
            );
            return Err(Problem::new("reset_not_confirmed", detail));
        }
    }
}
