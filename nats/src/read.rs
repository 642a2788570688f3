//! How are many messages of a stream read in one round trip? Batched direct get (ADR-31 of the server).

use std::time::Duration;

use async_nats::{Client, Message, Subscriber};
use chrono::{DateTime, SecondsFormat, Utc};
use futures_util::StreamExt;
use serde::Serialize;
use tokio::time::timeout;

use crate::BoxError;
use crate::connect::REQUEST_TIMEOUT;
use crate::wire::{STATUS_END_OF_BATCH, STATUS_NOBODY, STATUS_NOT_FOUND, server_number};

/// Messages in one batch: well below what a subscription holds.
pub(crate) const BATCH_MESSAGES_MAX: usize = 2_000;
/// Payload bytes in one batch; the message that crosses it is the last.
const BATCH_BYTES_MAX: usize = 8 << 20;
/// Between two messages of one batch.
const MESSAGE_WAIT_MAX: Duration = REQUEST_TIMEOUT;

#[derive(Debug, thiserror::Error)]
pub(crate) enum BatchError {
    #[error("the stream could not be asked")]
    Ask(#[source] BoxError),
    #[error("the answer broke off after {received} messages")]
    BrokeOff { received: usize },
    #[error("no server answers for the stream")]
    Nobody,
    #[error("the server answered with status {0}")]
    Status(u16),
}

/// Which messages, in the order of the stream.
#[derive(Debug, Default, Serialize)]
pub(crate) struct Wanted {
    /// From this sequence on.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) seq: Option<u64>,
    /// From this instant on.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) start_time: Option<String>,
    /// Of this subject, which may have wildcards.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) next_by_subj: Option<String>,
    pub(crate) batch: usize,
    pub(crate) max_bytes: usize,
}

impl Wanted {
    pub(crate) fn from(seq: u64, subject: Option<&str>) -> Self {
        Self {
            seq: Some(seq.max(1)),
            start_time: None,
            next_by_subj: subject.map(str::to_owned),
            batch: BATCH_MESSAGES_MAX,
            max_bytes: BATCH_BYTES_MAX,
        }
    }

    pub(crate) fn first_since(time: DateTime<Utc>) -> Self {
        Self {
            start_time: Some(time.to_rfc3339_opts(SecondsFormat::Nanos, true)),
            batch: 1,
            max_bytes: BATCH_BYTES_MAX,
            ..Self::default()
        }
    }
}

/// One batch; empty when the stream has nothing (more) that was wanted.
#[derive(Default)]
pub(crate) struct Batch {
    pub(crate) messages: Vec<Message>,
    /// Wanted messages after these.
    pub(crate) pending: u64,
}

/// One round trip, no consumer made. On a replicated stream any replica answers, so the newest
/// messages may be missing; they are never missing from the middle.
pub(crate) async fn batch(client: &Client, subject: &str, wanted: &Wanted) -> Result<Batch, BatchError> {
    ask(client, subject, wanted).await?.collect().await
}

/// Asks; the answers gather in the subscription until they are collected.
pub(crate) async fn ask(client: &Client, subject: &str, wanted: &Wanted) -> Result<Asked, BatchError> {
    let failed = |error: BoxError| BatchError::Ask(error);
    let request = serde_json::to_vec(wanted).map_err(|error| failed(error.into()))?;
    let inbox = client.new_inbox();
    let answers = client.subscribe(inbox.clone()).await.map_err(|error| failed(error.into()))?;
    client
        .publish_with_reply(subject.to_owned(), inbox, request.into())
        .await
        .map_err(|error| failed(error.into()))?;
    Ok(Asked { answers })
}

/// A batch that is under way.
pub(crate) struct Asked {
    answers: Subscriber,
}

impl Asked {
    pub(crate) async fn collect(mut self) -> Result<Batch, BatchError> {
        let mut batch = Batch::default();
        while let Ok(Some(message)) = timeout(MESSAGE_WAIT_MAX, self.answers.next()).await {
            match message.status.map(|status| status.as_u16()) {
                None => batch.messages.push(message),
                Some(STATUS_END_OF_BATCH) => {
                    batch.pending = server_number(message.headers.as_ref(), "Nats-Num-Pending").unwrap_or(0);
                    return Ok(batch);
                }
                Some(STATUS_NOT_FOUND) => return Ok(batch),
                Some(STATUS_NOBODY) => return Err(BatchError::Nobody),
                Some(other) => return Err(BatchError::Status(other)),
            }
        }
        Err(BatchError::BrokeOff { received: batch.messages.len() })
    }
}
