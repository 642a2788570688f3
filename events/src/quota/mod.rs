//! What may a tenant have in use, and what has it? The claim is the check, so nothing can race it.

pub mod claim;
pub mod release;
pub mod set;

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::aggregate::{Aggregate, Refusal};
pub use crate::catalogue::QuotaEvent;
use crate::ids::EnvId;
use crate::resources::{Limits, Resources};

/// The tenant's limits were changed; what is in use beyond them stays.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct QuotaSet {
    pub limits: Limits,
}

/// An environment holds a share of the tenant's quota.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct QuotaClaimed {
    pub env: EnvId,
    pub resources: Resources,
}

/// The environment's share is free again.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct QuotaReleased {
    pub env: EnvId,
}

#[derive(Debug, Clone, Default, PartialEq)]
pub struct Quota {
    pub limits: Limits,
    pub claims: BTreeMap<EnvId, Claim>,
    /// Sum of the claims.
    pub used: Resources,
}

#[derive(Debug, Clone, PartialEq)]
pub struct Claim {
    pub resources: Resources,
    pub since: DateTime<Utc>,
}

impl Aggregate for Quota {
    type Event = QuotaEvent;

    fn evolve(&mut self, event: &QuotaEvent, at: DateTime<Utc>) {
        match event {
            QuotaEvent::QuotaSet(set) => self.limits = set.limits,
            QuotaEvent::QuotaClaimed(claimed) => {
                let claim = Claim { resources: claimed.resources, since: at };
                self.claims.insert(claimed.env.clone(), claim);
                self.sum();
            }
            QuotaEvent::QuotaReleased(released) => {
                self.claims.remove(&released.env);
                self.sum();
            }
        }
    }
}

impl Quota {
    fn sum(&mut self) {
        self.used = self.claims.values().fold(Resources::default(), |sum, claim| sum.plus(&claim.resources));
    }
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum QuotaRefusal {
    #[error(
        "the tenant's quota of {resource} is {limit}; {used} is in use and {asked} more was asked for: delete an environment, ask for less, or ask an administrator for more"
    )]
    Exceeded { resource: &'static str, limit: String, used: String, asked: String },
}

impl Refusal for QuotaRefusal {
    fn code(&self) -> &'static str {
        match self {
            Self::Exceeded { .. } => "quota_exceeded",
        }
    }
}
