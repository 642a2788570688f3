//! Where are those in the log who follow it by NATS itself, and who of them is connected? Each tap has a consumer.

use std::time::Duration;

use async_nats::jetstream::consumer::{Consumer, pull};
use async_nats::jetstream::stream::ConsumerErrorKind;
use async_nats::jetstream::{Context, ErrorCode};
use async_nats::{Client, Request};
use futures_util::StreamExt;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::json;
use tokio::time::timeout;

use crate::connect::{Api, REQUEST_TIMEOUT};
use crate::wire::{self, ApiError};
use crate::{BoxError, topology};

/// Where those are let in who hear what happens.
pub const LISTENERS: &str = "LISTENERS";
/// Where those are let in who come back to where they were.
pub const FOLLOWERS: &str = "FOLLOWERS";
/// The stream that consumers of taps are on.
pub const FOLLOWED: &str = wire::EVENTS;
/// Under which subjects the server's API is reached in [`FOLLOWERS`].
pub const FOLLOWERS_API: &str = Api::Mapped.prefix();

/// The first server answers within, and the others so soon after each other.
const CONNECTED_WAIT: Duration = Duration::from_secs(2);
const CONNECTED_QUIET: Duration = Duration::from_millis(250);
/// Connections that a server names at once.
const CONNECTED_MAX: usize = 1_024;

#[derive(Debug, thiserror::Error)]
pub enum FollowersError {
    #[error("consumer {consumer} could not be {what}")]
    Consumer {
        consumer: String,
        what: &'static str,
        #[source]
        source: BoxError,
    },
    #[error("the servers do not say who is connected")]
    Connected(#[source] BoxError),
    #[error("the server says nothing of consumer {consumer}")]
    Position {
        consumer: String,
        #[source]
        source: BoxError,
    },
}

/// As the user `taps`.
#[derive(Clone)]
pub struct Followers {
    client: Client,
    jetstream: Context,
}

/// Somebody who is connected to a server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Connected {
    /// As whom they were let in.
    pub user: String,
    server: String,
    connection: u64,
}

#[derive(Deserialize)]
struct OfServer {
    server: Server,
    #[serde(default)]
    data: Connections,
}

#[derive(Deserialize)]
struct Server {
    id: String,
}

#[derive(Default, Deserialize)]
struct Connections {
    #[serde(default)]
    connections: Vec<One>,
}

#[derive(Deserialize)]
struct One {
    cid: u64,
    #[serde(default)]
    authorized_user: String,
}

impl Followers {
    pub(crate) fn new(client: Client, jetstream: Context) -> Self {
        Self { client, jetstream }
    }

    /// Makes the tap's consumer, from the first event on; one that is there stays where it is.
    pub async fn ensure_consumer(&self, name: &str, subjects: Vec<String>) -> Result<(), FollowersError> {
        let made = self.jetstream.create_consumer_on_stream(topology::tap(name, subjects), FOLLOWED).await;
        made.map(|_: Consumer<pull::Config>| ()).map_err(|error| FollowersError::Consumer {
            consumer: name.to_owned(),
            what: "made",
            source: error.into(),
        })
    }

    /// One that is not there is removed.
    pub async fn remove_consumer(&self, name: &str) -> Result<(), FollowersError> {
        let Err(error) = self.jetstream.delete_consumer_from_stream(name, FOLLOWED).await else {
            return Ok(());
        };
        if let ConsumerErrorKind::JetStream(answer) = error.kind()
            && answer.error_code() == ErrorCode::CONSUMER_NOT_FOUND
        {
            return Ok(());
        }
        Err(FollowersError::Consumer { consumer: name.to_owned(), what: "removed", source: error.into() })
    }

    /// Everybody who is connected to an account, whichever server they came to.
    pub async fn connected(&self, account: &str) -> Result<Vec<Connected>, FollowersError> {
        let failed = |error: BoxError| FollowersError::Connected(error);
        let inbox = self.client.new_inbox();
        let mut answers = self.client.subscribe(inbox.clone()).await.map_err(|error| failed(error.into()))?;
        let asked = json!({"acc": account, "auth": true, "limit": CONNECTED_MAX}).to_string();
        let sent = self.client.publish_with_reply(wire::CONNECTIONS, inbox, asked.into()).await;
        sent.map_err(|error| failed(error.into()))?;
        let (mut connected, mut wait) = (Vec::new(), CONNECTED_WAIT);
        while let Ok(Some(answer)) = timeout(wait, answers.next()).await {
            wait = CONNECTED_QUIET;
            if answer.status.is_some() {
                return Err(failed("no server listens".into()));
            }
            let answer: OfServer =
                serde_json::from_slice(&answer.payload).map_err(|error| failed(error.into()))?;
            connected.extend(answer.data.connections.into_iter().map(|one| Connected {
                user: one.authorized_user,
                server: answer.server.id.clone(),
                connection: one.cid,
            }));
        }
        Ok(connected)
    }

    /// Ends a connection; one that is gone is ended.
    pub async fn disconnect(&self, who: &Connected) -> Result<(), FollowersError> {
        let subject = format!("{}{}", wire::DISCONNECT_PREFIX, who.server);
        let request = Request::new()
            .payload(json!({"cid": who.connection}).to_string().into())
            .timeout(Some(REQUEST_TIMEOUT));
        let answered = self.client.send_request(subject, request).await;
        answered.map(drop).map_err(|error| FollowersError::Connected(error.into()))
    }
}

/// How far those have come who follow; as the user `api`.
#[derive(Clone)]
pub struct TapPositions {
    client: Client,
    api: Api,
}

/// How far a tap has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TapPosition {
    /// Sequence of the last event that was handed out.
    pub delivered: u64,
    /// Every event up to this sequence is acknowledged.
    pub acknowledged: u64,
    /// Events that were handed out and are not acknowledged.
    pub unacknowledged: u64,
    /// Events that were not handed out yet.
    pub pending: u64,
}

#[derive(Deserialize)]
struct Info {
    error: Option<ApiError>,
    #[serde(default)]
    delivered: Sequences,
    #[serde(default)]
    ack_floor: Sequences,
    #[serde(default)]
    num_ack_pending: u64,
    #[serde(default)]
    num_pending: u64,
}

#[derive(Default, Deserialize)]
struct Sequences {
    #[serde(default)]
    stream_seq: u64,
}

impl TapPositions {
    pub(crate) fn new(client: Client, api: Api) -> Self {
        Self { client, api }
    }

    /// `None`: nobody has followed by it yet.
    pub async fn of(&self, consumer: &str) -> Result<Option<TapPosition>, FollowersError> {
        let failed =
            |error: BoxError| FollowersError::Position { consumer: consumer.to_owned(), source: error };
        let subject = format!("{}.CONSUMER.INFO.{FOLLOWED}.{consumer}", self.api.prefix());
        let info: Info = ask(&self.client, subject).await.map_err(failed)?;
        match info.error {
            None => Ok(Some(TapPosition {
                delivered: info.delivered.stream_seq,
                acknowledged: info.ack_floor.stream_seq,
                unacknowledged: info.num_ack_pending,
                pending: info.num_pending,
            })),
            Some(error) if error.err_code == wire::CONSUMER_NOT_FOUND => Ok(None),
            Some(error) => Err(failed(error.into())),
        }
    }
}

async fn ask<T: DeserializeOwned>(client: &Client, subject: String) -> Result<T, BoxError> {
    let request = Request::new().timeout(Some(REQUEST_TIMEOUT));
    let answer = client.send_request(subject, request).await?;
    Ok(serde_json::from_slice(&answer.payload)?)
}
