//! Is this environment's door open? `GET /healthz`: 200 when port 22 accepts, 503 otherwise.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::get;
use axum::{Json, Router};
use serde::Serialize;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::door::Door;
use crate::reporter::Reporter;

#[derive(Clone)]
pub struct Vitals {
    pub open: Arc<AtomicBool>,
    pub version: watch::Receiver<Option<String>>,
    pub door: Arc<Door>,
    pub reporter: Reporter,
}

#[derive(Serialize)]
struct Health {
    policy_version: Option<String>,
    sessions: usize,
    spool_pending: u64,
}

pub async fn start(address: SocketAddr, vitals: Vitals, stop: CancellationToken) -> io::Result<()> {
    let listener = TcpListener::bind(address).await?;
    let routes = Router::new().route("/healthz", get(healthz)).with_state(vitals);
    tokio::spawn(async move {
        let served = axum::serve(listener, routes).with_graceful_shutdown(stop.cancelled_owned());
        if let Err(error) = served.await {
            tracing::error!(%error, "the health port is gone");
        }
    });
    Ok(())
}

async fn healthz(State(vitals): State<Vitals>) -> (StatusCode, Json<Health>) {
    let accepting = vitals.open.load(Ordering::Acquire) && vitals.reporter.has_room();
    let health = Health {
        policy_version: vitals.version.borrow().clone(),
        sessions: vitals.door.sessions().len(),
        spool_pending: vitals.reporter.pending(),
    };
    let status = if accepting { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (status, Json(health))
}
