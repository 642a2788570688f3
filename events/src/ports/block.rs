//! Shall a port be left alone for a while? When the machine says that somebody else has it.

use chrono::{DateTime, Utc};

use super::{Port, PortBlocked, PortEvent, PortRefusal};
use crate::aggregate::Decision;

pub fn block(
    state: &Port,
    reason: &str,
    until: DateTime<Utc>,
    now: DateTime<Utc>,
) -> Decision<PortEvent, PortRefusal> {
    let blocked = state.blocked_until.is_some_and(|end| end > now);
    Ok((!blocked).then(|| PortBlocked { reason: reason.to_owned(), until }.into()))
}
