//! May the password be replaced? When there is one; the same reset counts once.

use super::{Credential, CredentialEvent, CredentialRefusal, PasswordReset, SecretRef};
use crate::aggregate::Decision;

pub fn reset(
    state: &Credential,
    secret_ref: SecretRef,
    reason: &str,
) -> Decision<CredentialEvent, CredentialRefusal> {
    match &state.password {
        None => Err(CredentialRefusal::NotIssued),
        Some(current) if *current == secret_ref => Ok(None),
        Some(_) => Ok(Some(PasswordReset { secret_ref, reason: reason.to_owned() }.into())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::credential::PasswordApplied;
    use crate::credential::applied::password_applied;
    use crate::credential::issue::issue;
    use crate::testing::given;
    use uuid::Uuid;

    fn secret(version: u128) -> SecretRef {
        SecretRef { owner: "env-x".into(), name: "password".into(), version: Uuid::from_u128(version) }
    }

    #[test]
    fn a_reset_is_numbered_and_must_be_applied() {
        let nothing = Credential::default();
        assert_eq!(reset(&nothing, secret(2), "asked"), Err(CredentialRefusal::NotIssued));
        let issued = issue(&nothing, secret(1)).unwrap().unwrap();
        let one = given::<Credential>(vec![(0, issued.clone())]);
        assert_eq!(issue(&one, secret(9)), Ok(None), "only once");
        let another = reset(&one, secret(2), "asked").unwrap().unwrap();
        let two = given::<Credential>(vec![(0, issued), (1, another)]);
        assert_eq!(reset(&two, secret(2), "asked"), Ok(None), "the same reset again");
        assert_eq!((two.number, two.number_applied), (2, 0));
        assert_eq!(password_applied(&two, 2), Ok(Some(PasswordApplied { number: 2 }.into())));
        assert_eq!(password_applied(&two, 3), Ok(None), "there is no third");
    }
}
