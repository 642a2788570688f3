//! May others come into this shell? As long as it is there; until the share is revoked or its time is over.

use super::{Session, SessionEvent, SessionRefusal, SessionShared, SessionUnshared, Stage};
use crate::aggregate::Decision;

/// How long a share lives when nothing else is asked for, and at most.
pub const SHARE_S_DEFAULT: u64 = 60 * 60;
pub const SHARE_S_MAX: u64 = 24 * 60 * 60;
/// Shares of one session at a time.
pub const SHARES_MAX: usize = 16;

pub fn share(state: &Session, shared: SessionShared) -> Decision<SessionEvent, SessionRefusal> {
    match &state.stage {
        Stage::Absent => Err(SessionRefusal::NotFound),
        Stage::Closed => Err(SessionRefusal::Ended),
        Stage::Open(open) if open.shares.contains_key(&shared.share) => Ok(None),
        Stage::Open(open) if open.shares.len() >= SHARES_MAX => Err(SessionRefusal::TooManyShares),
        Stage::Open(_) => Ok(Some(shared.into())),
    }
}

/// With the session its shares have ended.
pub fn unshare(state: &Session, unshared: SessionUnshared) -> Decision<SessionEvent, SessionRefusal> {
    match &state.stage {
        Stage::Absent => Err(SessionRefusal::NotFound),
        Stage::Open(open) if open.shares.contains_key(&unshared.share) => Ok(Some(unshared.into())),
        Stage::Open(_) | Stage::Closed => Ok(None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::session::testing::{at, opened, shared, unshared};
    use crate::testing::given;

    #[test]
    fn a_shell_is_shared_while_it_is_there() {
        assert_eq!(share(&Session::default(), shared(1)), Err(SessionRefusal::NotFound));
        assert_eq!(share(&at(Stage::Closed), shared(1)), Err(SessionRefusal::Ended));
        let open = given::<Session>(vec![(0, opened())]);
        assert_eq!(share(&open, shared(1)), Ok(Some(shared(1).into())));
        let once = given::<Session>(vec![(0, opened()), (1, shared(1).into())]);
        assert_eq!(share(&once, shared(1)), Ok(None), "it is so already");
    }

    #[test]
    fn shares_have_a_bound() {
        let past = |count: usize| {
            let shares = (0..count).map(|n| (1, shared(n as u128).into()));
            std::iter::once((0, opened())).chain(shares).collect()
        };
        let full = given::<Session>(past(SHARES_MAX));
        assert_eq!(share(&full, shared(99)), Err(SessionRefusal::TooManyShares));
        assert!(share(&given(past(SHARES_MAX - 1)), shared(99)).unwrap().is_some());
    }

    #[test]
    fn a_share_ends_once() {
        let once = given::<Session>(vec![(0, opened()), (1, shared(1).into())]);
        assert_eq!(unshare(&once, unshared(1)), Ok(Some(unshared(1).into())));
        assert_eq!(unshare(&once, unshared(2)), Ok(None), "there was none");
        let ended = given::<Session>(vec![(0, opened()), (1, shared(1).into()), (2, unshared(1).into())]);
        assert_eq!(unshare(&ended, unshared(1)), Ok(None));
        assert_eq!(unshare(&at(Stage::Closed), unshared(1)), Ok(None));
    }
}
