//! What is recorded of somebody who was turned away? How often it happened, under an id of its own.

use super::{SignIn, SignInEvent, SignInRefusal, SignInsRefused};
use crate::aggregate::Decision;

pub fn refuse(state: &SignIn, refused: SignInsRefused) -> Decision<SignInEvent, SignInRefusal> {
    if state.signed_in.is_some() {
        Err(SignInRefusal::Taken)
    } else {
        Ok((!state.refused).then(|| refused.into()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sign_in::testing::{refused, signed_in};
    use crate::testing::given;

    #[test]
    fn a_summary_is_recorded_once_and_is_no_sign_in() {
        let event = refuse(&SignIn::default(), refused()).unwrap().unwrap();
        let there = given::<SignIn>(vec![(0, event)]);
        assert_eq!(refuse(&there, refused()), Ok(None));
        assert!(there.signed_in.is_none());
        let other = given::<SignIn>(vec![(0, signed_in().into())]);
        assert_eq!(refuse(&other, refused()), Err(SignInRefusal::Taken));
    }
}
