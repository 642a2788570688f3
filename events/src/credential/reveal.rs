//! May somebody be shown the password? When there is one; each showing is a fact.

use super::{Credential, CredentialEvent, CredentialRefusal, PasswordRevealed};
use crate::aggregate::Decision;

pub fn reveal(state: &Credential) -> Decision<CredentialEvent, CredentialRefusal> {
    if state.password.is_none() {
        return Err(CredentialRefusal::NotIssued);
    }
    Ok(Some(PasswordRevealed { number: state.number }.into()))
}
