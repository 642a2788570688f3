//! Which call means what? The part of the Docker Engine API that is spoken here, and `/double/`.

use std::sync::Arc;

use axum::body::{Body, to_bytes};
use axum::extract::{Request, State};
use axum::http::{HeaderValue, Method, StatusCode};
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};

use crate::engine::{Engine, Failure};
use crate::{admin, containers, events, images, volumes};

/// A larger body is refused, in bytes.
const BODY_MAX: usize = 4 * 1024 * 1024;
const API_VERSION: &str = "1.47";

pub async fn answer(State(engine): State<Arc<Engine>>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let path = percent_decoded(parts.uri.path());
    let query = Query::parse(parts.uri.query().unwrap_or_default());
    let body = match to_bytes(body, BODY_MAX).await {
        Ok(bytes) if bytes.is_empty() => Value::Null,
        Ok(bytes) => serde_json::from_slice(&bytes).unwrap_or(Value::Null),
        Err(_) => return failed(&Failure::new(413, "the body is too large")),
    };
    let mut segments: Vec<&str> = path.split('/').filter(|segment| !segment.is_empty()).collect();
    if segments.first().is_some_and(|first| first.starts_with("v1.")) {
        segments.remove(0);
    }
    let answered = match segments.first() {
        Some(&"double") => admin::answer(&engine, &parts.method, &segments[1..], &body),
        Some(_) | None => dispatch(&engine, &parts.method, &segments, &query, body).await,
    };
    let mut response = answered.unwrap_or_else(|failure| failed(&failure));
    response.headers_mut().insert("api-version", HeaderValue::from_static(API_VERSION));
    response.headers_mut().insert("server", HeaderValue::from_static("Docker/double (linux)"));
    response
}

async fn dispatch(
    engine: &Arc<Engine>,
    method: &Method,
    segments: &[&str],
    query: &Query,
    body: Value,
) -> Result<Response, Failure> {
    Ok(match (method.as_str(), segments) {
        ("GET" | "HEAD", ["_ping"]) => "OK".into_response(),
        ("GET", ["version"]) => axum::Json(version()).into_response(),
        ("GET", ["info"]) => axum::Json(info(engine)).into_response(),
        ("GET", ["events"]) => events::listen(engine, query.filters()),
        ("GET", ["images", "json"]) => axum::Json(images::list(engine)).into_response(),
        ("POST", ["images", "create"]) => {
            return Err(images::pull(query.get("fromImage").unwrap_or_default()));
        }
        ("GET", ["images", name @ .., "json"]) => shown(images::inspect(engine, &name.join("/")))?,
        ("POST", ["containers", "create"]) => made(containers::create(
            engine,
            query.get("name").map(|name| name.trim_start_matches('/')),
            body,
        ))?,
        ("GET", ["containers", "json"]) => {
            let all = query.is_set("all");
            axum::Json(containers::list(engine, all, &query.filters())).into_response()
        }
        ("GET", ["containers", key, "json"]) => shown(containers::inspect(engine, key))?,
        ("POST", ["containers", key, "start"]) => changed(containers::start(engine, key))?,
        ("POST", ["containers", key, "stop"]) => changed(containers::stop(engine, key))?,
        ("POST", ["containers", key, "kill"]) => done(containers::kill(engine, key))?,
        ("POST", ["containers", key, "wait"]) => shown(containers::wait(engine, key).await)?,
        ("GET", ["containers", key, "logs"]) => {
            engine.held().find(key)?;
            Body::empty().into_response()
        }
        ("GET" | "HEAD", ["containers", key, "archive"]) => {
            engine.held().find(key)?;
            return Err(Failure::new(404, format!("Could not find the file in container {key}")));
        }
        ("DELETE", ["containers", key]) => done(containers::remove(engine, key, query.is_set("force")))?,
        ("POST", ["volumes", "create"]) => made(volumes::create(engine, &body))?,
        ("GET", ["volumes"]) => axum::Json(volumes::list(engine, &query.filters())).into_response(),
        ("GET", ["volumes", name]) => shown(volumes::inspect(engine, name))?,
        ("DELETE", ["volumes", name]) => done(volumes::remove(engine, name))?,
        _ => {
            return Err(Failure::new(
                501,
                format!("engine_double does not speak {method} /{}", segments.join("/")),
            ));
        }
    })
}

fn shown(result: Result<Value, Failure>) -> Result<Response, Failure> {
    result.map(|value| axum::Json(value).into_response())
}

fn made(result: Result<Value, Failure>) -> Result<Response, Failure> {
    result.map(|value| (StatusCode::CREATED, axum::Json(value)).into_response())
}

fn changed(result: Result<bool, Failure>) -> Result<Response, Failure> {
    result.map(|changed| {
        let status = if changed { StatusCode::NO_CONTENT } else { StatusCode::NOT_MODIFIED };
        status.into_response()
    })
}

fn done(result: Result<(), Failure>) -> Result<Response, Failure> {
    result.map(|()| StatusCode::NO_CONTENT.into_response())
}

fn failed(failure: &Failure) -> Response {
    let status = StatusCode::from_u16(failure.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    (status, axum::Json(json!({"message": failure.message}))).into_response()
}

fn version() -> Value {
    json!({
        "Version": "27.0.0-double", "ApiVersion": API_VERSION, "MinAPIVersion": "1.24", "Os": "linux",
        "Arch": "amd64", "KernelVersion": "6", "Components": [{"Name": "Engine", "Version": "27.0.0-double"}],
    })
}

fn info(engine: &Engine) -> Value {
    let held = engine.held();
    json!({
        "ID": "double", "Name": "double", "Containers": held.containers.len(), "Driver": "double",
        "OSType": "linux", "Architecture": "x86_64", "NCPU": 64, "MemTotal": 1_u64 << 40,
        "ServerVersion": "27.0.0-double", "SecurityOptions": [], "CgroupVersion": "2",
    })
}

/// What follows the question mark.
pub struct Query(Vec<(String, String)>);

impl Query {
    fn parse(text: &str) -> Self {
        let pairs = text.split('&').filter(|pair| !pair.is_empty());
        Self(
            pairs
                .map(|pair| {
                    let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
                    (percent_decoded(name), percent_decoded(&value.replace('+', " ")))
                })
                .collect(),
        )
    }

    fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    fn is_set(&self, name: &str) -> bool {
        self.get(name).is_some_and(|value| value == "true" || value == "1")
    }

    fn filters(&self) -> Filters {
        Filters(self.get("filters").and_then(|text| serde_json::from_str(text).ok()).unwrap_or(Value::Null))
    }
}

/// Docker's filters: a name and the values that pass.
pub struct Filters(Value);

impl Filters {
    fn values(&self, name: &str) -> Vec<&str> {
        match &self.0[name] {
            Value::Array(values) => values.iter().filter_map(Value::as_str).collect(),
            Value::Object(map) => map.keys().map(String::as_str).collect(),
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => Vec::new(),
        }
    }

    pub fn has(&self, name: &str) -> bool {
        !self.values(name).is_empty()
    }

    /// Whether a value passes; without a filter of this name everything does.
    pub fn allow(&self, name: &str, value: Option<&str>) -> bool {
        let values = self.values(name);
        values.is_empty() || value.is_some_and(|value| values.contains(&value))
    }

    /// Likewise, where a part of the value is enough.
    pub fn allow_part(&self, name: &str, value: &str) -> bool {
        let values = self.values(name);
        values.is_empty()
            || values.iter().any(|part| {
                value.contains(part.trim_start_matches('^').trim_end_matches('$').trim_start_matches('/'))
            })
    }

    /// Every label asked for must be there.
    pub fn labels_match<'l>(&self, label: impl Fn(&str) -> Option<&'l str>) -> bool {
        self.values("label").into_iter().all(|asked| match asked.split_once('=') {
            Some((name, value)) => label(name) == Some(value),
            None => label(asked).is_some(),
        })
    }
}

fn percent_decoded(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut decoded = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        let code = (bytes[at] == b'%')
            .then(|| text.get(at + 1..at + 3).and_then(|digits| u8::from_str_radix(digits, 16).ok()))
            .flatten();
        decoded.push(code.unwrap_or(bytes[at]));
        at += if code.is_some() { 3 } else { 1 };
    }
    String::from_utf8_lossy(&decoded).into_owned()
}
