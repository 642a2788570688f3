//! How often may somebody ask? Buckets that refill, each with a name that a refusal says.

use std::net::IpAddr;
use std::num::NonZeroU32;
use std::time::Duration;

use events::login::lockout::source_of;
use governor::clock::{Clock, DefaultClock};
use governor::{DefaultKeyedRateLimiter, Quota};
use tokio_util::sync::CancellationToken;

use crate::problem::Problem;

/// How much at once, and how soon one more.
#[derive(Debug, Clone, Copy)]
pub struct Rate {
    pub at_once: NonZeroU32,
    pub one_more_after: Duration,
}

const fn rate(at_once: u32, one_more_after: Duration) -> Rate {
    match NonZeroU32::new(at_once) {
        Some(at_once) => Rate { at_once, one_more_after },
        None => panic!("a rate lets something through"),
    }
}

/// The limits of one process; every API process counts for itself.
#[derive(Debug, Clone, Copy)]
pub struct Rates {
    /// `sign_in_limit_address`: attempts from one address (IPv6: one /64), right or wrong.
    pub sign_in_address: Rate,
    /// `sign_in_limit_user`: attempts for one user name, wherever they come from. With the shortest
    /// password allowed, 14,400 guesses a day find nothing.
    pub sign_in_user: Rate,
    /// `request_limit`: requests of one caller; far above what people and the client commands do.
    pub requests: Rate,
}

impl Default for Rates {
    fn default() -> Self {
        Self {
            sign_in_address: rate(30, Duration::from_secs(2)),
            sign_in_user: rate(20, Duration::from_secs(6)),
            requests: rate(2_000, Duration::from_millis(2)),
        }
    }
}

/// Between two times that full buckets are forgotten.
const FORGET_INTERVAL: Duration = Duration::from_secs(60);
/// More buckets than this are tidied at once.
const BUCKETS_MAX: usize = 100_000;

pub struct RateLimits {
    sign_in_address: DefaultKeyedRateLimiter<IpAddr>,
    sign_in_user: DefaultKeyedRateLimiter<String>,
    requests: DefaultKeyedRateLimiter<String>,
    clock: DefaultClock,
}

impl RateLimits {
    pub fn new(rates: Rates) -> Self {
        let quota = |rate: Rate| {
            let refill = Quota::with_period(rate.one_more_after).unwrap_or(Quota::per_second(rate.at_once));
            refill.allow_burst(rate.at_once)
        };
        Self {
            sign_in_address: DefaultKeyedRateLimiter::keyed(quota(rates.sign_in_address)),
            sign_in_user: DefaultKeyedRateLimiter::keyed(quota(rates.sign_in_user)),
            requests: DefaultKeyedRateLimiter::keyed(quota(rates.requests)),
            clock: DefaultClock::default(),
        }
    }

    /// One more attempt to sign in. The user name is as it was typed.
    pub fn sign_in(&self, from: Option<IpAddr>, user: Option<&str>) -> Result<(), Problem> {
        if let Some(from) = from {
            self.take(
                &self.sign_in_address,
                &source_of(from),
                "sign_in_limit_address",
                "attempts to sign in",
            )?;
        }
        match user {
            Some(user) => {
                self.take(&self.sign_in_user, &user.to_owned(), "sign_in_limit_user", "attempts to sign in")
            }
            None => Ok(()),
        }
    }

    /// One more request of this caller.
    pub fn request(&self, actor: &str) -> Result<(), Problem> {
        self.take(&self.requests, &actor.to_owned(), "request_limit", "requests")
    }

    fn take<K: Clone + Eq + std::hash::Hash>(
        &self,
        limiter: &DefaultKeyedRateLimiter<K>,
        key: &K,
        code: &'static str,
        what: &str,
    ) -> Result<(), Problem> {
        if limiter.len() > BUCKETS_MAX {
            limiter.retain_recent();
        }
        limiter.check_key(key).map_err(|early| {
            let wait = early.wait_time_from(self.clock.now());
            let wait_s = wait.as_secs() + u64::from(wait.subsec_nanos() > 0);
            Problem::limited(code, format!("too many {what}; try again in {wait_s} s"), wait_s)
        })
    }

    /// Forgets buckets that are full again, until shutdown.
    pub async fn forget(&self, shutdown: CancellationToken) {
        loop {
            tokio::select! {
                () = tokio::time::sleep(FORGET_INTERVAL) => {}
                () = shutdown.cancelled() => return,
            }
            self.sign_in_address.retain_recent();
            self.sign_in_user.retain_recent();
            self.requests.retain_recent();
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;

    fn limits() -> RateLimits {
        let slow = Duration::from_secs(3600);
        RateLimits::new(Rates {
            sign_in_address: rate(3, slow),
            sign_in_user: rate(2, slow),
            requests: rate(1, slow),
        })
    }

    fn refused(result: Result<(), Problem>) -> &'static str {
        result.unwrap_err().code()
    }

    #[test]
    fn each_limit_says_its_name() {
        let limits = limits();
        let ip = |text: &str| Some(text.parse().unwrap());
        limits.sign_in(ip("192.0.2.1"), Some("alice")).unwrap();
        limits.sign_in(ip("192.0.2.1"), Some("alice")).unwrap();
        assert_eq!(refused(limits.sign_in(ip("192.0.2.1"), Some("alice"))), "sign_in_limit_user");
        assert_eq!(refused(limits.sign_in(ip("192.0.2.1"), Some("bob"))), "sign_in_limit_address");
        limits.sign_in(ip("192.0.2.2"), Some("bob")).unwrap();
        limits.request("user:alice").unwrap();
        assert_eq!(refused(limits.request("user:alice")), "request_limit");
        limits.request("user:bob").unwrap();
    }

    #[test]
    fn addresses_of_one_ipv6_network_are_one() {
        let limits = limits();
        for last in 1..=3 {
            limits.sign_in(Some(format!("2001:db8::{last}").parse().unwrap()), None).unwrap();
        }
        assert_eq!(refused(limits.sign_in("2001:db8::9".parse().ok(), None)), "sign_in_limit_address");
        limits.sign_in("2001:db8:0:1::1".parse().ok(), None).unwrap();
    }
}
