//! Are the log and the read model there? Asked on a timer, so that no request has to find out.

use std::time::Duration;

use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use kit::health::Health;
use nats::Connection;
use projections::Projections;
use tokio_util::sync::CancellationToken;

use crate::app::App;
use kit::error::chain;

use crate::problem::Problem;

/// Names of the parts in `/readyz`.
pub const NATS: &str = "nats";
pub const POSTGRES: &str = "postgres";

/// Between two looks.
const LOOK_INTERVAL: Duration = Duration::from_secs(1);
/// A part that does not answer within this is away.
const LOOK_WAIT: Duration = Duration::from_secs(3);

/// Looks until shutdown.
pub async fn watch(
    connection: Connection,
    projections: Projections,
    health: Health,
    shutdown: CancellationToken,
) {
    loop {
        tokio::join!(look_at_log(&connection, &health), look_at_read_model(&projections, &health));
        tokio::select! {
            () = tokio::time::sleep(LOOK_INTERVAL) => {}
            () = shutdown.cancelled() => return,
        }
    }
}

async fn look_at_log(connection: &Connection, health: &Health) {
    match tokio::time::timeout(LOOK_WAIT, connection.ping()).await {
        Ok(true) => health.ready(NATS),
        Ok(false) | Err(_) => health.not_ready(NATS, "NATS does not answer"),
    }
}

async fn look_at_read_model(projections: &Projections, health: &Health) {
    match tokio::time::timeout(LOOK_WAIT, projections.position()).await {
        Ok(Ok(_)) => health.ready(POSTGRES),
        Ok(Err(error)) => {
            tracing::debug!(error = chain(&error), "PostgreSQL does not answer");
            health.not_ready(POSTGRES, "PostgreSQL does not answer");
        }
        Err(_) => health.not_ready(POSTGRES, "PostgreSQL does not answer in time"),
    }
}

/// Nothing works without the log: while it is known to be away, requests are told so at once.
pub async fn needs_log(State(app): State<App>, request: Request, next: Next) -> Response {
    if app.health.failing().contains_key(NATS) {
        return Problem::new("log_unavailable", "the event log is not reachable; try again").into_response();
    }
    next.run(request).await
}
