//! May the token be issued? Once per request, because it is shown once.

use super::{Token, TokenEvent, TokenIssued, TokenRefusal};
use crate::aggregate::Decision;

pub fn issue(state: &Token, asked: TokenIssued) -> Decision<TokenEvent, TokenRefusal> {
    match &state.issued {
        None => Ok(Some(asked.into())),
        Some(there) if *there == asked => Ok(None),
        Some(_) => Err(TokenRefusal::ShownBefore),
    }
}
