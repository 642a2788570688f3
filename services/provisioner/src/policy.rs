//! What shall an environment's sentry enforce? Computed from the log; equal truth, equal version.

use chrono::{DateTime, Utc};
use data_encoding::HEXLOWER;
use events::env::Env;
use kit::sentry_protocol::{EndsSoon, Jupyter, Policy};
use sha2::{Digest, Sha256};
use ssh_key::{HashAlg, PublicKey};

use crate::allow_list;
use crate::fleet::Truth;

/// The secrets of a policy, as the sentry needs them.
#[derive(Clone)]
pub struct PolicySecrets {
    /// crypt(3) hash.
    pub password_hash: String,
    pub jupyter: Option<Jupyter>,
}

/// A policy, and what it proves once it is in force.
#[derive(Clone)]
pub struct Computed {
    pub policy: Policy,
    /// The number of the password whose hash it holds.
    pub password_number: u64,
    /// `SHA256:...` of every key it holds.
    pub fingerprints: Vec<String>,
}

pub fn compute(truth: &Truth, secrets: PolicySecrets, user_ca: &str, now: DateTime<Utc>) -> Computed {
    let member = &truth.member;
    let own = member.env.requested.iter().flat_map(|requested| &requested.ssh_public_keys);
    let (authorized_keys, fingerprints) = keys(own.chain(&truth.owner_keys));
    let mut policy = Policy {
        version: String::new(),
        password_hash: secrets.password_hash,
        authorized_keys,
        allow_list: allow_list::both(&truth.tenant_allow_list, &member.env.allow_list),
        lockouts: member.doors.lockouts(now),
        failures: member.doors.failures(now),
        forgiven: member.doors.forgiven(now),
        user_ca: Some(user_ca.to_owned()),
        jupyter: secrets.jupyter,
        ends_soon: ends_soon(&member.env),
    };
    policy.version = version_of(&policy);
    Computed { policy, password_number: member.credential.number, fingerprints }
}

/// The nearest end that was announced.
fn ends_soon(env: &Env) -> Option<EndsSoon> {
    let idle = env.stops_at.map(|at| EndsSoon { at, idle: true });
    let ttl = env.deletes_at.map(|at| EndsSoon { at, idle: false });
    idle.into_iter().chain(ttl).min_by_key(|soon| soon.at)
}

/// Digest of everything but the version itself.
fn version_of(policy: &Policy) -> String {
    let text = serde_json::to_vec(policy).unwrap_or_default();
    HEXLOWER.encode(&Sha256::digest(text))
}

/// Readable keys once each, in their order, with their fingerprints. What sshd could not read is left
/// out, so that a line break or an option cannot slip into its file.
fn keys<'k>(lines: impl Iterator<Item = &'k String>) -> (Vec<String>, Vec<String>) {
    let (mut kept, mut fingerprints) = (Vec::new(), Vec::new());
    for line in lines {
        let Ok(key) = PublicKey::from_openssh(line.trim()) else {
            tracing::warn!("a public key of the log cannot be read and is left out of the policy");
            continue;
        };
        let fingerprint = key.fingerprint(HashAlg::Sha256).to_string();
        if let (false, Ok(line)) = (fingerprints.contains(&fingerprint), key.to_openssh()) {
            kept.push(line);
            fingerprints.push(fingerprint);
        }
    }
    (kept, fingerprints)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;
    use crate::testing;

    const KEY: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIEOrEXHg8Bn3xHXpBKOvDrOs4tEwXaFYX5cpA4RE5oBD me";

    const CA: &str = "ssh-ed25519 AAAA";

    fn secrets() -> PolicySecrets {
        PolicySecrets { password_hash: "$6$x$y".into(), jupyter: None }
    }

    #[test]
    fn equal_truth_has_an_equal_version_and_a_lock_another() {
        let now = testing::t(10);
        let truth = testing::truth();
        let one = compute(&truth, secrets(), CA, now);
        assert_eq!(one.policy, compute(&truth, secrets(), CA, testing::t(99)).policy);
        let mut locked = truth.clone();
        locked.member.doors.apply(&testing::locked("203.0.113.9", 1800), now);
        let two = compute(&locked, secrets(), CA, now);
        assert_ne!(one.policy.version, two.policy.version);
        assert_eq!(two.policy.lockouts.len(), 1);
    }

    #[test]
    fn a_key_counts_once_and_garbage_not_at_all() {
        let mut truth = testing::truth();
        truth.owner_keys = vec![KEY.into(), format!("{KEY} other comment"), "command=\"x\" nonsense".into()];
        let computed = compute(&truth, secrets(), CA, testing::t(0));
        assert_eq!(computed.policy.authorized_keys, [KEY]);
        assert_eq!(computed.fingerprints.len(), 1);
        assert!(computed.fingerprints[0].starts_with("SHA256:"));
    }
}
