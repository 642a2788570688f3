//! What does the environment itself enforce by now? Its sentry said so.

use super::{Credential, CredentialEvent, CredentialRefusal, KeysAttached, PasswordApplied};
use crate::aggregate::Decision;

pub fn password_applied(state: &Credential, number: u64) -> Decision<CredentialEvent, CredentialRefusal> {
    let newer = number > state.number_applied && number <= state.number;
    Ok(newer.then(|| PasswordApplied { number }.into()))
}

pub fn keys_attached(
    state: &Credential,
    mut fingerprints: Vec<String>,
) -> Decision<CredentialEvent, CredentialRefusal> {
    fingerprints.sort();
    fingerprints.dedup();
    Ok((state.fingerprints != fingerprints).then(|| KeysAttached { fingerprints }.into()))
}
