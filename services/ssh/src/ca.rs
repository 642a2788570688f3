//! Who may log in to an environment for a few minutes? Whoever holds a certificate that this signed.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use russh::keys::key::safe_rng;
use russh::keys::ssh_key::certificate::{Builder, CertType, Certificate};
use secrecy::SecretString;

use crate::keys::{KeyError, KeyPair};

/// How long a certificate opens an environment. A login takes a second; clocks differ by more.
pub const CERTIFICATE_VALID_S: u64 = 3 * 60;
/// It is valid from so long before it was made, for clocks that are behind.
pub const CLOCK_SKEW_S: u64 = 60;

/// What a session may do, as for a person who logs in directly.
const PERMITTED: [&str; 5] = [
    "permit-X11-forwarding",
    "permit-agent-forwarding",
    "permit-port-forwarding",
    "permit-pty",
    "permit-user-rc",
];

#[derive(Debug, thiserror::Error)]
pub enum CertifyError {
    #[error("no key for the session")]
    Key(#[from] KeyError),
    #[error("the certificate cannot be made")]
    Certificate(#[source] russh::keys::ssh_key::Error),
}

/// The certificate authority of an installation.
#[derive(Debug, Clone)]
pub struct UserCa(KeyPair);

/// For whom a certificate is.
#[derive(Debug, Clone)]
pub struct Holder<'h> {
    /// What sshd finds in its list of principals: the environment's id.
    pub principal: &'h str,
    /// sshd logs `<session>/<user>`, which ties its log to ours.
    pub session: &'h str,
    pub user: &'h str,
}

/// A key that was made for one session, with its certificate.
#[derive(Debug, Clone)]
pub struct SessionKey {
    pub(crate) key: KeyPair,
    pub(crate) certificate: Box<Certificate>,
}

impl UserCa {
    pub fn generate() -> Result<Self, KeyError> {
        Ok(Self(KeyPair::generate()?))
    }

    /// The text that [`UserCa::to_text`] gave.
    pub fn read(text: &SecretString) -> Result<Self, KeyError> {
        Ok(Self(KeyPair::read(text, None)?))
    }

    pub fn to_text(&self) -> Result<SecretString, KeyError> {
        self.0.to_text()
    }

    /// For sshd's `TrustedUserCAKeys`.
    pub fn public_line(&self) -> String {
        self.0.public_line()
    }

    /// A fresh key and its certificate, valid for [`CERTIFICATE_VALID_S`].
    pub fn certify(&self, holder: &Holder<'_>, now: SystemTime) -> Result<SessionKey, CertifyError> {
        let key = KeyPair::generate()?;
        let certificate = self.sign(&key, holder, now).map_err(CertifyError::Certificate)?;
        Ok(SessionKey { key, certificate: Box::new(certificate) })
    }

    fn sign(
        &self,
        key: &KeyPair,
        holder: &Holder<'_>,
        now: SystemTime,
    ) -> Result<Certificate, russh::keys::ssh_key::Error> {
        let now = now.duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO).as_secs();
        let (from, until) = (now.saturating_sub(CLOCK_SKEW_S), now + CERTIFICATE_VALID_S);
        let public = key.0.public_key().clone();
        let mut builder = Builder::new_with_random_nonce(&mut safe_rng(), public, from, until)?;
        builder.cert_type(CertType::User)?;
        builder.key_id(format!("{}/{}", holder.session, holder.user))?;
        builder.valid_principal(holder.principal)?;
        for name in PERMITTED {
            builder.extension(name, "")?;
        }
        builder.sign(&*self.0.0)
    }
}

impl SessionKey {
    /// `ssh-ed25519-cert-v01@openssh.com AAAA...`
    pub fn certificate_line(&self) -> String {
        self.certificate.to_openssh().unwrap_or_default()
    }

    /// The private key as a file of OpenSSH, for programs of their own.
    pub fn key_text(&self) -> Result<SecretString, KeyError> {
        self.key.to_text()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_certificate_names_session_and_environment_and_ends_soon() {
        let ca = UserCa::read(&UserCa::generate().unwrap().to_text().unwrap()).unwrap();
        let now = UNIX_EPOCH + Duration::from_secs(1_000_000);
        let holder = Holder { principal: "env-abcdefghijkl", session: "ses-abcdefghijkl", user: "alice" };
        let made = ca.certify(&holder, now).unwrap().certificate;
        assert_eq!(made.key_id(), "ses-abcdefghijkl/alice");
        assert_eq!(made.valid_principals(), ["env-abcdefghijkl"]);
        assert_eq!(made.valid_before(), 1_000_000 + CERTIFICATE_VALID_S);
        assert_eq!(made.valid_after(), 1_000_000 - CLOCK_SKEW_S);
        assert!(made.cert_type().is_user());
        assert!(made.verify_signature().is_ok());
        let twice = ca.certify(&holder, now).unwrap().certificate;
        assert_ne!(twice.public_key(), made.public_key(), "a key per session");
    }
}
