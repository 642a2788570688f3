//! How are people's passwords kept? As argon2id hashes; the work is bounded and off the async threads.

use std::sync::Arc;
use std::time::Duration;

use argon2::Argon2;
use argon2::password_hash::phc::PasswordHash;
use argon2::password_hash::{PasswordHasher, PasswordVerifier};
use secrecy::{ExposeSecret, SecretString};
use tokio::sync::Semaphore;

use crate::problem::Problem;

/// Hashes computed at once: each takes 19 MiB and tens of milliseconds of one core.
const HASHES_AT_ONCE_MAX: usize = 2;
/// The longest a request waits for its turn.
const TURN_WAIT: Duration = Duration::from_secs(5);

#[derive(Debug, thiserror::Error)]
pub enum HashingError {
    #[error("the password could not be hashed")]
    Hash(#[source] argon2::password_hash::Error),
    #[error("the hashing task ended early")]
    Task(#[source] tokio::task::JoinError),
}

/// Argon2id with the library's parameters (19 MiB, 2 passes, 1 lane: the OWASP minimum).
#[derive(Clone)]
pub struct Hashing {
    turns: Arc<Semaphore>,
    /// Verified against when there is no such user, so that the answer takes as long.
    nobody: Arc<SecretString>,
}

impl Hashing {
    pub fn new() -> Result<Self, HashingError> {
        let nobody = Argon2::default()
            .hash_password(b"nobody has this password")
            .map_err(HashingError::Hash)?
            .to_string();
        Ok(Self {
            turns: Arc::new(Semaphore::new(HASHES_AT_ONCE_MAX)),
            nobody: Arc::new(SecretString::from(nobody)),
        })
    }

    async fn turn(&self) -> Result<tokio::sync::OwnedSemaphorePermit, Problem> {
        let busy = || Problem::new("busy", "too many logins at once; try again in a moment");
        let turn = tokio::time::timeout(TURN_WAIT, Arc::clone(&self.turns).acquire_owned()).await;
        turn.map_err(|_| busy())?.map_err(|_| busy())
    }

    /// The PHC string of a new password.
    pub async fn hash(&self, password: SecretString) -> Result<SecretString, Problem> {
        let turn = self.turn().await?;
        let hashed = tokio::task::spawn_blocking(move || {
            let _turn = turn;
            let hash = Argon2::default().hash_password(password.expose_secret().as_bytes());
            hash.map(|hash| SecretString::from(hash.to_string())).map_err(HashingError::Hash)
        });
        hashed
            .await
            .map_err(HashingError::Task)
            .and_then(|hashed| hashed)
            .map_err(|error| Problem::internal(&error))
    }

    /// Whether the password is the one of this PHC string. Without one, the same work and no.
    pub async fn verify(&self, password: SecretString, hash: Option<SecretString>) -> Result<bool, Problem> {
        let turn = self.turn().await?;
        let nobody = Arc::clone(&self.nobody);
        let verified = tokio::task::spawn_blocking(move || {
            let _turn = turn;
            let against = hash.as_ref().unwrap_or(&nobody);
            let verified = PasswordHash::new(against.expose_secret()).is_ok_and(|parsed| {
                Argon2::default().verify_password(password.expose_secret().as_bytes(), &parsed).is_ok()
            });
            verified && hash.is_some()
        });
        verified.await.map_err(|error| Problem::internal(&HashingError::Task(error)))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;

    #[tokio::test]
    async fn a_password_opens_its_own_hash_and_nobody_opens_nothing() {
        let hashing = Hashing::new().unwrap();
        let secret = |text: &str| SecretString::from(text.to_owned());
        let hash = hashing.hash(secret("correct horse")).await.unwrap();
        assert!(hash.expose_secret().starts_with("$argon2id$v=19$m=19456,t=2,p=1$"));
        assert!(hashing.verify(secret("correct horse"), Some(hash.clone())).await.unwrap());
        assert!(!hashing.verify(secret("correct house"), Some(hash)).await.unwrap());
        assert!(!hashing.verify(secret("nobody has this password"), None).await.unwrap());
    }
}
