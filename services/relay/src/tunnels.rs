//! How does a connection through a relay come about, and pass? Whoever holds the installation's key asks at a door of
//! the hub; the relay connects; from then on bytes pass. What is said there is in `kit::tunnel`.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use chrono::Utc;
use events::ids::RelayId;
use kit::tunnel::{Answer, Ask, CLOSED, DATA, Frame, Inbox, LINE_BYTES_MAX, Mail, OPEN, OPENED, Refusal};
use kit::tunnel::{Signed, TAKEN, TunnelKey, carry, inbox};
use serde::Serialize;
use serde_json::{Value, json};
use socketioxide::extract::{Data, SocketRef};
use socketioxide::{SendError, SocketError};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, oneshot};
use tokio::time::{sleep, timeout};
use uuid::Uuid;

use crate::Hub;
use crate::lines::Line;

/// Tunnels of this hub at once, and those who ask.
const TUNNELS_MAX: usize = 1_000;
/// Whoever comes to the door says so soon what they want.
const ASK_WAIT: Duration = Duration::from_secs(5);
/// The relay says by then whether it is connected; its own limits are shorter.
const OPENED_WAIT: Duration = Duration::from_secs(12);
/// A relay that does not read is tried again after so long.
const FULL_PAUSE: Duration = Duration::from_millis(20);
/// After a failed accept, which happens when descriptors run out.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// The tunnels of this hub.
pub struct Tunnels {
    key: TunnelKey,
    open: Mutex<HashMap<String, Tunnel>>,
    permits: Arc<Semaphore>,
}

struct Tunnel {
    relay: RelayId,
    epoch: u64,
    inbox: Inbox,
    /// Until the relay has said whether it is connected.
    opened: Option<oneshot::Sender<Result<SocketAddr, Refusal>>>,
}

impl Tunnels {
    pub fn new(key: TunnelKey) -> Self {
        Self { key, open: Mutex::default(), permits: Arc::new(Semaphore::new(TUNNELS_MAX)) }
    }

    fn open(&self) -> MutexGuard<'_, HashMap<String, Tunnel>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What a relay says of its own tunnels; of others it is not heard.
    fn said(&self, relay: &RelayId, epoch: u64, event: &str, said: &Value) {
        let Some(id) = said.get("tunnelId").and_then(Value::as_str) else { return };
        let mut open = self.open();
        let Some(tunnel) = open.get_mut(id).filter(|tunnel| (&tunnel.relay, tunnel.epoch) == (relay, epoch))
        else {
            return;
        };
        if event == OPENED || (event == CLOSED && tunnel.opened.is_some()) {
            if let Some(opened) = tunnel.opened.take() {
                // whoever asked may have gone
                opened.send(outcome(event, said)).ok();
            }
            return;
        }
        let left = Frame::read(event, said).is_some_and(|(_, frame)| tunnel.inbox.leave(frame));
        if !left {
            open.remove(id);
        }
    }

    /// The relay's connection of this number is over, and with it its tunnels.
    pub fn lost(&self, relay: &RelayId, epoch: u64) {
        self.open().retain(|_, tunnel| &tunnel.relay != relay || tunnel.epoch > epoch);
    }
}

fn outcome(event: &str, said: &Value) -> Result<SocketAddr, Refusal> {
    let text = |name: &str| said.get(name).and_then(Value::as_str).map(str::to_owned);
    let address = text("address").and_then(|address| address.parse().ok());
    let unreadable = || unavailable("it says that it is connected, and not where");
    if event == OPENED {
        return address.ok_or_else(unreadable);
    }
    let reason = text("reason").unwrap_or_else(|| "it closed the tunnel and did not say why".to_owned());
    Err(Refusal { class: text("class").unwrap_or_else(|| "relay_unavailable".to_owned()), reason, address })
}

fn unavailable(why: &str) -> Refusal {
    Refusal { class: "relay_unavailable".to_owned(), reason: why.to_owned(), address: None }
}

/// Hears what a relay says of its tunnels, in the order in which it says so.
pub fn listen(
    socket: &SocketRef,
    hub: &Arc<Hub>,
    relay: &RelayId,
    epoch: impl Fn() -> Option<u64> + Clone + Send + Sync + 'static,
) {
    for event in [OPENED, DATA, TAKEN, CLOSED] {
        let (hub, relay, epoch) = (Arc::clone(hub), relay.clone(), epoch.clone());
        socket.on(event, move |Data(said): Data<Value>| {
            // here and not in the future: futures of two events have no order
            if let Some(epoch) = epoch() {
                hub.tunnels.said(&relay, epoch, event, &said);
            }
            std::future::ready(())
        });
    }
}

/// Lets in who asks, for ever.
pub async fn serve(hub: Arc<Hub>, listener: TcpListener) {
    loop {
        let socket = match listener.accept().await {
            Ok((socket, _)) => socket,
            Err(error) => {
                tracing::warn!(%error, "nobody can ask for tunnels at the moment");
                sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        let Ok(permit) = Arc::clone(&hub.tunnels.permits).try_acquire_owned() else {
            tracing::warn!(most = TUNNELS_MAX, "too many tunnels: one is refused");
            continue;
        };
        let hub = Arc::clone(&hub);
        tokio::spawn(async move {
            serve_one(&hub, socket).await;
            drop(permit);
        });
    }
}

async fn serve_one(hub: &Hub, mut socket: TcpStream) {
    socket.set_nodelay(true).ok();
    let asked = timeout(ASK_WAIT, read_ask(&mut socket)).await;
    let Some(ask) = asked.ok().flatten().and_then(|signed| hub.tunnels.key.check(signed, Utc::now())) else {
        return tracing::warn!("somebody asked for a tunnel who may not, or too late");
    };
    let began = begin(hub, &ask).await;
    let answer = match &began {
        Ok(tunnel) => Answer::Open(tunnel.address),
        Err(refusal) => Answer::Refused(refusal.clone()),
    };
    tracing::info!(relay.id = ask.relay, host = ask.host, port = ask.port, ?answer, "a tunnel was asked for");
    let Ok(mut line) = serde_json::to_vec(&answer) else { return };
    line.push(b'\n');
    let written = socket.write_all(&line).await;
    if let Ok(Opened { id, line, mail, .. }) = began {
        if written.is_ok() {
            hub.metrics.tunnels.inc();
            let say = |frame: Frame| {
                let (event, said) = frame.event(&id);
                let line = &line;
                async move { emit(line, event, &said).await }
            };
            carry(socket, mail, say).await;
            hub.metrics.tunnels.dec();
        } else {
            let (event, said) = Frame::Closed.event(&id);
            emit(&line, event, &said).await;
        }
        hub.tunnels.open().remove(&id);
    }
}

/// One line; nothing follows it before our answer.
async fn read_ask(socket: &mut TcpStream) -> Option<Signed> {
    let mut line = Vec::new();
    let (reader, _) = socket.split();
    BufReader::new(reader.take(LINE_BYTES_MAX)).read_until(b'\n', &mut line).await.ok()?;
    serde_json::from_slice(&line).ok()
}

struct Opened {
    id: String,
    line: Line,
    mail: Mail,
    address: SocketAddr,
}

async fn begin(hub: &Hub, ask: &Ask) -> Result<Opened, Refusal> {
    let not_here = || unavailable("it is not connected, or not here any more");
    let relay = RelayId::parse(ask.relay.as_str()).map_err(|_| not_here())?;
    let line = hub.lines.line_of(&relay, &ask.tenant).ok_or_else(not_here)?;
    if !line.carries_tunnels() {
        return Err(unavailable("it carries no tunnels"));
    }
    let id = format!("tun-{}", Uuid::new_v4().simple());
    let (inbox, mail) = inbox();
    let (opened, answer) = oneshot::channel();
    let tunnel = Tunnel { relay, epoch: line.epoch, inbox, opened: Some(opened) };
    hub.tunnels.open().insert(id.clone(), tunnel);
    let open = json!({ "tunnelId": id, "host": ask.host, "port": ask.port });
    let told = emit(&line, OPEN, &open).await;
    let answered = if told { timeout(OPENED_WAIT, answer).await } else { Ok(Ok(Err(not_here()))) };
    let outcome = match answered {
        Ok(Ok(outcome)) => outcome,
        Ok(Err(_)) => Err(unavailable("its connection ended")),
        Err(_) => {
            let (event, said) = Frame::Closed.event(&id);
            emit(&line, event, &said).await;
            Err(unavailable("it did not answer in time"))
        }
    };
    match outcome {
        Ok(address) => Ok(Opened { id, line, mail, address }),
        Err(refusal) => {
            hub.tunnels.open().remove(&id);
            Err(refusal)
        }
    }
}

/// `false` when the connection is over.
async fn emit(line: &Line, event: &'static str, said: &impl Serialize) -> bool {
    loop {
        match line.socket.emit(event, said) {
            Ok(()) => return true,
            Err(SendError::Socket(SocketError::InternalChannelFull)) => sleep(FULL_PAUSE).await,
            Err(_) => return false,
        }
    }
}
