//! How do connections come in? Listening begins when the first policy is in force.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::AsRawFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use chrono::{DateTime, Utc};
use events::login::come_in::closed_text;
use nix::sys::socket::{
    AddressFamily, Backlog, SockFlag, SockType, SockaddrStorage, bind, listen, setsockopt, socket, sockopt,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::connection::{self, Surroundings};
use crate::door::{Refusal, Side};

/// Connections the kernel holds for us.
const BACKLOG: i32 = 1024;
/// After an error of accept (no descriptors left): those that wait stay in the backlog.
const ACCEPT_ERROR_WAIT: Duration = Duration::from_millis(100);
/// Refused people who are told why at the same time; others are just closed.
const NOTICES_MAX: usize = 10;
const NOTICE_WAIT: Duration = Duration::from_secs(1);

/// Everything between a policy in force and an open port.
pub struct Entrance {
    pub around: Arc<Surroundings>,
    pub listen: Vec<SocketAddr>,
    /// Where the inner door is.
    pub inner_listen: Vec<SocketAddr>,
    /// Whether that could be opened.
    pub inner_open: bool,
    /// Keys that must be there first.
    pub host_keys: Option<JoinHandle<io::Result<()>>>,
    pub open: Arc<AtomicBool>,
    pub connections: TaskTracker,
    pub stop: CancellationToken,
}

impl Entrance {
    /// Accepts afterwards, at both doors; repeatable.
    pub async fn ensure_open(&mut self) -> io::Result<()> {
        if self.open.load(Ordering::Acquire) || self.stop.is_cancelled() {
            return Ok(());
        }
        if let Some(host_keys) = self.host_keys.take()
            && let Err(error) = host_keys.await.map_err(io::Error::other).and_then(|made| made)
        {
            tracing::error!(%error, "cannot make host keys");
        }
        let outer = listeners(&self.listen)?;
        // without it the environment has its port still
        let inner = listeners(&self.inner_listen).unwrap_or_else(|error| {
            tracing::error!(%error, addresses = ?self.inner_listen, "no inner door: gateway and web terminal cannot come in");
            Vec::new()
        });
        self.inner_open = !inner.is_empty();
        let notices = Arc::new(Semaphore::new(NOTICES_MAX));
        let sides = outer.into_iter().map(|listener| (listener, Side::Outer));
        for (listener, side) in sides.chain(inner.into_iter().map(|listener| (listener, Side::Inner))) {
            let (around, connections) = (self.around.clone(), self.connections.clone());
            let (stop, notices) = (self.stop.clone(), notices.clone());
            self.connections.spawn(async move {
                stop.run_until_cancelled(accept(&listener, side, &around, &connections, &notices)).await;
            });
        }
        self.open.store(true, Ordering::Release);
        tracing::info!(addresses = ?self.listen, inner = ?self.inner_listen, "accepting SSH connections");
        Ok(())
    }
}

/// One an address; an address family that this machine does not have is left out.
fn listeners(addresses: &[SocketAddr]) -> io::Result<Vec<TcpListener>> {
    let mut listeners = Vec::new();
    for address in addresses {
        match listener(*address) {
            Ok(listener) => listeners.push(listener),
            Err(error) if address.is_ipv6() && error.kind() != io::ErrorKind::AddrInUse => {
                tracing::warn!(%error, %address, "no IPv6 here");
            }
            Err(error) => return Err(error),
        }
    }
    if listeners.is_empty() {
        return Err(io::ErrorKind::AddrNotAvailable.into());
    }
    Ok(listeners)
}

fn listener(address: SocketAddr) -> io::Result<TcpListener> {
    let family = if address.is_ipv6() { AddressFamily::Inet6 } else { AddressFamily::Inet };
    let socket = socket(family, SockType::Stream, SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK, None)?;
    setsockopt(&socket, sockopt::ReuseAddr, &true)?;
    if address.is_ipv6() {
        setsockopt(&socket, sockopt::Ipv6V6Only, &true)?;
    }
    bind(socket.as_raw_fd(), &SockaddrStorage::from(address))?;
    listen(&socket, Backlog::new(BACKLOG)?)?;
    TcpListener::from_std(socket.into())
}

async fn accept(
    listener: &TcpListener,
    side: Side,
    around: &Arc<Surroundings>,
    connections: &TaskTracker,
    notices: &Arc<Semaphore>,
) {
    let mut failing = false;
    loop {
        let (stream, peer) = match listener.accept().await {
            Ok(accepted) => accepted,
            Err(error) => {
                if !std::mem::replace(&mut failing, true) {
                    tracing::error!(%error, "cannot accept connections for now");
                }
                tokio::time::sleep(ACCEPT_ERROR_WAIT).await;
                continue;
            }
        };
        failing = false;
        let (ip, now) = (peer.ip().to_canonical(), Utc::now());
        if !around.reporter.has_room() {
            tracing::error!(%ip, pending = around.reporter.pending(), "refused: the spool has no room");
            continue;
        }
        let admitted = match side {
            Side::Outer => around.door.admit(ip, now),
            Side::Inner => around.door.admit_inner(ip),
        };
        match admitted {
            Ok(place) => drop(connections.spawn(connection::serve(stream, place, around.clone()))),
            Err(refusal) => {
                if matches!(refusal, Refusal::Locked { .. }) {
                    around.refusals.count(ip, now);
                }
                refuse(stream, ip, refusal, now, notices);
            }
        }
    }
}

fn refuse(stream: TcpStream, ip: IpAddr, refusal: Refusal, now: DateTime<Utc>, notices: &Arc<Semaphore>) {
    tracing::debug!(%ip, ?refusal, "refused");
    if let Refusal::Locked { until } = refusal
        && let Ok(permit) = notices.clone().try_acquire_owned()
    {
        tokio::spawn(async move {
            tokio::time::timeout(NOTICE_WAIT, say_locked(stream, until, now)).await.ok();
            drop(permit);
        });
    }
}

/// A server may send lines before its identification (RFC 4253, 4.2).
async fn say_locked(mut stream: TcpStream, until: DateTime<Utc>, now: DateTime<Utc>) {
    let line = format!("Portreeve: {}\r\n", closed_text(until, now));
    if stream.write_all(line.as_bytes()).await.is_ok() && stream.shutdown().await.is_ok() {
        // closing with unread input would reset the connection and could take the line with it
        let mut input = [0; 512];
        while stream.read(&mut input).await.is_ok_and(|bytes| bytes > 0) {}
    }
}
