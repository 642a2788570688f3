//! Who was connected, from when to when, and how much went through?

pub mod close;
pub mod open;

use std::net::IpAddr;

use chrono::{DateTime, Utc};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::aggregate::{Aggregate, Refusal};
pub use crate::catalogue::SessionEvent;
use crate::ids::EnvId;
use crate::login::Entrance;

/// Somebody is connected.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct SessionOpened {
    pub env: EnvId,
    pub ip: IpAddr,
    pub entrance: Entrance,
    pub user: String,
    pub method: String,
    /// What connected: the identification of an SSH client, or a browser's user agent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client: Option<String>,
    pub at: DateTime<Utc>,
}

/// The connection ended.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct SessionClosed {
    pub env: EnvId,
    /// Bytes from the person to the environment.
    pub bytes_in: u64,
    /// Bytes from the environment to the person.
    pub bytes_out: u64,
    /// `client_left`, `environment_stopped`, `interrupted`, ...
    pub reason: String,
    pub at: DateTime<Utc>,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Session {
    #[default]
    Absent,
    Open,
    Closed,
}

impl Aggregate for Session {
    type Event = SessionEvent;

    fn evolve(&mut self, event: &SessionEvent, _: DateTime<Utc>) {
        *self = match event {
            SessionEvent::SessionOpened(_) => Self::Open,
            SessionEvent::SessionClosed(_) => Self::Closed,
        };
    }
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SessionRefusal {
    #[error("there is no such session")]
    NotFound,
}

impl Refusal for SessionRefusal {
    fn code(&self) -> &'static str {
        match self {
            Self::NotFound => "not_found",
        }
    }
}
