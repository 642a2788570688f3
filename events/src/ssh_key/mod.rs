//! Which public keys does a person have?

pub mod add;
pub mod remove;

use chrono::{DateTime, Utc};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::aggregate::{Aggregate, Refusal};
pub use crate::catalogue::SshKeyEvent;
use crate::ids::UserName;

/// A key opens all environments of its owner.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct SshKeyAdded {
    pub owner: UserName,
    /// Chosen by the person.
    pub name: String,
    /// OpenSSH public key line.
    pub public_key: String,
    /// `SHA256:...`
    pub fingerprint: String,
}

/// The key opens nothing any more.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct SshKeyRemoved {
    pub owner: UserName,
}

#[derive(Debug, Clone, Default, PartialEq)]
pub struct SshKey {
    /// `None` while it opens nothing.
    pub added: Option<SshKeyAdded>,
    /// It was removed, and nobody added it since.
    pub removed: bool,
}

impl Aggregate for SshKey {
    type Event = SshKeyEvent;

    fn evolve(&mut self, event: &SshKeyEvent, _: DateTime<Utc>) {
        match event {
            SshKeyEvent::SshKeyAdded(added) => {
                self.added = Some(added.clone());
                self.removed = false;
            }
            SshKeyEvent::SshKeyRemoved(_) => {
                self.added = None;
                self.removed = true;
            }
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SshKeyRefusal {
    #[error("there is no such key")]
    NotFound,
    #[error("this key is there already under the name {0:?}")]
    Exists(String),
}

impl Refusal for SshKeyRefusal {
    fn code(&self) -> &'static str {
        match self {
            Self::NotFound => "not_found",
            Self::Exists(_) => "ssh_key_exists",
        }
    }
}
