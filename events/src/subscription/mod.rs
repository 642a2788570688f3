//! Who wants to be told of which events, how, and what became of those that could not be delivered?
//!
//! How far a subscription has got is no fact: it changes with each event, and facts about it would be events again.
//! It is kept beside the log; what a person decides, and what nobody could deliver, stands in it.

pub mod filter;
pub mod park;
pub mod pause;
pub mod release;
pub mod remove;
pub mod retry;
pub mod rotate_secret;
pub mod set;

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::aggregate::{Aggregate, Refusal};
pub use crate::catalogue::SubscriptionEvent;
use crate::credential::SecretRef;
use crate::ids::{EventId, UserName};
use crate::user::Role;
pub use filter::Filter;

/// Deliveries of one subscription that are parked at once.
pub const PARKED_MAX: usize = 500;

/// Somebody wants to be told of events; when it is changed it is said again, whole.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct SubscriptionSet {
    pub name: String,
    pub filter: Filter,
    pub delivery: Delivery,
    /// Events up to this sequence do not count.
    pub after: u64,
    /// In whose name.
    pub by: UserName,
    /// By whose rights: `user:<name>` or `token:<id>`.
    pub actor: String,
    /// What this role sees of the tenant is what is told, as long as they have it.
    pub role: Role,
}

/// How somebody is told.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Delivery {
    /// They ask.
    Pull,
    /// Each event is posted there, signed.
    Webhook {
        url: String,
        /// Where the signing secret lies.
        secret: SecretRef,
    },
}

/// Nothing of the subscription is delivered until it is resumed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct SubscriptionPaused {
    pub why: Why,
}

/// Why a subscription rests.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(rename = "WhyPaused", transform = crate::schema::open)]
pub enum Why {
    /// Somebody wanted it so.
    Asked,
    /// The receiver said that it wants nothing more (410).
    Gone,
    /// Whoever set it may not see so much any more.
    NotAllowed,
    /// So many deliveries are parked that no further one finds room.
    TooManyParked,
}

impl Why {
    pub const fn name(self) -> &'static str {
        match self {
            Self::Asked => "asked",
            Self::Gone => "gone",
            Self::NotAllowed => "not_allowed",
            Self::TooManyParked => "too_many_parked",
        }
    }
}

/// The subscription goes on where it was, and what failed before is tried at once.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct SubscriptionResumed {}

/// The subscription is gone, and what was parked with it; its secret leaves the vault.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct SubscriptionRemoved {}

/// Deliveries are signed with another secret; with the one before too, for a while.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct SubscriptionSecretRotated {
    pub secret: SecretRef,
    /// Until when the one before is signed with as well.
    pub previous_until: DateTime<Utc>,
}

/// An event could not be delivered, however often it was tried; the next one goes on.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct DeliveryParked {
    /// Of the event.
    pub sequence: u64,
    pub event_id: EventId,
    pub attempts: u32,
    pub failure: Failure,
}

/// How the last attempt failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Failure {
    pub class: Class,
    /// HTTP's, where the receiver answered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<u16>,
}

/// Why an attempt failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(rename = "DeliveryFailure", transform = crate::schema::open)]
pub enum Class {
    /// Without TLS, which is not allowed.
    Insecure,
    /// The name is nobody's.
    Name,
    /// It leads to an address that webhooks may not reach.
    AddressRefused,
    /// Nobody accepts connections there.
    Connect,
    /// The receiver's certificate, or its TLS, is not good.
    Tls,
    /// No answer in time.
    Timeout,
    /// The connection broke, or what came was no answer.
    Broken,
    /// An answer that is no success.
    Status,
}

impl Class {
    pub const fn name(self) -> &'static str {
        match self {
            Self::Insecure => "insecure",
            Self::Name => "name",
            Self::AddressRefused => "address_refused",
            Self::Connect => "connect",
            Self::Tls => "tls",
            Self::Timeout => "timeout",
            Self::Broken => "broken",
            Self::Status => "status",
        }
    }
}

/// An operator wants a parked delivery tried once more.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct DeliveryRetried {
    pub sequence: u64,
}

/// A parked delivery got through after all.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct DeliveryReleased {
    pub sequence: u64,
}

/// A parked delivery is given up for good.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct DeliveryDropped {
    pub sequence: u64,
}

/// A delivery that waits for somebody to decide.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Parked {
    pub event_id: EventId,
    pub attempts: u32,
    pub failure: Failure,
    pub at: DateTime<Utc>,
    /// It is to be tried once more.
    pub retrying: bool,
}

/// The secret before the newest one.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Previous {
    pub secret: SecretRef,
    pub until: DateTime<Utc>,
}

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Subscription {
    /// With the secret that counts now.
    pub set: Option<SubscriptionSet>,
    pub paused: Option<Why>,
    pub removed: bool,
    pub previous: Option<Previous>,
    /// By the sequence of the event.
    pub parked: BTreeMap<u64, Parked>,
    /// What failed before then does not count: it was set, or resumed, since.
    pub fresh_since: DateTime<Utc>,
}

impl Subscription {
    /// What is set, if it is not removed.
    pub fn there(&self) -> Option<&SubscriptionSet> {
        self.set.as_ref().filter(|_| !self.removed)
    }

    /// What is set, if it is to be delivered.
    pub fn active(&self) -> Option<&SubscriptionSet> {
        self.there().filter(|_| self.paused.is_none())
    }

    /// The secret that deliveries are signed with, if it is a webhook.
    pub fn secret(&self) -> Option<&SecretRef> {
        match &self.set.as_ref()?.delivery {
            Delivery::Pull => None,
            Delivery::Webhook { secret, .. } => Some(secret),
        }
    }

    /// The first parked delivery that is to be tried once more.
    pub fn to_retry(&self) -> Option<(u64, &Parked)> {
        self.parked.iter().find(|(_, parked)| parked.retrying).map(|(sequence, parked)| (*sequence, parked))
    }

    fn rotate(&mut self, rotated: &SubscriptionSecretRotated) {
        let Some(Delivery::Webhook { secret, .. }) = self.set.as_mut().map(|set| &mut set.delivery) else {
            return;
        };
        let before = std::mem::replace(secret, rotated.secret.clone());
        self.previous = Some(Previous { secret: before, until: rotated.previous_until });
    }
}

impl Aggregate for Subscription {
    type Event = SubscriptionEvent;

    fn evolve(&mut self, event: &SubscriptionEvent, at: DateTime<Utc>) {
        match event {
            SubscriptionEvent::SubscriptionSet(set) => {
                self.set = Some(set.clone());
                self.fresh_since = at;
            }
            SubscriptionEvent::SubscriptionPaused(paused) => self.paused = Some(paused.why),
            SubscriptionEvent::SubscriptionResumed(_) => {
                self.paused = None;
                self.fresh_since = at;
            }
            SubscriptionEvent::SubscriptionRemoved(_) => {
                self.removed = true;
                self.parked.clear();
            }
            SubscriptionEvent::SubscriptionSecretRotated(rotated) => self.rotate(rotated),
            SubscriptionEvent::DeliveryParked(parked) => {
                let DeliveryParked { sequence, event_id, attempts, failure } = parked.clone();
                self.parked.insert(sequence, Parked { event_id, attempts, failure, at, retrying: false });
            }
            SubscriptionEvent::DeliveryRetried(retried) => {
                if let Some(parked) = self.parked.get_mut(&retried.sequence) {
                    parked.retrying = true;
                }
            }
            SubscriptionEvent::DeliveryReleased(released) => {
                self.parked.remove(&released.sequence);
            }
            SubscriptionEvent::DeliveryDropped(dropped) => {
                self.parked.remove(&dropped.sequence);
            }
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SubscriptionRefusal {
    #[error("there is no such subscription")]
    NotFound,
    #[error("it was set by {0}, who alone may change it; it can be paused and removed")]
    NotYours(UserName),
    #[error("it is no webhook, so it has neither url nor secret; set another one with a url")]
    NotAWebhook,
    #[error("no delivery of the event {0} is parked")]
    NotParked(u64),
    #[error("{PARKED_MAX} deliveries are parked already; retry or drop some first")]
    TooManyParked,
    #[error("the secret was shown when it was made; rotate it to get another")]
    ShownBefore,
}

impl Refusal for SubscriptionRefusal {
    fn code(&self) -> &'static str {
        match self {
            Self::NotFound => "not_found",
            Self::NotYours(_) => "forbidden",
            Self::NotAWebhook => "delivery_differs",
            Self::NotParked(_) => "not_parked",
            Self::TooManyParked => "too_many_parked",
            Self::ShownBefore => "key_shown_before",
        }
    }
}

#[cfg(test)]
mod testing {
    use super::*;
    use crate::ids::SubscriptionId;
    use uuid::Uuid;

    pub fn secret(version: u128) -> SecretRef {
        SecretRef::webhook(&SubscriptionId::from_seed(&Uuid::nil()), Uuid::from_u128(version))
    }

    pub fn set(delivery: Delivery) -> SubscriptionSet {
        SubscriptionSet {
            name: "to the archive".into(),
            filter: Filter::default(),
            delivery,
            after: 7,
            by: UserName::parse("alice").unwrap(),
            actor: "user:alice".into(),
            role: Role::Operator,
        }
    }

    pub fn webhook() -> SubscriptionSet {
        set(Delivery::Webhook { url: "https://example.org/hook".into(), secret: secret(1) })
    }

    pub fn parked(sequence: u64) -> DeliveryParked {
        DeliveryParked {
            sequence,
            event_id: EventId(Uuid::from_u128(sequence.into())),
            attempts: 10,
            failure: Failure { class: Class::Status, status: Some(500) },
        }
    }
}
