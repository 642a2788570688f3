//! `POST /api/session`, `DELETE /api/session`: a person's browser signs in, and out.

use std::net::IpAddr;

use axum::Json;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderValue, header};
use axum::response::{IntoResponse, Response};
use chrono::{DateTime, Utc};
use events::ids::TenantId;
use events::sign_in::{RefusalClass, Side};
use events::token::Token;
use secrecy::{ExposeSecret, SecretString};
use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;

use crate::app::App;
use crate::auth::{Caller, authenticate, by_token, issued};
use crate::correlation::Correlation;
use crate::fields::Fields;
use crate::idempotency::fresh_cause;
use crate::incoming::read_json;
use crate::login_keys::{LOGIN_VALID_S, SignedIn};
use crate::problem::{Problem, ProblemDetails};
use crate::routes::login::{self, may_try, name_and_password, prove};
use crate::sign_ins::Coming;
use crate::{browser_session, client_address, position};

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
    let (coming, correlation) = (Coming::of(&app, &parts, Side::Browser)?, Correlation::of_parts(&parts));
    let (who, caller) = match read(&body.json)? {
        Proof::Password(asked) => {
            let caller = prove(&app, asked, coming.ip).await?;
            (SignedIn::User(caller.owner.clone()), caller)
        }
        Proof::Token(text) => {
            may_try(&app, coming.ip, None).await?;
            exchange(&app, &text, coming.ip).await?
        }
    };
    let word = browser_session::new_word().map_err(|error| Problem::internal(&error))?;
    let begun = login::begin(&app, who, &caller, (&coming, &correlation), Some(&word)).await?;
    let login::Begun { token, expires_at, position } = begun;
    let cookie = browser_session::set(&token, LOGIN_VALID_S, over_tls(&app, &parts.headers));
    let body = (position::header(position), Json(Begun { csrf: word, expires_at }));
    Ok(answer(cookie, body))
}

async fn exchange(app: &App, text: &SecretString, from: IpAddr) -> Result<(SignedIn, Caller), Problem> {
    let refused = || Problem::new("token_refused", "this token is unknown, revoked or past its time");
    let Some(id) = issued(app, text.expose_secret().trim()).await? else {
        app.sign_ins.refused(None, from, RefusalClass::TokenRefused).await;
        return Err(refused());
    };
    match by_token(app, &id).await {
        Ok(caller) => Ok((SignedIn::Token(id), caller)),
        Err(problem) if problem.code() == "unauthorized" => {
            let token = app.log.load::<Token>(&TenantId::system(), id.as_str()).await?.state;
            let whose = token.issued.map(|issued| (issued.tenant, issued.owner));
            app.sign_ins.refused(whose, from, RefusalClass::TokenRefused).await;
            Err(refused())
        }
        Err(problem) => Err(problem),
    }
}

/// Sign out
///
/// The browser forgets the cookie, which opens nothing any more; nor does what it was exchanged for. Terminals,
/// JupyterLab and event streams that were opened by this sign-in end. The bearer token of a login ends
/// likewise; an API token does not: revoke it.
#[utoipa::path(
    delete, path = "/api/session", tag = "auth",
    responses(
        (status = 200, body = Value, example = json!({})),
        (status = 401, description = "`unauthorized`", body = ProblemDetails, content_type = "application/problem+json"),
    )
)]
pub async fn sign_out(State(app): State<App>, request: Request) -> Result<Response, Problem> {
    let (parts, _body) = request.into_parts();
    let caller = authenticate(&app, &parts.headers).await?;
    let position = match &caller.sign_in {
        Some(id) => {
            let from = client_address::needed_of_parts(&parts, &app.trusted_proxies)?;
            let cause = fresh_cause(&caller, &Correlation::of_parts(&parts));
            Some(position::header(app.sign_ins.end(&caller, id, from, &cause).await?))
        }
        None => None,
    };
    let cookie = browser_session::clear(over_tls(&app, &parts.headers));
    Ok(answer(cookie, (position, Json(serde_json::json!({})))))
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
