//! Whose word does the server believe when it asks who somebody is? Ed25519 keys and signed claims as NATS writes them
//! (nkeys; JWT with `ed25519-nkey`, version 2).

use data_encoding::{BASE32_NOPAD, BASE64URL_NOPAD};
use ed25519_dalek::{Signer, SigningKey};
use secrecy::{ExposeSecret, SecretString};
use serde_json::Value;
use sha2::{Digest, Sha256};

/// First byte of an account's public key, so that its text begins with `A`.
const ACCOUNT: u8 = 0;
const HEADER: &[u8] = br#"{"typ":"JWT","alg":"ed25519-nkey"}"#;

/// The key that lets people in beside the services. Whoever has it, and is asked, lets in whom they want.
pub struct Issuer {
    key: SigningKey,
    public: String,
}

impl Issuer {
    /// It derives from the password of the user `taps`, so there is one secret and not two.
    pub fn of(password: &SecretString) -> Self {
        let mut seed = Sha256::new();
        seed.update(b"portreeve/taps/issuer\n");
        seed.update(password.expose_secret().as_bytes());
        let key = SigningKey::from_bytes(&seed.finalize().into());
        let public = text_of(ACCOUNT, key.verifying_key().as_bytes());
        Self { key, public }
    }

    /// What the server is told of it: `PORTREEVE_NATS_TAPS_ISSUER`.
    pub fn public(&self) -> &str {
        &self.public
    }

    pub(crate) fn sign(&self, claims: &Value) -> String {
        let claims = BASE64URL_NOPAD.encode(claims.to_string().as_bytes());
        let signed = format!("{}.{claims}", BASE64URL_NOPAD.encode(HEADER));
        let signature = self.key.sign(signed.as_bytes());
        format!("{signed}.{}", BASE64URL_NOPAD.encode(&signature.to_bytes()))
    }
}

/// The claims of a token. Whether its signature holds is not looked at: nobody but the server can ask.
pub(crate) fn claims_of(token: &[u8]) -> Option<Value> {
    let claims = std::str::from_utf8(token).ok()?.split('.').nth(1)?;
    serde_json::from_slice(&BASE64URL_NOPAD.decode(claims.as_bytes()).ok()?).ok()
}

/// A public key as NATS writes it: prefix, key and checksum in base32.
fn text_of(prefix: u8, key: &[u8; 32]) -> String {
    let mut bytes = vec![prefix];
    bytes.extend(key);
    bytes.extend(checksum(&bytes).to_le_bytes());
    BASE32_NOPAD.encode(&bytes)
}

/// CRC-16/XMODEM.
fn checksum(bytes: &[u8]) -> u16 {
    bytes.iter().fold(0, |sum, byte| {
        (0..8).fold(sum ^ (u16::from(*byte) << 8), |sum, _| {
            if sum & 0x8000 == 0 { sum << 1 } else { (sum << 1) ^ 0x1021 }
        })
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use ed25519_dalek::{Signature, Verifier};
    use serde_json::json;

    use super::*;

    const EXPECTED: &str = "AC3ND44Q56EOBKC226XJTSOGRNRSBV6Q3F7E47JRY3UGJE6EERPFFYII";

    #[test]
    fn the_checksum_is_the_one_that_others_compute() {
        assert_eq!(checksum(b"123456789"), 0x31c3);
    }

    /// Computed with another program, from the same password.
    #[test]
    fn a_password_gives_the_same_key_for_ever() {
        let issuer = Issuer::of(&"10000007".into());
        assert_eq!(issuer.public(), EXPECTED);
        assert_ne!(Issuer::of(&"10000008".into()).public(), EXPECTED);
    }

    #[test]
    fn what_is_signed_is_read_and_holds() {
        let issuer = Issuer::of(&"a password".into());
        let claims = json!({"sub": "U", "nats": {"type": "user", "version": 2}});
        let token = issuer.sign(&claims);
        assert_eq!(claims_of(token.as_bytes()), Some(claims));
        let (signed, signature) = token.rsplit_once('.').unwrap();
        let signature = BASE64URL_NOPAD.decode(signature.as_bytes()).unwrap();
        let signature = Signature::from_slice(&signature).unwrap();
        issuer.key.verifying_key().verify(signed.as_bytes(), &signature).unwrap();
        for broken in ["", "a", "a.b", "a.!.c"] {
            assert_eq!(claims_of(broken.as_bytes()), None, "{broken}");
        }
    }
}
