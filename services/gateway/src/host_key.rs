//! Which host key do the gateways show? One for all of them, from the vault; the first one makes it.

use events::credential::SecretRef;
use nats::{Vault, VaultError};
use ssh::keys::{KeyError, KeyPair};

#[derive(Debug, thiserror::Error)]
pub enum HostKeyError {
    #[error("the vault does not give the gateways' host key")]
    Vault(#[source] VaultError),
    #[error("the gateways' host key is unusable")]
    Key(#[source] KeyError),
    #[error("the gateways' host key was removed while it was being made")]
    Gone,
}

pub async fn ensure(vault: &Vault) -> Result<KeyPair, HostKeyError> {
    let place = SecretRef::gateway_host_key();
    if vault.get(&place).await.map_err(HostKeyError::Vault)?.is_none() {
        let text = KeyPair::generate().and_then(|key| key.to_text()).map_err(HostKeyError::Key)?;
        // another gateway may be faster: then its key counts
        vault.put_if_absent(&place, &text).await.map_err(HostKeyError::Vault)?;
    }
    let text = vault.get(&place).await.map_err(HostKeyError::Vault)?.ok_or(HostKeyError::Gone)?;
    KeyPair::read(&text, None).map_err(HostKeyError::Key)
}
