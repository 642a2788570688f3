//! Who is signed in to the control plane, from where, until when? And who was turned away?
//!
//! A sign-in has a subject of its own, in the tenant of the person, so that whoever audits the tenant reads it,
//! and whether it is over is one short read for everything that it opened.

pub mod begin;
pub mod end;
pub mod refuse;
pub mod validity;

use std::net::IpAddr;

use chrono::{DateTime, Utc};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::aggregate::{Aggregate, Refusal};
pub use crate::catalogue::SignInEvent;
use crate::ids::UserName;

/// What signed in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Side {
    /// A person's browser, with a cookie.
    Browser,
    /// A program, with a login as its bearer token.
    Program,
}

/// What somebody showed to be signed in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(transform = crate::schema::open)]
pub enum Proof {
    Password,
    /// An API token.
    Token,
}

/// Why somebody was turned away.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(transform = crate::schema::open)]
pub enum RefusalClass {
    WrongPassword,
    /// Nobody has this name. What was typed is not kept: it may have been a password.
    UnknownUser,
    UserDisabled,
    /// An API token that is unknown, revoked or past its time.
    TokenRefused,
    /// More attempts than are looked at.
    TooManyAttempts,
}

/// Somebody signed in.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct SignedIn {
    /// In whose name.
    pub user: UserName,
    pub side: Side,
    pub proof: Proof,
    pub ip: IpAddr,
    /// What it says it is: a browser's user agent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client: Option<String>,
    /// It opens nothing new from then on.
    pub expires_at: DateTime<Utc>,
}

/// Somebody signed out: what the sign-in opened ends with it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct SignedOut {
    pub user: UserName,
    pub ip: IpAddr,
}

/// Somebody was not let in. In a minute the first time is told by itself and the others in one summary, for
/// each user, address, class and process. A subject of its own; counts for nothing.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct SignInsRefused {
    /// Whose name it was; absent when it was nobody's, or was not looked at.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<UserName>,
    /// An IPv4 address, or the /64 of an IPv6 address.
    pub ip: IpAddr,
    pub class: RefusalClass,
    pub count: u64,
    /// The first of them.
    pub from: DateTime<Utc>,
    /// The last of them.
    pub to: DateTime<Utc>,
}

#[derive(Debug, Clone, Default, PartialEq)]
pub struct SignIn {
    pub signed_in: Option<SignedIn>,
    pub signed_out: bool,
    /// It is no sign-in, and never becomes one.
    pub refused: bool,
}

impl Aggregate for SignIn {
    type Event = SignInEvent;

    fn evolve(&mut self, event: &SignInEvent, _: DateTime<Utc>) {
        match event {
            SignInEvent::SignedIn(signed_in) => self.signed_in = Some(signed_in.clone()),
            SignInEvent::SignedOut(_) => self.signed_out = true,
            SignInEvent::SignInsRefused(_) => self.refused = true,
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SignInRefusal {
    #[error("there is no such sign-in")]
    NotFound,
    #[error("this sign-in is another one's already")]
    Taken,
}

impl Refusal for SignInRefusal {
    fn code(&self) -> &'static str {
        match self {
            Self::NotFound => "not_found",
            Self::Taken => "sign_in_taken",
        }
    }
}

#[cfg(test)]
pub(crate) mod testing {
    use super::*;
    use crate::testing::t;

    pub fn signed_in() -> SignedIn {
        SignedIn {
            user: UserName::parse("alice").unwrap(),
            side: Side::Browser,
            proof: Proof::Password,
            ip: "203.0.113.9".parse().unwrap(),
            client: Some("Mozilla/5.0".into()),
            expires_at: t(12 * 60 * 60),
        }
    }

    pub fn signed_out() -> SignedOut {
        let SignedIn { user, ip, .. } = signed_in();
        SignedOut { user, ip }
    }

    pub fn refused() -> SignInsRefused {
        let SignedIn { user, ip, .. } = signed_in();
        let class = RefusalClass::WrongPassword;
        SignInsRefused { user: Some(user), ip, class, count: 1, from: t(0), to: t(0) }
    }
}
