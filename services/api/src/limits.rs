//! How long may a request take, and how long do they take?

use std::time::Duration;

use axum::extract::{MatchedPath, Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use tokio::time::Instant;

use crate::app::App;
use crate::metrics::Answered;
use crate::problem::Problem;
use crate::watch::NATS;

/// The longest from a request to the head of its answer, besides what a create may wait. The body of
/// an event stream may take for ever.
const ANSWER_WAIT: Duration = Duration::from_secs(20);

/// No request hangs, whatever is away.
pub async fn limit(State(app): State<App>, request: Request, next: Next) -> Response {
    let wait = ANSWER_WAIT + app.create_wait;
    match tokio::time::timeout(wait, next.run(request)).await {
        Ok(response) => response,
        Err(_) if app.health.failing().contains_key(NATS) => {
            Problem::new("log_unavailable", "the event log is not reachable; try again").into_response()
        }
        Err(_) => {
            let wait_s = wait.as_secs();
            Problem::new("timed_out", format!("no answer within {wait_s} seconds; try again")).into_response()
        }
    }
}

/// Counts answers by the route as it is written.
pub async fn count(State(app): State<App>, request: Request, next: Next) -> Response {
    let began = Instant::now();
    let route = request.extensions().get::<MatchedPath>().map_or("none", MatchedPath::as_str).to_owned();
    let method = request.method().as_str().to_owned();
    let response = next.run(request).await;
    let status = response.status().as_u16();
    let duration = began.elapsed();
    tracing::debug!(route, method, status, duration_ms = duration.as_millis(), "answered");
    app.metrics.answer_s.observe(duration.as_secs_f64());
    app.metrics.answers.get_or_create(&Answered { route, method, status }).inc();
    response
}
