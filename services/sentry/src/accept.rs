//! How do connections come in? Listening begins when the first policy is in force.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::AsRawFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use chrono::{DateTime, Utc};
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
use crate::door::Refusal;

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
    /// Keys that must be there first.
    pub host_keys: Option<JoinHandle<io::Result<()>>>,
    pub open: Arc<AtomicBool>,
    pub connections: TaskTracker,
    pub stop: CancellationToken,
}

impl Entrance {
    /// Accepts afterwards; repeatable. An address family that this machine does not have is left out.
    pub async fn ensure_open(&mut self) -> io::Result<()> {
        if self.open.load(Ordering::Acquire) || self.stop.is_cancelled() {
            return Ok(());
        }
        if let Some(host_keys) = self.host_keys.take()
            && let Err(error) = host_keys.await.map_err(io::Error::other).and_then(|made| made)
        {
            tracing::error!(%error, "cannot make host keys");
        }
        let mut listeners = Vec::new();
        for address in &self.listen {
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
        let notices = Arc::new(Semaphore::new(NOTICES_MAX));
        for listener in listeners {
            let (around, connections) = (self.around.clone(), self.connections.clone());
            let (stop, notices) = (self.stop.clone(), notices.clone());
            self.connections.spawn(async move {
                stop.run_until_cancelled(accept(&listener, &around, &connections, &notices)).await;
            });
        }
        self.open.store(true, Ordering::Release);
        tracing::info!(addresses = ?self.listen, "accepting SSH connections");
        Ok(())
    }
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
        match around.door.admit(ip, now) {
            Ok(place) => drop(connections.spawn(connection::serve(stream, place, around.clone()))),
            Err(refusal) => refuse(stream, ip, refusal, now, notices),
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
    let minutes = (until - now).num_seconds().max(0) / 60 + 1;
    let unit = if minutes == 1 { "minute" } else { "minutes" };
    let line = format!(
        "Portreeve: this address is closed for another {minutes} {unit} (too many failed passwords)\r\n"
    );
    if stream.write_all(line.as_bytes()).await.is_ok() && stream.shutdown().await.is_ok() {
        // closing with unread input would reset the connection and could take the line with it
        let mut input = [0; 512];
        while stream.read(&mut input).await.is_ok_and(|bytes| bytes > 0) {}
    }
}
