//! Which addresses are closed, and which were pardoned, at one environment? A fold of its logins that
//! stays small however many logins there were.

use std::collections::BTreeMap;
use std::net::IpAddr;

use chrono::{DateTime, TimeDelta, Utc};
use events::login::lockout::{Attempts, LOCK_DURATION_S, LOCK_WINDOW_S, SOURCES_MAX, counts, source_of};
use events::login::{Entrance, LoginEvent};
use kit::sentry_protocol::{Failure, Forgiven, Lockout};

/// What happened longer ago than this closes nothing and pardons nothing.
const MATTERS_S: i64 = LOCK_WINDOW_S + LOCK_DURATION_S;

/// Failures that are told to a sentry: a policy stays small, however many addresses guess.
const TOLD_MAX: usize = 1_000;

#[derive(Debug, Clone, Default)]
pub struct Doors {
    /// Address to the end of its lock.
    locks: BTreeMap<IpAddr, DateTime<Utc>>,
    /// Address to its newest failure: whom a pardon for all concerns.
    failures: BTreeMap<IpAddr, DateTime<Utc>>,
    /// What failed at other entrances than the port, whose sentry knows of its own.
    elsewhere: Attempts,
    forgiven: BTreeMap<IpAddr, DateTime<Utc>>,
}

impl Doors {
    /// Whether the policy is another one now.
    pub fn apply(&mut self, event: &LoginEvent, at: DateTime<Utc>) -> bool {
        match event {
            LoginEvent::LoginSucceeded(_) | LoginEvent::LoginsRefused(_) => false,
            LoginEvent::LoginFailed(failed) => {
                if !counts(&failed.class) {
                    return false;
                }
                self.failures.insert(source_of(failed.ip), failed.at);
                forget(&mut self.failures, at - TimeDelta::seconds(MATTERS_S));
                let elsewhere = failed.entrance != Entrance::DirectPort;
                if elsewhere {
                    self.elsewhere.failed(failed.ip, failed.at);
                }
                elsewhere
            }
            LoginEvent::LoginLocked(locked) => {
                self.locks.insert(source_of(locked.ip), locked.until);
                forget(&mut self.locks, at);
                true
            }
            LoginEvent::LoginUnlocked(unlocked) => {
                let pardoned: Vec<IpAddr> = match unlocked.ip {
                    Some(ip) => vec![source_of(ip)],
                    None => self.locks.keys().chain(self.failures.keys()).copied().collect(),
                };
                self.elsewhere.forgive(unlocked.ip);
                for ip in pardoned {
                    self.locks.remove(&ip);
                    self.failures.remove(&ip);
                    self.forgiven.insert(ip, at);
                }
                forget(&mut self.forgiven, at - TimeDelta::seconds(MATTERS_S));
                true
            }
        }
    }

    pub fn lockouts(&self, now: DateTime<Utc>) -> Vec<Lockout> {
        let open = self.locks.iter().filter(|(_, until)| **until > now);
        open.map(|(ip, until)| Lockout { ip: *ip, until: *until }).collect()
    }

    /// Failures at other entrances that count now, the newest [`TOLD_MAX`] of them, in their order.
    pub fn failures(&self, now: DateTime<Utc>) -> Vec<Failure> {
        let mut told: Vec<Failure> =
            self.elsewhere.counting(now).map(|(ip, at)| Failure { ip, at }).collect();
        told.sort_unstable_by_key(|failure| (failure.at, failure.ip));
        told.drain(..told.len().saturating_sub(TOLD_MAX));
        told
    }

    pub fn forgiven(&self, now: DateTime<Utc>) -> Vec<Forgiven> {
        let since = now - TimeDelta::seconds(MATTERS_S);
        let recent = self.forgiven.iter().filter(|(_, at)| **at > since);
        recent.map(|(ip, at)| Forgiven { ip: *ip, at: *at }).collect()
    }
}

/// Drops what is not after `since`, and beyond [`SOURCES_MAX`] the oldest.
fn forget(times: &mut BTreeMap<IpAddr, DateTime<Utc>>, since: DateTime<Utc>) {
    if times.len() > SOURCES_MAX {
        times.retain(|_, at| *at > since);
    }
    while times.len() > SOURCES_MAX {
        let Some(ip) = times.iter().min_by_key(|(_, at)| **at).map(|(ip, _)| *ip) else { return };
        times.remove(&ip);
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;
    use events::login::{LoginFailed, LoginLocked, LoginUnlocked};

    fn t(second: i64) -> DateTime<Utc> {
        DateTime::from_timestamp(1_700_000_000 + second, 0).unwrap()
    }

    fn failed(ip: &str, second: i64) -> LoginEvent {
        failed_at(Entrance::DirectPort, ip, second)
    }

    fn failed_at(entrance: Entrance, ip: &str, second: i64) -> LoginEvent {
        LoginFailed {
            ip: ip.parse().unwrap(),
            user: "developer".into(),
            method: "password".into(),
            class: "wrong_password".into(),
            entrance,
            at: t(second),
            reported: None,
        }
        .into()
    }

    #[test]
    fn a_pardon_for_all_names_everyone_who_failed() {
        let mut doors = Doors::default();
        assert!(!doors.apply(&failed("203.0.113.9", 0), t(0)));
        let locked = LoginLocked { ip: "203.0.113.8".parse().unwrap(), until: t(1800) };
        assert!(doors.apply(&locked.into(), t(1)));
        assert_eq!(doors.lockouts(t(2)).len(), 1);
        assert!(doors.apply(&LoginUnlocked { ip: None }.into(), t(3)));
        assert_eq!(doors.lockouts(t(4)), []);
        let pardoned: Vec<String> = doors.forgiven(t(4)).iter().map(|f| f.ip.to_string()).collect();
        assert_eq!(pardoned, ["203.0.113.8", "203.0.113.9"]);
        assert_eq!(doors.forgiven(t(4 + MATTERS_S)), [], "too long ago to matter");
    }

    #[test]
    fn failures_elsewhere_are_told_while_they_count_and_the_ports_own_are_not() {
        let mut doors = Doors::default();
        assert!(!doors.apply(&failed("203.0.113.9", 0), t(0)), "its sentry knows");
        assert!(doors.apply(&failed_at(Entrance::Gateway, "203.0.113.9", 1), t(1)));
        assert!(doors.apply(&failed_at(Entrance::WebTerminal, "203.0.113.8", 2), t(2)));
        let told = |second| doors.failures(t(second)).iter().map(|f| f.at).collect::<Vec<_>>();
        assert_eq!(told(3), [t(1), t(2)]);
        assert_eq!(told(1 + LOCK_WINDOW_S), [t(2)], "the window has passed");
        for n in 0..2 * u8::try_from(TOLD_MAX / 8).unwrap() {
            for m in 0..8 {
                doors.apply(&failed_at(Entrance::Gateway, &format!("198.51.{m}.{n}"), 5), t(5));
            }
        }
        assert_eq!(doors.failures(t(6)).len(), TOLD_MAX);
        doors.apply(&LoginUnlocked { ip: None }.into(), t(7));
        assert_eq!(doors.failures(t(8)), []);
    }

    #[test]
    fn a_lock_ends_by_itself() {
        let mut doors = Doors::default();
        let locked = LoginLocked { ip: "203.0.113.8".parse().unwrap(), until: t(1800) };
        doors.apply(&locked.into(), t(1));
        assert_eq!(doors.lockouts(t(1800)), []);
    }
}
