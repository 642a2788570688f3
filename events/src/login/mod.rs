//! Who got in, who did not, and which addresses are closed?

pub mod come_in;
pub mod lockout;
pub mod record;
pub mod unlock;

use std::collections::BTreeMap;
use std::net::IpAddr;

use chrono::{DateTime, Utc};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::aggregate::{Aggregate, Refusal};
pub use crate::catalogue::LoginEvent;
use crate::ids::SessionId;
use lockout::Attempts;

/// By which door.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(transform = crate::schema::open)]
pub enum Entrance {
    DirectPort,
    Gateway,
    WebTerminal,
    /// JupyterLab, through the control plane.
    Jupyter,
}

impl Entrance {
    pub const fn name(self) -> &'static str {
        match self {
            Self::DirectPort => "direct_port",
            Self::Gateway => "gateway",
            Self::WebTerminal => "web_terminal",
            Self::Jupyter => "jupyter",
        }
    }
}

/// Where a report stood in its spool, so that a repeated one is known.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct SpoolPosition {
    pub spool: String,
    /// From 1, growing.
    pub number: u64,
}

/// Somebody was let in.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct LoginSucceeded {
    pub ip: IpAddr,
    pub user: String,
    /// `password`, `publickey` or `certificate`.
    pub method: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key_fingerprint: Option<String>,
    pub entrance: Entrance,
    pub session: SessionId,
    /// When it happened; the event's time is when it was recorded.
    pub at: DateTime<Utc>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reported: Option<SpoolPosition>,
}

/// Somebody tried and was not let in.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct LoginFailed {
    pub ip: IpAddr,
    pub user: String,
    pub method: String,
    /// `wrong_password`, `unknown_user`, `account_locked`, ...
    pub class: String,
    pub entrance: Entrance,
    pub at: DateTime<Utc>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reported: Option<SpoolPosition>,
}

/// An address kept coming and was turned away at one entrance, so often that each time is not worth an
/// event: at most one a minute for an address and a process. Counts for nothing.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct LoginsRefused {
    /// An IPv4 address, or the /64 of an IPv6 address.
    pub ip: IpAddr,
    pub entrance: Entrance,
    pub count: u64,
    /// The first of them.
    pub from: DateTime<Utc>,
    /// The last of them.
    pub to: DateTime<Utc>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reported: Option<SpoolPosition>,
}

/// After too many failures every entrance is closed to an address.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct LoginLocked {
    pub ip: IpAddr,
    pub until: DateTime<Utc>,
}

/// An operator opened the entrances again.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct LoginUnlocked {
    /// `None` means every address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ip: Option<IpAddr>,
}

/// The logins of one environment.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Login {
    pub attempts: Attempts,
    /// Address (as [`lockout::source_of`] sees it) to the end of its lock.
    pub locks: BTreeMap<IpAddr, DateTime<Utc>>,
    /// When an address was unlocked; all of them with `None`.
    pub unlocked: BTreeMap<Option<IpAddr>, DateTime<Utc>>,
    /// The newest number recorded, per spool.
    pub recorded: BTreeMap<String, u64>,
}

impl Login {
    fn note(&mut self, reported: Option<&SpoolPosition>) {
        if let Some(position) = reported {
            self.recorded.insert(position.spool.clone(), position.number);
        }
    }
}

impl Aggregate for Login {
    type Event = LoginEvent;

    fn evolve(&mut self, event: &LoginEvent, at: DateTime<Utc>) {
        match event {
            LoginEvent::LoginSucceeded(login) => self.note(login.reported.as_ref()),
            LoginEvent::LoginFailed(login) => {
                self.note(login.reported.as_ref());
                if lockout::counts(&login.class) {
                    self.attempts.failed(login.ip, login.at);
                }
            }
            LoginEvent::LoginsRefused(refused) => self.note(refused.reported.as_ref()),
            LoginEvent::LoginLocked(locked) => {
                self.locks.retain(|_, until| *until > at);
                self.locks.insert(lockout::source_of(locked.ip), locked.until);
            }
            LoginEvent::LoginUnlocked(unlocked) => {
                let source = unlocked.ip.map(lockout::source_of);
                self.attempts.forgive(unlocked.ip);
                match source {
                    Some(ip) => {
                        self.locks.remove(&ip);
                    }
                    None => self.locks.clear(),
                }
                let window = self.attempts.policy().window();
                self.unlocked.retain(|_, since| at - *since < window);
                self.unlocked.insert(source, at);
            }
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LoginRefusal {
    #[error("no address is locked out")]
    NotLocked,
}

impl Refusal for LoginRefusal {
    fn code(&self) -> &'static str {
        match self {
            Self::NotLocked => "not_locked",
        }
    }
}
