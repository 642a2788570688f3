//! How do others get through us to a server? A connection to whatever address the hub names, and its bytes.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use kit::tunnel::{CLOSED, Frame, Inbox, Mail, OPEN, OPENED, carry, inbox};
use serde_json::{Value, json};
use ssh::ConnectError;
use ssh::client::reach;
use tokio::net::TcpStream;
use tokio::sync::mpsc;

use crate::line::Event;
use crate::metrics::Metrics;
use crate::pool::LIMITS;

/// At once; the hub is told when we connect to it.
pub const TUNNELS_MAX: usize = 256;
/// What waits for the connection to the hub.
const WORDS_MAX: usize = 64;

/// What shall be said to the hub.
pub type Word = (&'static str, Value);

/// The tunnels of one connection to the hub; they end with it.
pub struct Tunnels {
    open: Arc<Open>,
    words: mpsc::Sender<Word>,
    metrics: Metrics,
}

#[derive(Default)]
struct Open(Mutex<HashMap<String, Inbox>>);

impl Open {
    fn all(&self) -> MutexGuard<'_, HashMap<String, Inbox>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Tunnels {
    fn drop(&mut self) {
        self.open.all().clear();
    }
}

impl Tunnels {
    pub fn new(metrics: Metrics) -> (Self, mpsc::Receiver<Word>) {
        let (words, said) = mpsc::channel(WORDS_MAX);
        (Self { open: Arc::default(), words, metrics }, said)
    }

    /// If the event is about tunnels.
    pub fn take(&mut self, event: &Event) {
        if event.name == OPEN {
            return self.begin(&event.data);
        }
        let Some((id, frame)) = Frame::read(&event.name, &event.data) else { return };
        let mut open = self.open.all();
        if open.get(&id).is_some_and(|inbox| !inbox.leave(frame)) {
            open.remove(&id);
        }
    }

    fn begin(&mut self, asked: &Value) {
        let text = |name: &str| asked.get(name).and_then(Value::as_str).map(str::to_owned);
        let port = asked.get("port").and_then(Value::as_u64).and_then(|port| u16::try_from(port).ok());
        let (Some(id), Some(host), Some(port)) = (text("tunnelId"), text("host"), port) else {
            return tracing::warn!("a tunnel that is asked for cannot be read");
        };
        let (inbox, mail) = inbox();
        let is_room = {
            let mut open = self.open.all();
            let is_room = open.len() < TUNNELS_MAX && !open.contains_key(&id);
            if is_room {
                open.insert(id.clone(), inbox);
            }
            is_room
        };
        let tunnel = Tunnel { id, words: self.words.clone(), metrics: self.metrics.clone() };
        let open = Arc::clone(&self.open);
        tokio::spawn(async move {
            if !is_room {
                return tunnel.refuse("relay_unavailable", "it carries no more tunnels", None).await;
            }
            tunnel.serve(&host, port, mail).await;
            open.all().remove(&tunnel.id);
        });
    }
}

struct Tunnel {
    id: String,
    words: mpsc::Sender<Word>,
    metrics: Metrics,
}

impl Tunnel {
    async fn serve(&self, host: &str, port: u16, mail: Mail) {
        match reach(host, port, &LIMITS).await {
            Ok((socket, address)) => self.carry(socket, address, mail).await,
            Err(error) => {
                let address = address_of(&error);
                self.refuse(error.class(), &kit::error::chain(&error), address).await;
            }
        }
    }

    async fn carry(&self, socket: TcpStream, address: SocketAddr, mail: Mail) {
        socket.set_nodelay(true).ok();
        let opened = (OPENED, json!({ "tunnelId": self.id, "address": address }));
        if self.words.send(opened).await.is_err() {
            return;
        }
        self.metrics.tunnels.inc();
        let say = |frame: Frame| {
            let word = frame.event(&self.id);
            async move { self.words.send(word).await.is_ok() }
        };
        carry(socket, mail, say).await;
        self.metrics.tunnels.dec();
    }

    async fn refuse(&self, class: &str, reason: &str, address: Option<SocketAddr>) {
        let why = json!({ "tunnelId": self.id, "class": class, "reason": reason, "address": address });
        // nobody is left who could be told
        self.words.send((CLOSED, why)).await.ok();
    }
}

fn address_of(error: &ConnectError) -> Option<SocketAddr> {
    #[allow(clippy::wildcard_enum_match_arm)] // the network's errors; the others do not come from there
    match error {
        ConnectError::ConnectionRefused { address }
        | ConnectError::Unreachable { address, .. }
        | ConnectError::ConnectTimeout { address, .. } => Some(*address),
        _ => None,
    }
}
