//! What does a write bring? Its caller, a bounded JSON body, and perhaps an idempotency key.

use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::extract::{FromRequest, Request};
use axum::http::{HeaderMap, Method, header};
use serde_json::Value;

use crate::app::App;
use crate::auth::{Caller, authenticate, authenticate_any};
use crate::correlation::Correlation;
use crate::idempotency::Key;
use crate::problem::Problem;

/// The largest body.
pub const BODY_BYTES_MAX: usize = 1024 * 1024;
/// The longest a body may take to arrive.
const BODY_WAIT: Duration = Duration::from_secs(10);

/// A write whose caller is known and may write, and whose body is JSON.
pub struct Incoming {
    pub caller: Caller,
    pub correlation: Correlation,
    pub key: Option<Key>,
    pub method: Method,
    /// Path and query as they came.
    pub target: String,
    pub body: JsonBody,
}

/// A body that is JSON, or nothing.
pub struct JsonBody {
    pub bytes: Bytes,
    /// `{}` when there was none.
    pub json: Value,
}

impl FromRequest<App> for Incoming {
    type Rejection = Problem;

    async fn from_request(request: Request, app: &App) -> Result<Self, Problem> {
        let caller = authenticate(app, request.headers()).await?;
        caller.may_write()?;
        Self::of(caller, request).await
    }
}

/// A write of somebody who may perhaps do nothing else: whoever takes it decides what they may.
pub struct Enrolling(pub Incoming);

impl FromRequest<App> for Enrolling {
    type Rejection = Problem;

    async fn from_request(request: Request, app: &App) -> Result<Self, Problem> {
        let caller = authenticate_any(app, request.headers()).await?;
        Incoming::of(caller, request).await.map(Self)
    }
}

/// A question that is too long for a query, or the wish to read by another way: nothing of anybody's changes, so whoever
/// may read may ask.
pub struct Asking(pub Incoming);

impl FromRequest<App> for Asking {
    type Rejection = Problem;

    async fn from_request(request: Request, app: &App) -> Result<Self, Problem> {
        let caller = authenticate(app, request.headers()).await?;
        Incoming::of(caller, request).await.map(Self)
    }
}

impl Incoming {
    async fn of(caller: Caller, request: Request) -> Result<Self, Problem> {
        let (parts, body) = request.into_parts();
        let key = Key::of(&parts.headers)?;
        let body = read_json(&parts.headers, body).await?;
        Ok(Self {
            caller,
            correlation: Correlation::of_parts(&parts),
            key,
            method: parts.method,
            target: parts.uri.path_and_query().map_or_else(String::new, ToString::to_string),
            body,
        })
    }
}

/// Reads the whole body, at most so large and so long, and parses it.
pub async fn read_json(headers: &HeaderMap, body: Body) -> Result<JsonBody, Problem> {
    let announced = headers
        .get(header::CONTENT_LENGTH)
        .and_then(|length| length.to_str().ok())
        .and_then(|length| length.parse::<usize>().ok());
    if announced.is_some_and(|length| length > BODY_BYTES_MAX) {
        return Err(too_large());
    }
    let bytes = tokio::time::timeout(BODY_WAIT, axum::body::to_bytes(body, BODY_BYTES_MAX))
        .await
        .map_err(|_| {
            let wait_s = BODY_WAIT.as_secs();
            Problem::new("request_timeout", format!("the body did not arrive within {wait_s} seconds"))
        })?
        .map_err(|error| unread(&error))?;
    if bytes.is_empty() {
        return Ok(JsonBody { bytes, json: Value::Object(serde_json::Map::new()) });
    }
    if !is_json(headers) {
        return Err(Problem::new("unsupported_media_type", "send Content-Type: application/json"));
    }
    let json = serde_json::from_slice(&bytes).map_err(|error| {
        let (line, column) = (error.line(), error.column());
        Problem::new("json_invalid", format!("the body is not JSON: line {line}, column {column}: {error}"))
    })?;
    Ok(JsonBody { bytes, json })
}

fn too_large() -> Problem {
    Problem::new("body_too_large", format!("the body may have at most {BODY_BYTES_MAX} bytes"))
}

/// A body that is too large shows as an error of that name somewhere in the chain.
fn unread(error: &axum::Error) -> Problem {
    let chain = kit::error::chain(error);
    if chain.contains("length limit exceeded") {
        too_large()
    } else {
        Problem::new("bad_request", "the body ended before its end")
    }
}

fn is_json(headers: &HeaderMap) -> bool {
    let kind = headers.get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    let essence = kind.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    essence == "application/json" || (essence.starts_with("application/") && essence.ends_with("+json"))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;

    async fn read(kind: &str, body: &[u8]) -> Result<Value, &'static str> {
        let mut headers = HeaderMap::new();
        headers.insert(header::CONTENT_TYPE, kind.parse().unwrap());
        let read = read_json(&headers, Body::from(body.to_vec())).await;
        read.map(|body| body.json).map_err(|problem| problem.code())
    }

    #[tokio::test]
    async fn a_body_is_json_within_its_bound() {
        let json = "application/json; charset=utf-8";
        assert_eq!(read(json, b"{\"a\":1}").await, Ok(serde_json::json!({"a": 1})));
        assert_eq!(read("text/plain", b"").await, Ok(serde_json::json!({})));
        assert_eq!(read("text/plain", b"{}").await, Err("unsupported_media_type"));
        assert_eq!(read(json, b"{").await, Err("json_invalid"));
        assert_eq!(read(json, &vec![b' '; BODY_BYTES_MAX + 1]).await, Err("body_too_large"));
    }
}
