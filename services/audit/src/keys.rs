//! Which key signs? Ed25519 seeds in the vault, counted from 1; the records say which one is in use.

use data_encoding::BASE64;
use ed25519_dalek::SigningKey;
use events::credential::SecretRef;
use nats::{Vault, VaultError};
use secrecy::zeroize::Zeroizing;
use secrecy::{ExposeSecret, SecretString};

const SEED_BYTES: usize = 32;

#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    #[error("the vault cannot be used")]
    Vault(#[source] VaultError),
    #[error("the operating system gave no randomness")]
    Randomness,
    /// Restore the vault: without the key no anchor can be signed, and none can be introduced.
    #[error("signing key {0} is not in the vault")]
    Absent(u32),
    #[error("signing key {0} in the vault is no Ed25519 seed")]
    Damaged(u32),
}

/// The key, made when there is none: of several that make it one does.
pub async fn ensure(vault: &Vault, number: u32) -> Result<SigningKey, KeyError> {
    let name = SecretRef::audit_key(number);
    if vault.get(&name).await.map_err(KeyError::Vault)?.is_none() {
        let mut seed = Zeroizing::new([0; SEED_BYTES]);
        getrandom::fill(seed.as_mut()).map_err(|_| KeyError::Randomness)?;
        let text = SecretString::from(BASE64.encode(seed.as_ref()));
        vault.put_if_absent(&name, &text).await.map_err(KeyError::Vault)?;
    }
    get(vault, number).await
}

pub async fn get(vault: &Vault, number: u32) -> Result<SigningKey, KeyError> {
    let there = vault.get(&SecretRef::audit_key(number)).await.map_err(KeyError::Vault)?;
    let text = there.ok_or(KeyError::Absent(number))?;
    let seed = BASE64.decode(text.expose_secret().as_bytes()).map_err(|_| KeyError::Damaged(number))?;
    let seed = Zeroizing::new(seed);
    seed.as_slice().try_into().map(SigningKey::from_bytes).map_err(|_| KeyError::Damaged(number))
}

/// A key that signs no more is not kept.
pub async fn forget(vault: &Vault, number: u32) -> Result<(), KeyError> {
    let name = SecretRef::audit_key(number);
    if vault.get(&name).await.map_err(KeyError::Vault)?.is_some() {
        vault.remove(&name).await.map_err(KeyError::Vault)?;
    }
    Ok(())
}
