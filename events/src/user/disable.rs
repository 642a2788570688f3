//! May the user be shut out? Once.

use super::{User, UserDisabled, UserEvent, UserRefusal};
use crate::aggregate::Decision;

pub fn disable(state: &User) -> Decision<UserEvent, UserRefusal> {
    if state.registered.is_none() {
        Err(UserRefusal::NotFound)
    } else {
        Ok((!state.disabled).then(|| UserDisabled {}.into()))
    }
}
