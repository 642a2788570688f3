//! What does the hash of an event say? That event, and everything before it:
//! `h(n) = SHA-256(h(n-1) || sequence || subject || headers || payload)`, and `h(0)` is 32 zero bytes.
//!
//! Numbers are big-endian; every text is preceded by its length, so that no two logs have the same bytes:
//!
//! | part | bytes |
//! | --- | --- |
//! | `h(n-1)` | 32 |
//! | sequence | 8 |
//! | length of the subject, subject | 4, so many |
//! | number of headers | 4 |
//! | each header: length of its name, name, length of its value, value | 4, so many, 4, so many |
//! | length of the payload, payload | 8, so many |
//!
//! Headers are those that the message was stored with, ordered by name (as bytes), several of one name in the
//! order in which they stand. What the server adds when it hands a message out is none of them
//! ([`nats::stored::SERVER_HEADERS`]). The time at which the server stored a message is not hashed: when an event
//! happened stands in its header `ce-time`.

use sha2::{Digest as _, Sha256};

pub type Digest = [u8; 32];

/// The hash of the log that has no event yet.
pub const START: Digest = [0; 32];
/// Of each event's hash an anchor keeps so many bytes from the front: they tell where a log begins to differ.
pub const MARK_BYTES: usize = 8;

pub fn sha256(bytes: &[u8]) -> Digest {
    Sha256::digest(bytes).into()
}

/// The hash of a log up to one of its events.
#[derive(Debug, Clone)]
pub struct Chain {
    upto: u64,
    hash: Digest,
    /// What is hashed; kept, so that its memory is.
    bytes: Vec<u8>,
}

impl Chain {
    pub fn after(upto: u64, hash: Digest) -> Self {
        Self { upto, hash, bytes: Vec::new() }
    }

    pub fn start() -> Self {
        Self::after(0, START)
    }

    pub fn upto(&self) -> u64 {
        self.upto
    }

    pub fn hash(&self) -> Digest {
        self.hash
    }

    /// Adds the next event; `headers` in their order.
    pub fn add(&mut self, sequence: u64, subject: &str, headers: &[(&str, &str)], payload: &[u8]) -> Digest {
        self.bytes.clear();
        encode(&mut self.bytes, &self.hash, sequence, subject, headers, payload);
        (self.upto, self.hash) = (sequence, sha256(&self.bytes));
        self.hash
    }
}

/// Appends what the hash of an event is taken of.
pub fn encode(
    bytes: &mut Vec<u8>,
    before: &Digest,
    sequence: u64,
    subject: &str,
    headers: &[(&str, &str)],
    payload: &[u8],
) {
    // nothing in a message is longer than the server takes, a megabyte
    let short = |bytes: &mut Vec<u8>, length: usize| {
        bytes.extend_from_slice(&u32::try_from(length).unwrap_or(u32::MAX).to_be_bytes());
    };
    bytes.extend_from_slice(before);
    bytes.extend_from_slice(&sequence.to_be_bytes());
    short(bytes, subject.len());
    bytes.extend_from_slice(subject.as_bytes());
    short(bytes, headers.len());
    for (name, value) in headers {
        for text in [name, value] {
            short(bytes, text.len());
            bytes.extend_from_slice(text.as_bytes());
        }
    }
    bytes.extend_from_slice(&(payload.len() as u64).to_be_bytes());
    bytes.extend_from_slice(payload);
}

/// The front of a hash.
pub fn mark(hash: &Digest) -> &[u8] {
    hash.get(..MARK_BYTES).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hash_of(sequence: u64, subject: &str, headers: &[(&str, &str)], payload: &[u8]) -> String {
        let mut chain = Chain::start();
        data_encoding::HEXLOWER.encode(&chain.add(sequence, subject, headers, payload))
    }

    /// Computed with another program (Python's hashlib), byte by byte as the table says.
    #[test]
    fn the_hash_of_an_event_stays_the_same_for_ever() {
        let headers = [("a", "1"), ("a", "2"), ("b", "")];
        let expected = "88feb6c5deaa3bed70459e244eb9b5bf7e0d566f28a6506601bbc0ba7077272f";
        assert_eq!(hash_of(1, "ev.t.env.x", &headers, b"{}"), expected);
    }

    #[test]
    fn nothing_moves_from_one_part_into_another_unseen() {
        let all = [
            hash_of(1, "ab", &[], b""),
            hash_of(1, "a", &[], b"b"),
            hash_of(1, "a", &[("b", "")], b""),
            hash_of(1, "a", &[("", "b")], b""),
            hash_of(2, "ab", &[], b""),
            hash_of(1, "", &[("a", "b"), ("c", "d")], b""),
            hash_of(1, "", &[("c", "d"), ("a", "b")], b""),
        ];
        let different: std::collections::BTreeSet<&String> = all.iter().collect();
        assert_eq!(different.len(), all.len());
    }

    #[test]
    fn every_event_stands_on_those_before_it() {
        let (mut one, mut other) = (Chain::start(), Chain::start());
        one.add(1, "s", &[], b"1");
        other.add(1, "s", &[], b"2");
        assert_ne!(one.add(2, "s", &[], b"same"), other.add(2, "s", &[], b"same"));
        assert_eq!(one.upto(), 2);
    }
}
