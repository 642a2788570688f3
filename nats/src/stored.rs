//! What exactly does the log hold? Messages as they were stored, for those who hash them: nothing is decoded.

use async_nats::{HeaderMap, Message};
use bytes::Bytes;
use chrono::{DateTime, Utc};

use crate::log::{Log, LogError};
use crate::read::{Asked, Wanted, ask};
use crate::wire::{server_header, server_number};

/// What the server writes on a message while handing it out; no part of what was stored.
pub const SERVER_HEADERS: [&str; 7] = [
    "Nats-Last-Sequence",
    "Nats-Num-Pending",
    "Nats-Sequence",
    "Nats-Stream",
    "Nats-Subject",
    "Nats-Time-Stamp",
    "Nats-UpTo-Sequence",
];

/// How each of them begins.
const SERVER_PREFIX: &str = "Nats-";

/// One message of the log.
#[derive(Debug, Clone)]
pub struct Stored {
    pub seq: u64,
    pub subject: String,
    /// When the server stored it.
    pub time: DateTime<Utc>,
    pub payload: Bytes,
    headers: HeaderMap,
}

impl Stored {
    /// The headers it was stored with, by name, then in the order in which they stood. Names are compared as
    /// bytes; [`SERVER_HEADERS`] are left out.
    pub fn headers(&self) -> Vec<(&str, &str)> {
        let mut own: Vec<(u64, (&str, &str))> = Vec::with_capacity(self.headers.len());
        for (name, values) in self.headers.iter() {
            let name: &str = name.as_ref();
            if !(name.starts_with(SERVER_PREFIX) && SERVER_HEADERS.contains(&name)) {
                let front = front(name);
                own.extend(values.iter().map(|value| (front, (name, value.as_str()))));
            }
        }
        // stable: several values of a name keep their order
        own.sort_by(|(front, (name, _)), (other_front, (other, _))| {
            front.cmp(other_front).then_with(|| name.cmp(other))
        });
        own.into_iter().map(|(_, header)| header).collect()
    }
}

/// The first bytes of a name as a number: names are ordered as these are, and few begin alike. Comparing texts took
/// most of the time that hashing a log took.
fn front(name: &str) -> u64 {
    let mut front = [0; 8];
    let length = name.len().min(front.len());
    if let (Some(into), Some(from)) = (front.get_mut(..length), name.as_bytes().get(..length)) {
        into.copy_from_slice(from);
    }
    u64::from_be_bytes(front)
}

/// Reads on from a sequence; where it began anew is the reader's affair.
pub struct StoredReader {
    log: Log,
    next: u64,
    ahead: Option<Asked>,
}

impl Log {
    /// From this sequence on, in order.
    pub fn stored(&self, from: u64) -> StoredReader {
        StoredReader { log: self.clone(), next: from.max(1), ahead: None }
    }

    /// The first sequence that was stored at this instant or later; `None` when nothing was.
    pub async fn sequence_at(&self, time: DateTime<Utc>) -> Result<Option<u64>, LogError> {
        let batch = self.batch(&Wanted::first_since(time)).await;
        let batch = batch.map_err(|error| LogError::Read(error.into()))?;
        let first = batch.messages.first();
        Ok(first.and_then(|message| server_number(message.headers.as_ref(), "Nats-Sequence")))
    }
}

impl Log {
    /// The message of this sequence; `None` when there is none.
    pub async fn stored_at(&self, sequence: u64) -> Result<Option<Stored>, LogError> {
        let wanted = Wanted { batch: 1, ..Wanted::from(sequence, None) };
        let batch = self.batch(&wanted).await.map_err(|error| LogError::Read(error.into()))?;
        let first = batch.messages.into_iter().next().and_then(read);
        Ok(first.filter(|stored| stored.seq == sequence))
    }
}

impl StoredReader {
    /// The sequence that comes next if nothing is missing.
    pub fn position(&self) -> u64 {
        self.next
    }

    /// The next messages, up to 2,000; none when the server knows of no more. What is missing in the middle is
    /// skipped: the sequences show it. On a replicated stream the newest may be missing for a moment.
    pub async fn next(&mut self) -> Result<Vec<Stored>, LogError> {
        let failed = |error: crate::BoxError| LogError::Read(error);
        let asked = match self.ahead.take() {
            Some(asked) => asked,
            None => self.ask().await?,
        };
        let batch = asked.collect().await.map_err(|error| failed(error.into()))?;
        let mut messages = Vec::with_capacity(batch.messages.len());
        for message in batch.messages {
            let stored = read(message).ok_or_else(|| failed("the server named no sequence".into()))?;
            if stored.seq >= self.next {
                self.next = stored.seq + 1;
                messages.push(stored);
            }
        }
        if batch.pending > 0 && !messages.is_empty() {
            // the server reads the next batch while this one is worked on
            self.ahead = Some(self.ask().await?);
        }
        Ok(messages)
    }

    async fn ask(&self) -> Result<Asked, LogError> {
        let subject = self.log.direct_get();
        let wanted = Wanted::from(self.next, None);
        ask(self.log.client(), &subject, &wanted).await.map_err(|error| LogError::Read(error.into()))
    }
}

fn read(message: Message) -> Option<Stored> {
    let headers = message.headers?;
    let seq = server_number(Some(&headers), "Nats-Sequence")?;
    let subject = server_header(Some(&headers), "Nats-Subject")?.to_owned();
    let time = DateTime::parse_from_rfc3339(server_header(Some(&headers), "Nats-Time-Stamp")?).ok()?;
    Some(Stored { seq, subject, time: time.to_utc(), payload: message.payload, headers })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn headers_are_ordered_by_their_bytes_and_keep_their_values_in_order() {
        let mut headers = HeaderMap::new();
        let names =
            ["b", "ce-subjectt", "ce-subjecta", "ce-subje", "a", "Nats-Msg-Id", "z", "ce-subjez", "A"];
        for name in names {
            headers.insert(name, "1");
        }
        headers.append("b", "0");
        for name in SERVER_HEADERS {
            headers.insert(name, "x");
        }
        let time = DateTime::UNIX_EPOCH;
        let stored = Stored { seq: 1, subject: String::new(), time, payload: Bytes::new(), headers };
        let mut expected: Vec<(&str, &str)> =
            names.iter().map(|name| (*name, "1")).chain([("b", "0")]).collect();
        expected.sort_by_key(|(name, _)| *name);
        assert_eq!(stored.headers(), expected);
    }
}
