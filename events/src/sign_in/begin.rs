//! May this sign-in begin? Once under its id.

use super::{SignIn, SignInEvent, SignInRefusal, SignedIn};
use crate::aggregate::Decision;

pub fn begin(state: &SignIn, asked: SignedIn) -> Decision<SignInEvent, SignInRefusal> {
    match &state.signed_in {
        None if !state.refused => Ok(Some(asked.into())),
        Some(there) if *there == asked => Ok(None),
        None | Some(_) => Err(SignInRefusal::Taken),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sign_in::testing::{refused, signed_in};
    use crate::testing::given;

    #[test]
    fn a_sign_in_begins_once() {
        let event = begin(&SignIn::default(), signed_in()).unwrap().unwrap();
        let there = given::<SignIn>(vec![(0, event)]);
        assert_eq!(begin(&there, signed_in()), Ok(None), "the same again");
        let other = SignedIn { client: None, ..signed_in() };
        assert_eq!(begin(&there, other), Err(SignInRefusal::Taken));
        let turned_away = given::<SignIn>(vec![(0, refused().into())]);
        assert_eq!(begin(&turned_away, signed_in()), Err(SignInRefusal::Taken));
    }
}
