//! May the key be removed? Once.

use super::{SshKey, SshKeyEvent, SshKeyRefusal, SshKeyRemoved};
use crate::aggregate::Decision;

pub fn remove(state: &SshKey) -> Decision<SshKeyEvent, SshKeyRefusal> {
    match &state.added {
        Some(added) => Ok(Some(SshKeyRemoved { owner: added.owner.clone() }.into())),
        None if state.removed => Ok(None),
        None => Err(SshKeyRefusal::NotFound),
    }
}
