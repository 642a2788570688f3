//! What becomes of one command on one server? Given away after it is on record, and ended by exactly one outcome.

pub mod answer;
pub mod cancel;
pub mod choose;
pub mod dispatch;
pub mod fail;
pub mod lose;
pub mod output;
pub mod request;
pub mod time_out;

use chrono::{DateTime, Utc};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::aggregate::{Aggregate, Refusal};
pub use crate::catalogue::CommandEvent;
use crate::ids::{BatchId, HubId, RelayId, ServerId};
pub use output::Output;

/// By which way a command goes.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Via {
    /// Over this relay's connection of this epoch.
    Relay { relay: RelayId, epoch: u64 },
    /// By SSH from this hub.
    Direct { hub: HubId },
}

impl Via {
    /// Whether what comes from `other` may answer what went by this way: the same hub, or the same relay on
    /// this connection or a later one.
    fn is_answered_by(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Relay { relay, epoch }, Self::Relay { relay: other, epoch: later }) => {
                relay == other && later >= epoch
            }
            (Self::Direct { hub }, Self::Direct { hub: other }) => hub == other,
            (Self::Relay { .. }, Self::Direct { .. }) | (Self::Direct { .. }, Self::Relay { .. }) => false,
        }
    }
}

/// Where a command ended up, or was when it ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum CommandPhase {
    /// Nothing was sent.
    Queued,
    /// It may have run, or be running.
    Dispatched,
}

/// A command waits for its turn.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct CommandRequested {
    pub batch: BatchId,
    pub server: ServerId,
    pub timeout_ms: u64,
    pub idempotent: bool,
    /// It is not begun at this instant or later.
    pub start_by: DateTime<Utc>,
}

/// A command is about to be sent: on record before it is.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct CommandDispatched {
    pub via: Via,
    /// The machine that is meant; nothing is sent if the server leads elsewhere by then.
    pub host: String,
    pub port: u16,
    pub username: String,
    /// Counted from 1.
    pub attempt: u32,
    /// Its time is over at this instant, whatever a relay does.
    pub deadline: DateTime<Utc>,
}

/// A command ran to its end.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct CommandCompleted {
    /// As a shell says it: 128 and the signal's number when a signal ended it.
    pub exit_code: i32,
    #[serde(default, skip_serializing_if = "Output::is_empty")]
    pub stdout: Output,
    #[serde(default, skip_serializing_if = "Output::is_empty")]
    pub stderr: Output,
}

/// A command did not run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct CommandFailed {
    /// Which way: `auth_failed`, `relay_unavailable`, ...
    pub class: String,
    pub reason: String,
    /// What a person can do about it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub suggestion: Option<String>,
}

/// A command's time is over; it may still be running there.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct CommandTimedOut {
    pub phase: CommandPhase,
}

/// Nobody knows whether a command ran: whoever had it is gone.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct CommandLost {
    /// What is known.
    pub reason: String,
}

/// A command was called off.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct CommandCancelled {
    pub phase: CommandPhase,
}

/// A result came after the outcome, or of an attempt that was given up; the outcome stays.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct CommandAnsweredLate {
    pub via: Via,
    pub exit_code: i32,
    #[serde(default, skip_serializing_if = "Output::is_empty")]
    pub stdout: Output,
    #[serde(default, skip_serializing_if = "Output::is_empty")]
    pub stderr: Output,
}

/// The one outcome.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    Completed,
    Failed,
    TimedOut,
    Lost,
    Cancelled,
}

impl Outcome {
    pub const fn name(self) -> &'static str {
        match self {
            Self::Completed => "completed",
            Self::Failed => "failed",
            Self::TimedOut => "timed_out",
            Self::Lost => "lost",
            Self::Cancelled => "cancelled",
        }
    }
}

impl CommandEvent {
    /// The outcome that it is, if it is one.
    pub const fn outcome(&self) -> Option<Outcome> {
        Some(match self {
            Self::CommandCompleted(_) => Outcome::Completed,
            Self::CommandFailed(_) => Outcome::Failed,
            Self::CommandTimedOut(_) => Outcome::TimedOut,
            Self::CommandLost(_) => Outcome::Lost,
            Self::CommandCancelled(_) => Outcome::Cancelled,
            Self::CommandRequested(_) | Self::CommandDispatched(_) | Self::CommandAnsweredLate(_) => {
                return None;
            }
        })
    }
}

#[derive(Debug, Clone, Default, PartialEq)]
pub enum Stage {
    #[default]
    Absent,
    Queued,
    /// Given away by the newest of `attempts`, until then.
    Dispatched {
        deadline: DateTime<Utc>,
    },
    Ended(Outcome),
}

#[derive(Debug, Clone, Default, PartialEq)]
pub struct Command {
    pub asked: Option<CommandRequested>,
    pub stage: Stage,
    /// Every way by which it went, the newest last; at most [`dispatch::ATTEMPTS_MAX`].
    pub attempts: Vec<Via>,
    /// Whose answer was the outcome.
    pub answered: Option<Via>,
    /// A late answer is on record.
    pub late: bool,
}

impl Command {
    pub fn outcome(&self) -> Option<Outcome> {
        match self.stage {
            Stage::Ended(outcome) => Some(outcome),
            Stage::Absent | Stage::Queued | Stage::Dispatched { .. } => None,
        }
    }

    fn idempotent(&self) -> bool {
        self.asked.as_ref().is_some_and(|asked| asked.idempotent)
    }

    fn phase(&self) -> Option<CommandPhase> {
        match self.stage {
            Stage::Queued => Some(CommandPhase::Queued),
            Stage::Dispatched { .. } => Some(CommandPhase::Dispatched),
            Stage::Absent | Stage::Ended(_) => None,
        }
    }

    /// Whether what comes by this way may be its answer, late or not.
    pub fn was_sent_to(&self, via: &Via) -> bool {
        self.attempts.iter().any(|sent| sent.is_answered_by(via))
    }

    /// It is with whom speaks by this way.
    fn is_with(&self, via: &Via) -> bool {
        let theirs = self.attempts.last().is_some_and(|sent| sent.is_answered_by(via));
        theirs && matches!(self.stage, Stage::Dispatched { .. })
    }
}

impl Aggregate for Command {
    type Event = CommandEvent;

    fn evolve(&mut self, event: &CommandEvent, _: DateTime<Utc>) {
        match event {
            CommandEvent::CommandRequested(asked) => {
                *self = Self { asked: Some(asked.clone()), stage: Stage::Queued, ..Self::default() };
            }
            CommandEvent::CommandDispatched(dispatched) => {
                self.attempts.push(dispatched.via.clone());
                self.stage = Stage::Dispatched { deadline: dispatched.deadline };
            }
            CommandEvent::CommandAnsweredLate(_) => self.late = true,
            CommandEvent::CommandCompleted(_) => self.answered = self.attempts.last().cloned(),
            CommandEvent::CommandFailed(_)
            | CommandEvent::CommandTimedOut(_)
            | CommandEvent::CommandLost(_)
            | CommandEvent::CommandCancelled(_) => {}
        }
        if let Some(outcome) = event.outcome() {
            self.stage = Stage::Ended(outcome);
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CommandRefusal {
    #[error("there is no such command")]
    NotFound,
    #[error("it was given away before, and running it twice may do harm")]
    DispatchedBefore,
    #[error("it was given away {} times", dispatch::ATTEMPTS_MAX)]
    TooManyAttempts,
    #[error("it has ended: {}", .0.name())]
    Ended(Outcome),
    #[error("this command was never sent to you")]
    NotYours,
}

impl Refusal for CommandRefusal {
    fn code(&self) -> &'static str {
        match self {
            Self::NotFound => "not_found",
            Self::DispatchedBefore => "dispatched_before",
            Self::TooManyAttempts => "too_many_attempts",
            Self::Ended(_) => "command_ended",
            Self::NotYours => "not_yours",
        }
    }
}

#[cfg(test)]
pub(crate) mod testing {
    use uuid::Uuid;

    use super::*;
    use crate::testing::{given, t};

    pub fn relay(number: u128, epoch: u64) -> Via {
        Via::Relay { relay: RelayId::from_seed(&Uuid::from_u128(number)), epoch }
    }

    pub fn asked(idempotent: bool) -> CommandRequested {
        CommandRequested {
            batch: BatchId::from_seed(&Uuid::nil()),
            server: ServerId::from_seed(&Uuid::nil()),
            timeout_ms: 10_000,
            idempotent,
            start_by: t(100),
        }
    }

    pub fn place() -> dispatch::Place {
        dispatch::Place { host: "10.0.0.1".into(), port: 22, username: "deploy".into() }
    }

    pub fn dispatched(via: Via, attempt: u32) -> CommandEvent {
        let dispatch::Place { host, port, username } = place();
        CommandDispatched { via, host, port, username, attempt, deadline: t(20) }.into()
    }

    pub fn completed() -> CommandCompleted {
        CommandCompleted { exit_code: 0, stdout: Output::of(b"ok\n", 3), stderr: Output::default() }
    }

    /// A command after these events.
    pub fn command(idempotent: bool, past: Vec<CommandEvent>) -> Command {
        given(std::iter::once(asked(idempotent).into()).chain(past).map(|event| (0, event)).collect())
    }
}
