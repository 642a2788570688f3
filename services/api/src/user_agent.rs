//! What does a client say it is? For the records; it may say anything.

use axum::http::{HeaderMap, header};

/// So much of it is recorded.
const CHARACTERS_MAX: usize = 200;

pub fn of(headers: &HeaderMap) -> Option<String> {
    let said = headers.get(header::USER_AGENT)?.to_str().ok()?;
    Some(said.chars().take(CHARACTERS_MAX).collect())
}
