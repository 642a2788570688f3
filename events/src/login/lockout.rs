//! When is an address closed? After five failed passwords within 30 minutes, for 30 minutes.

use std::collections::{BTreeMap, VecDeque};
use std::net::{IpAddr, Ipv6Addr};

use chrono::{DateTime, TimeDelta, Utc};

use super::{Login, LoginEvent, LoginLocked, LoginRefusal};
use crate::aggregate::Decision;

/// This many failures close the entrances.
pub const LOCK_FAILURES_MAX: usize = 5;
/// Failures longer ago than this do not count.
pub const LOCK_WINDOW_S: i64 = 30 * 60;
/// How long an address stays closed.
pub const LOCK_DURATION_S: i64 = 30 * 60;
/// More addresses than this are not remembered; the one that failed longest ago is forgotten.
pub const SOURCES_MAX: usize = 10_000;

/// The thresholds. Every entrance decides by the default; a what-if by others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LockoutPolicy {
    /// This many failures close the entrances; at least one.
    pub failures: usize,
    /// Failures longer ago than this do not count.
    pub window_s: i64,
    /// How long an address stays closed.
    pub locked_s: i64,
}

impl Default for LockoutPolicy {
    fn default() -> Self {
        Self { failures: LOCK_FAILURES_MAX, window_s: LOCK_WINDOW_S, locked_s: LOCK_DURATION_S }
    }
}

impl LockoutPolicy {
    pub fn window(&self) -> TimeDelta {
        TimeDelta::seconds(self.window_s)
    }

    /// What failed longer ago than this closes nothing any more.
    pub fn remembered(&self) -> TimeDelta {
        TimeDelta::seconds(self.window_s.saturating_add(self.locked_s))
    }
}

/// Whether a failure of this class is a guess at a password.
pub fn counts(class: &str) -> bool {
    matches!(class, "wrong_password" | "unknown_user")
}

/// What counts as one address: an IPv4 address, or the /64 of an IPv6 address.
pub fn source_of(ip: IpAddr) -> IpAddr {
    match ip.to_canonical() {
        IpAddr::V4(ip) => IpAddr::V4(ip),
        IpAddr::V6(ip) => IpAddr::V6(Ipv6Addr::from_bits(ip.to_bits() & !u128::from(u64::MAX))),
    }
}

/// The failures that still count, per address.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Attempts {
    policy: LockoutPolicy,
    failures: BTreeMap<IpAddr, VecDeque<DateTime<Utc>>>,
}

impl Attempts {
    /// None yet, under these thresholds.
    pub fn under(policy: LockoutPolicy) -> Self {
        Self { policy, failures: BTreeMap::new() }
    }

    pub fn policy(&self) -> LockoutPolicy {
        self.policy
    }

    pub fn failed(&mut self, ip: IpAddr, at: DateTime<Utc>) {
        let source = source_of(ip);
        let times = self.failures.entry(source).or_default();
        times.push_back(at);
        if times.len() > self.policy.failures {
            times.pop_front();
        }
        if self.failures.len() > SOURCES_MAX {
            let oldest = self
                .failures
                .iter()
                .filter(|(ip, _)| **ip != source)
                .min_by_key(|(_, times)| times.back().copied());
            if let Some(ip) = oldest.map(|(ip, _)| *ip) {
                self.failures.remove(&ip);
            }
        }
    }

    /// Failures of this address that count now.
    pub fn count(&self, ip: IpAddr, now: DateTime<Utc>) -> usize {
        let (times, window) = (self.failures.get(&source_of(ip)), self.policy.window());
        times.map_or(0, |times| times.iter().filter(|at| now - **at < window).count())
    }

    /// Every failure that counts now, with its address.
    pub fn counting(&self, now: DateTime<Utc>) -> impl Iterator<Item = (IpAddr, DateTime<Utc>)> {
        let window = self.policy.window();
        let recent = move |at: &&DateTime<Utc>| now - **at < window;
        self.failures
            .iter()
            .flat_map(move |(ip, times)| times.iter().filter(recent).map(move |at| (*ip, *at)))
    }

    /// The end of the lock that the failures of this address make, if one is due and not over.
    pub fn closed_until(&self, ip: IpAddr, now: DateTime<Utc>) -> Option<DateTime<Utc>> {
        let times = self.failures.get(&source_of(ip))?;
        let (first, last) = (times.front()?, times.back()?);
        let due = times.len() >= self.policy.failures && *last - *first < self.policy.window();
        let until = *last + TimeDelta::seconds(self.policy.locked_s);
        (due && until > now).then_some(until)
    }

    /// Forgets the failures of an address, or of all.
    pub fn forgive(&mut self, ip: Option<IpAddr>) {
        match ip {
            Some(ip) => {
                self.failures.remove(&source_of(ip));
            }
            None => self.failures.clear(),
        }
    }
}

/// Records that an address is closed, when its failures say so.
pub fn lock(state: &Login, ip: IpAddr, now: DateTime<Utc>) -> Decision<LoginEvent, LoginRefusal> {
    let due = state.attempts.closed_until(ip, now);
    let known = state.locks.get(&source_of(ip)).copied();
    Ok(due.filter(|_| known.is_none_or(|until| until <= now)).map(|until| LoginLocked { ip, until }.into()))
}

/// The end of the lock of an address, if it is closed.
pub fn locked_until(state: &Login, ip: IpAddr, now: DateTime<Utc>) -> Option<DateTime<Utc>> {
    let lock = state.locks.get(&source_of(ip)).copied().filter(|until| *until > now);
    lock.max(state.attempts.closed_until(ip, now))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::login::{Entrance, LoginFailed, LoginUnlocked};
    use crate::testing::{given, t};

    fn ip() -> IpAddr {
        "203.0.113.9".parse().unwrap()
    }

    fn failed(second: i64) -> (i64, LoginEvent) {
        let failed = LoginFailed {
            ip: ip(),
            user: "developer".into(),
            method: "password".into(),
            class: "wrong_password".into(),
            entrance: Entrance::DirectPort,
            at: t(second),
            reported: None,
        };
        (second, failed.into())
    }

    #[test]
    fn the_fifth_failure_within_the_window_closes() {
        let four = given::<Login>((0..4).map(failed).collect());
        assert_eq!(lock(&four, ip(), t(4)), Ok(None));
        let five = given::<Login>((0..5).map(failed).collect());
        assert_eq!(
            lock(&five, ip(), t(5)),
            Ok(Some(LoginLocked { ip: ip(), until: t(4 + LOCK_DURATION_S) }.into()))
        );
        assert_eq!(lock(&five, "203.0.113.10".parse().unwrap(), t(5)), Ok(None), "another address");
        let slow = given::<Login>((0..5).map(|n| failed(n * LOCK_WINDOW_S / 4)).collect());
        assert_eq!(lock(&slow, ip(), t(LOCK_WINDOW_S)), Ok(None), "too far apart");
    }

    #[test]
    fn a_lock_is_recorded_once_ends_and_can_be_lifted() {
        let mut past: Vec<_> = (0..5).map(failed).collect();
        past.push((5, lock(&given(past.clone()), ip(), t(5)).unwrap().unwrap()));
        let locked = given::<Login>(past.clone());
        assert_eq!(lock(&locked, ip(), t(6)), Ok(None));
        assert_eq!(locked_until(&locked, ip(), t(6)), Some(t(4 + LOCK_DURATION_S)));
        assert_eq!(locked_until(&locked, ip(), t(4 + LOCK_DURATION_S)), None);
        past.push((7, LoginUnlocked { ip: Some(ip()) }.into()));
        assert_eq!(locked_until(&given(past), ip(), t(8)), None);
    }

    #[test]
    fn other_thresholds_close_earlier_and_for_less() {
        let policy = LockoutPolicy { failures: 2, window_s: 10, locked_s: 60 };
        let ends = |seconds: &[i64], now| {
            let mut attempts = Attempts::under(policy);
            seconds.iter().for_each(|second| attempts.failed(ip(), t(*second)));
            attempts.closed_until(ip(), t(now))
        };
        assert_eq!(ends(&[0], 1), None);
        assert_eq!(ends(&[0, 9], 10), Some(t(69)));
        assert_eq!(ends(&[0, 9], 69), None, "it is over");
        assert_eq!(ends(&[0, 10], 11), None, "too far apart");
        assert_eq!(LockoutPolicy::default(), Attempts::default().policy());
    }

    #[test]
    fn neighbours_in_an_ipv6_network_are_one_source() {
        let (one, two) = ("2001:db8::1".parse().unwrap(), "2001:db8::ffff".parse().unwrap());
        assert_eq!(source_of(one), source_of(two));
        assert_ne!(source_of(one), source_of("2001:db8:0:1::1".parse().unwrap()));
        assert_eq!(source_of("::ffff:203.0.113.9".parse().unwrap()), ip());
    }
}
