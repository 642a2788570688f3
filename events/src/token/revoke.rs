//! May the token be revoked? Once.

use super::{Token, TokenEvent, TokenRefusal, TokenRevoked};
use crate::aggregate::Decision;

pub fn revoke(state: &Token) -> Decision<TokenEvent, TokenRefusal> {
    if state.issued.is_none() {
        Err(TokenRefusal::NotFound)
    } else {
        Ok((!state.revoked).then(|| TokenRevoked {}.into()))
    }
}
