//! Which request does an idempotency key stand for?

pub mod accept;

use chrono::{DateTime, Utc};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::aggregate::{Aggregate, Refusal};
pub use crate::catalogue::RequestEvent;

/// A key stands for one request for ever; the request is carried out under ids derived from it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct RequestAccepted {
    /// SHA-256 of method, path and body, hexadecimal.
    pub fingerprint: String,
}

#[derive(Debug, Clone, Default, PartialEq)]
pub struct Request {
    pub accepted: Option<RequestAccepted>,
}

impl Aggregate for Request {
    type Event = RequestEvent;

    fn evolve(&mut self, event: &RequestEvent, _: DateTime<Utc>) {
        match event {
            RequestEvent::RequestAccepted(accepted) => self.accepted = Some(accepted.clone()),
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RequestRefusal {
    #[error("this Idempotency-Key was used for another request; use a new key for a new request")]
    KeyReused,
}

impl Refusal for RequestRefusal {
    fn code(&self) -> &'static str {
        match self {
            Self::KeyReused => "idempotency_key_reused",
        }
    }
}
