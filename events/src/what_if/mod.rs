//! Which decisions of a period would another policy have made otherwise? The rules that decide are asked again with it,
//! on what the log would have had until then.
//!
//! It compares decisions, not worlds: what people would have done after another decision, nobody knows, and a try that
//! was turned away was never checked, so whether its password was right is not known either.

pub mod claims;
pub mod doors;
pub mod guests;

use std::net::IpAddr;

use chrono::{DateTime, Utc};
use ipnet::IpNet;
use serde::Serialize;

use crate::aggregate::Refusal;
use crate::catalogue::Kind;
use crate::envelope::Recorded;
use crate::ids::{EnvId, EventId, TenantId};
use crate::login::lockout::LockoutPolicy;
use crate::resources::Limits;
use crate::subject::Subject;

/// Differences that are kept; of those beyond there is the number.
pub const DIFFERENCES_MAX: usize = 1_000;

/// What would have been in force instead, part by part; what is absent stays as it was.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct OtherPolicy {
    pub lockout: Option<LockoutPolicy>,
    pub quota: Option<OtherQuota>,
    pub allow_list: Option<OtherList>,
}

/// Limits in the place of a tenant's own.
#[derive(Debug, Clone, PartialEq)]
pub struct OtherQuota {
    pub tenant: TenantId,
    pub limits: Limits,
}

/// An allow-list in the place of the one that an environment, or a tenant, had.
#[derive(Debug, Clone, PartialEq)]
pub struct OtherList {
    pub of: ListOf,
    /// Empty means everyone.
    pub ranges: Vec<IpNet>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ListOf {
    Env(TenantId, EnvId),
    /// All environments of the tenant.
    Tenant(TenantId),
}

impl OtherList {
    /// The ranges that hold for this environment; empty where the list is not its.
    fn ranges_at(&self, tenant: &TenantId, env: &str) -> &[IpNet] {
        let covers = match &self.of {
            ListOf::Env(of, id) => of == tenant && id.as_str() == env,
            ListOf::Tenant(of) => of == tenant,
        };
        if covers { &self.ranges } else { &[] }
    }

    fn tenant(&self) -> &TenantId {
        match &self.of {
            ListOf::Env(tenant, _) | ListOf::Tenant(tenant) => tenant,
        }
    }
}

/// A part of the other policy, held against the log in its order.
pub trait Part {
    /// The subject of the events that it looks at, perhaps with wildcards.
    fn subject(&self) -> String;

    /// An event before the period: it stays as it was.
    fn before(&mut self, recorded: &Recorded);

    /// An event of the period.
    fn within(&mut self, recorded: &Recorded, found: &mut Found);
}

/// All aggregates of a kind; of all tenants where none is named.
fn all_of(kind: Kind, tenant: Option<&TenantId>) -> String {
    format!("ev.{}.{}.*", tenant.map_or("*", TenantId::as_str), kind.wire_name())
}

/// What was decided, or would have been.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(tag = "outcome", rename_all = "snake_case")]
pub enum Outcome {
    LetIn,
    /// Let as far as showing a password or a key, which was wrong, or nobody knows.
    Tried,
    /// With the code that the person, or the program, was told.
    Refused {
        code: &'static str,
    },
    /// So often, because the address was closed.
    TurnedAway {
        times: u64,
    },
    /// The address is closed until then.
    Closed {
        until: DateTime<Utc>,
    },
    /// The address is not closed.
    Open,
    /// An operator opened the entrances again.
    Unlocked,
    /// A share of the quota is held.
    Claimed,
}

impl Outcome {
    fn refused(refusal: &impl Refusal) -> Self {
        Self::Refused { code: refusal.code() }
    }

    fn of_lock(until: Option<DateTime<Utc>>) -> Self {
        until.map_or(Self::Open, |until| Self::Closed { until })
    }
}

/// A decision that would have been another.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Difference {
    pub sequence: u64,
    pub event_id: EventId,
    pub time: DateTime<Utc>,
    #[serde(rename = "type")]
    pub event_type: &'static str,
    pub kind: &'static str,
    /// Of the aggregate.
    pub id: String,
    pub tenant_id: TenantId,
    /// `user:<name>`, `token:<id>`, `service:<name>` or `sentry:<env id>`.
    pub actor: String,
    /// Who came, where somebody did.
    pub address: Option<IpAddr>,
    pub was: Outcome,
    pub would_be: Outcome,
    /// What the other policy says, for people.
    pub reason: String,
}

/// What came out.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Found {
    /// Decisions that were looked at.
    pub decided: u64,
    /// Those that would have been others.
    pub differing: u64,
    /// The first [`DIFFERENCES_MAX`] of them, in the order of the log.
    pub items: Vec<Difference>,
}

impl Found {
    fn differs(
        &mut self,
        recorded: &Recorded,
        address: Option<IpAddr>,
        was: Outcome,
        would_be: Outcome,
        reason: impl Into<String>,
    ) {
        self.differing += 1;
        if self.items.len() >= DIFFERENCES_MAX {
            return;
        }
        let Recorded { seq, subject, meta, event } = recorded;
        let Subject { tenant, kind, id } = subject;
        self.items.push(Difference {
            sequence: *seq,
            event_id: meta.id,
            time: meta.time,
            event_type: event.event_type(),
            kind: kind.wire_name(),
            id: id.clone(),
            tenant_id: tenant.clone(),
            actor: meta.actor.clone(),
            address,
            was,
            would_be,
            reason: reason.into(),
        });
    }

    /// With what another part found in the same period.
    pub fn and(mut self, other: Self) -> Self {
        self.decided += other.decided;
        self.differing += other.differing;
        self.items.extend(other.items);
        self.items.sort_by_key(|item| item.sequence);
        self.items.truncate(DIFFERENCES_MAX);
        self
    }

    /// There are more than are kept.
    pub fn is_truncated(&self) -> bool {
        self.differing > self.items.len() as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalogue::QuotaEvent;
    use crate::envelope::Cause;
    use crate::quota::QuotaSet;
    use crate::testing::t;
    use uuid::Uuid;

    fn found(sequences: std::ops::Range<u64>) -> Found {
        let mut found = Found::default();
        for seq in sequences {
            let subject = Subject::new(TenantId::parse("acme").unwrap(), Kind::Quota, "acme");
            let meta = Cause::new(Uuid::from_u128(seq.into()), "user:alice").meta(0, t(0));
            let event = QuotaEvent::from(QuotaSet { limits: Limits::default() }).into();
            let recorded = Recorded { seq, subject, meta, event };
            found.decided += 1;
            found.differs(&recorded, None, Outcome::Claimed, Outcome::Open, "because");
        }
        found
    }

    #[test]
    fn the_first_differences_of_all_parts_are_kept_and_all_are_counted() {
        let max = DIFFERENCES_MAX as u64;
        let all = found(500..500 + max).and(found(1..500));
        assert_eq!((all.decided, all.differing, all.items.len()), (499 + max, 499 + max, DIFFERENCES_MAX));
        assert!(all.is_truncated());
        let sequences: Vec<u64> = all.items.iter().map(|item| item.sequence).collect();
        assert_eq!(sequences, (1..=max).collect::<Vec<_>>());
        assert!(!found(1..max + 1).is_truncated());
        assert!(found(1..max + 2).is_truncated());
    }
}
