//! What stands in for a container engine when 2,800 real containers would not fit? A process of its
//! own on a Unix socket, so that it outlives a product that is killed, and orphans can exist.
//!
//! `engine_double SOCKET`. It speaks the part of the Docker Engine API that Portreeve uses, and for
//! each started container it plays the sentry. Tests talk to it below `/double/` (see `admin.rs`).

mod admin;
mod containers;
mod engine;
mod events;
mod images;
mod routes;
mod sentry;
mod volumes;

use std::path::PathBuf;
use std::sync::Arc;

use anyhow::Context;
use nix::sys::signal::Signal;

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() -> anyhow::Result<()> {
    // Nobody is left to talk to once the test process is gone.
    nix::sys::prctl::set_pdeathsig(Signal::SIGKILL).context("cannot ask to end with the parent")?;
    let socket = std::env::args_os().nth(1).map(PathBuf::from).context("usage: engine_double SOCKET")?;
    let listener = tokio::net::UnixListener::bind(&socket)
        .with_context(|| format!("cannot listen on {}", socket.display()))?;
    let engine = Arc::new(engine::Engine::default());
    let app = axum::Router::new().fallback(routes::answer).with_state(engine);
    axum::serve(listener, app).await.context("cannot serve")
}
