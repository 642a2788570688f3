//! May this sign-in end? Once; afterwards it is so.

use super::{SignIn, SignInEvent, SignInRefusal, SignedOut};
use crate::aggregate::Decision;

pub fn end(state: &SignIn, asked: SignedOut) -> Decision<SignInEvent, SignInRefusal> {
    if state.signed_in.is_none() {
        Err(SignInRefusal::NotFound)
    } else {
        Ok((!state.signed_out).then(|| asked.into()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sign_in::testing::{signed_in, signed_out};
    use crate::testing::given;

    #[test]
    fn a_sign_in_ends_once() {
        assert_eq!(end(&SignIn::default(), signed_out()), Err(SignInRefusal::NotFound));
        let past = vec![(0, signed_in().into())];
        let event = end(&given(past.clone()), signed_out()).unwrap().unwrap();
        let over = given::<SignIn>([past, vec![(1, event)]].concat());
        assert_eq!(end(&over, signed_out()), Ok(None));
    }
}
