//! What is a line of a bundle, and of the file that anchors are written out to? One JSON object, whose first member
//! says what it is.

use chrono::{DateTime, Utc};
use data_encoding::BASE64;
use serde::{Deserialize, Serialize};

use crate::verdict::{Fidelity, KeyShown};

/// The format of bundles.
pub const FORMAT: &str = "portreeve-audit-bundle";
pub const VERSION: u32 = 1;

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "line", rename_all = "snake_case")]
pub enum Line {
    Manifest(Manifest),
    Record(RecordLine),
    Event(EventLine),
    End(End),
    /// The export broke off.
    Broken {
        why: String,
    },
}

/// What the bundle is, as it was meant when it was made. The last record binds its SHA-256.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Manifest {
    pub format: String,
    pub version: u32,
    pub exported_at: DateTime<Utc>,
    /// The log's last event when the export began; the bundle has it unless less was asked for.
    pub head: u64,
    /// The first event; 1, or the one after an anchor.
    pub first: u64,
    /// The events end with the first anchor that has this one; without, with the last record of the bundle.
    pub to: Option<u64>,
    pub keys: Vec<KeyShown>,
    /// What the read models were like then.
    pub fidelity: Fidelity,
}

/// A record of the stream `ANCHORS`, exactly as it is stored.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RecordLine {
    pub record: u64,
    #[serde(flatten)]
    pub stored: Bytes,
}

/// An event, exactly as it is stored.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct EventLine {
    pub sequence: u64,
    pub subject: String,
    /// Name and value, in the order in which they are hashed.
    pub headers: Vec<(String, String)>,
    #[serde(flatten)]
    pub payload: Bytes,
}

/// Bytes as text where they are text.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum Bytes {
    #[serde(rename = "text")]
    Text(String),
    #[serde(rename = "base64")]
    Base64(String),
}

/// The last line.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct End {
    pub events: u64,
    pub records: u64,
    /// SHA-256 of everything before this line, hex: a download that broke off shows.
    pub sha256: String,
}

impl Bytes {
    pub fn of(bytes: &[u8]) -> Self {
        match std::str::from_utf8(bytes) {
            Ok(text) => Self::Text(text.to_owned()),
            Err(_) => Self::Base64(BASE64.encode(bytes)),
        }
    }

    /// `None` when it is no base64.
    pub fn bytes(&self) -> Option<Vec<u8>> {
        match self {
            Self::Text(text) => Some(text.as_bytes().to_vec()),
            Self::Base64(text) => BASE64.decode(text.as_bytes()).ok(),
        }
    }
}

impl RecordLine {
    pub fn of(record: u64, stored: &[u8]) -> Self {
        Self { record, stored: Bytes::of(stored) }
    }
}

impl Line {
    /// With its newline.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = serde_json::to_vec(self).unwrap_or_default();
        bytes.push(b'\n');
        bytes
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_line_reads_as_it_was_written() {
        let event = EventLine {
            sequence: 7,
            subject: "ev.t.env.a".to_owned(),
            headers: vec![("a".to_owned(), "1".to_owned())],
            payload: Bytes::of(b"{\"a\":\"\\n\"}"),
        };
        let lines = [
            Line::Event(event.clone()),
            Line::Event(EventLine { payload: Bytes::of(&[0xff, 0]), ..event }),
            Line::Record(RecordLine::of(3, b"{}")),
            Line::End(End { events: 1, records: 1, sha256: String::new() }),
        ];
        for line in lines {
            let bytes = line.to_bytes();
            assert_eq!(serde_json::from_slice::<Line>(&bytes).unwrap(), line);
            assert!(bytes.ends_with(b"}\n") && bytes.starts_with(b"{\"line\":\""), "{bytes:?}");
        }
        let text = String::from_utf8(Line::Record(RecordLine::of(3, b"{}")).to_bytes()).unwrap();
        assert_eq!(text, "{\"line\":\"record\",\"record\":3,\"text\":\"{}\"}\n");
    }
}
