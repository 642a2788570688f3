//! May the relay be revoked? Once, at any time.

use super::{Relay, RelayEvent, RelayRefusal, RelayRevoked};
use crate::aggregate::Decision;

pub fn revoke(state: &Relay) -> Decision<RelayEvent, RelayRefusal> {
    if state.settings.is_none() {
        Err(RelayRefusal::NotFound)
    } else {
        Ok((!state.revoked).then(|| RelayRevoked {}.into()))
    }
}
