//! Where do the sentries connect? A Unix socket that every container of this machine sees, and TCP
//! where environments are elsewhere. Connections are counted, and idle ones end.

use std::io;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, UnixListener};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// The socket's name in its directory.
pub const SOCKET_NAME: &str = "sentry.sock";
/// Connections at once: a sentry holds two.
const CONNECTIONS_MAX: usize = 16_384;
/// A connection without a request ends; longer than HTTP clients keep idle ones.
const IDLE_MAX: Duration = Duration::from_secs(120);
/// Pause after an accept that failed, for example for want of file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// Requests that are under way when the process ends.
const DRAIN_MAX: Duration = Duration::from_secs(5);

#[derive(Debug, thiserror::Error)]
pub enum ListenError {
    #[error("cannot make the directory {path} for the sentries' socket")]
    Directory { path: PathBuf, source: io::Error },
    #[error("cannot listen on the Unix socket {path}")]
    Socket { path: PathBuf, source: io::Error },
    #[error("cannot listen on {address}")]
    Tcp { address: SocketAddr, source: io::Error },
}

/// Open listeners, not served yet.
pub struct Listeners {
    socket: Option<UnixListener>,
    tcp: Option<TcpListener>,
}

impl Listeners {
    /// A socket file that an earlier process left is replaced. Everybody may connect: the token tells
    /// who it is, and a container's root need not be the machine's.
    pub async fn open(dir: Option<&Path>, tcp: Option<SocketAddr>) -> Result<Self, ListenError> {
        let socket = dir.map(Self::socket).transpose()?;
        let tcp = match tcp {
            Some(address) => Some(
                TcpListener::bind(address).await.map_err(|source| ListenError::Tcp { address, source })?,
            ),
            None => None,
        };
        Ok(Self { socket, tcp })
    }

    fn socket(dir: &Path) -> Result<UnixListener, ListenError> {
        let path = dir.join(SOCKET_NAME);
        std::fs::create_dir_all(dir)
            .map_err(|source| ListenError::Directory { path: dir.to_owned(), source })?;
        let failed = |source| ListenError::Socket { path: path.clone(), source };
        match std::fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(failed(error)),
            Ok(()) | Err(_) => {}
        }
        let socket = UnixListener::bind(&path).map_err(failed)?;
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o666)).map_err(failed)?;
        Ok(socket)
    }

    /// Serves until `shutdown`, then lets requests under way end, within a bound.
    pub async fn serve(self, router: Router, shutdown: CancellationToken) {
        let connections = Connections {
            router,
            slots: Arc::new(Semaphore::new(CONNECTIONS_MAX)),
            tasks: TaskTracker::new(),
            shutdown: shutdown.clone(),
        };
        let over_tcp = async {
            match &self.tcp {
                Some(listener) => loop {
                    connections.take(listener.accept().await.map(|(stream, _)| stream)).await;
                },
                None => std::future::pending().await,
            }
        };
        let over_socket = async {
            match &self.socket {
                Some(listener) => loop {
                    connections.take(listener.accept().await.map(|(stream, _)| stream)).await;
                },
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = over_socket => {}
            () = over_tcp => {}
            () = shutdown.cancelled() => {}
        }
        connections.tasks.close();
        if tokio::time::timeout(DRAIN_MAX, connections.tasks.wait()).await.is_err() {
            tracing::warn!("requests of sentries were cut off; what they reported comes again");
        }
    }
}

struct Connections {
    router: Router,
    slots: Arc<Semaphore>,
    tasks: TaskTracker,
    shutdown: CancellationToken,
}

impl Connections {
    /// At the bound, the next connection waits in the kernel's queue.
    async fn take<S>(&self, accepted: io::Result<S>)
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let stream = match accepted {
            Ok(stream) => stream,
            Err(error) => {
                tracing::warn!(%error, "a sentry's connection could not be accepted");
                tokio::time::sleep(ACCEPT_PAUSE).await;
                return;
            }
        };
        let Ok(slot) = Arc::clone(&self.slots).acquire_owned().await else { return };
        let service = TowerToHyperService::new(self.router.clone());
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(IDLE_MAX)
            .serve_connection(TokioIo::new(stream), service);
        let shutdown = self.shutdown.clone();
        self.tasks.spawn(async move {
            let mut connection = std::pin::pin!(connection);
            let ended = tokio::select! {
                ended = connection.as_mut() => ended,
                () = shutdown.cancelled() => {
                    connection.as_mut().graceful_shutdown();
                    connection.await
                }
            };
            if let Err(error) = ended {
                tracing::debug!(%error, "a sentry's connection broke off");
            }
            drop(slot);
        });
    }
}
