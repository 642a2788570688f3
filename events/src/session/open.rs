//! Does this session begin? Once.

use super::{Session, SessionEvent, SessionOpened, SessionRefusal, Stage};
use crate::aggregate::Decision;

pub fn open(state: &Session, opened: SessionOpened) -> Decision<SessionEvent, SessionRefusal> {
    Ok((state.stage == Stage::Absent).then(|| opened.into()))
}
