//! Who answers sentries where there is no control plane? Every one gets the same policy.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::{Query, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

/// A sentry that has the policy already waits as long as at the provisioner.
const HELD: Duration = Duration::from_secs(25);

/// Ends when dropped.
pub struct PlayedControl(JoinHandle<()>);

impl PlayedControl {
    /// On every address of this machine.
    pub async fn start(port: u16, policy: Value) -> anyhow::Result<Self> {
        let listener = TcpListener::bind(("0.0.0.0", port)).await?;
        let routes = Router::new()
            .route("/v1/policy", get(answer))
            .route("/v1/applied", post(|| async { StatusCode::NO_CONTENT }))
            .route("/v1/reports", post(take))
            .with_state(Arc::new(policy));
        Ok(Self(tokio::spawn(async move {
            let _ended = axum::serve(listener, routes).await;
        })))
    }
}

impl Drop for PlayedControl {
    fn drop(&mut self) {
        self.0.abort();
    }
}

async fn answer(
    State(policy): State<Arc<Value>>,
    Query(question): Query<HashMap<String, String>>,
) -> Response {
    if question.get("have").map(String::as_str) != policy["version"].as_str() {
        return Json((*policy).clone()).into_response();
    }
    tokio::time::sleep(HELD).await;
    StatusCode::NO_CONTENT.into_response()
}

async fn take(Json(batch): Json<Value>) -> Json<Value> {
    let last = batch["reports"].as_array().and_then(|reports| reports.last());
    Json(json!({"accepted_through": last.map_or(json!(0), |report| report["number"].clone())}))
}
