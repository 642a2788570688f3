//! Which relays may dial out to us from networks that accept no connection, and is each connected?

pub mod accept;
pub mod change;
pub mod connect;
pub mod register;
pub mod revoke;
pub mod rotate_key;

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};

use chrono::{DateTime, Utc};
use ipnet::IpNet;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::aggregate::{Aggregate, Refusal};
pub use crate::catalogue::RelayEvent;
use crate::ids::{HubId, Tag};

/// Everything that an operator says of a relay.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct RelaySettings {
    /// Any text, chosen by a person; not unique.
    pub name: String,
    /// It serves the servers of this zone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub zone: Option<Tag>,
    /// It serves servers that have all of these.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<Tag, Tag>,
    /// From where it may connect; none means anywhere.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(with = "Vec<String>")]
    pub addresses: Vec<IpNet>,
    /// Commands that it is given at once.
    pub in_flight_max: u32,
}

/// A relay may connect from now on, or once it is accepted.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct RelayRegistered {
    pub settings: RelaySettings,
    /// SHA-256 of its key (200 random bits), hexadecimal.
    pub digest: String,
    /// It registered itself, and waits for an operator.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub pending: bool,
}

/// What is said of a relay is this from now on: its name, what it serves, from where it may connect.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct RelayChanged {
    pub settings: RelaySettings,
}

/// An operator lets in a relay that registered itself.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct RelayAccepted {}

/// A relay has another key; the one before counts a while longer, then who is connected by it is closed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct RelayKeyRotated {
    pub digest: String,
    /// The key before counts until this instant.
    pub previous_until: DateTime<Utc>,
}

/// The relay may not connect any more; what is connected is closed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct RelayRevoked {}

/// A relay is connected; it counts as its only connection from now on, whatever was before.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct RelayConnected {
    /// Counts the relay's connections; a higher one fences the lower.
    pub epoch: u64,
    /// Where it is connected.
    pub hub: HubId,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub address: Option<IpAddr>,
    /// How it speaks: `engine.io 4 websocket`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client: Option<String>,
    /// It showed the key that was replaced.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub previous_key: bool,
    /// Where its hub is asked for tunnels through it; relays of others carry none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tunnels: Option<SocketAddr>,
}

/// A relay's connection ended.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct RelayDisconnected {
    pub epoch: u64,
    /// `relay_left`, `silent`, `hub_ended`, `hub_lost`, `revoked`, ...
    pub reason: String,
}

#[derive(Debug, Clone, Default, PartialEq)]
pub struct Relay {
    /// `None` only before it was registered.
    pub settings: Option<RelaySettings>,
    /// It waits to be accepted.
    pub pending: bool,
    pub revoked: bool,
    /// Digest of the key.
    pub digest: String,
    /// Digest of the key before, and until when it counts.
    pub previous: Option<(String, DateTime<Utc>)>,
    /// Of the newest connection; 0 before the first.
    pub epoch: u64,
    /// Where it is connected now.
    pub connected: Option<HubId>,
}

impl Relay {
    /// What is true of a relay that may connect.
    pub fn there(&self) -> Option<&RelaySettings> {
        self.settings.as_ref().filter(|_| !self.revoked && !self.pending)
    }

    /// Whether the connection of this epoch is its connection.
    pub fn is_connected(&self, epoch: u64) -> bool {
        !self.revoked && self.epoch == epoch && self.connected.is_some()
    }
}

impl Aggregate for Relay {
    type Event = RelayEvent;

    fn evolve(&mut self, event: &RelayEvent, _: DateTime<Utc>) {
        match event {
            RelayEvent::RelayRegistered(registered) => {
                self.settings = Some(registered.settings.clone());
                self.digest.clone_from(&registered.digest);
                self.pending = registered.pending;
            }
            RelayEvent::RelayChanged(changed) => self.settings = Some(changed.settings.clone()),
            RelayEvent::RelayKeyRotated(rotated) => {
                let before = std::mem::replace(&mut self.digest, rotated.digest.clone());
                self.previous = Some((before, rotated.previous_until));
            }
            RelayEvent::RelayAccepted(_) => self.pending = false,
            RelayEvent::RelayRevoked(_) => self.revoked = true,
            RelayEvent::RelayConnected(connected) => {
                self.epoch = self.epoch.max(connected.epoch);
                self.connected = Some(connected.hub.clone());
            }
            RelayEvent::RelayDisconnected(ended) if ended.epoch == self.epoch => self.connected = None,
            RelayEvent::RelayDisconnected(_) => {}
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RelayRefusal {
    #[error("there is no such relay")]
    NotFound,
    #[error("this request made its key already, and a key is shown once: rotate the relay's key")]
    ShownBefore,
    #[error("proxyId and apiKey do not belong together: compare them with what the registration showed")]
    KeyRefused,
    #[error("no operator has accepted this relay yet: it may connect once one has")]
    Pending,
    #[error("this relay was revoked: register it again")]
    Revoked,
    #[error("this relay may not connect from {0}: an operator set other addresses for it")]
    AddressRefused(IpAddr),
}

impl Refusal for RelayRefusal {
    fn code(&self) -> &'static str {
        match self {
            Self::NotFound => "not_found",
            Self::ShownBefore => "key_shown_before",
            Self::KeyRefused => "key_refused",
            Self::Pending => "relay_pending",
            Self::Revoked => "relay_revoked",
            Self::AddressRefused(_) => "address_refused",
        }
    }
}

#[cfg(test)]
pub(crate) mod testing {
    use super::*;

    pub fn registered(digest: &str) -> RelayRegistered {
        RelayRegistered { settings: settings(), digest: digest.into(), pending: false }
    }

    pub fn settings() -> RelaySettings {
        RelaySettings {
            name: "Büro / 1".into(),
            zone: None,
            labels: BTreeMap::new(),
            addresses: vec![],
            in_flight_max: 4,
        }
    }
}
