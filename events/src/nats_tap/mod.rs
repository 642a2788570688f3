//! Who may follow a tenant's events by NATS itself, and which of them?

pub mod issue;
pub mod leave;
pub mod revoke;

use std::collections::BTreeSet;

use chrono::{DateTime, Utc};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::aggregate::{Aggregate, Refusal};
pub use crate::catalogue::NatsTapEvent;
use crate::ids::{NatsTapId, UserName};

/// Characters of the digest in the name of a tap's consumer: 80 bits that only the tenant's people know.
const SECRET_LENGTH: usize = 20;

/// The tenant's events of these kinds may be followed by NATS.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct NatsTapIssued {
    pub name: String,
    /// Kinds of things, as the third part of a subject names them.
    pub kinds: BTreeSet<String>,
    /// Who asked for it.
    pub by: UserName,
    /// SHA-256 of the password (200 random bits), hexadecimal.
    pub digest: String,
}

/// Nothing is followed by it any more.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct NatsTapRevoked {}

impl NatsTapIssued {
    /// The tap's consumer on the server, and the beginning of its inboxes. Others may not guess it: the server lets
    /// whoever names a consumer's message acknowledge it.
    pub fn consumer(&self, id: &NatsTapId) -> String {
        let secret = self.digest.get(..SECRET_LENGTH).unwrap_or(&self.digest);
        format!("{id}-{secret}")
    }
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct NatsTap {
    pub issued: Option<NatsTapIssued>,
    pub revoked: bool,
}

impl NatsTap {
    /// What may be followed now.
    pub fn valid(&self) -> Option<&NatsTapIssued> {
        self.issued.as_ref().filter(|_| !self.revoked)
    }
}

impl Aggregate for NatsTap {
    type Event = NatsTapEvent;

    fn evolve(&mut self, event: &NatsTapEvent, _: DateTime<Utc>) {
        match event {
            NatsTapEvent::NatsTapIssued(issued) => self.issued = Some(issued.clone()),
            NatsTapEvent::NatsTapRevoked(_) => self.revoked = true,
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NatsTapRefusal {
    #[error("there is no such tap of NATS")]
    NotFound,
    #[error("events of the kind {0} do not leave by NATS")]
    Stays(String),
    #[error("a tap shows at least one kind of events")]
    NoKinds,
    #[error(
        "this request issued its tap already, and a password is shown once: revoke it and ask for another"
    )]
    ShownBefore,
}

impl Refusal for NatsTapRefusal {
    fn code(&self) -> &'static str {
        match self {
            Self::NotFound => "not_found",
            Self::Stays(_) | Self::NoKinds => "validation_failed",
            Self::ShownBefore => "key_shown_before",
        }
    }
}

#[cfg(test)]
pub(crate) mod testing {
    use super::*;

    pub fn issued(kinds: &[&str]) -> NatsTapIssued {
        NatsTapIssued {
            name: "warehouse".into(),
            kinds: kinds.iter().map(|kind| (*kind).to_owned()).collect(),
            by: UserName::parse("alice").unwrap(),
            digest: "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08".into(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use uuid::Uuid;

    #[test]
    fn a_consumer_is_named_by_what_only_the_tenant_knows() {
        let id = NatsTapId::from_seed(&Uuid::nil());
        let consumer = testing::issued(&["env"]).consumer(&id);
        assert_eq!(consumer, format!("{id}-9f86d081884c7d659a2f"));
        assert!(consumer.chars().all(|c| c.is_ascii_alphanumeric() || c == '-'));
        let short = NatsTapIssued { digest: "ab".into(), ..testing::issued(&[]) };
        assert_eq!(short.consumer(&id), format!("{id}-ab"));
    }
}
