//! May an address be let in again before its lock ends? When an operator says so.

use std::net::IpAddr;

use chrono::{DateTime, Utc};

use super::lockout::{locked_until, source_of};
use super::{Login, LoginEvent, LoginRefusal, LoginUnlocked};
use crate::aggregate::Decision;

/// `ip` names one address; without it every address is let in again.
pub fn unlock(state: &Login, ip: Option<IpAddr>, now: DateTime<Utc>) -> Decision<LoginEvent, LoginRefusal> {
    let locked = match ip {
        Some(ip) => locked_until(state, ip, now).is_some(),
        None => state.locks.values().any(|until| *until > now),
    };
    if locked {
        Ok(Some(LoginUnlocked { ip: ip.map(source_of) }.into()))
    } else {
        Err(LoginRefusal::NotLocked)
    }
}
