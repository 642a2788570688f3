//! Is the process alive, ready, and what are its numbers? `/healthz`, `/readyz`, `/metrics`.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use prometheus_client::registry::Registry;
use serde_json::json;

/// Shared by the parts of a process: each says whether it can do its work.
#[derive(Clone, Default)]
pub struct Health {
    inner: Arc<Inner>,
}

#[derive(Default)]
struct Inner {
    parts: Mutex<BTreeMap<&'static str, Result<(), String>>>,
    metrics: Mutex<Registry>,
}

impl Health {
    pub fn ready(&self, part: &'static str) {
        self.set(part, Ok(()));
    }

    pub fn not_ready(&self, part: &'static str, why: impl Into<String>) {
        self.set(part, Err(why.into()));
    }

    fn set(&self, part: &'static str, state: Result<(), String>) {
        self.inner.parts.lock().unwrap_or_else(PoisonError::into_inner).insert(part, state);
    }

    /// The parts that cannot work now, with the reason.
    pub fn failing(&self) -> BTreeMap<&'static str, String> {
        let parts = self.inner.parts.lock().unwrap_or_else(PoisonError::into_inner);
        parts.iter().filter_map(|(part, state)| Some((*part, state.clone().err()?))).collect()
    }

    /// Registers metrics; names start with `portreeve_<service>_`.
    pub fn register(&self, register: impl FnOnce(&mut Registry)) {
        register(&mut self.inner.metrics.lock().unwrap_or_else(PoisonError::into_inner));
    }

    /// The three routes.
    pub fn routes(&self) -> Router {
        Router::new()
            .route("/healthz", get(|| async { Json(json!({"status": "ok"})) }))
            .route("/readyz", get(readyz))
            .route("/metrics", get(metrics))
            .with_state(self.clone())
    }
}

async fn readyz(State(health): State<Health>) -> Response {
    let failing = health.failing();
    if failing.is_empty() {
        Json(json!({"status": "ready"})).into_response()
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, Json(json!({"status": "not ready", "failing": failing})))
            .into_response()
    }
}

async fn metrics(State(health): State<Health>) -> Response {
    let mut text = String::new();
    let registry = health.inner.metrics.lock().unwrap_or_else(PoisonError::into_inner);
    match prometheus_client::encoding::text::encode(&mut text, &registry) {
        Ok(()) => {
            ([(header::CONTENT_TYPE, "application/openmetrics-text; version=1.0.0; charset=utf-8")], text)
                .into_response()
        }
        Err(_) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}
