//! Does the environment get its first password? Once.

use super::{Credential, CredentialEvent, CredentialRefusal, PasswordIssued, SecretRef};
use crate::aggregate::Decision;

pub fn issue(state: &Credential, secret_ref: SecretRef) -> Decision<CredentialEvent, CredentialRefusal> {
    Ok(state.password.is_none().then(|| PasswordIssued { secret_ref }.into()))
}
