//! How does a service reach the log? It waits for the server at the start and reconnects for ever.

use std::sync::Arc;
use std::time::Duration;

use async_nats::jetstream;
use async_nats::{Client, ConnectOptions, Event, Request, ServerAddr};
use secrecy::ExposeSecret;
use tokio::time::{Instant, sleep, timeout};

use crate::anchors::Anchors;
use crate::cache::Cache;
use crate::callout::Callout;
use crate::chunks::Chunks;
use crate::config::Config;
use crate::followers::{Followers, TapPositions};
use crate::issuer::Issuer;
use crate::log::Log;
use crate::master_keys::MasterKeys;
use crate::outputs::Outputs;
use crate::parked::Parked;
use crate::positions::Positions;
use crate::presence::{Presence, PresenceError, Present};
use crate::recordings::Recordings;
use crate::vault::Vault;
use crate::{BoxError, TopologyError, wire};

/// How long [`connect`] waits for a server that is not there yet.
const CONNECT_WAIT_MAX: Duration = Duration::from_secs(30);
/// Between two attempts of [`connect`].
const CONNECT_RETRY_AFTER: Duration = Duration::from_millis(100);
/// One attempt to open a connection.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Longest pause between two attempts to reconnect.
const RECONNECT_PAUSE_MAX: Duration = Duration::from_secs(2);
/// A server that answers no ping for two intervals is given up.
const PING_INTERVAL: Duration = Duration::from_secs(10);
/// A request without an answer is given up (for an append: unclear).
pub(crate) const REQUEST_TIMEOUT: Duration = Duration::from_secs(5);
/// The server's API answers within, or is not ready.
const API_TIMEOUT: Duration = Duration::from_secs(2);
/// Messages a subscription holds before the library drops further ones (the tail fetches those).
const SUBSCRIPTION_CAPACITY: usize = 16_384;
/// Answer time of a server that is there.
const PING_TIMEOUT: Duration = Duration::from_secs(2);

#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    #[error("the server address {0:?} is not readable; it looks like nats://host:port")]
    Address(String, #[source] BoxError),
    #[error("user {user} is refused; its password is the one given to the server")]
    Refused {
        user: String,
        #[source]
        source: BoxError,
    },
    #[error("no server answered within {waited_s} s")]
    Unreachable {
        waited_s: u64,
        #[source]
        source: BoxError,
    },
}

/// Under which subjects the server's API is reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Api {
    /// As `server.conf` maps it into the account of each service.
    Mapped,
    /// On a server with an account for everything.
    Plain,
}

impl Api {
    const ALL: [Self; 2] = [Self::Mapped, Self::Plain];

    pub(crate) const fn prefix(self) -> &'static str {
        match self {
            Self::Mapped => "LOG.API",
            Self::Plain => "$JS.API",
        }
    }

    pub(crate) fn direct_get(self, stream: &str) -> String {
        format!("{}.DIRECT.GET.{stream}", self.prefix())
    }

    /// The one that answers, if any.
    async fn found_by(client: &Client) -> Result<Self, BoxError> {
        let mut why: BoxError = "nobody was asked".into();
        for api in Self::ALL {
            let request = Request::new().timeout(Some(API_TIMEOUT));
            let subject = format!("{}.STREAM.INFO.{}", api.prefix(), wire::EVENTS);
            match client.send_request(subject, request).await {
                Ok(_) => return Ok(api),
                Err(error) => why = error.into(),
            }
        }
        Err(why)
    }
}

/// One connection to the log, shared by all parts of a process.
#[derive(Clone)]
pub struct Connection {
    pub(crate) client: Client,
    pub(crate) api: Api,
    pub(crate) jetstream: jetstream::Context,
    cache: Arc<Cache>,
}

/// Waits up to 30 s for a server; afterwards the connection comes back by itself for ever.
pub async fn connect(config: &Config) -> Result<Connection, ConnectError> {
    let servers = addresses(&config.url)?;
    let began = Instant::now();
    let (client, api) = loop {
        let source: BoxError = match options(config).connect(&servers).await {
            Ok(client) => match Api::found_by(&client).await {
                Ok(api) => break (client, api),
                Err(error) => error,
            },
            Err(error)
                if matches!(
                    error.kind(),
                    async_nats::ConnectErrorKind::AuthorizationViolation
                        | async_nats::ConnectErrorKind::Authentication
                ) =>
            {
                return Err(ConnectError::Refused { user: config.user.clone(), source: Box::new(error) });
            }
            Err(error) => Box::new(error),
        };
        if began.elapsed() >= CONNECT_WAIT_MAX {
            return Err(ConnectError::Unreachable { waited_s: CONNECT_WAIT_MAX.as_secs(), source });
        }
        sleep(CONNECT_RETRY_AFTER).await;
    };
    let jetstream = jetstream::ContextBuilder::new()
        .api_prefix(api.prefix())
        .timeout(REQUEST_TIMEOUT)
        .build(client.clone());
    Ok(Connection { client, api, jetstream, cache: Arc::default() })
}

fn addresses(url: &str) -> Result<Vec<ServerAddr>, ConnectError> {
    url.split(',')
        .map(|one| one.trim().parse().map_err(|error| ConnectError::Address(one.to_owned(), Box::new(error))))
        .collect()
}

fn options(config: &Config) -> ConnectOptions {
    let name = config.name.clone();
    ConnectOptions::new()
        .name(&config.name)
        .user_and_password(config.user.clone(), config.password.expose_secret().to_owned())
        .connection_timeout(CONNECT_TIMEOUT)
        .request_timeout(Some(REQUEST_TIMEOUT))
        .ping_interval(PING_INTERVAL)
        .subscription_capacity(SUBSCRIPTION_CAPACITY)
        .max_reconnects(None)
        .reconnect_delay_callback(|attempts| {
            let doubled = 10u64.saturating_mul(1 << attempts.min(10));
            Duration::from_millis(doubled).min(RECONNECT_PAUSE_MAX)
        })
        .event_callback(move |event| {
            let name = name.clone();
            async move { report(&name, &event) }
        })
}

fn report(name: &str, event: &Event) {
    #[allow(clippy::wildcard_enum_match_arm)] // the library's events; only these two are news
    match event {
        Event::Connected => tracing::info!(client = name, "connected to the log"),
        Event::Disconnected => tracing::warn!(client = name, "lost the connection to the log; reconnecting"),
        other => tracing::debug!(client = name, event = %other, "connection to the log"),
    }
}

impl Connection {
    /// Creates the streams, the vault and the workers' consumers that are absent, with `replicas`
    /// copies (1 or 3). Only the user `setup` may. What exists with other settings is refused.
    pub async fn setup(&self, replicas: usize) -> Result<(), TopologyError> {
        crate::topology::setup(&self.jetstream, replicas).await
    }

    /// Refuses a server whose streams are absent or differ from what the services rely on.
    pub async fn check(&self) -> Result<(), TopologyError> {
        crate::topology::check(&self.jetstream).await
    }

    pub fn log(&self) -> Log {
        Log::new(self.client.clone(), self.api, Arc::clone(&self.cache))
    }

    pub fn vault(&self, keys: MasterKeys) -> Vault {
        Vault::new(self.client.clone(), self.api, keys)
    }

    pub fn recordings(&self, keys: MasterKeys) -> Recordings {
        Recordings(Chunks::new(self.client.clone(), self.api, keys, wire::RECORDINGS))
    }

    pub fn outputs(&self, keys: MasterKeys) -> Outputs {
        Outputs(Chunks::new(self.client.clone(), self.api, keys, wire::OUTPUTS))
    }

    pub fn anchors(&self) -> Anchors {
        Anchors::new(self.client.clone(), self.api)
    }

    /// Where those are in the log who follow it by NATS; as the user `taps`.
    pub fn followers(&self) -> Followers {
        Followers::new(self.client.clone(), self.jetstream.clone())
    }

    /// How far they have come; as the user `api`.
    pub fn tap_positions(&self) -> TapPositions {
        TapPositions::new(self.client.clone(), self.api)
    }

    /// How far subscriptions have got; as the user `api`.
    pub fn positions(&self) -> Positions {
        Positions::new(self.client.clone(), self.api)
    }

    /// Answers the server when it asks who somebody is; as the user `taps`.
    pub fn callout(&self, issuer: Issuer) -> Callout {
        Callout::new(self.client.clone(), issuer)
    }

    /// Whether the server has an account for each service. Where everything is one account, nobody can be let in to
    /// see only their own.
    pub fn has_accounts(&self) -> bool {
        self.api == Api::Mapped
    }

    /// Says that this process is there, and hears of the others of its kind; see [`Presence`].
    pub async fn presence<Id: Present>(&self, own: &Id) -> Result<Presence<Id>, PresenceError> {
        Presence::begin(self.client.clone(), own).await
    }

    pub fn parked(&self) -> Parked {
        Parked::new(self.client.clone(), self.api)
    }

    /// Whether the server answers within 2 s.
    pub async fn ping(&self) -> bool {
        self.client.connection_state() == async_nats::connection::State::Connected
            && matches!(timeout(PING_TIMEOUT, self.client.flush()).await, Ok(Ok(())))
    }
}
