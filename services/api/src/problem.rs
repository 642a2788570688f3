//! How does an answer say no? One table from code to status; RFC 9457 problem details, always.

use std::error::Error;

use axum::extract::Request;
use axum::http::{HeaderName, HeaderValue, Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use events::aggregate::Refusal;
use kit::error::chain;
use serde::Serialize;
use utoipa::ToSchema;

use crate::correlation::Correlation;

/// Seconds after which a request that met a 503 may be worth repeating.
const RETRY_AFTER_S: u64 = 1;
/// Names the request in logs, in events and in problems.
pub const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// One row of the table: stable code, status, title.
pub struct Code {
    pub code: &'static str,
    pub status: StatusCode,
    pub title: &'static str,
}

const fn row(code: &'static str, status: StatusCode, title: &'static str) -> Code {
    Code { code, status, title }
}

/// Every code this API answers with. Refusals of the rules are found here by their code.
pub const CODES: &[Code] = &[
    row("json_invalid", StatusCode::BAD_REQUEST, "The body is not JSON"),
    row("parameter_invalid", StatusCode::BAD_REQUEST, "A query parameter or header is not readable"),
    row("bad_request", StatusCode::BAD_REQUEST, "The request is not readable"),
    row("unauthorized", StatusCode::UNAUTHORIZED, "A valid token is needed"),
    row("login_failed", StatusCode::UNAUTHORIZED, "User name or password is wrong"),
    row("token_refused", StatusCode::UNAUTHORIZED, "The token opens nothing"),
    row("signed_out", StatusCode::UNAUTHORIZED, "The sign-in has ended"),
    row("ticket_refused", StatusCode::UNAUTHORIZED, "The link opens nothing any more"),
    row("jupyter_link_needed", StatusCode::UNAUTHORIZED, "JupyterLab is opened from the environment's page"),
    row("forbidden", StatusCode::FORBIDDEN, "This caller may not do that"),
    row(
        "address_not_allowed",
        StatusCode::FORBIDDEN,
        "The environment's allow-list does not admit this address",
    ),
    row("address_locked", StatusCode::FORBIDDEN, "The environment is closed to this address for a while"),
    row("cross_origin", StatusCode::FORBIDDEN, "Another page asked"),
    row("command_refused", StatusCode::FORBIDDEN, "Grants do not let this command through"),
    row("own_request", StatusCode::FORBIDDEN, "Somebody else has to answer to this request"),
    row("quota_exceeded", StatusCode::FORBIDDEN, "The tenant's quota does not allow it"),
    row("not_found", StatusCode::NOT_FOUND, "There is no such thing"),
    row("method_not_allowed", StatusCode::METHOD_NOT_ALLOWED, "This address has no such method"),
    row("request_timeout", StatusCode::REQUEST_TIMEOUT, "The request did not arrive in time"),
    row("environment_deleting", StatusCode::CONFLICT, "The environment is being deleted"),
    row("environment_wrong_status", StatusCode::CONFLICT, "The environment's status does not allow it"),
    row("password_superseded", StatusCode::CONFLICT, "A later reset replaced the password"),
    row("password_not_issued", StatusCode::CONFLICT, "The environment has no password yet"),
    row("session_ended", StatusCode::CONFLICT, "The session has ended"),
    row("share_ended", StatusCode::CONFLICT, "The share has ended"),
    row("too_many_shares", StatusCode::CONFLICT, "The session has too many shares"),
    row("not_locked", StatusCode::CONFLICT, "No address is locked out"),
    row("sign_in_taken", StatusCode::CONFLICT, "The sign-in is another one's"),
    row("tenant_exists", StatusCode::CONFLICT, "The tenant exists already"),
    row("user_exists", StatusCode::CONFLICT, "The user name is taken"),
    row("recording_not_stored", StatusCode::CONFLICT, "Nothing of the recording is stored yet"),
    row("too_many_recordings", StatusCode::CONFLICT, "The session has no room for a recording"),
    row("ssh_key_exists", StatusCode::CONFLICT, "The key is there already"),
    row("server_exists", StatusCode::CONFLICT, "The request registered another server already"),
    row("credential_needed", StatusCode::CONFLICT, "The credential must be sent again"),
    row("host_key_not_seen", StatusCode::CONFLICT, "No such host key waits to be accepted"),
    row("account_busy", StatusCode::CONFLICT, "The account is being changed"),
    row("account_unknown", StatusCode::CONFLICT, "The account was not pushed from here"),
    row("too_many_accounts", StatusCode::CONFLICT, "There are too many accounts"),
    row("too_many_grants", StatusCode::CONFLICT, "There are too many grants"),
    row("too_many_patterns", StatusCode::CONFLICT, "There are too many patterns"),
    row("not_awaiting", StatusCode::CONFLICT, "The command does not wait for an approval"),
    row("too_many_members", StatusCode::CONFLICT, "There are too many groups or members"),
    row("too_many_schedules", StatusCode::CONFLICT, "The tenant has too many schedules"),
    row("too_many_subscriptions", StatusCode::CONFLICT, "The tenant has too many subscriptions"),
    row("delivery_differs", StatusCode::CONFLICT, "The subscription is delivered otherwise"),
    row("position_behind", StatusCode::CONFLICT, "The position is further already"),
    row("reader_replaced", StatusCode::CONFLICT, "Somebody newer reads"),
    row("subscription_paused", StatusCode::CONFLICT, "The subscription is paused"),
    row("not_parked", StatusCode::CONFLICT, "No such delivery is parked"),
    row("too_many_parked", StatusCode::CONFLICT, "Too many deliveries are parked"),
    row("too_many_pending", StatusCode::CONFLICT, "Too many relays wait to be accepted"),
    row("too_many_taps", StatusCode::CONFLICT, "The tenant has too many taps of NATS"),
    row("relay_revoked", StatusCode::CONFLICT, "The relay was revoked"),
    row("key_shown_before", StatusCode::CONFLICT, "A key is shown once"),
    row("token_shown_before", StatusCode::CONFLICT, "A token is shown once"),
    row("jupyter_missing", StatusCode::CONFLICT, "The environment has no JupyterLab"),
    row("output_removed", StatusCode::GONE, "The output is no longer kept"),
    row("recording_removed", StatusCode::GONE, "The recording is no longer kept"),
    row("body_too_large", StatusCode::PAYLOAD_TOO_LARGE, "The body is too large"),
    row("unsupported_media_type", StatusCode::UNSUPPORTED_MEDIA_TYPE, "The body must be JSON"),
    row("validation_failed", StatusCode::UNPROCESSABLE_ENTITY, "Some fields are wrong"),
    row("report_too_long", StatusCode::UNPROCESSABLE_ENTITY, "The report has too many rows"),
    row("idempotency_key_reused", StatusCode::UNPROCESSABLE_ENTITY, "The key stands for another request"),
    row("sign_in_limit_address", StatusCode::TOO_MANY_REQUESTS, "Too many attempts from this address"),
    row("sign_in_limit_user", StatusCode::TOO_MANY_REQUESTS, "Too many attempts for this user"),
    row("request_limit", StatusCode::TOO_MANY_REQUESTS, "Too many requests of this caller"),
    row(
        "headers_too_large",
        StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
        "The request's headers are too large",
    ),
    row("internal", StatusCode::INTERNAL_SERVER_ERROR, "Something broke on our side"),
    row("environment_unreachable", StatusCode::BAD_GATEWAY, "The environment cannot be reached"),
    row("jupyter_unavailable", StatusCode::SERVICE_UNAVAILABLE, "JupyterLab does not answer"),
    row("output_damaged", StatusCode::INTERNAL_SERVER_ERROR, "The output is not what came"),
    row("recording_damaged", StatusCode::INTERNAL_SERVER_ERROR, "The recording is not what was recorded"),
    row("busy", StatusCode::SERVICE_UNAVAILABLE, "Too much at once"),
    row("contended", StatusCode::SERVICE_UNAVAILABLE, "Others were faster, several times"),
    row("audit_unavailable", StatusCode::SERVICE_UNAVAILABLE, "Nobody writes anchors"),
    row("log_unavailable", StatusCode::SERVICE_UNAVAILABLE, "The event log is not reachable"),
    row("read_model_unavailable", StatusCode::SERVICE_UNAVAILABLE, "The read model is not reachable"),
    row("nats_taps_unavailable", StatusCode::SERVICE_UNAVAILABLE, "NATS cannot let anybody in here"),
    row("port_pool_exhausted", StatusCode::SERVICE_UNAVAILABLE, "No port is free"),
    row("read_model_behind", StatusCode::GATEWAY_TIMEOUT, "The read model is not there yet"),
    row("reset_not_confirmed", StatusCode::GATEWAY_TIMEOUT, "The environment has not confirmed yet"),
    row("timed_out", StatusCode::GATEWAY_TIMEOUT, "The answer took too long"),
];

/// What is wrong with one field.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct FieldError {
    /// Path of the field, for example `resources.cpu` or `allow_list[2]`.
    #[schema(example = "resources.cpu")]
    pub field: String,
    /// `missing`, `unknown`, `wrong_type`, `out_of_range`, `too_long`, `malformed`, ...
    #[schema(example = "out_of_range")]
    pub code: &'static str,
    #[schema(example = "must be between 0.1 and 256")]
    pub detail: String,
}

/// A refusal or a failure on its way out. Becomes problem details in [`finish`].
#[derive(Debug, Clone)]
pub struct Problem {
    code: &'static str,
    detail: String,
    errors: Vec<FieldError>,
    /// The chain of causes, for the log and for nobody else.
    cause: Option<String>,
    /// Seconds after which it is worth asking again.
    retry_after_s: Option<u64>,
}

/// RFC 9457 problem details.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Problem)]
pub struct ProblemDetails {
    /// Where the code is explained.
    #[schema(example = "/docs/errors#quota_exceeded")]
    pub r#type: String,
    #[schema(example = "The tenant's quota does not allow it")]
    pub title: &'static str,
    #[schema(example = 403)]
    pub status: u16,
    pub detail: String,
    #[schema(example = "quota_exceeded")]
    pub code: &'static str,
    /// Also in the header `X-Request-Id`, in the logs and in the events.
    pub correlation_id: uuid::Uuid,
    /// Every wrong field, when `code` is `validation_failed`; the servers, when it is `command_refused`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub errors: Vec<FieldError>,
}

impl Problem {
    pub fn new(code: &'static str, detail: impl Into<String>) -> Self {
        Self { code, detail: detail.into(), errors: Vec::new(), cause: None, retry_after_s: None }
    }

    /// A limit was reached; its code names it.
    pub fn limited(code: &'static str, detail: String, retry_after_s: u64) -> Self {
        Self { retry_after_s: Some(retry_after_s), ..Self::new(code, detail) }
    }

    pub fn not_found(what: &str) -> Self {
        Self::new("not_found", format!("there is no such {what}"))
    }

    pub fn fields(errors: Vec<FieldError>) -> Self {
        let names: Vec<_> = errors.iter().map(|error| error.field.as_str()).collect();
        Self::with_fields(format!("these fields are wrong: {}", names.join(", ")), errors)
    }

    pub fn with_fields(detail: String, errors: Vec<FieldError>) -> Self {
        Self { errors, ..Self::new("validation_failed", detail) }
    }

    /// Query parameters that are wrong, by their names.
    pub fn parameters(detail: String, errors: Vec<FieldError>) -> Self {
        Self { errors, ..Self::new("parameter_invalid", detail) }
    }

    /// A command that grants do not let through, with the servers where.
    pub fn command_refused(detail: String, errors: Vec<FieldError>) -> Self {
        Self { errors, ..Self::new("command_refused", detail) }
    }

    pub fn refused(refusal: &impl Refusal) -> Self {
        Self::new(refusal.code(), refusal.to_string())
    }

    /// Nothing the caller could know or do about: a constant answer, the chain in the log.
    pub fn internal(error: &(dyn Error + 'static)) -> Self {
        Self::caused("internal", "an error on our side; its log lines carry the correlation id", error)
    }

    pub fn caused(code: &'static str, detail: &str, error: &(dyn Error + 'static)) -> Self {
        Self { cause: Some(chain(error)), ..Self::new(code, detail) }
    }

    /// The fields that are wrong stand inside this one.
    pub fn inside(self, field: &str) -> Self {
        if self.code != "validation_failed" {
            return self;
        }
        let inside = |error: FieldError| FieldError { field: format!("{field}.{}", error.field), ..error };
        Self::fields(self.errors.into_iter().map(inside).collect())
    }

    pub fn code(&self) -> &'static str {
        self.code
    }

    pub fn title(&self) -> &'static str {
        self.row().title
    }

    pub fn detail(&self) -> &str {
        &self.detail
    }

    /// What is not told to whoever asked.
    pub fn cause(&self) -> Option<&str> {
        self.cause.as_deref()
    }

    pub fn errors(&self) -> &[FieldError] {
        &self.errors
    }

    fn row(&self) -> &'static Code {
        CODES.iter().find(|row| row.code == self.code).unwrap_or(&INTERNAL)
    }

    pub fn status(&self) -> StatusCode {
        self.row().status
    }
}

const INTERNAL: Code =
    row("internal", StatusCode::INTERNAL_SERVER_ERROR, "A refusal without a row in the table");

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let mut response = self.status().into_response();
        response.extensions_mut().insert(self);
        response
    }
}

/// The outermost layer: gives every request a correlation id, and every failed answer its form,
/// whoever made it. Logs what broke, once.
pub async fn finish(mut request: Request, next: Next) -> Response {
    let correlation = Correlation::of(request.headers());
    let (method, path) = (request.method().clone(), request.uri().path().to_owned());
    request.extensions_mut().insert(correlation.clone());
    let mut response = next.run(request).await;
    let problem = match response.extensions_mut().remove::<Problem>() {
        Some(problem) => Some(problem),
        None => bare(&response, &method, &path),
    };
    if let Some(problem) = problem {
        note(&problem, &correlation, &method, &path);
        let allow = response.headers().get(header::ALLOW).cloned();
        response = render(problem, &correlation);
        if let Some(allow) = allow {
            response.headers_mut().insert(header::ALLOW, allow);
        }
    }
    if let Ok(id) = HeaderValue::from_str(&correlation.shown()) {
        response.headers_mut().insert(REQUEST_ID, id);
    }
    response
}

/// The problem that stands for a failed answer which a library made.
fn bare(response: &Response, method: &Method, path: &str) -> Option<Problem> {
    let status = response.status();
    let whole = response.extensions().get::<Whole>().is_some();
    if whole || !(status.is_client_error() || status.is_server_error()) {
        return None;
    }
    Some(match status {
        StatusCode::NOT_FOUND => Problem::new("not_found", format!("nothing is at {path}")),
        StatusCode::METHOD_NOT_ALLOWED => {
            Problem::new("method_not_allowed", format!("{path} does not take {method}"))
        }
        StatusCode::PAYLOAD_TOO_LARGE => Problem::new("body_too_large", "the body is too large"),
        StatusCode::UNSUPPORTED_MEDIA_TYPE => {
            Problem::new("unsupported_media_type", "send Content-Type: application/json")
        }
        StatusCode::REQUEST_TIMEOUT => Problem::new("request_timeout", "the request took too long"),
        status if status.is_client_error() => {
            Problem::new("bad_request", format!("the request is not readable ({status})"))
        }
        _ => Problem::new("internal", "an error on our side; its log lines carry the correlation id"),
    })
}

/// Marks a failed answer that keeps its own form (the health checks, which programs read).
#[derive(Clone)]
pub struct Whole;

/// A layer for routes whose failed answers keep their own form.
pub async fn keep_form(request: Request, next: Next) -> Response {
    let mut response = next.run(request).await;
    response.extensions_mut().insert(Whole);
    response
}

/// Logs what broke; once, by whoever makes the answer.
pub fn note(problem: &Problem, correlation: &Correlation, method: &Method, path: &str) {
    let status = problem.status().as_u16();
    let id = correlation.id;
    match &problem.cause {
        Some(cause) => {
            tracing::error!(%method, path, status, code = problem.code, correlation.id = %id, cause, "a request failed");
        }
        None if problem.status().is_server_error() => {
            tracing::warn!(%method, path, status, code = problem.code, correlation.id = %id, detail = problem.detail, "a request could not be served");
        }
        None => {
            tracing::debug!(%method, path, status, code = problem.code, correlation.id = %id, "a request was refused");
        }
    }
}

/// The body as bytes and its headers.
fn render(problem: Problem, correlation: &Correlation) -> Response {
    let row = problem.row();
    let details = ProblemDetails {
        r#type: format!("/docs/errors#{}", row.code),
        title: row.title,
        status: row.status.as_u16(),
        detail: problem.detail,
        code: row.code,
        correlation_id: correlation.id,
        errors: problem.errors,
    };
    let body = serde_json::to_vec(&details).unwrap_or_default();
    let kind = HeaderValue::from_static("application/problem+json");
    let mut response = (row.status, [(header::CONTENT_TYPE, kind)], body).into_response();
    let headers = response.headers_mut();
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    if row.status == StatusCode::UNAUTHORIZED {
        headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
    }
    let unavailable = (row.status == StatusCode::SERVICE_UNAVAILABLE).then_some(RETRY_AFTER_S);
    if let Some(wait_s) = problem.retry_after_s.or(unavailable) {
        headers.insert(header::RETRY_AFTER, HeaderValue::from(wait_s));
    }
    response
}

/// A panic is our bug; the caller sees `internal`, the log sees what is known of it.
pub fn on_panic(panic: Box<dyn std::any::Any + Send + 'static>) -> Response {
    let said = panic
        .downcast_ref::<&str>()
        .map(|text| (*text).to_owned())
        .or_else(|| panic.downcast_ref::<String>().cloned())
        .unwrap_or_else(|| "a panic without a text".to_owned());
    let mut problem =
        Problem::new("internal", "an error on our side; its log lines carry the correlation id");
    problem.cause = Some(format!("panic: {said}"));
    problem.into_response()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use std::collections::BTreeSet;
    use std::net::Ipv4Addr;

    use events::batch::BatchRefusal;
    use events::credential::CredentialRefusal;
    use events::env::EnvRefusal;
    use events::ids::UserName;
    use events::login::LoginRefusal;
    use events::login::come_in::AddressRefusal;
    use events::nats_tap::NatsTapRefusal;
    use events::quota::QuotaRefusal;
    use events::relay::RelayRefusal;
    use events::request::RequestRefusal;
    use events::schedule::ScheduleRefusal;
    use events::session::SessionRefusal;
    use events::sign_in::SignInRefusal;
    use events::ssh_key::SshKeyRefusal;
    use events::subscription::SubscriptionRefusal;
    use events::tenant::TenantRefusal;
    use events::token::TokenRefusal;
    use events::user::UserRefusal;

    use super::*;

    #[test]
    fn every_refusal_of_the_rules_has_its_row() {
        let text = String::new;
        let quota = QuotaRefusal::Exceeded { resource: "cpu", limit: text(), used: text(), asked: text() };
        let refusals: Vec<Box<dyn Refusal>> = vec![
            Box::new(EnvRefusal::NotFound),
            Box::new(EnvRefusal::Deleting),
            Box::new(EnvRefusal::WrongStatus { status: "", needs: "" }),
            Box::new(CredentialRefusal::NotIssued),
            Box::new(LoginRefusal::NotLocked),
            Box::new(AddressRefusal::NotAllowed { ip: Ipv4Addr::LOCALHOST.into() }),
            Box::new(AddressRefusal::Locked { until: Default::default() }),
            Box::new(quota),
            Box::new(NatsTapRefusal::NotFound),
            Box::new(NatsTapRefusal::Stays(text())),
            Box::new(NatsTapRefusal::NoKinds),
            Box::new(NatsTapRefusal::ShownBefore),
            Box::new(BatchRefusal::NotFound),
            Box::new(RelayRefusal::NotFound),
            Box::new(RelayRefusal::ShownBefore),
            Box::new(RequestRefusal::KeyReused),
            Box::new(ScheduleRefusal::NotFound),
            Box::new(ScheduleRefusal::NotYours(UserName::parse("alice").unwrap())),
            Box::new(SessionRefusal::NotFound),
            Box::new(SessionRefusal::NoRecording),
            Box::new(SessionRefusal::Ended),
            Box::new(SessionRefusal::TooManyRecordings),
            Box::new(SessionRefusal::ShareEnded),
            Box::new(SessionRefusal::TooManyShares),
            Box::new(SignInRefusal::NotFound),
            Box::new(SignInRefusal::Taken),
            Box::new(SshKeyRefusal::NotFound),
            Box::new(SshKeyRefusal::Exists(text())),
            Box::new(SubscriptionRefusal::NotFound),
            Box::new(SubscriptionRefusal::NotYours(UserName::parse("alice").unwrap())),
            Box::new(SubscriptionRefusal::NotAWebhook),
            Box::new(SubscriptionRefusal::NotParked(1)),
            Box::new(SubscriptionRefusal::TooManyParked),
            Box::new(SubscriptionRefusal::ShownBefore),
            Box::new(TenantRefusal::NotFound),
            Box::new(TenantRefusal::Exists(text())),
            Box::new(TokenRefusal::NotFound),
            Box::new(TokenRefusal::ShownBefore),
            Box::new(UserRefusal::NotFound),
            Box::new(UserRefusal::Exists),
        ];
        for refusal in refusals {
            assert!(CODES.iter().any(|row| row.code == refusal.code()), "{}", refusal.code());
        }
    }

    #[test]
    fn a_code_stands_in_the_table_once() {
        let codes: BTreeSet<_> = CODES.iter().map(|row| row.code).collect();
        assert_eq!(codes.len(), CODES.len());
    }

    #[tokio::test]
    async fn a_panic_is_an_answer_without_its_text() {
        use axum::routing::get;
        use tower_http::catch_panic::CatchPanicLayer;
        async fn broken() -> &'static str {
            panic!("the secret is swordfish")
        }
        let app = axum::Router::new()
            .route("/broken", get(broken))
            .layer(CatchPanicLayer::custom(on_panic))
            .layer(axum::middleware::from_fn(finish));
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/broken", listener.local_addr().unwrap());
        tokio::spawn(axum::serve(listener, app).into_future());
        let answer = reqwest::get(url).await.unwrap();
        assert_eq!(answer.status(), StatusCode::INTERNAL_SERVER_ERROR);
        assert_eq!(answer.headers()["content-type"], "application/problem+json");
        let text = answer.text().await.unwrap();
        assert!(text.contains("\"code\":\"internal\"") && !text.contains("swordfish"), "{text}");
    }
}
