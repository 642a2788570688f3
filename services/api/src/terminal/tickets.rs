//! Who may open a terminal without showing more than a word in the address? Who asked for it within the last
//! half minute: a ticket opens once.
//!
//! Browsers cannot send headers of ours with a WebSocket, and what stands in an address ends up in logs
//! of proxies and in histories. So nothing that lives longer ever stands there. Tickets live in this
//! process: who was handed one comes to the same address.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use chrono::{DateTime, Utc};
use events::ids::{EnvId, ServerId, ShareId};
use sha2::{Digest, Sha256};
use tokio::time::Instant;

use crate::access::Caller;
use crate::problem::Problem;

/// How long a ticket is good.
pub const TICKET_VALID: Duration = Duration::from_secs(30);
/// Tickets that are good at a time, in all and of one caller.
const TICKETS_MAX: usize = 20_000;
const TICKETS_OF_CALLER_MAX: usize = 100;
/// 200 bits.
const TICKET_BYTES: usize = 25;

/// What a ticket opens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Opens {
    Environment(EnvId),
    Server(ServerId),
    Share(ShareId),
}

/// Who was handed a ticket, and what for.
#[derive(Debug, Clone)]
pub struct Holder {
    pub caller: Caller,
    /// How they proved who they are: `session` or `token`.
    pub method: &'static str,
    pub opens: Opens,
}

struct Ticket {
    holder: Holder,
    until: Instant,
}

/// By the digest of their text, so that looking one up takes no longer for a text that nearly fits.
#[derive(Default)]
pub struct Tickets(Mutex<HashMap<[u8; 32], Ticket>>);

fn digest(text: &str) -> [u8; 32] {
    Sha256::digest(text.as_bytes()).into()
}

impl Tickets {
    /// Text and end of a new ticket.
    pub fn issue(&self, holder: Holder) -> Result<(String, DateTime<Utc>), Problem> {
        let mut secret = [0_u8; TICKET_BYTES];
        getrandom::fill(&mut secret).map_err(|error| Problem::internal(&error))?;
        let text = data_encoding::BASE32_NOPAD.encode(&secret).to_ascii_lowercase();
        let now = Instant::now();
        let mut tickets = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        tickets.retain(|_, ticket| ticket.until > now);
        let of_caller = tickets.values().filter(|ticket| ticket.holder.caller.actor == holder.caller.actor);
        if of_caller.count() >= TICKETS_OF_CALLER_MAX || tickets.len() >= TICKETS_MAX {
            let wait_s = TICKET_VALID.as_secs();
            let detail = format!("too many tickets were asked for and not used; wait {wait_s} s");
            return Err(Problem::limited("request_limit", detail, wait_s));
        }
        tickets.insert(digest(&text), Ticket { holder, until: now + TICKET_VALID });
        let valid = chrono::TimeDelta::from_std(TICKET_VALID).unwrap_or_default();
        Ok((text, Utc::now() + valid))
    }

    /// Whose ticket this is; good for nothing from now on.
    pub fn take(&self, text: &str) -> Option<Holder> {
        let mut tickets = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let ticket = tickets.remove(&digest(text))?;
        (ticket.until > Instant::now()).then_some(ticket.holder)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use events::ids::{TenantId, UserName};
    use events::user::Role;
    use uuid::Uuid;

    use super::*;

    fn holder(actor: &str) -> Holder {
        let caller = Caller {
            actor: actor.to_owned(),
            owner: UserName::parse("alice").unwrap(),
            tenant: TenantId::parse("acme").unwrap(),
            role: Role::Developer,
            sign_in: None,
        };
        Holder { caller, method: "session", opens: Opens::Environment(EnvId::from_seed(&Uuid::nil())) }
    }

    #[tokio::test(start_paused = true)]
    async fn a_ticket_opens_once_and_not_for_long() {
        let tickets = Tickets::default();
        let (text, _) = tickets.issue(holder("user:alice")).unwrap();
        assert_eq!(text.len(), 40);
        assert!(tickets.take("another").is_none());
        assert_eq!(tickets.take(&text).unwrap().opens, holder("").opens);
        assert!(tickets.take(&text).is_none(), "a second time");
        let (text, _) = tickets.issue(holder("user:alice")).unwrap();
        tokio::time::advance(TICKET_VALID).await;
        assert!(tickets.take(&text).is_none(), "too late");
    }

    #[tokio::test(start_paused = true)]
    async fn one_caller_cannot_take_all() {
        let tickets = Tickets::default();
        for _ in 0..TICKETS_OF_CALLER_MAX {
            tickets.issue(holder("user:alice")).unwrap();
        }
        assert_eq!(tickets.issue(holder("user:alice")).unwrap_err().code(), "request_limit");
        assert!(tickets.issue(holder("user:bob")).is_ok());
        tokio::time::advance(TICKET_VALID).await;
        assert!(tickets.issue(holder("user:alice")).is_ok());
    }
}
