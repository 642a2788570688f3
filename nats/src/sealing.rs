//! How is something sealed with the master keys? XChaCha20-Poly1305 under the newest key, bound to its name.

use chacha20poly1305::aead::{Aead, Payload};
use chacha20poly1305::{KeyInit, XChaCha20Poly1305, XNonce};
use secrecy::zeroize::Zeroizing;

use crate::master_keys::MasterKeys;

/// First byte of everything sealed: how the rest is laid out
/// (length of the key id, key id, nonce of 24 bytes, ciphertext with its tag).
const LAYOUT: u8 = 1;
const NONCE_LENGTH: usize = 24;

/// The operating system gave no randomness, or the text is longer than the cipher takes (256 GiB).
#[derive(Debug, thiserror::Error)]
#[error("nothing can be sealed: the operating system gave no randomness")]
pub(crate) struct SealError;

#[derive(Debug, thiserror::Error)]
pub(crate) enum OpenError {
    #[error("it was sealed with key {key}, which is not among the master keys")]
    KeyUnknown { key: String },
    #[error("it does not open: it is damaged, or was sealed under another name")]
    Damaged,
}

/// The full name is sealed in as associated data: what is moved to another name does not open.
pub(crate) fn seal(keys: &MasterKeys, name: &str, text: &[u8]) -> Result<Vec<u8>, SealError> {
    let key = keys.sealing();
    let mut nonce = [0u8; NONCE_LENGTH];
    getrandom::fill(&mut nonce).map_err(|_| SealError)?;
    let cipher = XChaCha20Poly1305::new((&*key.bytes).into());
    let ciphertext = cipher
        .encrypt(&XNonce::from(nonce), Payload { msg: text, aad: name.as_bytes() })
        .map_err(|_| SealError)?;
    // ids of keys have at most 32 bytes
    let id_length = u8::try_from(key.id.len()).map_err(|_| SealError)?;
    Ok([&[LAYOUT, id_length], key.id.as_bytes(), &nonce, &ciphertext].concat())
}

pub(crate) fn open(keys: &MasterKeys, name: &str, sealed: &[u8]) -> Result<Zeroizing<Vec<u8>>, OpenError> {
    let (&[layout, id_length], rest) = sealed.split_first_chunk::<2>().ok_or(OpenError::Damaged)?;
    if layout != LAYOUT {
        return Err(OpenError::Damaged);
    }
    let (id, rest) = rest.split_at_checked(usize::from(id_length)).ok_or(OpenError::Damaged)?;
    let (nonce, ciphertext) = rest.split_first_chunk::<NONCE_LENGTH>().ok_or(OpenError::Damaged)?;
    let id = std::str::from_utf8(id).map_err(|_| OpenError::Damaged)?;
    let key = keys.by_id(id).ok_or_else(|| OpenError::KeyUnknown { key: id.to_owned() })?;
    let cipher = XChaCha20Poly1305::new((&*key.bytes).into());
    cipher
        .decrypt(&XNonce::from(*nonce), Payload { msg: ciphertext, aad: name.as_bytes() })
        .map(Zeroizing::new)
        .map_err(|_| OpenError::Damaged)
}
