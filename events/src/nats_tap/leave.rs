//! Which kinds of events may leave by NATS? There a message is shown as it was stored, and nobody looks at it in between.
//!
//! So nothing leaves that names an entry of the vault or holds the digest of a secret, and nothing that stands under
//! the system's own tenant, where a subject does not say whose it is.

use crate::catalogue::Kind;

pub const fn leaves(kind: Kind) -> bool {
    match kind {
        Kind::Tenant
        | Kind::Quota
        | Kind::Env
        | Kind::SshKey
        | Kind::Login
        | Kind::Session
        | Kind::Access
        | Kind::Batch
        | Kind::Command
        | Kind::Schedule
        | Kind::SignIn => true,
        // names of secrets, digests of keys and passwords
        Kind::Credential | Kind::Server | Kind::Relay | Kind::Subscription | Kind::NatsTap => false,
        // under the system's tenant
        Kind::User | Kind::Token | Kind::Port => false,
        // answers to requests, which may be anything
        Kind::Request => false,
    }
}

/// The kind of this name, if its events may leave.
pub fn leaving(name: &str) -> Option<Kind> {
    Kind::from_wire(name).filter(|kind| leaves(*kind))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalogue::CATALOGUE;

    /// Names of fields, wherever they stand, that tell of a secret.
    fn tells_of_a_secret(text: &str) -> bool {
        ["secret", "secret_ref", "password_ref", "digest"]
            .iter()
            .any(|field| text.contains(&format!("\"{field}\"")))
    }

    #[test]
    fn no_event_that_tells_of_a_secret_leaves() {
        for row in CATALOGUE.iter().filter(|row| leaves(row.kind)) {
            let schema = serde_json::to_string(&(row.schema)()).unwrap();
            assert!(!tells_of_a_secret(&schema), "{} leaves and tells of a secret", row.name);
        }
        let stays = CATALOGUE.iter().filter(|row| {
            !leaves(row.kind) && tells_of_a_secret(&serde_json::to_string(&(row.schema)()).unwrap())
        });
        assert!(stays.count() > 3, "the words looked for are those of the events");
    }
}
