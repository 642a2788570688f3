//! Which password and keys open an environment? References and digests only, never a secret.

pub mod applied;
pub mod issue;
pub mod reset;
pub mod reveal;
mod secret_ref;

use crate::aggregate::{Aggregate, Refusal};
pub use crate::catalogue::CredentialEvent;
use chrono::{DateTime, Utc};
use schemars::JsonSchema;
pub use secret_ref::SecretRef;
use serde::{Deserialize, Serialize};

/// The environment has its first password.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct PasswordIssued {
    pub secret_ref: SecretRef,
}

/// The environment has another password; the one before is void.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct PasswordReset {
    pub secret_ref: SecretRef,
    pub reason: String,
}

/// The environment itself enforces the password of this number.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct PasswordApplied {
    /// 1 for the issued one, one more with each reset.
    pub number: u64,
}

/// Somebody was shown the password.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct PasswordRevealed {
    pub number: u64,
}

/// The environment itself accepts exactly these keys.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct KeysAttached {
    /// `SHA256:...`, sorted.
    pub fingerprints: Vec<String>,
}

#[derive(Debug, Clone, Default, PartialEq)]
pub struct Credential {
    /// The password in force.
    pub password: Option<SecretRef>,
    /// How many there have been.
    pub number: u64,
    /// The newest one the environment is known to enforce.
    pub number_applied: u64,
    pub fingerprints: Vec<String>,
}

impl Aggregate for Credential {
    type Event = CredentialEvent;

    fn evolve(&mut self, event: &CredentialEvent, _: DateTime<Utc>) {
        match event {
            CredentialEvent::PasswordIssued(PasswordIssued { secret_ref })
            | CredentialEvent::PasswordReset(PasswordReset { secret_ref, .. }) => {
                self.password = Some(secret_ref.clone());
                self.number = self.number.saturating_add(1);
            }
            CredentialEvent::PasswordApplied(applied) => self.number_applied = applied.number,
            CredentialEvent::PasswordRevealed(_) => {}
            CredentialEvent::KeysAttached(attached) => {
                self.fingerprints.clone_from(&attached.fingerprints);
            }
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CredentialRefusal {
    #[error("the environment has no password yet; try again when it is created")]
    NotIssued,
}

impl Refusal for CredentialRefusal {
    fn code(&self) -> &'static str {
        match self {
            Self::NotIssued => "password_not_issued",
        }
    }
}
