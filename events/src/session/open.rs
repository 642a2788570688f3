//! Does this session begin? Once.

use super::{Session, SessionEvent, SessionOpened, SessionRefusal};
use crate::aggregate::Decision;

pub fn open(state: &Session, opened: SessionOpened) -> Decision<SessionEvent, SessionRefusal> {
    Ok((*state == Session::Absent).then(|| opened.into()))
}
