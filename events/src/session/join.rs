//! Does this guest come in, and when are they gone?

use chrono::{DateTime, Utc};

use super::{Session, SessionEvent, SessionJoined, SessionLeft, SessionRefusal, Stage};
use crate::aggregate::Decision;

pub fn join(
    state: &Session,
    joined: SessionJoined,
    now: DateTime<Utc>,
) -> Decision<SessionEvent, SessionRefusal> {
    let open = match &state.stage {
        Stage::Absent => return Err(SessionRefusal::NotFound),
        Stage::Closed => return Err(SessionRefusal::Ended),
        Stage::Open(open) => open,
    };
    let until = open.shares.get(&joined.share).ok_or(SessionRefusal::ShareEnded)?;
    if *until <= now {
        return Err(SessionRefusal::ShareEnded);
    }
    Ok((!open.guests.contains_key(&joined.guest)).then(|| joined.into()))
}

/// With the session everybody has left.
pub fn leave(state: &Session, left: SessionLeft) -> Decision<SessionEvent, SessionRefusal> {
    match &state.stage {
        Stage::Absent => Err(SessionRefusal::NotFound),
        Stage::Open(open) if open.guests.contains_key(&left.guest) => Ok(Some(left.into())),
        Stage::Open(_) | Stage::Closed => Ok(None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::session::testing::{SHARE_ENDS_S, at, joined, left, opened, shared, unshared};
    use crate::testing::{given, t};

    #[test]
    fn a_guest_comes_in_by_a_share_that_is_good() {
        let open = given::<Session>(vec![(0, opened()), (1, shared(1).into())]);
        assert_eq!(join(&open, joined(1, 1), t(2)), Ok(Some(joined(1, 1).into())));
        assert_eq!(join(&open, joined(2, 1), t(2)), Err(SessionRefusal::ShareEnded), "another share");
        assert_eq!(join(&open, joined(1, 1), t(SHARE_ENDS_S)), Err(SessionRefusal::ShareEnded), "over");
        let revoked = given::<Session>(vec![(0, opened()), (1, shared(1).into()), (2, unshared(1).into())]);
        assert_eq!(join(&revoked, joined(1, 1), t(3)), Err(SessionRefusal::ShareEnded));
        assert_eq!(join(&at(Stage::Closed), joined(1, 1), t(3)), Err(SessionRefusal::Ended));
        assert_eq!(join(&Session::default(), joined(1, 1), t(3)), Err(SessionRefusal::NotFound));
    }

    #[test]
    fn a_guest_leaves_once_also_after_the_share_ended() {
        let past =
            vec![(0, opened()), (1, shared(1).into()), (2, joined(1, 1).into()), (3, unshared(1).into())];
        assert_eq!(join(&given(past[..3].to_vec()), joined(1, 1), t(3)), Ok(None), "in already");
        let inside = given::<Session>(past.clone());
        assert_eq!(leave(&inside, left(1, 1)), Ok(Some(left(1, 1).into())));
        assert_eq!(leave(&inside, left(1, 2)), Ok(None), "was never in");
        let gone = given::<Session>([past, vec![(4, left(1, 1).into())]].concat());
        assert_eq!(leave(&gone, left(1, 1)), Ok(None));
        assert_eq!(leave(&at(Stage::Closed), left(1, 1)), Ok(None));
    }
}
