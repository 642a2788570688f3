//! Is somebody signed in by this? Until they sign out. How long it opens something new, its word says itself; what
//! is open by then may stay.

use super::SignIn;

pub fn is_open(state: &SignIn) -> bool {
    state.signed_in.is_some() && !state.signed_out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sign_in::testing::{refused, signed_in, signed_out};
    use crate::testing::given;

    #[test]
    fn nobody_is_signed_in_by_what_is_over_or_never_was() {
        assert!(!is_open(&SignIn::default()));
        assert!(!is_open(&given(vec![(0, refused().into())])));
        let past = vec![(0, signed_in().into())];
        assert!(is_open(&given(past.clone())));
        assert!(!is_open(&given([past, vec![(1, signed_out().into())]].concat())));
    }
}
