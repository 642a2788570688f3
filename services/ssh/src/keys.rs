//! Which keys are there, and how are they written? OpenSSH's own formats.

use std::sync::Arc;

use russh::keys::key::safe_rng;
use russh::keys::ssh_key::{LineEnding, PrivateKey, PublicKey};
use russh::keys::{Algorithm, HashAlg};
use secrecy::{ExposeSecret, SecretString};

#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    #[error("the private key cannot be read")]
    Private(#[source] russh::keys::Error),
    #[error("the public key cannot be read")]
    Public(#[source] russh::keys::ssh_key::Error),
    #[error("no key could be made")]
    Make(#[source] russh::keys::ssh_key::Error),
}

impl KeyError {
    /// The key is encrypted, and no passphrase was given.
    pub fn needs_passphrase(&self) -> bool {
        matches!(self, Self::Private(russh::keys::Error::KeyIsEncrypted))
    }
}

/// A private key: of a host, a person or a certificate authority. Never printed.
#[derive(Clone)]
pub struct KeyPair(pub(crate) Arc<PrivateKey>);

impl std::fmt::Debug for KeyPair {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("KeyPair([redacted])")
    }
}

impl KeyPair {
    /// A new ed25519 key.
    pub fn generate() -> Result<Self, KeyError> {
        let key = PrivateKey::random(&mut safe_rng(), Algorithm::Ed25519).map_err(KeyError::Make)?;
        Ok(Self(Arc::new(key)))
    }

    /// OpenSSH, PEM or PKCS#8; `passphrase` if it is encrypted.
    pub fn read(text: &SecretString, passphrase: Option<&SecretString>) -> Result<Self, KeyError> {
        let passphrase = passphrase.map(|passphrase| passphrase.expose_secret());
        let key =
            russh::keys::decode_secret_key(text.expose_secret(), passphrase).map_err(KeyError::Private)?;
        Ok(Self(Arc::new(key)))
    }

    /// Whether a passphrase is needed to read this text.
    pub fn is_encrypted(text: &SecretString) -> bool {
        Self::read(text, None).is_err_and(|error| error.needs_passphrase())
    }

    /// The text that [`KeyPair::read`] reads: OpenSSH, not encrypted.
    pub fn to_text(&self) -> Result<SecretString, KeyError> {
        let text = self.0.to_openssh(LineEnding::LF).map_err(KeyError::Make)?;
        Ok(SecretString::from(text.to_string()))
    }

    /// `ssh-ed25519 AAAA...`, without a comment.
    pub fn public_line(&self) -> String {
        line(self.0.public_key())
    }
}

/// A public key as it stands in `authorized_keys`, and its fingerprint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PublicLine(pub(crate) PublicKey);

impl PublicLine {
    pub fn read(text: &str) -> Result<Self, KeyError> {
        let key = PublicKey::from_openssh(text.trim()).map_err(KeyError::Public)?;
        Ok(Self(key))
    }

    /// `SHA256:...`, as `ssh-keygen -l` shows it.
    pub fn fingerprint(&self) -> String {
        self.0.fingerprint(HashAlg::Sha256).to_string()
    }

    pub fn line(&self) -> String {
        line(&self.0)
    }

    /// Comments do not count.
    pub fn is_same_key(&self, other: &Self) -> bool {
        self.0.key_data() == other.0.key_data()
    }
}

fn line(key: &PublicKey) -> String {
    PublicKey::new(key.key_data().clone(), "").to_openssh().unwrap_or_default().trim_end().to_owned()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_key_is_read_as_it_was_written_and_does_not_print() {
        let key = KeyPair::generate().unwrap();
        let text = key.to_text().unwrap();
        assert_eq!(KeyPair::read(&text, None).unwrap().public_line(), key.public_line());
        assert!(key.public_line().starts_with("ssh-ed25519 AAAA"));
        assert_eq!(format!("{key:?}"), "KeyPair([redacted])");
    }

    #[test]
    fn a_comment_makes_no_other_key() {
        let line = KeyPair::generate().unwrap().public_line();
        let (one, two) =
            (PublicLine::read(&line).unwrap(), PublicLine::read(&format!("{line} me@home")).unwrap());
        assert!(one.is_same_key(&two));
        assert_eq!(two.line(), line);
        assert!(one.fingerprint().starts_with("SHA256:"));
    }
}
