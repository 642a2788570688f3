//! What could not be read or done? Copies of messages with the reason, for an operator to see.

use async_nats::{Client, HeaderMap, Request};
use bytes::Bytes;
use chrono::{DateTime, SecondsFormat, Utc};

use crate::BoxError;
use crate::connect::{Api, REQUEST_TIMEOUT};
use crate::read::{Wanted, batch};
use crate::tail::{Raw, own_headers};
use crate::wire::{self, ApiError, PublishAnswer, server_number};

/// Longest reason kept, in bytes.
const WHY_LENGTH_MAX: usize = 2_000;
/// Messages listed at once.
pub const LISTED_MAX: usize = 500;

const BY: &str = "parked-by";
const WHY: &str = "parked-why";
const AT: &str = "parked-at";
const SUBJECT: &str = "parked-subject";
const SEQ: &str = "parked-seq";

#[derive(Debug, thiserror::Error)]
pub enum ParkedError {
    #[error("the stream of parked messages does not answer")]
    Unavailable(#[source] BoxError),
    #[error("the stream of parked messages refuses")]
    Refused(#[source] ApiError),
}

/// One message that was set aside.
#[derive(Debug, Clone)]
pub struct ParkedMessage {
    /// Position among the parked messages, from 1.
    pub position: u64,
    /// The worker or projection that could not go on with it.
    pub by: String,
    pub why: String,
    pub at: DateTime<Utc>,
    /// Where it stands in the log.
    pub seq: u64,
    pub subject: String,
    pub raw: Raw,
}

/// The parked messages.
#[derive(Clone)]
pub struct Parked {
    client: Client,
    api: Api,
}

impl Parked {
    pub(crate) fn new(client: Client, api: Api) -> Self {
        Self { client, api }
    }

    /// Sets a message of the log aside. Once for `by` and `seq`, however often it is called.
    pub async fn put(
        &self,
        by: &str,
        why: &str,
        seq: u64,
        subject: &str,
        raw: &Raw,
    ) -> Result<(), ParkedError> {
        let unavailable = |error: BoxError| ParkedError::Unavailable(error);
        let mut headers = HeaderMap::new();
        for (name, value) in &raw.headers {
            headers.insert(name.as_str(), value.as_str());
        }
        headers.insert(BY, by);
        headers.insert(WHY, one_line(why));
        headers.insert(AT, Utc::now().to_rfc3339_opts(SecondsFormat::Micros, true));
        headers.insert(SUBJECT, subject);
        headers.insert(SEQ, seq.to_string());
        headers.insert("Nats-Expected-Last-Subject-Sequence", "0");
        let request =
            Request::new().headers(headers).payload(raw.payload.clone()).timeout(Some(REQUEST_TIMEOUT));
        let answer = self
            .client
            .send_request(format!("parked.{by}.{seq}"), request)
            .await
            .map_err(|error| unavailable(error.into()))?;
        let answer: PublishAnswer =
            serde_json::from_slice(&answer.payload).map_err(|error| unavailable(error.into()))?;
        match answer.error {
            None => Ok(()),
            Some(error) if error.err_code == wire::WRONG_LAST_SEQUENCE => Ok(()),
            Some(error) => Err(ParkedError::Refused(error)),
        }
    }

    /// Up to [`LISTED_MAX`] messages after a position, oldest first.
    pub async fn list(&self, after: u64) -> Result<Vec<ParkedMessage>, ParkedError> {
        let mut wanted = Wanted::from(after + 1, None);
        wanted.batch = LISTED_MAX;
        let batch = batch(&self.client, &self.api.direct_get(wire::PARKED), &wanted)
            .await
            .map_err(|error| ParkedError::Unavailable(error.into()))?;
        Ok(batch.messages.iter().map(read).collect())
    }
}

fn read(message: &async_nats::Message) -> ParkedMessage {
    let headers = message.headers.as_ref();
    let text = |name: &str| {
        headers.and_then(|headers| headers.get(name)).map(ToString::to_string).unwrap_or_default()
    };
    let mut own = own_headers(headers);
    own.retain(|(name, _)| !name.starts_with("parked-"));
    ParkedMessage {
        position: server_number(headers, "Nats-Sequence").unwrap_or(0),
        by: text(BY),
        why: text(WHY),
        at: DateTime::parse_from_rfc3339(&text(AT)).map(|at| at.to_utc()).unwrap_or_default(),
        seq: text(SEQ).parse().unwrap_or(0),
        subject: text(SUBJECT),
        raw: Raw { headers: own, payload: Bytes::clone(&message.payload) },
    }
}

/// A header holds one line.
fn one_line(text: &str) -> String {
    let mut line: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    let mut end = line.len().min(WHY_LENGTH_MAX);
    while !line.is_char_boundary(end) {
        end -= 1;
    }
    line.truncate(end);
    line
}
