//! What is said about the log, and who signed it? Records of the stream `ANCHORS`: each holds a statement as text
//! and the Ed25519 signature of exactly that text, so that nobody has to guess how JSON is written.

use chrono::{DateTime, SubsecRound, Utc};
use data_encoding::{BASE64, HEXLOWER};
use ed25519_dalek::{Signature, Signer, VerifyingKey};
use serde::{Deserialize, Serialize};

pub use ed25519_dalek::SigningKey;

use crate::chain::{Digest, sha256};

/// Signed before each statement: a signature of ours counts for nothing else.
const PURPOSE: &[u8] = b"portreeve audit 1\n";

#[derive(Debug, thiserror::Error)]
pub enum RecordError {
    #[error("it is no record: {0}")]
    Unreadable(String),
    #[error("it is signed with key {0}, which nothing introduced")]
    KeyUnknown(u32),
    #[error("it is signed with key {signed}, and key {current} was in use")]
    KeyRetired { signed: u32, current: u32 },
    #[error("its signature is not that of key {0}")]
    Signature(u32),
    #[error("it introduces key {found} where {expected} was next")]
    KeyNumber { found: u32, expected: u32 },
    #[error("the key that it introduces did not sign it")]
    Proof,
}

/// A record as it is stored and written out.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Record {
    /// The JSON of a [`Statement`], as it was signed.
    pub statement: String,
    /// Of the key that the statement names: base64 of 64 bytes.
    pub signature: String,
    /// Of the key that the statement introduces.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub proof: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Statement {
    /// Of the record: its sequence in the stream, from 1.
    pub number: u64,
    /// SHA-256 of the record before, as it is stored; of the first one 32 zero bytes.
    #[serde(with = "hex32")]
    pub previous: Digest,
    pub time: DateTime<Utc>,
    /// Number of the key that signs it.
    pub key: u32,
    #[serde(flatten)]
    pub said: Said,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Said {
    Key(Key),
    Anchor(Anchor),
    Alarm(Alarm),
}

/// From the next record on, this key signs.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Key {
    /// One more than the key before; 1 is signed by itself.
    pub introduces: u32,
    /// Base64 of 32 bytes.
    pub public_key: String,
}

/// The log up to one of its events.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Anchor {
    /// The last event of the anchor before.
    pub after: u64,
    /// The last event that this one vouches for.
    pub upto: u64,
    /// Of the log up to there.
    #[serde(with = "hex32")]
    pub hash: Digest,
    /// The first bytes of the hash of each event after `after`, one behind the other; zeros for an event that was
    /// missing already.
    #[serde(with = "base64")]
    pub marks: Vec<u8>,
    /// An event that is stored later is anchored within so many seconds.
    pub events_within_s: u64,
    /// Until then there is another anchor, with events or without.
    pub next_by: DateTime<Utc>,
    /// SHA-256, in lower-case hex, of what somebody asked to have vouched for: a bundle's manifest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub binds: Option<String>,
}

/// Something was found missing by who writes anchors.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Alarm {
    /// The first event that is not what it was.
    pub first_sequence: u64,
    pub what: String,
}

impl Record {
    /// Signs a statement with the key it names, and with the one that it introduces.
    pub fn sign(statement: &Statement, key: &SigningKey, introduced: Option<&SigningKey>) -> Self {
        let text = serde_json::to_string(statement).unwrap_or_default();
        let sign = |key: &SigningKey| BASE64.encode(&key.sign(&signed(&text)).to_bytes());
        Self { signature: sign(key), proof: introduced.map(sign), statement: text }
    }

    pub fn to_bytes(&self) -> Vec<u8> {
        serde_json::to_vec(self).unwrap_or_default()
    }

    pub fn read(bytes: &[u8]) -> Result<(Self, Statement), RecordError> {
        let unreadable = |error: serde_json::Error| RecordError::Unreadable(error.to_string());
        let record: Self = serde_json::from_slice(bytes).map_err(unreadable)?;
        let statement = serde_json::from_str(&record.statement).map_err(unreadable)?;
        Ok((record, statement))
    }

    pub fn is_signed_by(&self, key: &VerifyingKey) -> bool {
        verifies(key, &self.statement, &self.signature)
    }

    pub fn is_proven_by(&self, key: &VerifyingKey) -> bool {
        self.proof.as_ref().is_some_and(|proof| verifies(key, &self.statement, proof))
    }
}

impl Key {
    pub fn of(introduces: u32, key: &SigningKey) -> Self {
        Self { introduces, public_key: BASE64.encode(key.verifying_key().as_bytes()) }
    }

    pub fn verifying(&self) -> Option<VerifyingKey> {
        let bytes = BASE64.decode(self.public_key.as_bytes()).ok()?;
        VerifyingKey::from_bytes(bytes.as_slice().try_into().ok()?).ok()
    }
}

/// What people compare: SHA-256 of the 32 bytes of a public key, lower-case hex.
pub fn fingerprint(key: &VerifyingKey) -> String {
    HEXLOWER.encode(&sha256(key.as_bytes()))
}

/// As the log holds times: what is read back is what was written.
pub fn now() -> DateTime<Utc> {
    Utc::now().trunc_subsecs(6)
}

fn signed(statement: &str) -> Vec<u8> {
    [PURPOSE, statement.as_bytes()].concat()
}

fn verifies(key: &VerifyingKey, statement: &str, signature: &str) -> bool {
    let Ok(bytes) = BASE64.decode(signature.as_bytes()) else { return false };
    let Ok(signature) = Signature::from_slice(&bytes) else { return false };
    key.verify_strict(&signed(statement), &signature).is_ok()
}

mod hex32 {
    use data_encoding::HEXLOWER;
    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    pub fn serialize<S: Serializer>(bytes: &[u8; 32], to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(&HEXLOWER.encode(bytes))
    }

    pub fn deserialize<'d, D: Deserializer<'d>>(from: D) -> Result<[u8; 32], D::Error> {
        let text = String::deserialize(from)?;
        let bytes = HEXLOWER.decode(text.as_bytes()).map_err(Error::custom)?;
        bytes.as_slice().try_into().map_err(|_| Error::custom("a SHA-256 has 32 bytes"))
    }
}

mod base64 {
    use data_encoding::BASE64;
    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    pub fn serialize<S: Serializer>(bytes: &[u8], to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(&BASE64.encode(bytes))
    }

    pub fn deserialize<'d, D: Deserializer<'d>>(from: D) -> Result<Vec<u8>, D::Error> {
        BASE64.decode(String::deserialize(from)?.as_bytes()).map_err(Error::custom)
    }
}
