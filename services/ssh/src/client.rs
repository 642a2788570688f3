//! How does one log in to a server? `connect`, then `shell`, `command` or `subsystem`.

use std::borrow::Cow;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use russh::client::{AuthResult, Config, Handle, KeyboardInteractiveAuthResponse};
use russh::keys::{Algorithm, EcdsaCurve, HashAlg, PrivateKeyWithHashAlg};
use russh::{ChannelOpenFailure, Disconnect, MethodKind, MethodSet, Preferred, SshId, cipher};
use secrecy::{ExposeSecret, SecretString};

use crate::ca::SessionKey;
use crate::channel::{ANSWER_WAIT, Channel, ChannelError, Connected, Lost, Terminal, WINDOW_BYTES};
use crate::client_events::{ClientEvents, Told};
pub use crate::connect_error::ConnectError;
pub use crate::dial::Limits;
use crate::dial::{Dialled, dial};
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
/// Rounds of questions of a server that asks for a password in its own words.
const QUESTION_ROUNDS_MAX: usize = 4;

/// Whom to connect to.
#[derive(Debug, Clone)]
pub struct Target {
    pub host: String,
    pub port: u16,
    pub user: String,
    /// Only this host key is accepted. `None` accepts any: [`Connection::host_key`] tells which it was, to
    /// be pinned from then on.
    pub host_key: Option<PublicLine>,
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
    connect_as(config(), target, login, limits, None).await
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
    connect_as(config, target, login, limits, Some(relay)).await
}

async fn connect_as(
    config: Config,
    target: &Target,
    login: &Login,
    limits: &Limits,
    relay: Option<Arc<Outlet>>,
) -> Result<Connection, ConnectError> {
    let Dialled { wire, address, identification } = dial(&target.host, target.port, limits).await?;
    let (traffic, gate) = (wire.traffic(), wire.gate());
    let told = Arc::new(Told::expecting(target.host_key.clone()));
    let events = ClientEvents { told: Arc::clone(&told), relay };
    let connecting = russh::client::connect_stream(Arc::new(config), wire, events);
    let mut connected = match within(limits.kex, connecting).await {
        None => return Err(ConnectError::KexTimeout { waited: limits.kex }),
        Some(Err(error)) => return Err(kex_error(error, &told)),
        Some(Ok(connected)) => connected,
    };
    match within(limits.auth, authenticate(&mut connected, &target.user, login, &told)).await {
        None => return Err(ConnectError::AuthTimeout { waited: limits.auth }),
        Some(authenticated) => authenticated?,
    }
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

async fn authenticate(
    connected: &mut Handle<ClientEvents>,
    user: &str,
    login: &Login,
    told: &Told,
) -> Result<(), ConnectError> {
    let lost = |error: russh::Error| ConnectError::Lost { why: error.to_string() };
    let (wanted, kind, answer) = match login {
        Login::Password(password) => {
            let answer =
                connected.authenticate_password(user, password.expose_secret()).await.map_err(lost)?;
            let asks = matches!(&answer, AuthResult::Failure { remaining_methods, .. }
                if !remaining_methods.contains(&MethodKind::Password)
                    && remaining_methods.contains(&MethodKind::KeyboardInteractive));
            let answer =
                if asks { answer_questions(connected, user, password).await.map_err(lost)? } else { answer };
            ("passwords", MethodKind::Password, answer)
        }
        Login::Key(key) => {
            let is_rsa = matches!(key.0.algorithm(), Algorithm::Rsa { .. });
            let hash = match is_rsa {
                true => connected.best_supported_rsa_hash().await.map_err(lost)?.flatten(),
                false => None,
            };
            let hash = hash.or(Some(HashAlg::Sha512));
            let key = PrivateKeyWithHashAlg::new(Arc::clone(&key.0), hash);
            let answer = connected.authenticate_publickey(user, key).await.map_err(lost)?;
            ("keys", MethodKind::PublicKey, answer)
        }
        Login::Certificate(session) => {
            let (key, certificate) = (Arc::clone(&session.key.0), (*session.certificate).clone());
            let answer = connected.authenticate_openssh_cert(user, key, certificate).await.map_err(lost)?;
            ("certificates", MethodKind::PublicKey, answer)
        }
    };
    match answer {
        AuthResult::Success => Ok(()),
        AuthResult::Failure { remaining_methods, partial_success } => {
            Err(refused(user, wanted, kind, &remaining_methods, partial_success, told).await)
        }
    }
}

/// Some servers ask for the password in their own words; whatever they ask, the password is what we have.
async fn answer_questions(
    connected: &mut Handle<ClientEvents>,
    user: &str,
    password: &SecretString,
) -> Result<AuthResult, russh::Error> {
    let mut answer = connected.authenticate_keyboard_interactive_start(user, None).await?;
    for _ in 0..QUESTION_ROUNDS_MAX {
        let prompts = match answer {
            KeyboardInteractiveAuthResponse::Success => return Ok(AuthResult::Success),
            KeyboardInteractiveAuthResponse::Failure { remaining_methods, partial_success } => {
                return Ok(AuthResult::Failure { remaining_methods, partial_success });
            }
            KeyboardInteractiveAuthResponse::InfoRequest { prompts, .. } => prompts,
        };
        let answers = prompts.iter().map(|_| password.expose_secret().to_owned()).collect();
        answer = connected.authenticate_keyboard_interactive_respond(answers).await?;
    }
    Ok(AuthResult::Failure { remaining_methods: MethodSet::empty(), partial_success: false })
}

async fn refused(
    user: &str,
    wanted: &'static str,
    kind: MethodKind,
    remaining: &MethodSet,
    partial: bool,
    told: &Told,
) -> ConnectError {
    let names = || remaining.iter().map(|method| <&str>::from(method).to_owned()).collect::<Vec<_>>();
    if partial {
        return ConnectError::SecondFactor { wanted: names() };
    }
    if remaining.is_empty() {
        // russh answers so when the connection ended; what the server said arrives beside it
        within(Duration::from_secs(1), told.ended.cancelled()).await;
        if told.ended.is_cancelled() {
            let said = told.why();
            return if said.to_lowercase().contains("too many") {
                ConnectError::TooManyAuth { said }
            } else {
                ConnectError::Lost { why: said }
            };
        }
    }
    if remaining.contains(&kind) || remaining.is_empty() {
        ConnectError::AuthFailed { user: user.to_owned() }
    } else {
        ConnectError::AuthMethodUnavailable { wanted, accepted: names() }
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

    async fn session(&self) -> Result<Channel, ChannelError> {
        let opened = within(ANSWER_WAIT, self.connected.channel_open_session()).await;
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
