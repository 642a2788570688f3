//! What is one person's way into one environment's JupyterLab? An SSH connection through the inner door; each
//! HTTP connection is a channel of it.
//!
//! It is one session in the records. It ends when nobody has used it for a while, when the environment or the
//! person may no longer be there, and with this process.

use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use entrance::visit::{Ended, Visit};
use entrance::way_in::WayInError;
use events::Cause;
use events::ids::SessionId;
use events::login::Entrance;
use kit::error::chain;
use kit::sentry_protocol::JUPYTER_PORT;
use ssh::channel::ChannelError;
use ssh::client::{Connection, Forward, Limits};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, interval};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::admission::{self, Guest};
use crate::app::App;
use crate::auth::{SIGNED_OUT, by_actor};
use crate::problem::Problem;

/// HTTP connections at once: requests, and a kernel's or terminal's WebSocket each.
const TUNNELS_MAX: usize = 256;
/// A request waits so long for one to become free.
const TUNNEL_WAIT: Duration = Duration::from_secs(5);
/// Without an HTTP connection for so long, it ends.
const IDLE: Duration = Duration::from_secs(120);
/// Between two looks at that, and at the person if no event rang.
const LOOK_EVERY: Duration = Duration::from_secs(10);
/// An environment is near.
const LIMITS: Limits = Limits {
    name: Duration::from_secs(1),
    connect: Duration::from_secs(5),
    banner: Duration::from_secs(5),
    kex: Duration::from_secs(10),
    auth: Duration::from_secs(10),
};

pub struct Way {
    connection: Connection,
    places: Arc<Semaphore>,
    used_at: Mutex<Instant>,
    ended: CancellationToken,
    /// Why it may not be open any more, where that was the reason of its end.
    closed: OnceLock<Problem>,
}

/// An HTTP connection to JupyterLab.
pub struct Tunnel {
    forward: Forward,
    way: Arc<Way>,
    _place: OwnedSemaphorePermit,
}

impl Way {
    /// Gets in and says so; from then on [`Way::keep`] has to run.
    pub async fn open(app: &App, guest: &Guest, client: Option<String>) -> Result<(Self, Visit), Problem> {
        let session = SessionId::from_seed(&Uuid::new_v4());
        let name = guest.caller.owner.as_str();
        let found = app.way_in.find(&guest.tenant, &guest.env, &session, name).await;
        let (target, login) = found.map_err(|error| no_way_in(&error))?;
        let connection = ssh::client::connect(&target, &login, &LIMITS).await.map_err(|error| {
            tracing::warn!(env.id = %guest.env, error = chain(&error), "no way in");
            let why = format!("the environment does not let us in: {}", error.reason());
            Problem::new("environment_unreachable", why)
        })?;
        let by_token = guest.caller.actor.starts_with("token:");
        let visit = Visit {
            tenant: guest.tenant.clone(),
            place: guest.env.clone().into(),
            session,
            ip: guest.ip,
            entrance: Entrance::Jupyter,
            user: name.to_owned(),
            method: if by_token { "token" } else { "session" }.to_owned(),
            key_fingerprint: None,
            client,
            cause: Cause::new(Uuid::new_v4(), guest.caller.actor.clone()),
        };
        if let Err(error) = app.visits.opened(&visit).await {
            tracing::error!(env.id = %guest.env, session.id = %visit.session, error, "a session cannot be recorded");
            connection.disconnect().await;
            let why = "sessions cannot be recorded at the moment; try again in a minute";
            return Err(Problem::new("log_unavailable", why));
        }
        let way = Self {
            connection,
            places: Arc::new(Semaphore::new(TUNNELS_MAX)),
            used_at: Mutex::new(Instant::now()),
            ended: CancellationToken::new(),
            closed: OnceLock::new(),
        };
        Ok((way, visit))
    }

    pub fn is_open(&self) -> bool {
        !self.ended.is_cancelled()
    }

    pub async fn tunnel(self: &Arc<Self>) -> Result<Tunnel, Problem> {
        let waiting = tokio::time::timeout(TUNNEL_WAIT, Arc::clone(&self.places).acquire_owned()).await;
        let place = waiting.ok().and_then(Result::ok).ok_or_else(|| {
            Problem::new(
                "busy",
                format!("JupyterLab has {TUNNELS_MAX} connections of yours open; close some pages"),
            )
        })?;
        self.use_now();
        let forward =
            self.connection.forward("127.0.0.1", JUPYTER_PORT).await.map_err(|error| match error {
                ChannelError::Refused { .. } | ChannelError::RequestRefused { .. } => {
                    let why = "JupyterLab does not answer in the environment; it may still be starting";
                    Problem::limited("jupyter_unavailable", why.to_owned(), 2)
                }
                ChannelError::Silent | ChannelError::Closed | ChannelError::Lost(_) => {
                    tracing::debug!(error = chain(&error), "a way into an environment broke");
                    self.ended.cancel();
                    Problem::new(
                        "environment_unreachable",
                        "the connection into the environment broke; try again",
                    )
                }
            })?;
        Ok(Tunnel { forward, way: Arc::clone(self), _place: place })
    }

    fn use_now(&self) {
        *self.used_at.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
    }

    fn is_idle(&self) -> bool {
        let used_at = *self.used_at.lock().unwrap_or_else(PoisonError::into_inner);
        self.places.available_permits() == TUNNELS_MAX && used_at.elapsed() >= IDLE
    }

    /// The rest of its life, with its end in the records.
    pub async fn keep(&self, app: &App, guest: &Guest, visit: &Visit) {
        let reason = self.until_it_ends(app, guest).await;
        self.ended.cancel();
        self.connection.disconnect().await;
        let traffic = self.connection.traffic();
        let (bytes_in, bytes_out) = (traffic.sent(), traffic.received());
        app.visits.closed(visit, Ended { bytes_in, bytes_out, reason: reason.to_owned() }).await;
    }

    async fn until_it_ends(&self, app: &App, guest: &Guest) -> &'static str {
        let mut news = app.live.listen().receiver;
        let mut looks = interval(LOOK_EVERY);
        loop {
            let look = tokio::select! {
                _ = self.connection.ended() => return "environment_ended",
                () = self.ended.cancelled() => return "connection_lost",
                () = app.shutdown.cancelled() => return "interrupted",
                event = news.recv() => match event {
                    Ok(event) => guest.concerns(&event.subject),
                    Err(RecvError::Lagged(_)) => true,
                    Err(RecvError::Closed) => return "interrupted",
                },
                _ = looks.tick() => true,
            };
            if self.is_idle() {
                return "idle";
            }
            if look && let Err(problem) = may_stay(app, guest).await {
                tracing::debug!(env.id = %guest.env, code = problem.code(), "a way into an environment is not open any more");
                let reason = if problem.code() == SIGNED_OUT { SIGNED_OUT } else { "not_admitted" };
                let _told_once = self.closed.set(problem);
                return reason;
            }
        }
    }

    /// Once it has ended: why it was closed to the person, if it was.
    pub async fn closed(&self) -> Option<&Problem> {
        self.ended.cancelled().await;
        self.closed.get()
    }
}

/// A log that does not answer puts nobody out who is in.
async fn may_stay(app: &App, guest: &Guest) -> Result<(), Problem> {
    let stays = async {
        let caller = by_actor(app, &guest.caller.actor, guest.caller.sign_in.as_ref()).await?;
        admission::remain(app, &Guest { caller, ..guest.clone() }).await
    };
    match stays.await {
        Err(problem) if !problem.status().is_server_error() => Err(problem),
        Ok(()) | Err(_) => Ok(()),
    }
}

fn no_way_in(error: &WayInError) -> Problem {
    match error {
        WayInError::Log(_) | WayInError::Vault(_) => {
            Problem::caused("log_unavailable", "the event log did not answer; try again", error)
        }
        WayInError::NotRunning(_) | WayInError::NoInnerDoor | WayInError::NoAuthority => {
            Problem::new("environment_unreachable", error.to_string())
        }
        WayInError::Authority(_) | WayInError::Certify(_) | WayInError::HostKey(_) => {
            Problem::internal(error)
        }
    }
}

impl Drop for Tunnel {
    fn drop(&mut self) {
        self.way.use_now();
    }
}

impl AsyncRead for Tunnel {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.forward).poll_read(cx, buf)
    }
}

impl AsyncWrite for Tunnel {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.forward).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.forward).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.forward).poll_shutdown(cx)
    }
}
