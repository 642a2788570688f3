//! Does this session end? Once, after it began.

use super::{Session, SessionClosed, SessionEvent, SessionRefusal};
use crate::aggregate::Decision;

pub fn close(state: &Session, closed: SessionClosed) -> Decision<SessionEvent, SessionRefusal> {
    match state {
        Session::Absent => Err(SessionRefusal::NotFound),
        Session::Open => Ok(Some(closed.into())),
        Session::Closed => Ok(None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::EnvId;
    use crate::testing::t;
    use uuid::Uuid;

    #[test]
    fn a_session_ends_once() {
        let closed = SessionClosed {
            env: EnvId::from_seed(&Uuid::nil()),
            bytes_in: 1,
            bytes_out: 2,
            reason: "client_left".into(),
            at: t(0),
        };
        assert!(close(&Session::Absent, closed.clone()).is_err());
        assert!(close(&Session::Open, closed.clone()).unwrap().is_some());
        assert_eq!(close(&Session::Closed, closed), Ok(None));
    }
}
