//! How do bytes get to and from a socket without one direction waiting for the other?
//!
//! russh's session writes and reads in one loop: a peer that does not read would keep us from reading it.
//! What the socket does not take at once is therefore kept here, up to a bound, and a task of its own
//! sends it. [`Gate`] tells a relay when so much waits that it should stop bringing more.

use std::collections::VecDeque;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use nix::sys::socket::{Shutdown, setsockopt, shutdown, sockopt};
use std::os::fd::AsRawFd;
use tokio::io::{AsyncRead, AsyncWrite, BufReader, ReadBuf};
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::Notify;

/// Read from the socket at once.
const READ_BYTES: usize = 128 << 10;
/// Kept for a peer that does not read; then russh's session waits, as it would with a bare socket.
const KEPT_BYTES_MAX: usize = 8 << 20;
/// After so much that waits for the socket or in a queue before it, a relay stops bringing more.
pub(crate) const GATE_BYTES_MAX: usize = 1 << 20;
/// What a packet that waits takes beside its bytes: a program that writes single bytes makes packets of ten.
const PACKET_OVERHEAD_BYTES: usize = 256;
/// What is left when a connection ends is still sent, if the peer takes it within this time.
const LINGER: Duration = Duration::from_secs(2);
/// A peer that vanished is noticed after about this time of silence, or of unacknowledged bytes.
const KEEPALIVE_IDLE_S: u32 = 60;
const KEEPALIVE_INTERVAL_S: u32 = 20;
const KEEPALIVE_PROBES: u32 = 3;
const UNACKNOWLEDGED_MS: u32 = 120_000;

/// Bytes on their way to one socket.
#[derive(Default)]
pub(crate) struct Gate {
    queued: AtomicUsize,
    kept: AtomicUsize,
    fell: Notify,
}

impl Gate {
    /// Resolves while less than [`GATE_BYTES_MAX`] waits. May be dropped and asked again.
    pub(crate) async fn room(&self) {
        loop {
            let mut fell = std::pin::pin!(self.fell.notified());
            fell.as_mut().enable();
            if self.waiting() < GATE_BYTES_MAX {
                return;
            }
            fell.await;
        }
    }

    fn waiting(&self) -> usize {
        self.queued.load(Ordering::Acquire) + self.kept.load(Ordering::Acquire)
    }

    /// A packet that counts until it is dropped: then it is on its way through the socket, or lost.
    pub(crate) fn counted(self: &Arc<Self>, packet: Vec<u8>) -> bytes::Bytes {
        self.queued.fetch_add(held_bytes(&packet), Ordering::AcqRel);
        bytes::Bytes::from_owner(Counted { packet, gate: Arc::clone(self) })
    }
}

/// The memory that a packet takes while it waits.
pub(crate) fn held_bytes(packet: &[u8]) -> usize {
    packet.len() + PACKET_OVERHEAD_BYTES
}

struct Counted {
    packet: Vec<u8>,
    gate: Arc<Gate>,
}

impl AsRef<[u8]> for Counted {
    fn as_ref(&self) -> &[u8] {
        &self.packet
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.gate.queued.fetch_sub(held_bytes(&self.packet), Ordering::AcqRel);
        self.gate.fell.notify_waiters();
    }
}

/// Bytes that went through a connection.
#[derive(Debug, Default)]
pub struct Traffic {
    received: AtomicU64,
    sent: AtomicU64,
}

impl Traffic {
    /// From the peer.
    pub fn received(&self) -> u64 {
        self.received.load(Ordering::Relaxed)
    }

    /// Handed to the kernel for the peer.
    pub fn sent(&self) -> u64 {
        self.sent.load(Ordering::Relaxed)
    }
}

/// A socket as russh gets it.
pub(crate) struct Wire {
    read: BufReader<OwnedReadHalf>,
    /// Read before: the peer's identification.
    before: VecDeque<u8>,
    out: Arc<Out>,
}

struct Out {
    socket: OwnedWriteHalf,
    state: Mutex<OutState>,
    wake: Notify,
    gate: Arc<Gate>,
    traffic: Arc<Traffic>,
}

#[derive(Default)]
struct OutState {
    kept: Vec<u8>,
    /// Taken out of `kept` by the sender and not sent yet.
    sending: usize,
    ending: bool,
    failed: Option<io::ErrorKind>,
    waiting: Option<Waker>,
}

/// Small packets at once, and a peer that vanished is noticed.
pub(crate) fn prepare(socket: &TcpStream) -> io::Result<()> {
    socket.set_nodelay(true)?;
    setsockopt(socket, sockopt::KeepAlive, &true)?;
    setsockopt(socket, sockopt::TcpKeepIdle, &KEEPALIVE_IDLE_S)?;
    setsockopt(socket, sockopt::TcpKeepInterval, &KEEPALIVE_INTERVAL_S)?;
    setsockopt(socket, sockopt::TcpKeepCount, &KEEPALIVE_PROBES)?;
    setsockopt(socket, sockopt::TcpUserTimeout, &UNACKNOWLEDGED_MS)?;
    Ok(())
}

impl Wire {
    /// `before` was read from the socket already.
    pub(crate) fn new(socket: TcpStream, before: Vec<u8>) -> Self {
        let (read, write) = socket.into_split();
        let traffic = Arc::new(Traffic::default());
        traffic.received.store(before.len() as u64, Ordering::Relaxed);
        let out = Arc::new(Out {
            socket: write,
            state: Mutex::default(),
            wake: Notify::new(),
            gate: Arc::default(),
            traffic,
        });
        tokio::spawn(Arc::clone(&out).send());
        Self { read: BufReader::with_capacity(READ_BYTES, read), before: before.into(), out }
    }

    pub(crate) fn gate(&self) -> Arc<Gate> {
        Arc::clone(&self.out.gate)
    }

    pub(crate) fn cut(&self) -> Cut {
        Cut(Arc::clone(&self.out))
    }

    pub(crate) fn traffic(&self) -> Arc<Traffic> {
        Arc::clone(&self.out.traffic)
    }
}

/// Ends a connection whoever holds it, at once.
pub(crate) struct Cut(Arc<Out>);

impl Cut {
    pub(crate) fn now(&self) {
        shutdown(self.0.socket.as_ref().as_raw_fd(), Shutdown::Both).ok();
        self.0.fail(io::ErrorKind::ConnectionAborted);
        self.0.end();
    }
}

impl Out {
    fn state(&self) -> MutexGuard<'_, OutState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sends what is kept until the connection ends.
    async fn send(self: Arc<Self>) {
        loop {
            let (bytes, ending) = {
                let mut state = self.state();
                let bytes = std::mem::take(&mut state.kept);
                state.sending = bytes.len();
                (bytes, state.ending)
            };
            if bytes.is_empty() {
                if ending {
                    shutdown(self.socket.as_ref().as_raw_fd(), Shutdown::Write).ok();
                    return;
                }
                self.wake.notified().await;
                continue;
            }
            let sent = if ending {
                tokio::time::timeout(LINGER, self.send_all(&bytes))
                    .await
                    .unwrap_or(Err(io::ErrorKind::TimedOut.into()))
            } else {
                self.send_all(&bytes).await
            };
            if let Err(error) = sent {
                self.fail(error.kind());
                return;
            }
        }
    }

    async fn send_all(&self, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            self.writable_or_ending().await?;
            let n = match self.socket.try_write(bytes) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(n) => n,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => continue,
                Err(error) => return Err(error),
            };
            self.traffic.sent.fetch_add(n as u64, Ordering::Relaxed);
            bytes = bytes.get(n..).unwrap_or_default();
            let mut state = self.state();
            state.sending -= n;
            self.changed(&mut state);
        }
        Ok(())
    }

    /// An end that comes while the peer does not read ends the wait, after [`LINGER`].
    async fn writable_or_ending(&self) -> io::Result<()> {
        let mut writable = std::pin::pin!(self.socket.writable());
        loop {
            if self.state().ending {
                return tokio::time::timeout(LINGER, writable)
                    .await
                    .unwrap_or(Err(io::ErrorKind::TimedOut.into()));
            }
            tokio::select! {
                ready = writable.as_mut() => return ready,
                () = self.wake.notified() => {}
            }
        }
    }

    fn fail(&self, kind: io::ErrorKind) {
        let mut state = self.state();
        state.failed = Some(kind);
        state.kept = Vec::new();
        state.sending = 0;
        self.changed(&mut state);
    }

    fn changed(&self, state: &mut OutState) {
        self.gate.kept.store(state.kept.len() + state.sending, Ordering::Release);
        self.gate.fell.notify_waiters();
        if let Some(waker) = state.waiting.take() {
            waker.wake();
        }
    }

    fn end(&self) {
        self.state().ending = true;
        self.wake.notify_one();
    }
}

impl AsyncRead for Wire {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if !self.before.is_empty() {
            let (bytes, _) = self.before.as_slices();
            let n = bytes.len().min(buf.remaining());
            buf.put_slice(bytes.get(..n).unwrap_or_default());
            self.before.drain(..n);
            return Poll::Ready(Ok(()));
        }
        let had = buf.filled().len();
        let read = Pin::new(&mut self.read).poll_read(cx, buf);
        self.out.traffic.received.fetch_add((buf.filled().len() - had) as u64, Ordering::Relaxed);
        read
    }
}

impl AsyncWrite for Wire {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let mut state = self.out.state();
        if let Some(kind) = state.failed {
            return Poll::Ready(Err(kind.into()));
        }
        if state.kept.len() + state.sending >= KEPT_BYTES_MAX {
            state.waiting = Some(cx.waker().clone());
            return Poll::Pending;
        }
        let mut sent = 0;
        if state.kept.is_empty() && state.sending == 0 {
            match self.out.socket.try_write(bytes) {
                Ok(n) => sent = n,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Poll::Ready(Err(error)),
            }
            self.out.traffic.sent.fetch_add(sent as u64, Ordering::Relaxed);
        }
        if let Some(rest) = bytes.get(sent..).filter(|rest| !rest.is_empty()) {
            state.kept.extend_from_slice(rest);
            self.out.gate.kept.store(state.kept.len() + state.sending, Ordering::Release);
            self.out.wake.notify_one();
        }
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.out.end();
        Poll::Ready(Ok(()))
    }
}

impl Drop for Wire {
    fn drop(&mut self) {
        self.out.end();
    }
}

/// A future with a limit of its own.
pub(crate) async fn within<T>(limit: Duration, work: impl Future<Output = T>) -> Option<T> {
    tokio::time::timeout(limit, work).await.ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn many_small_packets_fill_a_gate_by_what_they_take() {
        let gate = Arc::new(Gate::default());
        let held: Vec<_> =
            (0..GATE_BYTES_MAX / PACKET_OVERHEAD_BYTES).map(|_| gate.counted(vec![0; 10])).collect();
        assert!(gate.waiting() >= GATE_BYTES_MAX, "{} bytes", gate.waiting());
        drop(held);
        assert_eq!(gate.waiting(), 0);
    }
}
