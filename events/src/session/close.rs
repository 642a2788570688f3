//! Does this session end? Once, after it began.

use super::{Session, SessionClosed, SessionEvent, SessionRefusal, Stage};
use crate::aggregate::Decision;

pub fn close(state: &Session, closed: SessionClosed) -> Decision<SessionEvent, SessionRefusal> {
    match &state.stage {
        Stage::Absent => Err(SessionRefusal::NotFound),
        Stage::Open(_) => Ok(Some(closed.into())),
        Stage::Closed => Ok(None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::EnvId;
    use crate::session::Open;
    use crate::session::testing::at;
    use crate::testing::t;
    use uuid::Uuid;

    #[test]
    fn a_session_ends_once() {
        let closed = SessionClosed {
            place: EnvId::from_seed(&Uuid::nil()).into(),
            bytes_in: 1,
            bytes_out: 2,
            reason: "client_left".into(),
            at: t(0),
        };
        assert!(close(&at(Stage::Absent), closed.clone()).is_err());
        assert!(close(&at(Stage::Open(Open::default())), closed.clone()).unwrap().is_some());
        assert_eq!(close(&at(Stage::Closed), closed), Ok(None));
    }
}
