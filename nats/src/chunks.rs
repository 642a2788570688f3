//! Where does lie what is too long for an event? Sealed chunks in a stream of their own, one message a chunk, in
//! order, on one subject for each thing. They can be appended and read; only their age removes them.
//!
//! A plain stream and not the object store, which needs consumers to read and purges to write: no service
//! may have either (`adr/0004-*`).

use std::collections::VecDeque;

use async_nats::{Client, HeaderMap, Message, Request};
use bytes::Bytes;
use secrecy::zeroize::Zeroizing;

use crate::BoxError;
use crate::connect::{Api, REQUEST_TIMEOUT};
use crate::master_keys::MasterKeys;
use crate::read::{Wanted, batch};
use crate::sealing::{self, OpenError};
use crate::wire::{self, ApiError, PublishAnswer};

/// Longest chunk, in bytes: with its seal well below what the server takes as one message.
pub const CHUNK_BYTES_MAX: usize = 512 << 10;

#[derive(Debug, thiserror::Error)]
pub enum ChunkError {
    #[error("a chunk has at most {CHUNK_BYTES_MAX} bytes")]
    TooLong,
    #[error("the operating system gave no randomness")]
    Randomness,
    /// Stored or not: store the same chunk again.
    #[error("the store of chunks does not answer")]
    Unavailable(#[source] BoxError),
    #[error("the store of chunks takes no more")]
    Refused(#[source] ApiError),
    #[error("chunk {chunk} was sealed with key {key}, which is not among the master keys")]
    KeyUnknown { chunk: u32, key: String },
    #[error("chunk {chunk} is not what was stored: it is damaged, or not in its place")]
    Damaged { chunk: u32 },
}

/// What a chunk is sealed to: its thing and its place there.
fn place(subject: &str, chunk: u32) -> String {
    format!("{subject}/{chunk}")
}

/// A chunk ready to be stored, as often as that takes.
#[derive(Debug, Clone)]
pub struct SealedChunk {
    subject: String,
    /// The server recognises it for two minutes; later a reader does, because a repeat is the same bytes.
    place: String,
    sealed: Bytes,
}

/// The chunks of one stream. Whose they are is visible to the server, what is in them is not.
#[derive(Clone)]
pub(crate) struct Chunks {
    client: Client,
    api: Api,
    keys: MasterKeys,
    stream: &'static str,
}

impl Chunks {
    pub(crate) fn new(client: Client, api: Api, keys: MasterKeys, stream: &'static str) -> Self {
        Self { client, api, keys, stream }
    }

    /// Chunks are numbered from 1.
    pub(crate) fn seal(&self, subject: &str, chunk: u32, text: &[u8]) -> Result<SealedChunk, ChunkError> {
        if text.len() > CHUNK_BYTES_MAX {
            return Err(ChunkError::TooLong);
        }
        let place = place(subject, chunk);
        let sealed = sealing::seal(&self.keys, &place, text).map_err(|_| ChunkError::Randomness)?;
        Ok(SealedChunk { subject: subject.to_owned(), place, sealed: sealed.into() })
    }

    /// On disk when this returns. May be repeated until it does; chunks are stored in their order.
    pub(crate) async fn keep(&self, chunk: &SealedChunk) -> Result<(), ChunkError> {
        let unavailable = |error: BoxError| ChunkError::Unavailable(error);
        let mut headers = HeaderMap::new();
        headers.insert("Nats-Msg-Id", chunk.place.as_str());
        let request = Request::new().headers(headers).payload(chunk.sealed.clone());
        let answer = self
            .client
            .send_request(chunk.subject.clone(), request.timeout(Some(REQUEST_TIMEOUT)))
            .await
            .map_err(|error| unavailable(error.into()))?;
        let answer: PublishAnswer =
            serde_json::from_slice(&answer.payload).map_err(|error| unavailable(error.into()))?;
        match answer.error {
            None => Ok(()),
            Some(error) if error.err_code == wire::DUPLICATE_IN_PROCESS => Err(unavailable(error.into())),
            Some(error) => Err(ChunkError::Refused(error)),
        }
    }

    /// From its first chunk.
    pub(crate) fn read(&self, subject: String) -> Reading {
        Reading {
            chunks: self.clone(),
            subject,
            from: 1,
            chunk: 0,
            last: Bytes::new(),
            waiting: VecDeque::new(),
            over: false,
        }
    }
}

/// A thing as it is read: one batch of chunks in memory at a time.
pub struct Reading {
    chunks: Chunks,
    subject: String,
    /// The stream's sequence to go on from.
    from: u64,
    /// The chunk that was given out last.
    chunk: u32,
    last: Bytes,
    waiting: VecDeque<Message>,
    over: bool,
}

impl Reading {
    /// The next chunk; `None` after the last that is stored.
    pub async fn next(&mut self) -> Result<Option<Zeroizing<Vec<u8>>>, ChunkError> {
        loop {
            let Some(message) = self.waiting.pop_front() else {
                if self.over {
                    return Ok(None);
                }
                self.fetch().await?;
                continue;
            };
            // stored once more, because its first acknowledgement was lost
            if self.chunk > 0 && message.payload == self.last {
                continue;
            }
            let chunk = self.chunk + 1;
            let text = sealing::open(&self.chunks.keys, &place(&self.subject, chunk), &message.payload)
                .map_err(|error| match error {
                    OpenError::KeyUnknown { key } => ChunkError::KeyUnknown { chunk, key },
                    OpenError::Damaged => ChunkError::Damaged { chunk },
                })?;
            (self.chunk, self.last) = (chunk, message.payload);
            return Ok(Some(text));
        }
    }

    async fn fetch(&mut self) -> Result<(), ChunkError> {
        let unavailable = |error: BoxError| ChunkError::Unavailable(error);
        let Chunks { client, api, stream, .. } = &self.chunks;
        let wanted = Wanted::from(self.from, Some(&self.subject));
        let batch = batch(client, &api.direct_get(stream), &wanted)
            .await
            .map_err(|error| unavailable(error.into()))?;
        self.over = batch.pending == 0 || batch.messages.is_empty();
        if let Some(last) = batch.messages.last() {
            let seq = wire::server_number(last.headers.as_ref(), "Nats-Sequence");
            self.from = seq.ok_or_else(|| unavailable("the server named no sequence".into()))? + 1;
        }
        self.waiting = batch.messages.into();
        Ok(())
    }
}
