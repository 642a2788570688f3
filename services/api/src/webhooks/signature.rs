//! How does a receiver know that it was us? By an HMAC over id, time and body (Standard Webhooks 1.0.0, `v1`).

use chrono::{DateTime, Utc};
use data_encoding::BASE64;
use hmac::{Hmac, KeyInit, Mac};
use secrecy::{ExposeSecret, SecretString};
use sha2::Sha256;

/// How secrets begin.
const PREFIX: &str = "whsec_";
/// Of a secret; the standard wants 24 to 64.
const SECRET_BYTES: usize = 32;

/// With what deliveries are signed.
pub struct Secrets {
    pub current: SecretString,
    /// Counts until then as well.
    pub previous: Option<(SecretString, DateTime<Utc>)>,
}

impl Secrets {
    /// The header `webhook-signature`: one for each secret that counts.
    pub fn sign(&self, id: &str, at: DateTime<Utc>, body: &[u8]) -> String {
        let previous = self.previous.iter().filter(|(_, until)| at < *until).map(|(secret, _)| secret);
        let signed = [&self.current].into_iter().chain(previous);
        signed.map(|secret| sign(secret, id, at.timestamp(), body)).collect::<Vec<_>>().join(" ")
    }
}

/// A new secret's text.
pub fn new_secret() -> Result<SecretString, getrandom::Error> {
    let mut bytes = [0_u8; SECRET_BYTES];
    getrandom::fill(&mut bytes)?;
    Ok(SecretString::from(format!("{PREFIX}{}", BASE64.encode(&bytes))))
}

/// Of a secret that we made; what is none signs as its own text would.
fn sign(secret: &SecretString, id: &str, timestamp: i64, body: &[u8]) -> String {
    let text = secret.expose_secret();
    let encoded = text.strip_prefix(PREFIX).unwrap_or(text);
    let key = BASE64.decode(encoded.as_bytes()).unwrap_or_else(|_| text.as_bytes().to_vec());
    let mut mac = Hmac::<Sha256>::new_from_slice(&key).unwrap_or_else(|_| Hmac::new(&Default::default()));
    mac.update(format!("{id}.{timestamp}.").as_bytes());
    mac.update(body);
    format!("v1,{}", BASE64.encode(&mac.finalize().into_bytes()))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use chrono::TimeDelta;

    use super::*;

    /// The vector that the standard's own libraries are tested with.
    #[test]
    fn it_signs_as_the_standard_does() {
        let secret = SecretString::from("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw");
        let signed = sign(&secret, "msg_p5jXN8AQM9LWM0D4loKWxJek", 1_614_265_330, br#"{"test": 2432232314}"#);
        assert_eq!(signed, "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
    }

    #[test]
    fn while_the_one_before_counts_there_are_two_signatures() {
        let now = DateTime::from_timestamp(1_700_000_000, 0).unwrap();
        let (new, old) = (new_secret().unwrap(), new_secret().unwrap());
        assert!(new.expose_secret().starts_with(PREFIX) && new.expose_secret() != old.expose_secret());
        let alone = |secret: &SecretString| sign(secret, "id", now.timestamp(), b"{}");
        let expected = format!("{} {}", alone(&new), alone(&old));
        let only = alone(&new);
        let secrets = Secrets { current: new, previous: Some((old, now + TimeDelta::seconds(1))) };
        assert_eq!(secrets.sign("id", now, b"{}"), expected);
        let later = now + TimeDelta::seconds(1);
        assert_eq!(secrets.sign("id", later, b"{}").split(' ').count(), 1);
        assert_ne!(secrets.sign("id", later, b"{}"), only, "the time is signed too");
    }
}
