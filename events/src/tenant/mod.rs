//! What happens to a tenant?

pub mod allow_list;
pub mod recording;
pub mod register;

use chrono::{DateTime, Utc};
use ipnet::IpNet;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::aggregate::{Aggregate, Refusal};
pub use crate::catalogue::TenantEvent;

/// A tenant exists from now on.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct TenantRegistered {
    pub name: String,
}

/// Who may connect to any environment of the tenant was changed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct TenantAllowListSet {
    /// Empty means everyone.
    #[schemars(with = "Vec<String>")]
    pub ranges: Vec<IpNet>,
}

/// Whether terminals of the tenant's environments are recorded was changed; it holds for terminals opened later.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct TenantRecordingSet {
    pub enabled: bool,
}

#[derive(Debug, Clone, Default, PartialEq)]
pub struct Tenant {
    /// `None` while it does not exist.
    pub name: Option<String>,
    pub allow_list: Vec<IpNet>,
    /// Terminals opened from now on are recorded.
    pub records: bool,
}

impl Aggregate for Tenant {
    type Event = TenantEvent;

    fn evolve(&mut self, event: &TenantEvent, _: DateTime<Utc>) {
        match event {
            TenantEvent::TenantRegistered(registered) => self.name = Some(registered.name.clone()),
            TenantEvent::TenantAllowListSet(set) => self.allow_list.clone_from(&set.ranges),
            TenantEvent::TenantRecordingSet(set) => self.records = set.enabled,
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TenantRefusal {
    #[error("there is no such tenant")]
    NotFound,
    #[error("a tenant {0:?} exists already; choose another name")]
    Exists(String),
}

impl Refusal for TenantRefusal {
    fn code(&self) -> &'static str {
        match self {
            Self::NotFound => "not_found",
            Self::Exists(_) => "tenant_exists",
        }
    }
}
