//! What is to be run when, in whose name, and what became of the times that were due?
//!
//! The schedule's own history decides which time is begun: `ScheduleFired` comes first, under the guard of its
//! subject, and holds all that the batch needs. The batch follows and can be asked for again and again.

pub mod cron;
pub mod due;
pub mod fire;
pub mod pause;
pub mod remove;
pub mod set;
pub mod skip;
pub mod when;

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::aggregate::{Aggregate, Refusal};
use crate::batch::{ApprovalAsked, BatchRequested};
pub use crate::catalogue::ScheduleEvent;
use crate::ids::{BatchId, ServerId, Tag, UserName};

/// Somebody wants a command run at a time, or again and again; when it is changed it is said again, whole.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ScheduleSet {
    pub name: String,
    pub run: Run,
    pub when: When,
    /// What is later than that is not begun any more, in seconds.
    pub late_s_max: u64,
    /// In whose name.
    pub by: UserName,
    /// By whose rights, as they are when it is due: `user:<name>` or `token:<id>`.
    pub actor: String,
    /// Times up to then do not count.
    pub since: DateTime<Utc>,
}

/// What is run each time.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Run {
    /// Given to the account's shell.
    pub command: String,
    pub which: Which,
    pub timeout_ms: u64,
    pub idempotent: bool,
    pub concurrency: u32,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stop_after_failures: Option<u32>,
}

/// On which servers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Which {
    /// Those of them that are there.
    Servers(Vec<ServerId>),
    /// Those that fit when it is due.
    Selector(Selector),
}

/// All that is said must fit.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Selector {
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<Tag, Tag>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub zone: Option<Tag>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub group: Option<Tag>,
}

/// When it is due.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum When {
    /// Once.
    At(DateTime<Utc>),
    /// Whenever the clocks of a time zone show what the five fields say.
    Cron {
        fields: String,
        /// IANA name.
        time_zone: String,
    },
}

/// Nothing of the schedule is begun until it is resumed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct SchedulePaused {}

/// The schedule counts again, from then on.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ScheduleResumed {
    /// Times up to then do not count.
    pub since: DateTime<Utc>,
}

/// The schedule is gone; what it began goes on.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ScheduleRemoved {}

/// A due time is begun: its batch follows, by whichever process, once.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ScheduleFired {
    pub due_at: DateTime<Utc>,
    /// Derived from the schedule and `due_at`.
    pub batch_id: BatchId,
    /// On which the person might run commands at that moment.
    pub servers: Vec<ServerId>,
    /// Servers that were named and are gone, or on which the person may run nothing any more.
    #[serde(default)]
    pub left_out: u32,
    /// A second person has to approve of it first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub approval: Option<ApprovalAsked>,
    /// When that was decided; part of the commands' names.
    pub at: DateTime<Utc>,
}

/// Due times that are not begun.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ScheduleSkipped {
    /// The first of them.
    pub first: DateTime<Utc>,
    /// The last of them.
    pub last: DateTime<Utc>,
    pub count: u32,
    pub why: Why,
    /// The same for people, where there is more to say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// When that was decided.
    pub at: DateTime<Utc>,
}

/// Why a due time is not begun.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(transform = crate::schema::open)]
pub enum Why {
    /// Nobody looked in time.
    Missed,
    /// What was begun before has not ended.
    StillRunning,
    /// Whoever set it may do nothing any more.
    NotAllowed,
    /// No server is left on which they may run commands.
    NoServers,
}

impl Why {
    pub const ALL: [Self; 4] = [Self::Missed, Self::StillRunning, Self::NotAllowed, Self::NoServers];

    pub const fn name(self) -> &'static str {
        match self {
            Self::Missed => "missed",
            Self::StillRunning => "still_running",
            Self::NotAllowed => "not_allowed",
            Self::NoServers => "no_servers",
        }
    }
}

/// What began last.
#[derive(Debug, Clone, PartialEq)]
pub struct Begun {
    pub due_at: DateTime<Utc>,
    pub batch_id: BatchId,
    /// What the batch's first event says.
    pub requested: BatchRequested,
}

#[derive(Debug, Clone, Default, PartialEq)]
pub struct Schedule {
    pub set: Option<ScheduleSet>,
    pub paused: bool,
    pub removed: bool,
    /// Every time up to then is on record, or does not count.
    pub covered: DateTime<Utc>,
    pub newest: Option<Begun>,
}

impl Schedule {
    /// What is set, if it is not removed.
    pub fn there(&self) -> Option<&ScheduleSet> {
        self.set.as_ref().filter(|_| !self.removed)
    }
}

impl Aggregate for Schedule {
    type Event = ScheduleEvent;

    fn evolve(&mut self, event: &ScheduleEvent, _: DateTime<Utc>) {
        match event {
            ScheduleEvent::ScheduleSet(set) => {
                self.covered = self.covered.max(set.since);
                self.set = Some(set.clone());
            }
            ScheduleEvent::SchedulePaused(_) => self.paused = true,
            ScheduleEvent::ScheduleResumed(resumed) => {
                self.paused = false;
                self.covered = self.covered.max(resumed.since);
            }
            ScheduleEvent::ScheduleRemoved(_) => self.removed = true,
            ScheduleEvent::ScheduleFired(fired) => {
                self.covered = self.covered.max(fired.due_at);
                self.newest = self.set.as_ref().map(|set| begun(set, fired));
            }
            ScheduleEvent::ScheduleSkipped(skipped) => self.covered = self.covered.max(skipped.last),
        }
    }
}

/// As it was set at that moment: a later change changes nothing of it.
fn begun(set: &ScheduleSet, fired: &ScheduleFired) -> Begun {
    let Run { command, timeout_ms, idempotent, concurrency, stop_after_failures, .. } = set.run.clone();
    Begun {
        due_at: fired.due_at,
        batch_id: fired.batch_id.clone(),
        requested: BatchRequested {
            command,
            servers: fired.servers.clone(),
            timeout_ms,
            idempotent,
            concurrency,
            stop_after_failures,
            approval: fired.approval.clone(),
            by: set.by.clone(),
            at: fired.at,
        },
    }
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ScheduleRefusal {
    #[error("there is no such schedule")]
    NotFound,
    #[error("it runs in the name of {0}, who alone may change it; it can be paused and removed")]
    NotYours(UserName),
}

impl Refusal for ScheduleRefusal {
    fn code(&self) -> &'static str {
        match self {
            Self::NotFound => "not_found",
            Self::NotYours(_) => "forbidden",
        }
    }
}

#[cfg(test)]
mod testing {
    use chrono::{DateTime, Utc};

    use super::{Run, ScheduleFired, ScheduleSet, When, Which};
    use crate::ids::{BatchId, UserName};
    use crate::testing::t;

    /// Set at `t(0)`.
    pub fn set(when: When) -> ScheduleSet {
        ScheduleSet {
            name: "nightly".into(),
            run: Run {
                command: "uptime".into(),
                which: Which::Servers(vec![]),
                timeout_ms: 1_000,
                idempotent: false,
                concurrency: 1,
                stop_after_failures: None,
            },
            when,
            late_s_max: 600,
            by: UserName::parse("alice").unwrap(),
            actor: "user:alice".into(),
            since: t(0),
        }
    }

    pub fn cron(fields: &str) -> When {
        When::Cron { fields: fields.into(), time_zone: "UTC".into() }
    }

    pub fn fired(due_at: DateTime<Utc>, at: DateTime<Utc>) -> ScheduleFired {
        let batch_id = BatchId::from_seed(&uuid::Uuid::nil());
        ScheduleFired { due_at, batch_id, servers: vec![], left_out: 0, approval: None, at }
    }
}
