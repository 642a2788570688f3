//! Which keys seal secrets? The first one seals, all of them open, so that keys can be rotated.

use std::fmt;
use std::sync::Arc;

use data_encoding::BASE64;
use hmac::{Hmac, KeyInit, Mac};
use secrecy::zeroize::Zeroizing;
use secrecy::{ExposeSecret, SecretString};
use sha2::Sha256;

/// Bytes of a key.
const KEY_LENGTH: usize = 32;
/// Longest key id, in bytes.
const KEY_ID_LENGTH_MAX: usize = 32;
/// Keys at one time: the one in use and those being rotated out.
const KEYS_MAX: usize = 16;

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum MasterKeysError {
    #[error("master key {0} does not look like <key id>:<base64 of 32 bytes>")]
    Malformed(usize),
    #[error("master key id {0:?} is given twice")]
    Twice(String),
    #[error("there are more than {KEYS_MAX} master keys")]
    TooMany,
    #[error("the operating system gave no randomness")]
    Randomness,
}

/// Keys from configuration: `<key id>:<base64 of 32 bytes>`, newest first, separated by commas.
#[derive(Clone)]
pub struct MasterKeys {
    sealing: Arc<MasterKey>,
    older: Arc<[MasterKey]>,
}

pub(crate) struct MasterKey {
    pub(crate) id: String,
    pub(crate) bytes: Zeroizing<[u8; KEY_LENGTH]>,
}

impl MasterKeys {
    /// Errors name the position of a key (from 1), never its text.
    pub fn parse(text: &str) -> Result<Self, MasterKeysError> {
        let mut keys: Vec<MasterKey> = Vec::new();
        for (index, one) in text.trim().split(',').enumerate() {
            let malformed = || MasterKeysError::Malformed(index + 1);
            let (id, encoded) = one.trim().split_once(':').ok_or_else(malformed)?;
            let named = !id.is_empty()
                && id.len() <= KEY_ID_LENGTH_MAX
                && id.chars().all(|c| c.is_ascii_alphanumeric() || c == '-' || c == '_');
            if !named {
                return Err(malformed());
            }
            let decoded = Zeroizing::new(BASE64.decode(encoded.as_bytes()).map_err(|_| malformed())?);
            let bytes: [u8; KEY_LENGTH] = decoded.as_slice().try_into().map_err(|_| malformed())?;
            if keys.iter().any(|key| key.id == id) {
                return Err(MasterKeysError::Twice(id.to_owned()));
            }
            if keys.len() == KEYS_MAX {
                return Err(MasterKeysError::TooMany);
            }
            keys.push(MasterKey { id: id.to_owned(), bytes: Zeroizing::new(bytes) });
        }
        let sealing = keys.remove(0); // `split` yields at least one
        Ok(Self { sealing: Arc::new(sealing), older: keys.into() })
    }

    /// A new key from the operating system's randomness, and its text form to be kept.
    pub fn generate() -> Result<(Self, SecretString), MasterKeysError> {
        let mut bytes = Zeroizing::new([0u8; KEY_LENGTH]);
        getrandom::fill(bytes.as_mut_slice()).map_err(|_| MasterKeysError::Randomness)?;
        let mut id = [0u8; 4];
        getrandom::fill(&mut id).map_err(|_| MasterKeysError::Randomness)?;
        let id = format!("k{}", data_encoding::HEXLOWER.encode(&id));
        let text = SecretString::from(format!("{id}:{}", BASE64.encode(bytes.as_slice())));
        Ok((Self::parse(text.expose_secret())?, text))
    }

    /// 32 bytes that only holders of the first key can compute: HMAC-SHA256 of `label`.
    /// For the sentries' tokens and the key of session tokens.
    pub fn derive(&self, label: &str) -> [u8; 32] {
        // A key shorter than the hash's block is filled up with zeros (RFC 2104, section 2).
        let mut block = Zeroizing::new([0u8; 64]);
        block[..KEY_LENGTH].copy_from_slice(self.sealing.bytes.as_slice());
        let mut mac = Hmac::<Sha256>::new((&*block).into());
        mac.update(b"portreeve/derive/");
        mac.update(label.as_bytes());
        mac.finalize().into_bytes().into()
    }

    pub(crate) fn sealing(&self) -> &MasterKey {
        &self.sealing
    }

    pub(crate) fn by_id(&self, id: &str) -> Option<&MasterKey> {
        std::iter::once(&*self.sealing).chain(self.older.iter()).find(|key| key.id == id)
    }
}

impl fmt::Debug for MasterKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MasterKeys").field("sealing", &self.sealing.id).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    const EXPECTED: &str = "f4f5603481953a80a630ba3416dcd9eb0ed0082f1411ddaed263409677fc3aff";
    const KEY: &str = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";

    #[test]
    fn a_wrong_key_is_named_by_its_position_and_not_shown() {
        for (text, expected) in [
            (String::new(), MasterKeysError::Malformed(1)),
            (KEY.to_owned(), MasterKeysError::Malformed(1)),
            (format!("a:{KEY},b:c2hvcnQ="), MasterKeysError::Malformed(2)),
            (format!("a b:{KEY}"), MasterKeysError::Malformed(1)),
            (format!("a:{KEY},a:{KEY}"), MasterKeysError::Twice("a".into())),
        ] {
            let error = MasterKeys::parse(&text).unwrap_err();
            assert!(!error.to_string().contains("AAEC"), "{error}");
            assert_eq!(error, expected, "{text}");
        }
        assert!(MasterKeys::parse(&format!("a:{KEY}, b:{KEY}\n")).is_ok());
    }

    /// Computed with another program: `hmac.new(bytes(range(32)), b"portreeve/derive/x", "sha256")`.
    #[test]
    fn what_is_derived_stays_the_same_for_ever() {
        let derived = MasterKeys::parse(&format!("a:{KEY}")).unwrap().derive("x");
        assert_eq!(data_encoding::HEXLOWER.encode(&derived), EXPECTED);
    }
}
