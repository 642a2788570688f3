//! What came out of a check? Three verdicts, each with the first sequence where it fails.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

/// Whether something holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    Holds,
    Fails,
    /// It could not be looked at.
    Unknown,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Verdict {
    pub ok: bool,
    pub verdict: Outcome,
    /// The first event for which it does not hold.
    pub first_sequence: Option<u64>,
    /// What differs there, or why nothing is known.
    pub what: Option<String>,
}

impl Verdict {
    pub fn holds() -> Self {
        Self { ok: true, verdict: Outcome::Holds, first_sequence: None, what: None }
    }

    pub fn fails(sequence: u64, what: impl Into<String>) -> Self {
        let (first_sequence, what) = (Some(sequence), Some(what.into()));
        Self { ok: false, verdict: Outcome::Fails, first_sequence, what }
    }

    pub fn unknown(why: impl Into<String>) -> Self {
        Self { ok: false, verdict: Outcome::Unknown, first_sequence: None, what: Some(why.into()) }
    }

    /// Fails at the earliest of what was found; of several there the first that was found.
    pub fn fails_also(&mut self, sequence: u64, what: impl FnOnce() -> String) {
        if self.first_sequence.is_none_or(|first| sequence < first) {
            *self = Self::fails(sequence, what());
        }
    }
}

/// A row that is not what the log says.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Difference {
    pub projection: String,
    pub table: String,
    /// The newest event that the row stands for.
    pub sequence: u64,
    /// The row as it is; absent when there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub live: Option<serde_json::Value>,
    /// The row as the log gives it; absent when it gives none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub log: Option<serde_json::Value>,
}

/// Whether the read models are what the log gives.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Fidelity {
    #[serde(flatten)]
    pub verdict: Verdict,
    /// The event up to which they were compared.
    pub position: u64,
    /// Those that were compared.
    pub projections: Vec<String>,
    /// At most a hundred of each table and side.
    pub differences: Vec<Difference>,
}

impl Fidelity {
    pub fn unknown(why: impl Into<String>) -> Self {
        let verdict = Verdict::unknown(why);
        Self { verdict, position: 0, projections: Vec::new(), differences: Vec::new() }
    }
}

/// A key that signed, and when.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct KeyShown {
    pub key: u32,
    /// Base64 of 32 bytes.
    pub public_key: String,
    /// SHA-256 of those bytes, hex.
    pub fingerprint: String,
    pub from: DateTime<Utc>,
    /// Its successor was introduced then.
    pub until: Option<DateTime<Utc>>,
}

/// What was looked at, and what came out.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Report {
    /// All three hold.
    pub ok: bool,
    pub first_sequence: u64,
    pub last_sequence: u64,
    pub events: u64,
    pub records: u64,
    /// The last event that an anchor vouches for, and when that was signed.
    pub anchored_upto: u64,
    pub anchored_at: Option<DateTime<Utc>>,
    pub integrity: Verdict,
    pub completeness: Verdict,
    pub fidelity: Fidelity,
    pub keys: Vec<KeyShown>,
}
