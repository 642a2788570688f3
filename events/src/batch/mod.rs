//! What was to be run on which servers, by whom, and was it called off?

pub mod cancel;
pub mod request;
pub mod stop;

use chrono::{DateTime, Utc};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::aggregate::{Aggregate, Refusal};
pub use crate::catalogue::BatchEvent;
use crate::ids::{ServerId, UserName};

/// Somebody wants one command run on these servers; each gets a command of its own, named by batch and server.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct BatchRequested {
    /// Given to the account's shell.
    pub command: String,
    pub servers: Vec<ServerId>,
    /// From the moment it is sent; also the longest that a server waits for a relay.
    pub timeout_ms: u64,
    /// Running it twice does no harm: it may be given to another relay when one is lost.
    pub idempotent: bool,
    /// Servers of the batch at once.
    pub concurrency: u32,
    /// When so many of its commands went wrong, no more are begun; `None`: all are.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stop_after_failures: Option<u32>,
    /// In whose name.
    pub by: UserName,
    /// When it was asked for; part of the commands' names.
    pub at: DateTime<Utc>,
}

impl BatchRequested {
    /// Whether so many failures are as many as it bears.
    pub fn is_over_at(&self, failures: u32) -> bool {
        self.stop_after_failures.is_some_and(|most| failures >= most)
    }
}

/// Too much of the batch went wrong: nothing of it is begun any more. What runs goes on.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct BatchStopped {
    /// Commands that ended otherwise than with exit code 0 by then.
    pub failures: u32,
}

/// Nothing of the batch is begun any more, and nothing that runs is waited for.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct BatchCancelled {}

#[derive(Debug, Clone, Default, PartialEq)]
pub struct Batch {
    pub requested: Option<BatchRequested>,
    pub cancelled: bool,
    pub stopped: bool,
}

impl Aggregate for Batch {
    type Event = BatchEvent;

    fn evolve(&mut self, event: &BatchEvent, _: DateTime<Utc>) {
        match event {
            BatchEvent::BatchRequested(requested) => self.requested = Some(requested.clone()),
            BatchEvent::BatchCancelled(_) => self.cancelled = true,
            BatchEvent::BatchStopped(_) => self.stopped = true,
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BatchRefusal {
    #[error("there is no such batch")]
    NotFound,
}

impl Refusal for BatchRefusal {
    fn code(&self) -> &'static str {
        match self {
            Self::NotFound => "not_found",
        }
    }
}

#[cfg(test)]
mod testing {
    use super::BatchRequested;
    use crate::ids::UserName;
    use crate::testing::t;

    pub fn asked(stop_after_failures: Option<u32>) -> BatchRequested {
        BatchRequested {
            command: "uptime".into(),
            servers: vec![],
            timeout_ms: 1,
            idempotent: false,
            concurrency: 1,
            stop_after_failures,
            by: UserName::parse("alice").unwrap(),
            at: t(0),
        }
    }
}
