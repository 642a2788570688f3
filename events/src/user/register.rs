//! May this user name be registered? Once in all tenants, so that a login needs no tenant.

use super::{User, UserEvent, UserRefusal, UserRegistered};
use crate::aggregate::Decision;

pub fn register(state: &User, asked: UserRegistered) -> Decision<UserEvent, UserRefusal> {
    match &state.registered {
        None => Ok(Some(asked.into())),
        Some(there) if *there == asked => Ok(None),
        Some(_) => Err(UserRefusal::Exists),
    }
}
