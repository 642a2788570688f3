//! Where does the evidence about the log lie? Signed records in the stream `ANCHORS`, one subject, one order: a
//! record's number is its sequence. What a record says is the affair of the crate `audit`.

use async_nats::{Client, HeaderMap, Request, Subscriber};
use bytes::Bytes;
use futures_util::StreamExt;
use serde::Deserialize;

use crate::BoxError;
use crate::connect::{Api, REQUEST_TIMEOUT};
use crate::read::{Wanted, batch};
use crate::wire::{self, ApiError, PublishAnswer, server_number};

#[derive(Debug, thiserror::Error)]
pub enum AnchorsError {
    #[error("the stream of anchors does not answer")]
    Unavailable(#[source] BoxError),
    /// Nothing was appended: somebody else was faster.
    #[error("record {after} is not the last one any more")]
    Lost { after: u64 },
    #[error("the stream of anchors takes no more")]
    Refused(#[source] ApiError),
}

/// A record as it was stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredRecord {
    /// Counted from 1, without a hole as long as nobody took one out.
    pub number: u64,
    pub bytes: Bytes,
}

/// The stream of anchors, and the bell of who writes them.
#[derive(Clone)]
pub struct Anchors {
    client: Client,
    api: Api,
}

impl Anchors {
    pub(crate) fn new(client: Client, api: Api) -> Self {
        Self { client, api }
    }

    /// Number of the last record as the stream's leader knows it; 0 before the first.
    pub async fn last(&self) -> Result<u64, AnchorsError> {
        #[derive(Deserialize)]
        struct Info {
            error: Option<ApiError>,
            state: Option<State>,
        }
        #[derive(Deserialize)]
        struct State {
            last_seq: u64,
        }
        let subject = format!("{}.STREAM.INFO.{}", self.api.prefix(), wire::ANCHORS);
        let request = Request::new().timeout(Some(REQUEST_TIMEOUT));
        let answer = self.client.send_request(subject, request).await.map_err(unavailable)?;
        let info: Info = serde_json::from_slice(&answer.payload).map_err(unavailable)?;
        match (info.error, info.state) {
            (Some(error), _) => Err(AnchorsError::Refused(error)),
            (None, Some(state)) => Ok(state.last_seq),
            (None, None) => Err(unavailable("the server told no state")),
        }
    }

    /// Records from this number on, one batch of at most 2,000; none when there are no more.
    pub async fn read(&self, from: u64) -> Result<Vec<StoredRecord>, AnchorsError> {
        let wanted = Wanted::from(from, None);
        let subject = self.api.direct_get(wire::ANCHORS);
        let batch = batch(&self.client, &subject, &wanted).await.map_err(unavailable)?;
        let number = |headers: Option<&HeaderMap>| {
            server_number(headers, "Nats-Sequence").ok_or_else(|| unavailable("the server named no sequence"))
        };
        batch
            .messages
            .into_iter()
            .map(|message| {
                Ok(StoredRecord { number: number(message.headers.as_ref())?, bytes: message.payload })
            })
            .collect()
    }

    /// Appends record `after + 1`, on disk when this returns. After an error that is not `Lost` it may be there:
    /// read before trying again.
    pub async fn append(&self, after: u64, record: Bytes) -> Result<(), AnchorsError> {
        let mut headers = HeaderMap::new();
        headers.insert("Nats-Expected-Last-Subject-Sequence", after.to_string());
        let request = Request::new().headers(headers).payload(record).timeout(Some(REQUEST_TIMEOUT));
        let answer = self.client.send_request(wire::ANCHOR_SUBJECT, request).await.map_err(unavailable)?;
        let answer: PublishAnswer = serde_json::from_slice(&answer.payload).map_err(unavailable)?;
        match answer.error {
            None => Ok(()),
            Some(error) => Err(match error.err_code {
                wire::WRONG_LAST_SEQUENCE | wire::WRONG_LAST_SEQUENCE_UNKNOWN => AnchorsError::Lost { after },
                _ => AnchorsError::Refused(error),
            }),
        }
    }

    /// Rings for whoever writes anchors; nobody answers, what comes of it stands in the stream.
    pub async fn ring(&self, wish: Bytes) -> Result<(), AnchorsError> {
        self.client.publish(wire::AUDIT_BELL, wish).await.map_err(unavailable)?;
        self.client.flush().await.map_err(unavailable)
    }

    pub async fn bell(&self) -> Result<AuditBell, AnchorsError> {
        self.client.subscribe(wire::AUDIT_BELL).await.map(AuditBell).map_err(unavailable)
    }
}

/// Wishes as they come.
pub struct AuditBell(Subscriber);

impl AuditBell {
    /// `None` when the connection was closed for good.
    pub async fn next(&mut self) -> Option<Bytes> {
        Some(self.0.next().await?.payload)
    }
}

fn unavailable(error: impl Into<BoxError>) -> AnchorsError {
    AnchorsError::Unavailable(error.into())
}
