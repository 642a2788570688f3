//! How are connections served, and how do they end? With or without TLS, drained under a limit.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use axum::Router;
use axum::serve::ListenerExt;
use axum_server::Handle;
use axum_server::accept::NoDelayAcceptor;
use axum_server::tls_rustls::RustlsAcceptor;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::tls::Tls;

/// Requests under way at shutdown may take this long to end.
const DRAIN_WAIT: Duration = Duration::from_secs(10);

/// Until shutdown; after that, what is under way may end, for a while.
pub async fn serve(
    listener: TcpListener,
    router: Router,
    tls: Option<Tls>,
    shutdown: CancellationToken,
) -> io::Result<()> {
    match tls {
        None => plain(listener, router, shutdown).await,
        Some(tls) => over_tls(listener, router, tls, shutdown).await,
    }
}

async fn plain(listener: TcpListener, router: Router, shutdown: CancellationToken) -> io::Result<()> {
    // a keystroke's echo does not wait for more
    let listener = listener.tap_io(|stream| {
        if let Err(error) = stream.set_nodelay(true) {
            tracing::debug!(%error, "a connection keeps its delay");
        }
    });
    let service = router.into_make_service_with_connect_info::<SocketAddr>();
    let serving = axum::serve(listener, service).with_graceful_shutdown(shutdown.clone().cancelled_owned());
    let late = async {
        shutdown.cancelled().await;
        tokio::time::sleep(DRAIN_WAIT).await;
    };
    tokio::select! {
        served = serving => served,
        () = late => {
            tracing::warn!(wait_s = DRAIN_WAIT.as_secs(), "requests did not end in time; leaving them");
            Ok(())
        }
    }
}

async fn over_tls(
    listener: TcpListener,
    router: Router,
    tls: Tls,
    shutdown: CancellationToken,
) -> io::Result<()> {
    let handle = Handle::new();
    let acceptor = RustlsAcceptor::new(tls.config.clone()).acceptor(NoDelayAcceptor::new());
    let server = axum_server::from_tcp(listener.into_std()?)?.acceptor(acceptor).handle(handle.clone());
    let fresh = tokio::spawn(tls.keep_fresh(shutdown.clone()));
    let draining = tokio::spawn(async move {
        shutdown.cancelled().await;
        handle.graceful_shutdown(Some(DRAIN_WAIT));
    });
    let served = server.serve(router.into_make_service_with_connect_info::<SocketAddr>()).await;
    fresh.abort();
    draining.abort();
    served
}
