//! How do bytes get from here through a relay to an address in its network?
//!
//! Two parts. At the hub's door somebody asks for a tunnel ([`Ask`], a line of JSON over TCP, and [`Answer`]); from
//! then on the connection is the tunnel. Between hub and relay a tunnel is a number and a few events of their
//! Socket.IO connection ([`Frame`]); at both ends [`carry`] passes a socket's bytes on. Neither end sends more than
//! [`WINDOW_BYTES`] that the other has not taken, so that one tunnel holds up nothing else.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use chrono::{DateTime, Utc};
use data_encoding::{BASE64, HEXLOWER};
use hmac::{Hmac, KeyInit, Mac};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use sha2::Sha256;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::time::timeout;

/// Sent and not taken by the other end, each way.
pub const WINDOW_BYTES: usize = 256 << 10;
/// Of one event.
const CHUNK_BYTES_MAX: usize = 32 << 10;
/// So much is taken before the other end is told.
const TOLD_BYTES: usize = WINDOW_BYTES / 4;
/// What came before the end is still written, if it is taken within this time.
const LINGER: Duration = Duration::from_secs(2);
/// The longest line at the door.
pub const LINE_BYTES_MAX: u64 = 4 << 10;

pub const OPEN: &str = "tunnel_open";
pub const OPENED: &str = "tunnel_opened";
pub const DATA: &str = "tunnel_data";
pub const TAKEN: &str = "tunnel_taken";
pub const CLOSED: &str = "tunnel_closed";

/// Somebody wants a tunnel through a relay to an address.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ask {
    pub tenant: String,
    pub relay: String,
    pub host: String,
    pub port: u16,
    /// It counts until then.
    pub until: DateTime<Utc>,
}

/// An ask with the word of somebody who may.
#[derive(Debug, Serialize, Deserialize)]
pub struct Signed {
    #[serde(flatten)]
    pub ask: Ask,
    /// HMAC-SHA256 of the ask, hexadecimal.
    pub proof: String,
}

/// What the door says; after `open` come the tunnel's bytes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Answer {
    /// The relay is connected to this address.
    Open(SocketAddr),
    Refused(Refusal),
}

/// Why there is no tunnel.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refusal {
    /// `relay_unavailable`, or the class of the connection that the relay tried: `connection_refused`.
    pub class: String,
    pub reason: String,
    /// What was tried last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub address: Option<SocketAddr>,
}

/// Proves and checks asks; whoever has the master key has it.
#[derive(Clone)]
pub struct TunnelKey([u8; 32]);

impl TunnelKey {
    /// What the master key's label is.
    pub const LABEL: &'static str = "tunnels";

    pub const fn new(key: [u8; 32]) -> Self {
        Self(key)
    }

    pub fn sign(&self, ask: Ask) -> Signed {
        let proof = HEXLOWER.encode(&self.mac(&ask).finalize().into_bytes());
        Signed { ask, proof }
    }

    /// The ask, if it is proven and still counts.
    pub fn check(&self, signed: Signed, now: DateTime<Utc>) -> Option<Ask> {
        let proof = HEXLOWER.decode(signed.proof.as_bytes()).ok()?;
        let proven = self.mac(&signed.ask).verify_slice(&proof).is_ok();
        (proven && now < signed.ask.until).then_some(signed.ask)
    }

    fn mac(&self, ask: &Ask) -> Hmac<Sha256> {
        let mut mac =
            Hmac::<Sha256>::new_from_slice(&self.0).unwrap_or_else(|_| Hmac::new(&Default::default()));
        let (port, until) = (ask.port.to_string(), ask.until.timestamp_micros().to_string());
        for part in [&ask.tenant, &ask.relay, &ask.host, &port, &until] {
            mac.update(&part.len().to_be_bytes());
            mac.update(part.as_bytes());
        }
        mac
    }
}

/// What one end of a tunnel says to the other.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Frame {
    Data(Vec<u8>),
    /// So many bytes more may come.
    Taken(usize),
    Closed,
}

impl Frame {
    /// Its event and what is said with it.
    pub fn event(&self, id: &str) -> (&'static str, Value) {
        match self {
            Self::Data(bytes) => (DATA, json!({ "tunnelId": id, "data": BASE64.encode(bytes) })),
            Self::Taken(bytes) => (TAKEN, json!({ "tunnelId": id, "bytes": bytes })),
            Self::Closed => (CLOSED, json!({ "tunnelId": id })),
        }
    }

    /// Of which tunnel, and what; `None` if it is none.
    pub fn read(event: &str, said: &Value) -> Option<(String, Self)> {
        let id = said.get("tunnelId")?.as_str()?.to_owned();
        let frame = match event {
            DATA => Self::Data(BASE64.decode(said.get("data")?.as_str()?.as_bytes()).ok()?),
            TAKEN => Self::Taken(usize::try_from(said.get("bytes")?.as_u64()?).ok()?),
            CLOSED => Self::Closed,
            _ => return None,
        };
        Some((id, frame))
    }
}

/// Where what the other end says is left.
#[derive(Debug, Clone)]
pub struct Inbox {
    frames: mpsc::UnboundedSender<Frame>,
    waiting: Arc<AtomicUsize>,
}

/// What was left there; for [`carry`].
#[derive(Debug)]
pub struct Mail {
    frames: mpsc::UnboundedReceiver<Frame>,
    waiting: Arc<AtomicUsize>,
}

pub fn inbox() -> (Inbox, Mail) {
    let (sender, frames) = mpsc::unbounded_channel();
    let waiting = Arc::new(AtomicUsize::new(0));
    (Inbox { frames: sender, waiting: Arc::clone(&waiting) }, Mail { frames, waiting })
}

impl Inbox {
    /// `false` when nobody takes it any more, or the other end sent more than it may.
    pub fn leave(&self, frame: Frame) -> bool {
        if let Frame::Data(bytes) = &frame {
            let before = self.waiting.fetch_add(bytes.len(), Ordering::AcqRel);
            if before.saturating_add(bytes.len()) > WINDOW_BYTES {
                return false;
            }
        }
        self.frames.send(frame).is_ok()
    }
}

/// Passes bytes on until either end is over; `say` tells the other end, and fails when there is none any more.
pub async fn carry<S>(mut socket: TcpStream, mut mail: Mail, mut say: impl FnMut(Frame) -> S)
where
    S: Future<Output = bool>,
{
    let (mut reader, mut writer) = socket.split();
    let mut chunk = vec![0; CHUNK_BYTES_MAX];
    let (mut credit, mut told, mut taken) = (WINDOW_BYTES, true, 0);
    let mut out: Vec<u8> = Vec::new();
    while told {
        let most = credit.min(CHUNK_BYTES_MAX);
        tokio::select! {
            frame = mail.frames.recv() => match frame {
                Some(Frame::Data(bytes)) => out.extend_from_slice(&bytes),
                Some(Frame::Taken(bytes)) => credit = credit.saturating_add(bytes).min(WINDOW_BYTES),
                Some(Frame::Closed) | None => {
                    timeout(LINGER, writer.write_all(&out)).await.ok();
                    return;
                }
            },
            read = reader.read(chunk.get_mut(..most).unwrap_or_default()), if most > 0 => match read {
                Ok(0) | Err(_) => break,
                Ok(n) => {
                    credit -= n;
                    told = say(Frame::Data(chunk.get(..n).unwrap_or_default().to_vec())).await;
                }
            },
            written = writer.write(&out), if !out.is_empty() => match written {
                Ok(0) | Err(_) => break,
                Ok(n) => {
                    out.drain(..n);
                    mail.waiting.fetch_sub(n, Ordering::AcqRel);
                    taken += n;
                    if taken >= TOLD_BYTES {
                        told = say(Frame::Taken(std::mem::take(&mut taken))).await;
                    }
                }
            },
        }
    }
    say(Frame::Closed).await;
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use tokio::net::TcpListener;

    use super::*;

    fn ask() -> Ask {
        Ask {
            tenant: "t".into(),
            relay: "rel-a".into(),
            host: "10.0.0.7".into(),
            port: 22,
            until: DateTime::from_timestamp(1_000, 0).unwrap(),
        }
    }

    #[test]
    fn an_ask_counts_as_it_was_signed_and_for_its_time() {
        let key = TunnelKey::new([7; 32]);
        let at = |second| DateTime::from_timestamp(second, 0).unwrap();
        let line = serde_json::to_string(&key.sign(ask())).unwrap();
        let read = || serde_json::from_str::<Signed>(&line).unwrap();
        assert_eq!(key.check(read(), at(999)), Some(ask()));
        assert_eq!(key.check(read(), at(1_000)), None, "its time is over");
        assert_eq!(TunnelKey::new([8; 32]).check(read(), at(0)), None, "another key");
        for wrong in [
            Ask { host: "10.0.0.8".into(), ..ask() },
            Ask { port: 23, ..ask() },
            Ask { relay: "rel-b".into(), ..ask() },
            Ask { tenant: "u".into(), ..ask() },
        ] {
            assert_eq!(key.check(Signed { ask: wrong, ..read() }, at(0)), None);
        }
    }

    #[test]
    fn frames_are_read_as_they_are_written() {
        for frame in [Frame::Data(vec![0, 255, b'a']), Frame::Taken(7), Frame::Closed] {
            let (event, said) = frame.event("tun-1");
            assert_eq!(Frame::read(event, &said), Some(("tun-1".to_owned(), frame)));
        }
        assert_eq!(Frame::read(DATA, &json!({ "tunnelId": "a", "data": "?" })), None);
        assert_eq!(Frame::read("other", &json!({ "tunnelId": "a" })), None);
    }

    async fn pair() -> (TcpStream, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (one, other) =
            tokio::join!(TcpStream::connect(listener.local_addr().unwrap()), listener.accept());
        (one.unwrap(), other.unwrap().0)
    }

    /// Two ends that say everything to each other; answers the outer sockets.
    async fn tunnel() -> (TcpStream, TcpStream) {
        let ((near, near_inner), (far_inner, far)) = (pair().await, pair().await);
        let ((near_box, near_mail), (far_box, far_mail)) = (inbox(), inbox());
        tokio::spawn(carry(near_inner, near_mail, move |frame| std::future::ready(far_box.leave(frame))));
        tokio::spawn(carry(far_inner, far_mail, move |frame| std::future::ready(near_box.leave(frame))));
        (near, far)
    }

    #[tokio::test]
    async fn much_arrives_unchanged_each_way_at_once_and_the_end_is_passed_on() {
        let (mut near, mut far) = tunnel().await;
        let bytes: Vec<u8> = (0..4_000_000u32).map(|n| (n % 251) as u8).collect();
        let (mut one, mut other) = (vec![0; bytes.len()], vec![0; bytes.len()]);
        let ((mut near_read, mut near_write), (mut far_read, mut far_write)) = (near.split(), far.split());
        let all = async {
            tokio::join!(
                near_write.write_all(&bytes),
                far_write.write_all(&bytes),
                near_read.read_exact(&mut one),
                far_read.read_exact(&mut other),
            )
        };
        let (sent, back, there, here) = timeout(Duration::from_secs(20), all).await.unwrap();
        assert!(sent.is_ok() && back.is_ok() && there.is_ok() && here.is_ok());
        assert!(one == bytes && other == bytes);
        drop(near);
        assert_eq!(far.read(&mut [0; 1]).await.unwrap(), 0, "the end");
    }

    #[tokio::test]
    async fn who_reads_nothing_is_sent_no_more_than_the_window() {
        let (mut near, far) = tunnel().await;
        let much = vec![1; 64 << 20];
        let writing = timeout(Duration::from_millis(500), near.write_all(&much)).await;
        assert!(writing.is_err(), "all of it was taken though nobody reads");
        drop(far);
    }

    #[tokio::test]
    async fn who_sends_more_than_the_window_is_found_out() {
        let (inbox, _mail) = inbox();
        let quarter = || Frame::Data(vec![0; WINDOW_BYTES / 4]);
        assert!((0..4).all(|_| inbox.leave(quarter())));
        assert!(!inbox.leave(Frame::Data(vec![0; 1])));
    }
}
