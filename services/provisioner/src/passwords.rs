//! Where does an environment's password come from, and what does the sentry get to see of it?
//!
//! The secret and its Argon2id hash lie in the vault before the event that names them: a race between two provisioners writes
//! two secrets, the append decides which counts, and the loser removes its own. The sentry gets a
//! crypt(3) hash whose salt is derived, so that the same password gives the same policy.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use data_encoding::HEXLOWER;
use events::credential::issue::issue;
use events::credential::{Credential, CredentialRefusal, SecretRef};
use events::envelope::Cause;
use events::ids::{EnvId, TenantId};
use kit::sentry_protocol::{Jupyter, jupyter_base_url};
use nats::{Log, MasterKeys, Vault};
use secrecy::{ExposeSecret, SecretString};
use sha_crypt::{CustomizedPasswordHasher, Params, ShaCrypt};
use uuid::Uuid;

use crate::fleet::Truth;
use crate::policy::PolicySecrets;
use crate::trouble::{Trouble, again, decided};

/// Bytes of a salt: 12 bytes are 16 characters, the most that crypt(3) looks at.
const SALT_BYTES: usize = 12;

/// The password's secret is not there to be hashed.
#[derive(Debug, thiserror::Error)]
pub enum SecretError {
    #[error("the environment has no password yet")]
    NotIssued,
    #[error("a secret that the log names is not in the vault")]
    Lost,
    #[error("cannot read the vault")]
    Vault(#[source] nats::VaultError),
    #[error("cannot hash the password")]
    Hash,
}

pub struct Passwords {
    log: Log,
    vault: Vault,
    keys: MasterKeys,
    /// What was read and hashed before, one per environment; see [`Passwords::forget`].
    known: Mutex<HashMap<EnvId, (SecretRef, PolicySecrets)>>,
}

/// Where the token of an environment's JupyterLab lies: one per environment, for its whole life.
pub fn jupyter_ref(env: &EnvId) -> SecretRef {
    SecretRef::jupyter(env)
}

/// The bearer token of an environment's sentry.
pub fn sentry_token(keys: &MasterKeys, env: &EnvId) -> SecretString {
    SecretString::from(HEXLOWER.encode(&keys.derive(&format!("sentry/{env}"))))
}

impl Passwords {
    pub fn new(log: Log, vault: Vault, keys: MasterKeys) -> Self {
        Self { log, vault, keys, known: Mutex::new(HashMap::new()) }
    }

    /// The environment has a password, and a JupyterLab token when it needs one.
    pub async fn ensure(
        &self,
        tenant: &TenantId,
        env: &EnvId,
        jupyter: bool,
        cause: &Cause,
    ) -> Result<(), Trouble> {
        let token = async { if jupyter { self.ensure_jupyter(env).await } else { Ok(()) } };
        let (password, token) = tokio::join!(self.ensure_password(tenant, env, cause), token);
        password.and(token)
    }

    async fn ensure_password(&self, tenant: &TenantId, env: &EnvId, cause: &Cause) -> Result<(), Trouble> {
        let there = self.log.load::<Credential>(tenant, env.as_str()).await.map_err(again)?;
        if there.state.password.is_some() {
            return Ok(());
        }
        let password = kit::password::generate(getrandom::fill).map_err(again)?;
        let secret_ref = SecretRef::password(env, Uuid::new_v4());
        let hash = argon2id(password.clone()).await.map_err(again)?;
        let hash_ref = secret_ref.argon2id();
        let (password, hash) =
            tokio::join!(self.vault.put(&secret_ref, &password), self.vault.put(&hash_ref, &hash));
        password.and(hash).map_err(again)?;
        let issued = self
            .log
            .decide::<Credential, CredentialRefusal>(tenant, env.as_str(), cause, 0, |state| {
                issue(state, secret_ref.clone())
            })
            .await;
        let issued = decided(issued)?;
        if issued.state.password.as_ref() != Some(&secret_ref) {
            self.remove(&secret_ref).await?;
        }
        Ok(())
    }

    /// A password and its hash: whoever may check it must not be able to for longer than it counts.
    async fn remove(&self, secret_ref: &SecretRef) -> Result<(), Trouble> {
        self.vault.remove(&secret_ref.argon2id()).await.map_err(again)?;
        self.vault.remove(secret_ref).await.map_err(again)
    }

    /// The token is derived, so that two who write it write the same.
    async fn ensure_jupyter(&self, env: &EnvId) -> Result<(), Trouble> {
        let secret_ref = jupyter_ref(env);
        if self.vault.get(&secret_ref).await.map_err(again)?.is_none() {
            let token = HEXLOWER.encode(&self.keys.derive(&format!("jupyter/{env}")));
            self.vault.put(&secret_ref, &SecretString::from(token)).await.map_err(again)?;
        }
        Ok(())
    }

    /// What the sentry needs to see; remembered until the password changes.
    pub async fn for_policy(&self, env: &EnvId, truth: &Truth) -> Result<PolicySecrets, SecretError> {
        let current = truth.member.credential.password.clone().ok_or(SecretError::NotIssued)?;
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner).get(env).cloned();
        if let Some((_, secrets)) = known.filter(|(known, _)| *known == current) {
            return Ok(secrets);
        }
        let jupyter = truth.member.env.requested.as_ref().is_some_and(|requested| requested.jupyter);
        let password = self.secret(&current).await?;
        self.ensure_hash(&current, &password).await?;
        let jupyter = match jupyter {
            true => Some(Jupyter {
                token: self.secret(&jupyter_ref(env)).await?.expose_secret().to_owned(),
                base_url: Some(jupyter_base_url(env.as_str())),
            }),
            false => None,
        };
        let salt = self.keys.derive(&format!("salt/{env}/{}", current.version));
        let hashed = tokio::task::spawn_blocking(move || hash(&password, &salt)).await;
        let password_hash = hashed.map_err(|_| SecretError::Hash)??;
        let secrets = PolicySecrets { password_hash, jupyter };
        let entry = (current, secrets.clone());
        self.known.lock().unwrap_or_else(PoisonError::into_inner).insert(env.clone(), entry);
        Ok(secrets)
    }

    /// A password from before there were hashes gets one when it is first looked at.
    async fn ensure_hash(&self, secret_ref: &SecretRef, password: &SecretString) -> Result<(), SecretError> {
        let hash_ref = secret_ref.argon2id();
        if self.vault.get(&hash_ref).await.map_err(SecretError::Vault)?.is_some() {
            return Ok(());
        }
        let hash = argon2id(password.clone()).await?;
        self.vault.put(&hash_ref, &hash).await.map_err(SecretError::Vault)
    }

    async fn secret(&self, secret_ref: &SecretRef) -> Result<SecretString, SecretError> {
        self.vault.get(secret_ref).await.map_err(SecretError::Vault)?.ok_or(SecretError::Lost)
    }

    /// Removes the secrets of passwords before the one in force; `passwords` are all of them.
    pub async fn remove_superseded(
        &self,
        state: &Credential,
        passwords: &[SecretRef],
    ) -> Result<(), Trouble> {
        if state.number_applied < state.number {
            return Ok(()); // the sentry still enforces an older one
        }
        for old in passwords.iter().filter(|old| Some(*old) != state.password.as_ref()) {
            self.remove(old).await?;
        }
        Ok(())
    }

    /// Everything of a deleted environment, in the vault and in memory.
    pub async fn purge(&self, env: &EnvId) -> Result<(), Trouble> {
        self.forget(env);
        self.vault.purge_owner(env.as_str()).await.map(drop).map_err(again)
    }

    pub fn forget(&self, env: &EnvId) {
        self.known.lock().unwrap_or_else(PoisonError::into_inner).remove(env);
    }

    /// The password of the log itself, for those who must not rely on a fold that lags behind.
    pub async fn load(&self, tenant: &TenantId, env: &EnvId) -> Result<Credential, nats::LogError> {
        Ok(self.log.load::<Credential>(tenant, env.as_str()).await?.state)
    }
}

async fn argon2id(password: SecretString) -> Result<SecretString, SecretError> {
    let hashed = tokio::task::spawn_blocking(move || kit::password::argon2id(&password)).await;
    hashed.map_err(|_| SecretError::Hash)?.map_err(|_| SecretError::Hash)
}

fn hash(password: &SecretString, salt: &[u8; 32]) -> Result<String, SecretError> {
    let salt = salt.get(..SALT_BYTES).unwrap_or(salt);
    ShaCrypt::SHA512
        .hash_password_customized(password.expose_secret().as_bytes(), salt, None, None, Params::RECOMMENDED)
        .map(|hash| hash.to_string())
        .map_err(|_| SecretError::Hash)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;
    use sha_crypt::PasswordVerifier;

    #[test]
    fn the_same_password_and_salt_give_the_same_hash_that_crypt_understands() {
        let password = SecretString::from("correct horse".to_owned());
        let one = hash(&password, &[7; 32]).unwrap();
        assert_eq!(one, hash(&password, &[7; 32]).unwrap());
        assert_ne!(one, hash(&password, &[8; 32]).unwrap());
        let fields: Vec<&str> = one.split('$').collect();
        assert_eq!((fields[1], fields[3].len(), fields[4].len()), ("6", 16, 86), "{one}");
        ShaCrypt::SHA512.verify_password(b"correct horse", one.as_str()).unwrap();
        assert!(ShaCrypt::SHA512.verify_password(b"wrong", one.as_str()).is_err());
    }
}
