//! How often was an address turned away? Counted, and told once a minute: a flood cannot grow the log.
//!
//! Two things are counted instead of told one by one: connections of an address that is closed, and,
//! beyond [`UNCOUNTED_MAX`] a minute, failures that are no guesses at a password (too many keys, a locked
//! account), which close nothing and so could go on for ever.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};
use events::login::lockout::source_of;
use kit::sentry_protocol::Report;
use kit::tally::{Count, Tally};
use tokio_util::sync::CancellationToken;

use crate::reporter::Reporter;

/// How often it is told.
pub const TELL_EVERY: Duration = Duration::from_secs(60);
/// Failures of one address that are no guesses and told one by one, between two summaries.
pub const UNCOUNTED_MAX: u64 = 5;
/// Addresses with a summary of their own, between two; what more of them do is not told.
pub const SOURCES_MAX: usize = 1_000;

pub struct Refusals(Tally<IpAddr>);

impl Default for Refusals {
    fn default() -> Self {
        Self(Tally::new(SOURCES_MAX, UNCOUNTED_MAX))
    }
}

impl Refusals {
    /// An address was turned away.
    pub fn count(&self, ip: IpAddr, now: DateTime<Utc>) {
        self.0.count(source_of(ip), now);
    }

    /// Whether a failure that is no guess is told by itself; otherwise it is counted.
    pub fn is_told(&self, ip: IpAddr, now: DateTime<Utc>) -> bool {
        self.0.is_told(source_of(ip), now)
    }

    /// The summaries since the last call.
    fn take(&self) -> Vec<Report> {
        let told = self.0.take().into_iter();
        told.map(|(ip, Count { count, from, to })| Report::LoginsRefused { ip, count, from, to }).collect()
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
    fn a_flood_is_one_summary_an_address() {
        let refusals = Refusals::default();
        let (first, last) = (Utc::now(), Utc::now() + chrono::TimeDelta::seconds(9));
        refusals.count(ip("2001:db8::1"), first);
        (0..1_000).for_each(|_| refusals.count(ip("2001:db8::2"), last));
        let summaries = refusals.take();
        let wanted = Report::LoginsRefused { ip: ip("2001:db8::"), count: 1_001, from: first, to: last };
        assert_eq!(summaries, [wanted], "a /64 is one address");
    }

    #[test]
    fn failures_that_are_no_guesses_are_told_five_times_a_minute_and_then_counted() {
        let (refusals, now) = (Refusals::default(), Utc::now());
        let told = (0..100).filter(|_| refusals.is_told(ip("192.0.2.1"), now)).count();
        assert_eq!(told as u64, UNCOUNTED_MAX);
        let [Report::LoginsRefused { count, .. }] = refusals.take()[..] else { panic!("one summary") };
        assert_eq!(count, 100 - UNCOUNTED_MAX);
    }
}
