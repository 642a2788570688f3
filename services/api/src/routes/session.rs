//! `POST /api/session`, `DELETE /api/session`: a person's browser signs in, and out.

use axum::Json;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderValue, header};
use axum::response::{IntoResponse, Response};
use chrono::{DateTime, Utc};
use secrecy::{ExposeSecret, SecretString};
use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;

use crate::app::App;
use crate::auth::{Caller, by_token, issued};
use crate::fields::Fields;
use crate::incoming::read_json;
use crate::login_keys::{LOGIN_VALID_S, SignedIn};
use crate::problem::{Problem, ProblemDetails};
use crate::routes::login::{self, name_and_password, prove};
use crate::{browser_session, client_address};

/// User name and password, or an API token.
#[derive(ToSchema)]
#[schema(as = SessionAsked, example = json!({"username": "alice", "password": "a long sentence is best"}))]
#[allow(dead_code)] // a description; what is read becomes `Proof`
pub struct AskedShape {
    username: Option<String>,
    password: Option<String>,
    token: Option<String>,
}

enum Proof {
    Password(login::Asked),
    Token(SecretString),
}

#[derive(Serialize, ToSchema)]
#[schema(as = SessionBegun, example = json!({"csrf": "mfrggzdfmztwq2lkmfrggzdfmztwq2lk", "expires_at": "2026-01-02T15:04:05Z"}))]
pub struct Begun {
    /// Send it in `X-Portreeve-CSRF` with every request; the cookie alone opens nothing.
    csrf: String,
    /// 12 hours from now.
    expires_at: DateTime<Utc>,
}

fn read(body: &Value) -> Result<Proof, Problem> {
    let mut fields = Fields::of(body);
    let proof = if body.get("token").is_some() {
        fields.required("token", login::secret).map(Proof::Token)
    } else {
        name_and_password(&mut fields).map(Proof::Password)
    };
    fields.finish(proof)
}

/// Sign in with a browser
///
/// Sets the cookie `portreeve_session` (HttpOnly, SameSite=Strict, Secure over TLS) and answers with
/// the word that has to come with it. An API token is exchanged for a session that ends when the
/// token may not be used any more.
#[utoipa::path(
    post, path = "/api/session", tag = "auth", request_body = AskedShape, security(()),
    responses(
        (status = 200, body = Begun),
        (status = 401, description = "`login_failed`, `token_refused`", body = ProblemDetails, content_type = "application/problem+json"),
        (status = 429, description = "`sign_in_limit_address`, `sign_in_limit_user`; `Retry-After` says when", body = ProblemDetails, content_type = "application/problem+json"),
    )
)]
pub async fn sign_in(State(app): State<App>, request: Request) -> Result<Response, Problem> {
    let (parts, body) = request.into_parts();
    let body = read_json(&parts.headers, body).await?;
    let from = client_address::of_parts(&parts, &app.trusted_proxies);
    let who = match read(&body.json)? {
        Proof::Password(asked) => SignedIn::User(prove(&app, asked, from).await?),
        Proof::Token(text) => {
            app.rate_limits.sign_in(from, None)?;
            exchange(&app, &text).await?
        }
    };
    let word = browser_session::new_word().map_err(|error| Problem::internal(&error))?;
    let signed = app.login_keys.sign_session(&who, &word, Utc::now());
    let (token, expires_at) = signed.map_err(|error| Problem::internal(&error))?;
    let cookie = browser_session::set(&token, LOGIN_VALID_S, over_tls(&app, &parts.headers));
    Ok(answer(cookie, Json(Begun { csrf: word, expires_at })))
}

async fn exchange(app: &App, text: &SecretString) -> Result<SignedIn, Problem> {
    let refused = || Problem::new("token_refused", "this token is unknown, revoked or past its time");
    let id = issued(app, text.expose_secret().trim()).await?.ok_or_else(refused)?;
    match by_token(app, &id).await {
        Ok(_) => Ok(SignedIn::Token(id)),
        Err(problem) if problem.code() == "unauthorized" => Err(refused()),
        Err(problem) => Err(problem),
    }
}

/// Sign out
///
/// The browser forgets the cookie.
#[utoipa::path(
    delete, path = "/api/session", tag = "auth",
    responses(
        (status = 200, body = Value, example = json!({})),
        (status = 401, description = "`unauthorized`", body = ProblemDetails, content_type = "application/problem+json"),
    )
)]
pub async fn sign_out(State(app): State<App>, _caller: Caller, headers: HeaderMap) -> Response {
    answer(browser_session::clear(over_tls(&app, &headers)), Json(serde_json::json!({})))
}

/// A proxy that ends TLS says so; who lies about it only keeps its own cookie from coming back.
fn over_tls(app: &App, headers: &HeaderMap) -> bool {
    app.tls || headers.get("x-forwarded-proto").is_some_and(|proto| proto == "https")
}

fn answer(cookie: Option<HeaderValue>, body: impl IntoResponse) -> Response {
    let mut response = body.into_response();
    let headers = response.headers_mut();
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    if let Some(cookie) = cookie {
        headers.insert(header::SET_COOKIE, cookie);
    }
    response
}
