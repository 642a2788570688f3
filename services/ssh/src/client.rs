//! How does one log in to a server? `connect`, then `shell`, `command` or `subsystem`.

use std::borrow::Cow;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use russh::client::{Config, Msg};
use russh::keys::{Algorithm, EcdsaCurve, HashAlg};
use russh::{ChannelOpenFailure, Disconnect, Preferred, SshId, cipher};
use secrecy::SecretString;

use crate::ca::SessionKey;
use crate::channel::{ANSWER_WAIT, Channel, ChannelError, Connected, Lost, Terminal, WINDOW_BYTES};
pub use crate::client_events::Passed;
use crate::client_events::{ClientEvents, Told};
use crate::client_login::authenticate;
pub use crate::connect_error::ConnectError;
use crate::dial::{Dialled, dial};
pub use crate::dial::{Dialler, Dialling, Limits, reach};
pub use crate::forward::Forward;
use crate::keys::{KeyPair, PublicLine};
use crate::outlet::{Outlet, Send};
use crate::server::ON_THE_WAY_BYTES_MAX;
use crate::stream::{Gate, Traffic, within};

/// What we say we are, to servers.
const IDENTIFICATION: &str = concat!("SSH-2.0-Portreeve_", env!("CARGO_PKG_VERSION"));
const IDENTIFICATION_OPENSSH: &str = concat!("SSH-2.0-OpenSSH_for_Portreeve_", env!("CARGO_PKG_VERSION"));
/// A server that says nothing is asked, and is gone after this many questions without an answer.
const KEEPALIVE: Duration = Duration::from_secs(30);
const KEEPALIVES_UNANSWERED_MAX: usize = 3;
/// Who asks for a forward, as the server's log shows it.
const ORIGINATOR: (&str, u32) = ("127.0.0.1", 0);

/// Whom to connect to.
#[derive(Debug, Clone)]
pub struct Target {
    pub host: String,
    pub port: u16,
    pub user: String,
    /// Only this host key is accepted. `None` accepts any: [`Connection::host_key`] tells which it was, to
    /// be pinned from then on.
    pub host_key: Option<PublicLine>,
    /// Who makes the connection where the server cannot be reached from here.
    pub through: Option<Arc<dyn Dialler>>,
}

/// How to prove who we are.
#[derive(Debug, Clone)]
pub enum Login {
    Password(SecretString),
    Key(KeyPair),
    Certificate(SessionKey),
}

/// A login to a server. Ends when it and its channels are dropped.
pub struct Connection {
    connected: Arc<Connected>,
    told: Arc<Told>,
    traffic: Arc<Traffic>,
    gate: Arc<Gate>,
    address: SocketAddr,
    identification: String,
}

impl std::fmt::Debug for Connection {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Connection").field("address", &self.address).finish_non_exhaustive()
    }
}

/// Connects and logs in. Each step has its limit; the whole takes at most their sum.
pub async fn connect(target: &Target, login: &Login, limits: &Limits) -> Result<Connection, ConnectError> {
    attempt(target, login, limits).await.outcome
}

/// How connecting went, and what was learned of the server even if it let nobody in.
#[derive(Debug)]
pub struct Attempt {
    pub outcome: Result<Connection, ConnectError>,
    /// The key that it proved to have, or showed instead of the expected one.
    pub host_key: Option<PublicLine>,
    /// `SSH-2.0-OpenSSH_9.2p1 ...`
    pub identification: Option<String>,
    /// To where the name leads.
    pub addresses: Vec<SocketAddr>,
    /// How far it came, and how long after the beginning.
    pub passed: Vec<(Passed, Duration)>,
}

/// As [`connect`], and answers what was learned on the way.
pub async fn attempt(target: &Target, login: &Login, limits: &Limits) -> Attempt {
    let told = Arc::new(Told::expecting(target.host_key.clone()));
    let began = Instant::now();
    let outcome = connect_as(config(), target, login, limits, None, &told).await;
    let since = |at: Instant| at.duration_since(began);
    Attempt {
        outcome,
        host_key: told.host_key(),
        identification: told.identification(),
        addresses: told.addresses(),
        passed: told.all_passed().into_iter().map(|(what, at)| (what, since(at))).collect(),
    }
}

/// A connection whose packets all go to `relay`. `client` is what the client says it is: an OpenSSH is
/// served as one.
pub(crate) async fn connect_for_relay(
    target: &Target,
    login: &Login,
    limits: &Limits,
    client: &str,
    relay: Arc<Outlet>,
) -> Result<Connection, ConnectError> {
    let identification =
        if client.starts_with("SSH-2.0-OpenSSH") { IDENTIFICATION_OPENSSH } else { IDENTIFICATION };
    let config = Config {
        client_id: SshId::Standard(Cow::Borrowed(identification)),
        preferred: algorithms(),
        window_size: ON_THE_WAY_BYTES_MAX,
        // the two ends ask each other
        keepalive_interval: None,
        ..Config::default()
    };
    let told = Arc::new(Told::expecting(target.host_key.clone()));
    connect_as(config, target, login, limits, Some(relay), &told).await
}

async fn connect_as(
    mut config: Config,
    target: &Target,
    login: &Login,
    limits: &Limits,
    relay: Option<Arc<Outlet>>,
    told: &Arc<Told>,
) -> Result<Connection, ConnectError> {
    if let Some(pinned) = &target.host_key {
        ask_for(&mut config.preferred, pinned);
    }
    let Dialled { wire, address, identification } = dial(target, limits, told).await?;
    told.identified(&identification);
    told.passed(Passed::Identification);
    let (traffic, gate) = (wire.traffic(), wire.gate());
    let events = ClientEvents { told: Arc::clone(told), relay };
    let connecting = russh::client::connect_stream(Arc::new(config), wire, events);
    let mut connected = match within(limits.kex, connecting).await {
        None => return Err(ConnectError::KexTimeout { waited: limits.kex }),
        Some(Err(error)) => return Err(kex_error(error, told)),
        Some(Ok(connected)) => connected,
    };
    told.passed(Passed::KeyExchange);
    match within(limits.auth, authenticate(&mut connected, &target.user, login, told)).await {
        None => return Err(ConnectError::AuthTimeout { waited: limits.auth }),
        Some(authenticated) => authenticated?,
    }
    told.passed(Passed::Login);
    let told = Arc::clone(told);
    Ok(Connection { connected: Arc::new(connected), told, traffic, gate, address, identification })
}

fn config() -> Config {
    Config {
        client_id: SshId::Standard(Cow::Borrowed(IDENTIFICATION)),
        preferred: algorithms(),
        window_size: WINDOW_BYTES,
        manual_window: true,
        keepalive_interval: Some(KEEPALIVE),
        keepalive_max: KEEPALIVES_UNANSWERED_MAX,
        ..Config::default()
    }
}

/// Without SHA-1; AES-GCM first, which processors do in hardware.
pub(crate) fn algorithms() -> Preferred {
    Preferred {
        key: Cow::Borrowed(&[
            Algorithm::Ed25519,
            Algorithm::Ecdsa { curve: EcdsaCurve::NistP256 },
            Algorithm::Ecdsa { curve: EcdsaCurve::NistP384 },
            Algorithm::Ecdsa { curve: EcdsaCurve::NistP521 },
            Algorithm::Rsa { hash: Some(HashAlg::Sha512) },
            Algorithm::Rsa { hash: Some(HashAlg::Sha256) },
        ]),
        cipher: Cow::Borrowed(&[
            cipher::AES_128_GCM,
            cipher::AES_256_GCM,
            cipher::CHACHA20_POLY1305,
            cipher::AES_256_CTR,
            cipher::AES_192_CTR,
            cipher::AES_128_CTR,
        ]),
        ..Preferred::DEFAULT
    }
}

/// A server has keys of several kinds; the kind that is known is asked for first, as OpenSSH does, so that a
/// new one beside it does not look like a change.
fn ask_for(preferred: &mut Preferred, pinned: &PublicLine) {
    let pinned = pinned.0.algorithm();
    let is_pinned = |kind: &Algorithm| match (kind, &pinned) {
        (Algorithm::Rsa { .. }, Algorithm::Rsa { .. }) => true,
        (kind, pinned) => kind == pinned,
    };
    let (mut first, rest): (Vec<_>, Vec<_>) = preferred.key.iter().cloned().partition(is_pinned);
    first.extend(rest);
    preferred.key = Cow::Owned(first);
}

fn kex_error(error: russh::Error, told: &Told) -> ConnectError {
    #[allow(clippy::wildcard_enum_match_arm)] // the library's errors; these two have a class of their own
    match error {
        russh::Error::NoCommonAlgo { kind, ours, theirs } => {
            let kind = match kind {
                russh::AlgorithmKind::Kex => "key exchange",
                russh::AlgorithmKind::Key => "host key",
                russh::AlgorithmKind::Cipher => "cipher",
                russh::AlgorithmKind::Compression => "compression",
                russh::AlgorithmKind::Mac => "MAC",
            };
            ConnectError::NoCommonAlgorithm { kind: kind.to_owned(), ours, theirs }
        }
        russh::Error::UnknownKey => {
            let shown = |key: Option<PublicLine>| key.map(|key| key.fingerprint()).unwrap_or_default();
            ConnectError::HostKeyMismatch {
                expected: shown(told.expected.clone()),
                seen: shown(told.host_key()),
            }
        }
        error => ConnectError::KexFailed(error),
    }
}

impl Connection {
    /// The key that the server showed.
    pub fn host_key(&self) -> Option<PublicLine> {
        self.told.host_key()
    }

    /// Where it leads to.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// `SSH-2.0-OpenSSH_9.2p1 ...`
    pub fn identification(&self) -> &str {
        &self.identification
    }

    pub fn traffic(&self) -> Arc<Traffic> {
        Arc::clone(&self.traffic)
    }

    /// How packets get to the server.
    pub(crate) fn outlet(&self) -> (Send, Arc<Gate>) {
        let connected = Arc::clone(&self.connected);
        (Box::new(move |packet| connected.send_packet(packet)), Arc::clone(&self.gate))
    }

    /// A login shell in a terminal.
    pub async fn shell(&self, terminal: &Terminal) -> Result<Channel, ChannelError> {
        let channel = self.session().await?;
        channel.request_terminal(terminal).await?;
        channel.request_shell().await?;
        Ok(channel)
    }

    /// A command, given to the user's shell; in a terminal if one is named.
    pub async fn command(
        &self,
        command: &[u8],
        terminal: Option<&Terminal>,
    ) -> Result<Channel, ChannelError> {
        let channel = self.session().await?;
        if let Some(terminal) = terminal {
            channel.request_terminal(terminal).await?;
        }
        channel.request_command(command).await?;
        Ok(channel)
    }

    /// For example `sftp`.
    pub async fn subsystem(&self, name: &str) -> Result<Channel, ChannelError> {
        let channel = self.session().await?;
        channel.request_subsystem(name).await?;
        Ok(channel)
    }

    /// A connection that the server makes to a port it can reach, `127.0.0.1` being itself.
    pub async fn forward(&self, host: &str, port: u16) -> Result<Forward, ChannelError> {
        let opening = self.connected.channel_open_direct_tcpip(host, port.into(), ORIGINATOR.0, ORIGINATOR.1);
        let channel = self.opened(within(ANSWER_WAIT, opening).await)?;
        Ok(Forward::of(channel))
    }

    /// A channel in which nothing runs yet; see [`Channel::request_command`].
    pub async fn session(&self) -> Result<Channel, ChannelError> {
        self.opened(within(ANSWER_WAIT, self.connected.channel_open_session()).await)
    }

    fn opened(
        &self,
        opened: Option<Result<russh::Channel<Msg>, russh::Error>>,
    ) -> Result<Channel, ChannelError> {
        match opened.ok_or(ChannelError::Silent)? {
            Ok(channel) => {
                // output comes through the callbacks, so that the connection never waits for a reader
                let (_, half) = channel.split();
                Ok(Channel::new(Arc::clone(&self.connected), half, Arc::clone(&self.told)))
            }
            #[allow(clippy::wildcard_enum_match_arm)] // every other error of the library is a lost connection
            Err(error) => Err(match error {
                russh::Error::ChannelOpenFailure(reason) => {
                    ChannelError::Refused { reason: open_failure(&reason).to_owned() }
                }
                _ => Lost { why: self.told.why() }.into(),
            }),
        }
    }

    /// Resolves when the connection has ended, with the reason.
    pub async fn ended(&self) -> Lost {
        self.told.ended.cancelled().await;
        Lost { why: self.told.why() }
    }

    /// Says good-bye.
    pub async fn disconnect(&self) {
        // the connection may be gone, which is as good
        self.connected.disconnect(Disconnect::ByApplication, "", "").await.ok();
    }
}

fn open_failure(reason: &ChannelOpenFailure) -> &str {
    match reason {
        ChannelOpenFailure::AdministrativelyProhibited => "administratively prohibited",
        ChannelOpenFailure::ConnectFailed => "connect failed",
        ChannelOpenFailure::UnknownChannelType => "unknown channel type",
        ChannelOpenFailure::ResourceShortage => "resource shortage",
        ChannelOpenFailure::Other { reason, .. } => reason,
    }
}
