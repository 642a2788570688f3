//! Which key vouches for gateway and web terminal at the environments' inner doors? One SSH CA of the
//! installation, made by the first provisioner that finds none. It stays in the vault; entrances that
//! may read it sign with it.

use events::credential::SecretRef;
use nats::{Vault, VaultError};
use secrecy::{ExposeSecret, SecretString, zeroize::Zeroizing};
use ssh_key::private::{Ed25519Keypair, KeypairData};
use ssh_key::{LineEnding, PrivateKey};

const COMMENT: &str = "portreeve user CA";

#[derive(Debug, thiserror::Error)]
pub enum UserCaError {
    #[error("cannot use the vault")]
    Vault(#[source] VaultError),
    #[error("the operating system gave no randomness")]
    Randomness,
    #[error("the SSH CA's key cannot be written or read")]
    Key(#[source] ssh_key::Error),
    #[error("the SSH CA's key was there a moment ago and is not now")]
    Lost,
}

/// Its public half as an OpenSSH line without a comment.
pub async fn ensure(vault: &Vault) -> Result<String, UserCaError> {
    let name = SecretRef::user_ca();
    if let Some(there) = vault.get(&name).await.map_err(UserCaError::Vault)? {
        return public_line(&there);
    }
    let made = generate()?;
    if vault.put_if_absent(&name, &made).await.map_err(UserCaError::Vault)? {
        tracing::info!("the SSH CA for the environments' inner doors was made");
    }
    // another provisioner may have been first
    let there = vault.get(&name).await.map_err(UserCaError::Vault)?.ok_or(UserCaError::Lost)?;
    public_line(&there)
}

fn generate() -> Result<SecretString, UserCaError> {
    let mut seed = Zeroizing::new([0; 32]);
    getrandom::fill(seed.as_mut()).map_err(|_| UserCaError::Randomness)?;
    let pair = KeypairData::from(Ed25519Keypair::from_seed(&seed));
    let key = PrivateKey::new(pair, COMMENT).map_err(UserCaError::Key)?;
    let pem = key.to_openssh(LineEnding::LF).map_err(UserCaError::Key)?;
    Ok(SecretString::from(pem.as_str()))
}

fn public_line(pem: &SecretString) -> Result<String, UserCaError> {
    let key = PrivateKey::from_openssh(pem.expose_secret()).map_err(UserCaError::Key)?;
    let mut public = key.public_key().clone();
    public.set_comment("");
    public.to_openssh().map(|line| line.trim().to_owned()).map_err(UserCaError::Key)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;

    #[test]
    fn a_key_is_its_own_and_its_line_has_no_comment() {
        let (one, two) = (generate().unwrap(), generate().unwrap());
        assert!(one.expose_secret().starts_with("-----BEGIN OPENSSH PRIVATE KEY-----\n"));
        let line = public_line(&one).unwrap();
        assert_eq!(line.split(' ').collect::<Vec<_>>().len(), 2, "{line}");
        assert!(line.starts_with("ssh-ed25519 "), "{line}");
        assert_ne!(line, public_line(&two).unwrap());
    }
}
