//! Who may use the control plane, in which tenant and role?

pub mod disable;
pub mod register;

use chrono::{DateTime, Utc};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::aggregate::{Aggregate, Refusal};
pub use crate::catalogue::UserEvent;
use crate::credential::SecretRef;
use crate::ids::TenantId;

/// What somebody may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(transform = crate::schema::open)]
pub enum Role {
    /// Everything, in every tenant.
    Admin,
    /// Everything with the tenant's things, unlocking included.
    Operator,
    /// Own environments and keys.
    Developer,
    /// Reads everything of the tenant and its audit log; changes nothing.
    Auditor,
    /// Registers relays, which then wait for an operator; sees nothing. Of tokens alone, never of people.
    Enroller,
}

impl Role {
    pub const ALL: [Self; 5] = [Self::Admin, Self::Operator, Self::Developer, Self::Auditor, Self::Enroller];

    pub const fn name(self) -> &'static str {
        match self {
            Self::Admin => "admin",
            Self::Operator => "operator",
            Self::Developer => "developer",
            Self::Auditor => "auditor",
            Self::Enroller => "enroller",
        }
    }
}

/// A person may log in.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct UserRegistered {
    pub tenant: TenantId,
    pub role: Role,
    /// Where the hash of the password lies.
    pub password_ref: SecretRef,
}

/// The person may not log in any more.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct UserDisabled {}

#[derive(Debug, Clone, Default, PartialEq)]
pub struct User {
    pub registered: Option<UserRegistered>,
    pub disabled: bool,
}

impl Aggregate for User {
    type Event = UserEvent;

    fn evolve(&mut self, event: &UserEvent, _: DateTime<Utc>) {
        match event {
            UserEvent::UserRegistered(registered) => self.registered = Some(registered.clone()),
            UserEvent::UserDisabled(_) => self.disabled = true,
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum UserRefusal {
    #[error("there is no such user")]
    NotFound,
    #[error("this user name is taken; choose another")]
    Exists,
}

impl Refusal for UserRefusal {
    fn code(&self) -> &'static str {
        match self {
            Self::NotFound => "not_found",
            Self::Exists => "user_exists",
        }
    }
}
