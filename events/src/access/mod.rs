//! Who may do what on which servers of a tenant, and which groups of people are there?

pub mod may;
pub mod may_run;
pub mod pattern;
pub mod set_grants;
pub mod set_people;

use std::collections::{BTreeMap, BTreeSet};

use chrono::{DateTime, Utc};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::aggregate::{Aggregate, Refusal};
pub use crate::catalogue::AccessEvent;
use crate::ids::{ServerId, Tag, UserName};
use crate::user::Role;
use pattern::Pattern;

/// What one may do on a server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(transform = crate::schema::open)]
pub enum Right {
    /// Open a terminal.
    Terminal,
    /// Run commands.
    Command,
    /// See facts of the machine.
    Facts,
}

impl Right {
    pub const ALL: [Self; 3] = [Self::Terminal, Self::Command, Self::Facts];

    pub const fn name(self) -> &'static str {
        match self {
            Self::Terminal => "terminal",
            Self::Command => "command",
            Self::Facts => "facts",
        }
    }
}

/// To whom something is granted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Grantee {
    User(UserName),
    Role(Role),
    /// A group of people of the tenant.
    Group(Tag),
}

/// On which servers.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Scope {
    Server(ServerId),
    Zone(Tag),
    /// A group of servers.
    Group(Tag),
    Label {
        key: Tag,
        value: Tag,
    },
}

/// What a grant says of commands; each list has at most [`set_grants::PATTERNS_MAX`] patterns.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Commands {
    /// Only what fits one of these is let through; without any, everything is.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub allow: BTreeSet<Pattern>,
    /// What fits one of these is refused, whatever other grants say.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub deny: BTreeSet<Pattern>,
    /// What fits one of these is run when a second person approves of it.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub dangerous: BTreeSet<Pattern>,
}

impl Commands {
    pub fn is_empty(&self) -> bool {
        self.lists().iter().all(|list| list.is_empty())
    }

    pub(crate) fn lists(&self) -> [&BTreeSet<Pattern>; 3] {
        [&self.allow, &self.deny, &self.dangerous]
    }
}

/// Somebody may do something, from then until then.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Grant {
    pub to: Grantee,
    pub may: BTreeSet<Right>,
    /// What it says of commands, beside the right to run them.
    #[serde(default, skip_serializing_if = "Commands::is_empty")]
    pub commands: Commands,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<DateTime<Utc>>,
    /// Not at this instant any more.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<DateTime<Utc>>,
}

/// Who may do what on these servers is this from now on, and nothing else.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct GrantsSet {
    pub servers: Scope,
    pub grants: Vec<Grant>,
}

/// A group of people has these members from now on; without members there is no such group.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct PeopleGroupSet {
    pub group: Tag,
    pub members: BTreeSet<UserName>,
}

/// All grants and groups of a tenant.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Access {
    pub grants: BTreeMap<Scope, Vec<Grant>>,
    pub groups: BTreeMap<Tag, BTreeSet<UserName>>,
}

impl Aggregate for Access {
    type Event = AccessEvent;

    fn evolve(&mut self, event: &AccessEvent, _: DateTime<Utc>) {
        match event {
            AccessEvent::GrantsSet(set) if set.grants.is_empty() => {
                self.grants.remove(&set.servers);
            }
            AccessEvent::GrantsSet(set) => {
                self.grants.insert(set.servers.clone(), set.grants.clone());
            }
            AccessEvent::PeopleGroupSet(set) if set.members.is_empty() => {
                self.groups.remove(&set.group);
            }
            AccessEvent::PeopleGroupSet(set) => {
                self.groups.insert(set.group.clone(), set.members.clone());
            }
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AccessRefusal {
    #[error("at most {} grants at one place; use a group of people", set_grants::GRANTS_MAX)]
    TooManyGrants,
    #[error("at most {} places with grants; use a label, a group or a zone", set_grants::SCOPES_MAX)]
    TooManyScopes,
    #[error(
        "at most {} patterns in a list, and {} at one place",
        set_grants::PATTERNS_MAX,
        set_grants::PATTERNS_OF_PLACE_MAX
    )]
    TooManyPatterns,
    #[error("a group has at most {} members", set_people::MEMBERS_MAX)]
    TooManyMembers,
    #[error("a tenant has at most {} groups of people", set_people::GROUPS_MAX)]
    TooManyGroups,
}

impl Refusal for AccessRefusal {
    fn code(&self) -> &'static str {
        match self {
            Self::TooManyGrants | Self::TooManyScopes => "too_many_grants",
            Self::TooManyPatterns => "too_many_patterns",
            Self::TooManyMembers | Self::TooManyGroups => "too_many_members",
        }
    }
}
