//! What was to be run on which servers, by whom, did a second person have to say so, and was it called off?

pub mod approve;
pub mod cancel;
pub mod expire;
pub mod reject;
pub mod request;
pub mod stop;

use std::collections::BTreeSet;

use chrono::{DateTime, Utc};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::access::pattern::Pattern;
use crate::aggregate::{Aggregate, Refusal};
pub use crate::catalogue::BatchEvent;
use crate::ids::{ServerId, UserName};
use crate::user::Role;

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
    /// Nothing of it is begun before a second person says so; `None`: it is begun at once. One that waits is of
    /// version 2, so that a hub which knows no approval cannot read it, and begins nothing of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub approval: Option<ApprovalAsked>,
    /// In whose name.
    pub by: UserName,
    /// When it was asked for; part of the commands' names.
    pub at: DateTime<Utc>,
}

/// What a batch waits for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ApprovalAsked {
    /// Nobody approves of it at this instant or later.
    pub until: DateTime<Utc>,
    /// The role of who asked; what they may is looked at once more when somebody approves.
    pub role: Role,
    /// By which it is dangerous.
    pub patterns: BTreeSet<Pattern>,
}

impl BatchRequested {
    /// Nobody has to say so first.
    pub const fn begins_at_once(&self) -> bool {
        self.approval.is_none()
    }

    /// Whether so many failures are as many as it bears.
    pub fn is_over_at(&self, failures: u32) -> bool {
        self.stop_after_failures.is_some_and(|most| failures >= most)
    }
}

/// A second person lets a batch that waits begin.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct BatchApproved {
    /// In whose name.
    pub by: UserName,
    /// From then on its commands wait for their turn.
    pub at: DateTime<Utc>,
}

/// A second person wants that a batch that waits is never begun.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct BatchRejected {
    /// In whose name.
    pub by: UserName,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// Nobody approved of a batch in time: it is never begun.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct BatchExpired {}

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
    /// What became of its waiting for a second person.
    pub answer: Option<Answer>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answer {
    Approved,
    Rejected,
    Expired,
}

impl Answer {
    pub const fn name(self) -> &'static str {
        match self {
            Self::Approved => "approved",
            Self::Rejected => "rejected",
            Self::Expired => "expired",
        }
    }
}

impl Batch {
    /// What it waits for, as long as it does.
    pub fn waits_for(&self) -> Option<&ApprovalAsked> {
        let asked = self.requested.as_ref()?.approval.as_ref()?;
        (self.answer.is_none() && !self.cancelled).then_some(asked)
    }

    /// A second person is asked: what they would answer for, unless it has an answer.
    fn asked_of(&self, by: &UserName) -> Result<&ApprovalAsked, BatchRefusal> {
        let requested = self.requested.as_ref().ok_or(BatchRefusal::NotFound)?;
        if requested.by == *by {
            return Err(BatchRefusal::OwnRequest);
        }
        self.waits_for().ok_or(BatchRefusal::NotAwaiting(match self.answer {
            Some(answer) => answer.name(),
            None if self.cancelled => "cancelled",
            None => "begun without",
        }))
    }
}

impl Aggregate for Batch {
    type Event = BatchEvent;

    fn evolve(&mut self, event: &BatchEvent, _: DateTime<Utc>) {
        match event {
            BatchEvent::BatchRequested(requested) => self.requested = Some(requested.clone()),
            BatchEvent::BatchCancelled(_) => self.cancelled = true,
            BatchEvent::BatchStopped(_) => self.stopped = true,
            BatchEvent::BatchApproved(_) => self.answer = Some(Answer::Approved),
            BatchEvent::BatchRejected(_) => self.answer = Some(Answer::Rejected),
            BatchEvent::BatchExpired(_) => self.answer = Some(Answer::Expired),
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BatchRefusal {
    #[error("there is no such batch")]
    NotFound,
    #[error("you asked for it yourself: somebody else has to answer; you may call it off")]
    OwnRequest,
    #[error("it does not wait for an approval: it was {0}")]
    NotAwaiting(&'static str),
}

impl Refusal for BatchRefusal {
    fn code(&self) -> &'static str {
        match self {
            Self::NotFound => "not_found",
            Self::OwnRequest => "own_request",
            Self::NotAwaiting(_) => "not_awaiting",
        }
    }
}

#[cfg(test)]
mod testing {
    use super::{ApprovalAsked, Batch, BatchEvent, BatchRequested};
    use crate::access::pattern::Pattern;
    use crate::ids::UserName;
    use crate::testing::{given, t};
    use crate::user::Role;

    pub fn asked(stop_after_failures: Option<u32>) -> BatchRequested {
        BatchRequested {
            command: "uptime".into(),
            servers: vec![],
            timeout_ms: 1,
            idempotent: false,
            concurrency: 1,
            stop_after_failures,
            approval: None,
            by: user("alice"),
            at: t(0),
        }
    }

    pub fn user(name: &str) -> UserName {
        UserName::parse(name).unwrap()
    }

    /// Asked for by alice; until 100 it waits for a second person.
    pub fn waiting(past: Vec<BatchEvent>) -> Batch {
        let patterns = [Pattern::parse("*reboot*").unwrap()].into();
        let approval = Some(ApprovalAsked { until: t(100), role: Role::Developer, patterns });
        let begun = BatchRequested { approval, ..asked(None) };
        given(std::iter::once(begun.into()).chain(past).map(|event| (0, event)).collect())
    }
}
