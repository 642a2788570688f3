//! Who would have come in under another lockout, or another allow-list? Beside what the log says of an environment's
//! logins stands what it would have said.
//!
//! A failure that the other policy would have turned away closes nothing there; a lock is due when the rule says so, and
//! an unlock is asked for again. What failed before the period counts in it.

use std::collections::BTreeMap;
use std::net::IpAddr;

use chrono::{DateTime, TimeDelta, Utc};
use ipnet::IpNet;

use super::{Found, ListOf, OtherList, Outcome, Part, all_of};
use crate::aggregate::Aggregate;
use crate::catalogue::{Event, Kind, LoginEvent};
use crate::envelope::Recorded;
use crate::ids::TenantId;
use crate::login::come_in::{AddressRefusal, past};
use crate::login::lockout::{Attempts, LockoutPolicy, lock, locked_until};
use crate::login::unlock::unlock;
use crate::login::{Login, LoginFailed, LoginLocked, LoginUnlocked, LoginsRefused};
use crate::subject::Subject;

/// Environments whose logins are remembered at once; beyond, those where nothing happened for longest are forgotten.
pub const DOORS_MAX: usize = 10_000;

pub struct Doors {
    lockout: LockoutPolicy,
    list: Option<OtherList>,
    subject: String,
    doors: BTreeMap<(TenantId, String), Door>,
}

/// The logins of one environment.
struct Door {
    was: Login,
    would: Login,
    /// Of its newest event.
    last: DateTime<Utc>,
}

impl Doors {
    /// Of the environments that the list is for; when the lockout is another, of all of `tenant`, or all there are.
    pub fn new(lockout: Option<LockoutPolicy>, list: Option<OtherList>, tenant: Option<&TenantId>) -> Self {
        let subject = match (lockout, list.as_ref().map(|list| &list.of)) {
            (None, Some(ListOf::Env(tenant, env))) => {
                Subject::new(tenant.clone(), Kind::Login, env.as_str()).to_string()
            }
            (None, Some(ListOf::Tenant(tenant))) => all_of(Kind::Login, Some(tenant)),
            (Some(_), _) | (None, None) => all_of(Kind::Login, tenant),
        };
        Self { lockout: lockout.unwrap_or_default(), list, subject, doors: BTreeMap::new() }
    }

    /// What happened longer before the period than this closes nothing in it.
    pub fn remembered(&self) -> TimeDelta {
        self.lockout.remembered().max(LockoutPolicy::default().remembered())
    }

    fn door(&mut self, recorded: &Recorded) -> &mut Door {
        let Recorded { subject, meta, .. } = recorded;
        let key = (subject.tenant.clone(), subject.id.clone());
        if self.doors.len() >= DOORS_MAX && !self.doors.contains_key(&key) {
            self.forget(meta.time);
        }
        let attempts = Attempts::under(self.lockout);
        let door = self.doors.entry(key).or_insert_with(|| Door {
            was: Login::default(),
            would: Login { attempts, ..Login::default() },
            last: meta.time,
        });
        door.last = meta.time;
        door
    }

    /// Makes room for one.
    fn forget(&mut self, now: DateTime<Utc>) {
        let remembered = self.remembered();
        self.doors.retain(|_, door| now - door.last < remembered);
        while self.doors.len() >= DOORS_MAX {
            let oldest = self.doors.iter().min_by_key(|(_, door)| door.last);
            let Some(key) = oldest.map(|(key, _)| key.clone()) else { return };
            self.doors.remove(&key);
        }
    }
}

impl Part for Doors {
    fn subject(&self) -> String {
        self.subject.clone()
    }

    fn before(&mut self, recorded: &Recorded) {
        if let Event::Login(event) = &recorded.event {
            self.door(recorded).happened(event, recorded.meta.time);
        }
    }

    fn within(&mut self, recorded: &Recorded, found: &mut Found) {
        let Event::Login(event) = &recorded.event else { return };
        found.decided += 1;
        let ranges: Vec<IpNet> = match &self.list {
            Some(list) => list.ranges_at(&recorded.subject.tenant, &recorded.subject.id).to_vec(),
            None => Vec::new(),
        };
        let lockout = self.lockout;
        let door = self.door(recorded);
        let mut case = Case { door, ranges: &ranges, lockout, recorded, found };
        match event {
            LoginEvent::LoginSucceeded(login) => {
                if let Some(refusal) = case.refusal(login.ip, login.at) {
                    case.refused(login.ip, Outcome::LetIn, &refusal);
                }
                case.door.happened(event, recorded.meta.time);
            }
            LoginEvent::LoginFailed(failed) => case.failed(event, failed),
            LoginEvent::LoginsRefused(refused) => {
                case.turned_away(refused);
                case.door.happened(event, recorded.meta.time);
            }
            LoginEvent::LoginLocked(locked) => case.locked(event, locked),
            LoginEvent::LoginUnlocked(unlocked) => case.unlocked(event, unlocked),
        }
    }
}

impl Door {
    /// In both.
    fn happened(&mut self, event: &LoginEvent, at: DateTime<Utc>) {
        self.was.evolve(event, at);
        self.would.evolve(event, at);
    }
}

/// One decision of the period.
struct Case<'c> {
    door: &'c mut Door,
    ranges: &'c [IpNet],
    lockout: LockoutPolicy,
    recorded: &'c Recorded,
    found: &'c mut Found,
}

impl Case<'_> {
    fn at(&self) -> DateTime<Utc> {
        self.recorded.meta.time
    }

    fn differs(&mut self, ip: Option<IpAddr>, was: Outcome, would_be: Outcome, reason: String) {
        self.found.differs(self.recorded, ip, was, would_be, reason);
    }

    fn refused(&mut self, ip: IpAddr, was: Outcome, refusal: &AddressRefusal) {
        self.differs(Some(ip), was, Outcome::refused(refusal), refusal.to_string());
    }

    /// Why somebody who was not turned away would have been. Whoever was at the door already when it closed was not
    /// turned away by that, and would not have been.
    fn refusal(&self, ip: IpAddr, at: DateTime<Utc>) -> Option<AddressRefusal> {
        let was_closed = locked_until(&self.door.was, ip, at).is_some();
        let lock = locked_until(&self.door.would, ip, at).filter(|_| !was_closed);
        past(&[self.ranges], lock, ip).err()
    }

    fn failed(&mut self, event: &LoginEvent, failed: &LoginFailed) {
        let (at, ip) = (self.at(), failed.ip);
        if let Some(refusal) = self.refusal(ip, failed.at) {
            self.refused(ip, Outcome::Tried, &refusal);
            self.door.was.evolve(event, at);
            return;
        }
        self.door.happened(event, at);
        let Ok(Some(locked)) = lock(&self.door.would, ip, at) else { return };
        // then the log goes on with a lock of its own, which is looked at when it comes
        let follows = matches!(lock(&self.door.was, ip, at), Ok(Some(_)));
        self.door.would.evolve(&locked, at);
        if !follows {
            let was = Outcome::of_lock(locked_until(&self.door.was, ip, at));
            let would_be = Outcome::of_lock(locked_until(&self.door.would, ip, at));
            let reason = self.thresholds(ip);
            self.differs(Some(ip), was, would_be, reason);
        }
    }

    fn locked(&mut self, event: &LoginEvent, locked: &LoginLocked) {
        let (at, ip) = (self.at(), locked.ip);
        let would = locked_until(&self.door.would, ip, at);
        self.door.was.evolve(event, at);
        if would == Some(locked.until) {
            self.door.would.evolve(event, at);
            return;
        }
        let (was, would_be) = (Outcome::of_lock(Some(locked.until)), Outcome::of_lock(would));
        let reason = self.thresholds(ip);
        self.differs(Some(ip), was, would_be, reason);
    }

    fn turned_away(&mut self, refused: &LoginsRefused) {
        let ip = refused.ip;
        let comes_in = |at: DateTime<Utc>| {
            locked_until(&self.door.was, ip, at).is_some()
                && past(&[self.ranges], locked_until(&self.door.would, ip, at), ip).is_ok()
        };
        if comes_in(refused.from) || comes_in(refused.to) {
            let was = Outcome::TurnedAway { times: refused.count };
            let reason = self.thresholds(ip);
            self.differs(Some(ip), was, Outcome::Tried, reason);
        }
    }

    fn unlocked(&mut self, event: &LoginEvent, unlocked: &LoginUnlocked) {
        let (at, ip) = (self.at(), unlocked.ip);
        let was_due = unlock(&self.door.was, ip, at).is_ok();
        self.door.was.evolve(event, at);
        match unlock(&self.door.would, ip, at) {
            Err(refusal) if was_due => {
                let would_be = Outcome::refused(&refusal);
                self.differs(ip, Outcome::Unlocked, would_be, refusal.to_string());
            }
            Ok(_) | Err(_) => self.door.would.evolve(event, at),
        }
    }

    /// What the other policy says of an address now.
    fn thresholds(&self, ip: IpAddr) -> String {
        let LockoutPolicy { failures, window_s, locked_s } = self.lockout;
        let count = self.door.would.attempts.count(ip, self.at());
        format!(
            "{failures} failed passwords within {window_s} s close for {locked_s} s; of this address {count} count"
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::envelope::Cause;
    use crate::ids::{EnvId, SessionId};
    use crate::login::{Entrance, LoginSucceeded};
    use crate::testing::t;
    use proptest::prelude::*;
    use uuid::Uuid;

    const TODAY: LockoutPolicy = LockoutPolicy { failures: 5, window_s: 1_800, locked_s: 1_800 };

    fn ip() -> IpAddr {
        "203.0.113.9".parse().unwrap()
    }

    fn acme() -> TenantId {
        TenantId::parse("acme").unwrap()
    }

    fn env() -> EnvId {
        EnvId::from_seed(&Uuid::nil())
    }

    /// What the log of one environment has, decided by the rules as they are.
    #[derive(Default)]
    struct Story {
        state: Login,
        log: Vec<Recorded>,
    }

    impl Story {
        fn add(&mut self, second: i64, event: impl Into<LoginEvent>) {
            let seq = self.log.len() as u64 + 1;
            let event: LoginEvent = event.into();
            self.state.evolve(&event, t(second));
            let subject = Subject::new(acme(), Kind::Login, env().as_str());
            let meta = Cause::new(Uuid::from_u128(seq.into()), "service:gateway").meta(0, t(second));
            self.log.push(Recorded { seq, subject, meta, event: event.into() });
        }

        /// Comes, and is turned away or shows a password: the wrong one, or the right one.
        fn comes(&mut self, ip: IpAddr, second: i64, right: bool) {
            let (at, entrance, user) = (t(second), Entrance::Gateway, "developer".to_owned());
            if locked_until(&self.state, ip, at).is_some() {
                let (count, from, to) = (1, at, at);
                self.add(second, LoginsRefused { ip, entrance, count, from, to, reported: None });
            } else if right {
                let (method, session) = ("password".to_owned(), SessionId::from_seed(&Uuid::nil()));
                let (key_fingerprint, reported) = (None, None);
                let login =
                    LoginSucceeded { ip, user, method, key_fingerprint, entrance, session, at, reported };
                self.add(second, login);
            } else {
                let (method, class) = ("password".to_owned(), "wrong_password".to_owned());
                self.add(second, LoginFailed { ip, user, method, class, entrance, at, reported: None });
                if let Ok(Some(locked)) = lock(&self.state, ip, at) {
                    self.add(second, locked);
                }
            }
        }

        fn fails(mut self, seconds: &[i64]) -> Self {
            seconds.iter().for_each(|second| self.comes(ip(), *second, false));
            self
        }

        fn succeeds(mut self, second: i64) -> Self {
            self.comes(ip(), second, true);
            self
        }

        fn is_unlocked(&mut self, second: i64) {
            if let Ok(Some(event)) = unlock(&self.state, None, t(second)) {
                self.add(second, event);
            }
        }

        /// What differs from the event of this sequence on.
        fn under(&self, lockout: Option<LockoutPolicy>, list: Option<OtherList>, first: u64) -> Found {
            let (mut doors, mut found) = (Doors::new(lockout, list, None), Found::default());
            for recorded in &self.log {
                if recorded.seq < first {
                    doors.before(recorded);
                } else {
                    doors.within(recorded, &mut found);
                }
            }
            found
        }

        fn differs(&self, lockout: LockoutPolicy, first: u64) -> Vec<(&'static str, Outcome, Outcome)> {
            brief(self.under(Some(lockout), None, first))
        }
    }

    fn brief(found: Found) -> Vec<(&'static str, Outcome, Outcome)> {
        found.items.into_iter().map(|item| (item.event_type, item.was, item.would_be)).collect()
    }

    fn closed(second: i64) -> Outcome {
        Outcome::Closed { until: t(second) }
    }

    const LOCKED: Outcome = Outcome::Refused { code: "address_locked" };
    const OUTSIDE: Outcome = Outcome::Refused { code: "address_not_allowed" };

    #[test]
    fn more_failures_close_later_and_let_more_try() {
        let story = Story::default().fails(&[0, 1, 2, 3, 4, 5]);
        let six = LockoutPolicy { failures: 6, ..TODAY };
        let once = Outcome::TurnedAway { times: 1 };
        let expected =
            [("LoginLocked", closed(1_804), Outcome::Open), ("LoginsRefused", once, Outcome::Tried)];
        assert_eq!(story.differs(six, 1), expected);
        let found = story.under(Some(six), None, 1);
        assert_eq!((found.decided, found.differing), (7, 2));
        assert_eq!((found.items[0].sequence, found.items[0].address), (6, Some(ip())));
        assert!(found.items[0].reason.contains("of this address 5 count"), "{}", found.items[0].reason);
    }

    #[test]
    fn fewer_failures_close_earlier_and_turn_away_who_came_in() {
        let story = Story::default().fails(&[0, 1, 2]).succeeds(3).fails(&[4]);
        let three = LockoutPolicy { failures: 3, ..TODAY };
        let expected = [
            ("LoginFailed", Outcome::Open, closed(1_802)),
            ("LoginSucceeded", Outcome::LetIn, LOCKED),
            ("LoginFailed", Outcome::Tried, LOCKED),
        ];
        assert_eq!(story.differs(three, 1), expected);
        // a lock that the log has would have been an earlier one
        let story = Story::default().fails(&[0, 1, 2, 3, 4]);
        assert_eq!(story.differs(three, 1).last(), Some(&("LoginLocked", closed(1_804), closed(1_802))));
    }

    #[test]
    fn failures_before_the_period_count_in_it_and_locks_before_it_stay() {
        let story = Story::default().fails(&[0, 1, 2]).succeeds(3);
        let three = LockoutPolicy { failures: 3, ..TODAY };
        assert_eq!(story.differs(three, 4), [("LoginSucceeded", Outcome::LetIn, LOCKED)]);
        let story = Story::default().fails(&[0, 1, 2, 3, 4, 5]);
        assert_eq!(story.differs(LockoutPolicy { failures: 6, ..TODAY }, 7), []);
    }

    #[test]
    fn a_shorter_lock_lets_in_again_and_a_shorter_window_forgets() {
        let story = Story::default().fails(&[0, 1, 2, 3, 4, 30, 90]);
        let minute = LockoutPolicy { locked_s: 60, ..TODAY };
        let once = Outcome::TurnedAway { times: 1 };
        let expected = [("LoginLocked", closed(1_804), closed(64)), ("LoginsRefused", once, Outcome::Tried)];
        assert_eq!(story.differs(minute, 1), expected, "at 30 it is closed either way");
        let narrow = LockoutPolicy { window_s: 4, ..TODAY };
        let opened = |times| ("LoginsRefused", Outcome::TurnedAway { times }, Outcome::Tried);
        let expected = [("LoginLocked", closed(1_804), Outcome::Open), opened(1), opened(1)];
        assert_eq!(story.differs(narrow, 1), expected);
    }

    #[test]
    fn who_was_not_closed_out_is_not_unlocked() {
        let mut story = Story::default().fails(&[0, 1, 2, 3, 4]);
        story.is_unlocked(5);
        let story = story.fails(&[6]);
        let six = LockoutPolicy { failures: 6, ..TODAY };
        let refused = Outcome::Refused { code: "not_locked" };
        let expected = [
            ("LoginLocked", closed(1_804), Outcome::Open),
            ("LoginUnlocked", Outcome::Unlocked, refused),
            // nothing was forgiven, so it is the sixth
            ("LoginFailed", Outcome::Open, closed(1_806)),
        ];
        assert_eq!(story.differs(six, 1), expected);
    }

    #[test]
    fn another_list_keeps_out_and_what_is_kept_out_closes_nothing() {
        let story = Story::default().succeeds(0).fails(&[1, 2, 3, 4, 5]);
        let list = |of, range: &str| Some(OtherList { of, ranges: vec![range.parse().unwrap()] });
        let here = || ListOf::Env(acme(), env());
        assert_eq!(brief(story.under(None, list(here(), "203.0.113.0/24"), 1)), []);
        let outside = story.under(None, list(here(), "10.0.0.0/8"), 1);
        let mut expected = vec![("LoginSucceeded", Outcome::LetIn, OUTSIDE)];
        expected.extend((0..5).map(|_| ("LoginFailed", Outcome::Tried, OUTSIDE)));
        expected.push(("LoginLocked", closed(1_805), Outcome::Open));
        assert_eq!(brief(outside), expected);
        let of_all = story.under(None, list(ListOf::Tenant(acme()), "10.0.0.0/8"), 1);
        assert_eq!(brief(of_all), expected);
        let elsewhere = EnvId::from_seed(&Uuid::from_u128(1));
        let of_another = list(ListOf::Env(acme(), elsewhere), "10.0.0.0/8");
        assert_eq!(brief(story.under(Some(TODAY), of_another, 1)), []);
    }

    #[test]
    fn only_what_is_concerned_is_read() {
        let list = |of| Some(OtherList { of, ranges: Vec::new() });
        let subject = |lockout, list, tenant: Option<&TenantId>| Doors::new(lockout, list, tenant).subject();
        let acme = acme();
        assert_eq!(subject(Some(TODAY), None, None), "ev.*.login.*");
        assert_eq!(subject(Some(TODAY), None, Some(&acme)), "ev.acme.login.*");
        assert_eq!(subject(None, list(ListOf::Tenant(acme.clone())), None), "ev.acme.login.*");
        let one = format!("ev.acme.login.{}", env());
        assert_eq!(subject(None, list(ListOf::Env(acme.clone(), env())), None), one);
        assert_eq!(subject(Some(TODAY), list(ListOf::Env(acme, env())), None), "ev.*.login.*");
        let long = LockoutPolicy { locked_s: 7_200, ..TODAY };
        assert_eq!(Doors::new(Some(long), None, None).remembered(), TimeDelta::seconds(9_000));
        let short = LockoutPolicy { window_s: 1, ..TODAY };
        assert_eq!(Doors::new(Some(short), None, None).remembered(), TimeDelta::seconds(3_600));
    }

    proptest! {
        /// The rules as they are decide what they decided, wherever the period begins.
        #[test]
        fn the_same_policy_differs_in_nothing(
            steps in prop::collection::vec((0i64..900, 0u8..3, 0u8..10), 0..80),
            first in 1u64..40,
        ) {
            let (mut story, mut second) = (Story::default(), 0);
            for (pause, who, what) in steps {
                second += pause;
                let ip = IpAddr::from([203, 0, 113, who]);
                match what {
                    0 => story.is_unlocked(second),
                    1 => story.comes(ip, second, true),
                    _ => story.comes(ip, second, false),
                }
            }
            let found = story.under(Some(LockoutPolicy::default()), None, first);
            prop_assert!(found.items.is_empty(), "{:?}", found.items);
            let after = story.log.len() as u64 + 1;
            prop_assert_eq!(found.decided, after.saturating_sub(first));
        }
    }
}
