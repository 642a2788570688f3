//! Which API tokens exist, for whom, until when?

pub mod issue;
pub mod revoke;
pub mod validity;

use chrono::{DateTime, Utc};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::aggregate::{Aggregate, Refusal};
pub use crate::catalogue::TokenEvent;
use crate::ids::{TenantId, UserName};
use crate::user::Role;

/// A token may be used.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct TokenIssued {
    pub tenant: TenantId,
    pub name: String,
    pub role: Role,
    /// In whose name it acts.
    pub owner: UserName,
    /// SHA-256 of the token (200 random bits), hexadecimal.
    pub digest: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<DateTime<Utc>>,
}

/// The token may not be used any more.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct TokenRevoked {}

#[derive(Debug, Clone, Default, PartialEq)]
pub struct Token {
    pub issued: Option<TokenIssued>,
    pub revoked: bool,
}

impl Aggregate for Token {
    type Event = TokenEvent;

    fn evolve(&mut self, event: &TokenEvent, _: DateTime<Utc>) {
        match event {
            TokenEvent::TokenIssued(issued) => self.issued = Some(issued.clone()),
            TokenEvent::TokenRevoked(_) => self.revoked = true,
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TokenRefusal {
    #[error("there is no such token")]
    NotFound,
    #[error(
        "this request issued its token already, and a token is shown once: revoke it and ask for another"
    )]
    ShownBefore,
}

impl Refusal for TokenRefusal {
    fn code(&self) -> &'static str {
        match self {
            Self::NotFound => "not_found",
            Self::ShownBefore => "token_shown_before",
        }
    }
}
