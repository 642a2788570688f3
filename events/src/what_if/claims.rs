//! Which claims would not have fitted into another quota? Refused ones are not on the log, so a larger one changes
//! nothing that could be seen.

use super::{Found, OtherQuota, Outcome, Part};
use crate::aggregate::Aggregate;
use crate::catalogue::{Event, Kind, QuotaEvent};
use crate::envelope::Recorded;
use crate::quota::Quota;
use crate::quota::claim::claim;
use crate::subject::Subject;

pub struct Claims {
    other: OtherQuota,
    /// As it would have been: a claim that is refused is not in it, and its release then takes nothing out.
    would: Quota,
}

impl Claims {
    pub fn new(other: OtherQuota) -> Self {
        Self { other, would: Quota::default() }
    }
}

impl Part for Claims {
    fn subject(&self) -> String {
        let tenant = &self.other.tenant;
        Subject::new(tenant.clone(), Kind::Quota, tenant.as_str()).to_string()
    }

    fn before(&mut self, recorded: &Recorded) {
        if let Event::Quota(event) = &recorded.event {
            self.would.evolve(event, recorded.meta.time);
        }
    }

    fn within(&mut self, recorded: &Recorded, found: &mut Found) {
        let Event::Quota(event) = &recorded.event else { return };
        let at = recorded.meta.time;
        self.would.limits = self.other.limits;
        match event {
            // the other limits hold all the time
            QuotaEvent::QuotaSet(_) => {}
            QuotaEvent::QuotaClaimed(claimed) => {
                found.decided += 1;
                match claim(&self.would, &claimed.env, claimed.resources) {
                    Ok(again) => again.iter().for_each(|event| self.would.evolve(event, at)),
                    Err(refusal) => {
                        let would_be = Outcome::refused(&refusal);
                        found.differs(recorded, None, Outcome::Claimed, would_be, refusal.to_string());
                    }
                }
            }
            QuotaEvent::QuotaReleased(_) => self.would.evolve(event, at),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::envelope::Cause;
    use crate::ids::{EnvId, TenantId};
    use crate::quota::{QuotaClaimed, QuotaReleased, QuotaSet};
    use crate::resources::{Limits, Milli, Resources};
    use crate::testing::t;
    use uuid::Uuid;

    fn acme() -> TenantId {
        TenantId::parse("acme").unwrap()
    }

    fn env(number: u8) -> EnvId {
        EnvId::from_seed(&Uuid::from_u128(number.into()))
    }

    fn claimed(number: u8) -> QuotaEvent {
        let resources = Resources { cpu: Milli::from_thousandths(1_000), ..Resources::default() };
        QuotaClaimed { env: env(number), resources }.into()
    }

    fn released(number: u8) -> QuotaEvent {
        QuotaReleased { env: env(number) }.into()
    }

    fn set(environments: u32) -> QuotaEvent {
        QuotaSet { limits: Limits { environments: Some(environments), ..Limits::default() } }.into()
    }

    /// The sequences of claims that would have been refused; the period begins with the event `first`.
    fn refused(limits: Limits, first: u64, log: &[QuotaEvent]) -> (u64, Vec<u64>) {
        let mut claims = Claims::new(OtherQuota { tenant: acme(), limits });
        assert_eq!(claims.subject(), "ev.acme.quota.acme");
        let mut found = Found::default();
        for (seq, event) in (1..).zip(log) {
            let subject = Subject::new(acme(), Kind::Quota, "acme");
            let meta = Cause::new(Uuid::from_u128(seq.into()), "user:alice").meta(0, t(0));
            let recorded = Recorded { seq, subject, meta, event: event.clone().into() };
            if seq < first {
                claims.before(&recorded);
            } else {
                claims.within(&recorded, &mut found);
            }
        }
        let code = |code| Outcome::Refused { code };
        assert!(found.items.iter().all(|item| item.would_be == code("quota_exceeded")));
        assert!(found.items.iter().all(|item| item.reason.contains("quota of")), "{found:?}");
        (found.decided, found.items.iter().map(|item| item.sequence).collect())
    }

    fn environments(most: u32) -> Limits {
        Limits { environments: Some(most), ..Limits::default() }
    }

    #[test]
    fn what_does_not_fit_is_refused_and_holds_nothing() {
        let log = [claimed(1), claimed(2), claimed(3)];
        assert_eq!(refused(environments(3), 1, &log), (3, vec![]));
        assert_eq!(refused(environments(1), 1, &log), (3, vec![2, 3]));
        let cpu = Limits { cpu: Some(Milli::from_thousandths(2_000)), ..Limits::default() };
        assert_eq!(refused(cpu, 1, &log), (3, vec![3]));
        // 2 was never there: its release makes no room, that of 1 does
        let log = [claimed(1), claimed(2), released(2), claimed(3), released(1), claimed(4)];
        assert_eq!(refused(environments(1), 1, &log), (4, vec![2, 4]));
    }

    #[test]
    fn what_was_claimed_before_the_period_stays() {
        let log = [claimed(1), claimed(2), claimed(3), released(1), released(2), claimed(4)];
        assert_eq!(refused(environments(1), 3, &log), (2, vec![3]), "4 fits after both are gone");
    }

    #[test]
    fn the_limits_of_the_log_do_not_count_in_the_period() {
        let log = [set(10), claimed(1), set(10), claimed(2)];
        assert_eq!(refused(environments(1), 2, &log), (2, vec![4]));
        assert_eq!(refused(Limits::default(), 2, &[set(1), claimed(1), claimed(2)]), (2, vec![]));
    }
}
