//! How often was an address turned away? Counted, and told once a minute: a flood cannot grow the log.
//!
//! Two things are counted instead of told one by one: connections of an address that is closed, and,
//! beyond [`UNCOUNTED_MAX`] a minute, failures that are no guesses at a password (too many keys, a locked
//! account), which close nothing and so could go on for ever.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use chrono::{DateTime, Utc};
use events::login::lockout::source_of;
use kit::sentry_protocol::Report;
use tokio_util::sync::CancellationToken;

use crate::reporter::Reporter;

/// How often it is told.
pub const TELL_EVERY: Duration = Duration::from_secs(60);
/// Failures of one address that are no guesses and told one by one, between two summaries.
pub const UNCOUNTED_MAX: u64 = 5;
/// Addresses with a summary of their own, between two; what more of them do is not told.
pub const SOURCES_MAX: usize = 1_000;

#[derive(Clone, Copy)]
struct Count {
    /// Failures that were told one by one.
    told: u64,
    refused: u64,
    from: DateTime<Utc>,
    to: DateTime<Utc>,
}

#[derive(Default)]
struct Counted {
    sources: HashMap<IpAddr, Count>,
    untold: u64,
}

#[derive(Default)]
pub struct Refusals(Mutex<Counted>);

impl Refusals {
    /// An address was turned away.
    pub fn count(&self, ip: IpAddr, now: DateTime<Utc>) {
        let mut counted = self.lock();
        match counted.of(ip, now) {
            Some(count) => count.refuse(now),
            None => counted.untold += 1,
        }
    }

    /// Whether a failure that is no guess is told by itself; otherwise it is counted.
    pub fn is_told(&self, ip: IpAddr, now: DateTime<Utc>) -> bool {
        let mut counted = self.lock();
        match counted.of(ip, now) {
            Some(count) if count.told < UNCOUNTED_MAX => {
                count.told += 1;
                return true;
            }
            Some(count) => count.refuse(now),
            None => counted.untold += 1,
        }
        false
    }

    /// The summaries since the last call.
    fn take(&self) -> Vec<Report> {
        let Counted { sources, untold } = std::mem::take(&mut *self.lock());
        if untold > 0 {
            tracing::warn!(untold, "more addresses than are told of were turned away");
        }
        let told = sources.into_iter().filter(|(_, count)| count.refused > 0);
        told.map(|(ip, Count { refused, from, to, .. })| Report::LoginsRefused {
            ip,
            count: refused,
            from,
            to,
        })
        .collect()
    }

    fn lock(&self) -> MutexGuard<'_, Counted> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Counted {
    fn of(&mut self, ip: IpAddr, now: DateTime<Utc>) -> Option<&mut Count> {
        let source = source_of(ip);
        if self.sources.len() >= SOURCES_MAX && !self.sources.contains_key(&source) {
            return None;
        }
        let new = Count { told: 0, refused: 0, from: now, to: now };
        Some(self.sources.entry(source).or_insert(new))
    }
}

impl Count {
    fn refuse(&mut self, now: DateTime<Utc>) {
        if self.refused == 0 {
            self.from = now;
        }
        self.refused += 1;
        self.to = now;
    }
}

/// Tells every [`TELL_EVERY`] until told to stop, and then once more.
pub async fn run(refusals: Arc<Refusals>, reporter: Reporter, every: Duration, stop: CancellationToken) {
    let mut ticks = tokio::time::interval(every);
    ticks.tick().await; // the first is at once
    loop {
        let ticked = stop.run_until_cancelled(ticks.tick()).await;
        for report in refusals.take() {
            reporter.report(report).await;
        }
        if ticked.is_none() {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn a_flood_is_one_summary_an_address_and_many_addresses_are_bounded() {
        let refusals = Refusals::default();
        let (first, last) = (Utc::now(), Utc::now() + chrono::TimeDelta::seconds(9));
        refusals.count(ip("2001:db8::1"), first);
        for _ in 0..100_000 {
            refusals.count(ip("2001:db8::2"), last);
        }
        let summaries = refusals.take();
        let wanted = Report::LoginsRefused { ip: ip("2001:db8::"), count: 100_001, from: first, to: last };
        assert_eq!(summaries, [wanted], "a /64 is one address");
        assert_eq!(refusals.take(), [], "told once");
        for n in 0..100_000_u32 {
            refusals.count(IpAddr::V4(n.into()), first);
        }
        assert_eq!(refusals.take().len(), SOURCES_MAX);
    }

    #[test]
    fn failures_that_are_no_guesses_are_told_five_times_a_minute_and_then_counted() {
        let (refusals, now) = (Refusals::default(), Utc::now());
        let told = (0..100).filter(|_| refusals.is_told(ip("192.0.2.1"), now)).count();
        assert_eq!(told as u64, UNCOUNTED_MAX);
        let [Report::LoginsRefused { count, .. }] = refusals.take()[..] else { panic!("one summary") };
        assert_eq!(count, 100 - UNCOUNTED_MAX);
        assert!(refusals.is_told(ip("192.0.2.1"), now), "in the next minute again");
        assert_eq!(refusals.take(), []);
    }
}
