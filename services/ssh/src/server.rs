//! How is a client served whose connection leads on to another server? It proves who it is here, and then
//! its packets go to the other connection as they are.
//!
//! Windows, replies, forwards, exit codes and extensions of OpenSSH are the affair of the two ends; a
//! channel whose reader stopped stops nobody else. See `patches/` for what russh needed for it.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use russh::server::{Config, Handle, RunningSession, run_stream};
use russh::{Disconnect, SshId};
use tokio::net::TcpStream;
use tokio::sync::mpsc;

use crate::client::{ConnectError, Connection, Limits, Login, Target, algorithms};
use crate::keys::KeyPair;
use crate::outlet::{Outlet, Send};
pub use crate::server_events::{Answer, Event};
use crate::server_events::{ServerEvents, methods};
use crate::stream::{self, Cut, Gate, Traffic, Wire, within};
use crate::terminals::{Terminals, Watcher};

/// OpenSSH's client tells only servers of this name that it reads no more (`eow@openssh.com`); without it
/// `ssh host yes | head -1` hangs.
const IDENTIFICATION: &str = concat!("SSH-2.0-OpenSSH_for_Portreeve_", env!("CARGO_PKG_VERSION"));
/// Tries of one connection, offered keys included: an agent may hold many.
const TRIES_MAX: usize = 20;
/// While keys are exchanged anew, so many bytes may still arrive: the windows of all channels together.
pub(crate) const ON_THE_WAY_BYTES_MAX: u32 = 256 << 20;
/// A client that was told to go is cut off after this time.
const GO_WITHIN: Duration = Duration::from_secs(3);

/// What a server shows; shared by its connections.
#[derive(Clone)]
pub struct Server(Arc<Config>);

/// A client that is connected, and not let in yet or already on its way.
pub struct Incoming {
    events: mpsc::Receiver<Event>,
    running: RunningSession<ServerEvents>,
    /// How `running` ended, once it did: well or not.
    ended: Option<bool>,
    outlet: Arc<Outlet>,
    terminals: Terminals,
    gate: Arc<Gate>,
    traffic: Arc<Traffic>,
    cut: Cut,
}

/// Why a relay ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RelayEnd {
    /// The client said good-bye or closed the connection.
    ClientLeft,
    /// The connection to the client broke.
    ClientLost,
    /// The other server ended its connection.
    UpstreamEnded,
}

impl Server {
    pub fn new(host_key: &KeyPair) -> Self {
        Self(Arc::new(Config {
            server_id: SshId::Standard(Cow::Borrowed(IDENTIFICATION)),
            methods: methods(),
            // whoever answers takes the time that its answer shall take
            auth_rejection_time: Duration::ZERO,
            auth_rejection_time_initial: Some(Duration::ZERO),
            keys: vec![(*host_key.0).clone()],
            window_size: ON_THE_WAY_BYTES_MAX,
            preferred: algorithms(),
            max_auth_attempts: TRIES_MAX,
            // questions of our own would mix with those of the other server, which asks too
            inactivity_timeout: None,
            keepalive_interval: None,
            ..Config::default()
        }))
    }

    /// Says who we are and reads who the client is. The caller limits the time until it is let in.
    pub async fn greet(&self, socket: TcpStream) -> Result<Incoming, GreetError> {
        stream::prepare(&socket).map_err(GreetError::Socket)?;
        let wire = Wire::new(socket, Vec::new());
        let (gate, traffic, cut) = (wire.gate(), wire.traffic(), wire.cut());
        let (sender, events) = mpsc::channel(1);
        let terminals = Terminals::default();
        let outlet = Arc::new(Outlet::waiting(terminals.clone()));
        let handler = ServerEvents::new(sender, Arc::clone(&outlet));
        let running = run_stream(Arc::clone(&self.0), wire, handler).await.map_err(GreetError::Client)?;
        Ok(Incoming { events, running, ended: None, outlet, terminals, gate, traffic, cut })
    }
}

/// A client that did not get as far as a question.
#[derive(Debug, thiserror::Error)]
pub enum GreetError {
    #[error("the socket is unusable")]
    Socket(#[source] std::io::Error),
    #[error("the client does not speak SSH")]
    Client(#[source] russh::Error),
}

impl Incoming {
    /// The next question; `None` when the client has gone.
    pub async fn next(&mut self) -> Option<Event> {
        self.events.recv().await
    }

    pub fn traffic(&self) -> Arc<Traffic> {
        Arc::clone(&self.traffic)
    }

    /// Logs in to the server behind; what that sends goes to this client from then on.
    pub async fn connect(
        &self,
        target: &Target,
        login: &Login,
        limits: &Limits,
        client: &str,
    ) -> Result<Connection, ConnectError> {
        let back =
            Outlet::open(sender_of(&self.running.handle()), Arc::clone(&self.gate), self.terminals.clone());
        crate::client::connect_for_relay(target, login, limits, client, Arc::new(back)).await
    }

    /// Tells what terminals show while packets are relayed. Before [`Incoming::relay`].
    pub fn watch_terminals(&self, watcher: Watcher) {
        self.terminals.watch(watcher);
    }

    /// Relays until one side ends, then ends the other.
    pub async fn relay(&mut self, upstream: &Connection) -> RelayEnd {
        let (send, gate) = upstream.outlet();
        if self.outlet.lead_to(send, gate).is_err() {
            self.say_and_go("the environment ended the connection").await;
            return RelayEnd::UpstreamEnded;
        }
        tokio::select! {
            well = until_end(&mut self.running, &mut self.ended) => {
                upstream.disconnect().await;
                if well { RelayEnd::ClientLeft } else { RelayEnd::ClientLost }
            }
            _ = upstream.ended() => {
                self.say_and_go("the environment ended the connection").await;
                RelayEnd::UpstreamEnded
            }
        }
    }

    /// There is nothing to relay to: the first session says why, and the connection ends.
    pub async fn explain(&mut self, why: &str, within_: Duration) {
        if self.outlet.explain(why, sender_of(&self.running.handle())).is_ok() {
            let said = async {
                tokio::select! {
                    () = self.outlet.explained() => {}
                    _ = until_end(&mut self.running, &mut self.ended) => {}
                }
            };
            within(within_, said).await;
            // most clients leave by themselves once their session ended; told to go they may not show why
            within(GO_WITHIN, until_end(&mut self.running, &mut self.ended)).await;
        }
        self.say_and_go(why).await;
    }

    /// Tells the client why it must go, and makes sure that it goes.
    pub async fn say_and_go(&mut self, why: &str) {
        let handle = self.running.handle();
        let say = handle.disconnect(Disconnect::ByApplication, why.to_owned(), String::new());
        within(GO_WITHIN, say).await;
        self.gone().await;
    }

    /// Makes sure that a client goes that was told to.
    pub async fn gone(&mut self) {
        within(GO_WITHIN, until_end(&mut self.running, &mut self.ended)).await;
        self.cut.now();
    }
}

impl Drop for Incoming {
    fn drop(&mut self) {
        self.cut.now();
    }
}

/// Whether the session ended well; may be asked again afterwards.
async fn until_end(running: &mut RunningSession<ServerEvents>, ended: &mut Option<bool>) -> bool {
    if ended.is_none() {
        *ended = Some(running.await.is_ok());
    }
    ended.unwrap_or(false)
}

fn sender_of(handle: &Handle) -> Send {
    let handle = handle.clone();
    Box::new(move |packet| handle.send_packet(packet))
}
