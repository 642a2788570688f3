//! Which machines are there that nobody moves into a container, how is each reached, and how did it go last?

pub mod account;
pub mod change;
pub mod facts;
pub mod host_key;
pub mod register;
pub mod remove;
pub mod test;

use std::collections::{BTreeMap, BTreeSet};

use chrono::{DateTime, Utc};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::aggregate::{Aggregate, Refusal};
pub use crate::catalogue::ServerEvent;
use crate::credential::SecretRef;
use crate::ids::{RelayId, Tag};
pub use account::{Account, AccountAction, AccountChangeAsked, AccountChangeEnded, AccountOutcome};
pub use facts::{Facts, FactsGathered};

/// How one proves who one is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(transform = crate::schema::open)]
pub enum Method {
    Password,
    PrivateKey,
    /// A certificate of minutes, of the installation's authority for servers.
    Certificate,
}

impl Method {
    pub const fn name(self) -> &'static str {
        match self {
            Self::Password => "password",
            Self::PrivateKey => "private_key",
            Self::Certificate => "certificate",
        }
    }
}

/// With what one logs in; the secret itself lies in the vault.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Credential {
    pub method: Method,
    /// Absent with certificates, which are made when they are needed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret: Option<SecretRef>,
}

/// Everything that an operator says of a server.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Settings {
    /// Chosen by a person; not unique.
    pub name: String,
    /// Name or address, as the one who connects resolves it.
    pub host: String,
    pub port: u16,
    pub username: String,
    pub credential: Credential,
    /// The network it is in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub zone: Option<Tag>,
    /// The way leads through this relay; without it, directly.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub relay: Option<RelayId>,
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub groups: BTreeSet<Tag>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<Tag, Tag>,
}

impl Settings {
    /// Whether both lead to the same machine.
    pub fn same_place(&self, other: &Self) -> bool {
        self.host == other.host && self.port == other.port && self.relay == other.relay
    }

    /// Whether what was tried with one is true of the other.
    pub fn same_login(&self, other: &Self) -> bool {
        self.same_place(other) && self.username == other.username && self.credential == other.credential
    }
}

/// The public key that a server shows.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct HostKey {
    /// OpenSSH public key line, without a comment.
    pub line: String,
    /// `SHA256:...`
    pub fingerprint: String,
}

/// A server is there from now on.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ServerRegistered {
    pub settings: Settings,
}

/// What is said of a server is this from now on: its place, its account, its zone, groups and labels.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ServerChanged {
    pub settings: Settings,
}

/// Nobody gets there any more; its credential leaves the vault.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ServerRemoved {}

/// The first key that a server showed; only this one is believed from now on.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct HostKeyPinned {
    pub host_key: HostKey,
}

/// A server showed another key than the pinned one, and was not believed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct HostKeyChangeSeen {
    /// Fingerprint of the one that is pinned.
    pub pinned: String,
    pub seen: HostKey,
}

/// An operator says that the key that was seen is the right one.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct HostKeyAccepted {
    pub host_key: HostKey,
}

/// Somebody tried whether the server can be reached and logged in to.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ConnectionTested {
    pub host: String,
    pub port: u16,
    pub username: String,
    pub ok: bool,
    /// Which way it failed: `auth_failed`, `connection_refused`, ...
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub class: Option<String>,
    /// What happened, in a sentence.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// What a person can do about it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub suggestion: Option<String>,
    /// How far it came: `network`, `identification`, `key_exchange`, `host_key`, `authentication`, `shell`.
    pub step: String,
    /// What the server says it is: `SSH-2.0-OpenSSH_9.2p1`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub identification: Option<String>,
    pub duration_ms: u64,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Stage {
    #[default]
    Absent,
    There,
    Removed,
}

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Server {
    pub stage: Stage,
    /// `None` only before it was registered.
    pub settings: Option<Settings>,
    /// Only this one is believed; `None` while none was seen.
    pub host_key: Option<HostKey>,
    /// Another one that was shown since; waits for somebody to accept it.
    pub host_key_seen: Option<HostKey>,
    /// The newest test of the settings as they are now.
    pub tested: Option<ConnectionTested>,
    /// The newest that the machine said of itself.
    pub facts: Option<Facts>,
    /// The accounts that we were asked to keep there.
    pub accounts: BTreeMap<String, Account>,
}

impl Server {
    /// What is true of a server that is there.
    pub fn there(&self) -> Option<&Settings> {
        match self.stage {
            Stage::There => self.settings.as_ref(),
            Stage::Absent | Stage::Removed => None,
        }
    }
}

impl Aggregate for Server {
    type Event = ServerEvent;

    fn evolve(&mut self, event: &ServerEvent, _: DateTime<Utc>) {
        match event {
            ServerEvent::ServerRegistered(registered) => {
                *self = Self {
                    stage: Stage::There,
                    settings: Some(registered.settings.clone()),
                    ..Self::default()
                };
            }
            ServerEvent::ServerChanged(changed) => {
                let before = self.settings.replace(changed.settings.clone());
                if before.as_ref().is_none_or(|before| !before.same_place(&changed.settings)) {
                    // another machine has another key
                    (self.host_key, self.host_key_seen, self.facts) = (None, None, None);
                    self.accounts.clear();
                }
                if before.as_ref().is_none_or(|before| !before.same_login(&changed.settings)) {
                    self.tested = None;
                }
            }
            ServerEvent::ServerRemoved(_) => self.stage = Stage::Removed,
            ServerEvent::HostKeyPinned(HostKeyPinned { host_key })
            | ServerEvent::HostKeyAccepted(HostKeyAccepted { host_key }) => {
                self.host_key = Some(host_key.clone());
                self.host_key_seen = None;
            }
            ServerEvent::HostKeyChangeSeen(seen) => self.host_key_seen = Some(seen.seen.clone()),
            ServerEvent::ConnectionTested(tested) => self.tested = Some(tested.clone()),
            ServerEvent::FactsGathered(gathered) => self.facts = Some(gathered.facts.clone()),
            ServerEvent::AccountChangeAsked(asked) => {
                self.accounts.entry(asked.account.clone()).or_default().pending = Some(asked.clone());
            }
            ServerEvent::AccountChangeEnded(ended) => {
                self.accounts.entry(ended.account.clone()).or_default().ended(ended);
            }
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ServerRefusal {
    #[error("there is no such server")]
    NotFound,
    #[error("this request registered another server already")]
    Exists,
    #[error(
        "a stored {method} is not sent to another host, port or relay: send it again together with the change"
    )]
    CredentialNeeded { method: &'static str },
    #[error("the server showed no other key than the one that is believed; test it first")]
    NoKeyToAccept,
    #[error("the key that waits to be accepted is {0}")]
    AnotherKeyWaits(String),
    #[error("the account {account} is being changed, until {until} at the latest")]
    AccountBusy { account: String, until: DateTime<Utc> },
    #[error("the account {0} was not pushed from here")]
    AccountUnknown(String),
    #[error("at most {} accounts of one server are kept from here", account::ACCOUNTS_MAX)]
    TooManyAccounts,
}

impl Refusal for ServerRefusal {
    fn code(&self) -> &'static str {
        match self {
            Self::NotFound => "not_found",
            Self::Exists => "server_exists",
            Self::CredentialNeeded { .. } => "credential_needed",
            Self::NoKeyToAccept | Self::AnotherKeyWaits(_) => "host_key_not_seen",
            Self::AccountBusy { .. } => "account_busy",
            Self::AccountUnknown(_) => "account_unknown",
            Self::TooManyAccounts => "too_many_accounts",
        }
    }
}

#[cfg(test)]
pub(crate) mod testing {
    use uuid::Uuid;

    use super::*;
    use crate::ids::ServerId;
    use crate::testing::given;

    pub fn settings() -> Settings {
        let secret = SecretRef::server_login(&ServerId::from_seed(&Uuid::nil()), Uuid::nil());
        Settings {
            name: "web one".into(),
            host: "10.0.0.1".into(),
            port: 22,
            username: "deploy".into(),
            credential: Credential { method: Method::Password, secret: Some(secret) },
            zone: None,
            relay: None,
            groups: BTreeSet::new(),
            labels: BTreeMap::new(),
        }
    }

    pub fn key(name: &str) -> HostKey {
        HostKey { line: format!("ssh-ed25519 {name}"), fingerprint: format!("SHA256:{name}") }
    }

    pub fn tested(ok: bool) -> ConnectionTested {
        let Settings { host, port, username, .. } = settings();
        ConnectionTested {
            host,
            port,
            username,
            ok,
            class: (!ok).then(|| "auth_failed".into()),
            reason: None,
            suggestion: None,
            step: "authentication".into(),
            identification: None,
            duration_ms: 7,
        }
    }

    /// A server after these events.
    pub fn server(past: Vec<ServerEvent>) -> Server {
        let registered = ServerRegistered { settings: settings() }.into();
        given(std::iter::once(registered).chain(past).map(|event| (0, event)).collect())
    }
}
