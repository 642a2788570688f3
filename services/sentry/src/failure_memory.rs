//! Which failed passwords are remembered, also across a restart of the sentry?
//!
//! The rule (how many close an address, for how long) is `events::login::lockout`; this file keeps
//! what it is applied to: failures in memory and, one line each, in a journal on the state volume.

use std::collections::{HashMap, VecDeque};
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use chrono::{DateTime, TimeDelta, Utc};
use events::login::lockout::{Attempts, LOCK_DURATION_S, LOCK_WINDOW_S, source_of};
use kit::sentry_protocol::{Failure, Forgiven};

/// Failures kept; beyond it the oldest is forgotten.
pub const FAILURES_MAX: usize = 50_000;
/// Lines written before the journal is rewritten with only what still matters.
const JOURNAL_LINES_MAX: usize = 2 * FAILURES_MAX;

pub struct FailureMemory {
    failures: VecDeque<(DateTime<Utc>, IpAddr)>,
    /// At other entrances; told with each policy, whole each time.
    elsewhere: Vec<Failure>,
    forgiven: Vec<Forgiven>,
    attempts: Attempts,
    journal: Journal,
}

impl FailureMemory {
    /// Reads the journal; lines that cannot be read (a torn last one) are left out.
    pub fn open(path: &Path, now: DateTime<Utc>) -> io::Result<Self> {
        let text = match fs::read(path) {
            Ok(bytes) => String::from_utf8_lossy(&bytes).into_owned(),
            Err(error) if error.kind() == io::ErrorKind::NotFound => String::new(),
            Err(error) => return Err(error),
        };
        let mut failures: VecDeque<_> =
            text.lines().filter_map(from_line).filter(|f| matters(f.0, now)).collect();
        let excess = failures.len().saturating_sub(FAILURES_MAX);
        failures.drain(..excess);
        let journal = Journal::rewrite(path, &failures)?;
        let (elsewhere, forgiven, attempts) = (Vec::new(), Vec::new(), Attempts::default());
        let mut memory = Self { failures, elsewhere, forgiven, attempts, journal };
        memory.count_again();
        Ok(memory)
    }

    /// Remembers a failure. The journal is best effort: without it a failure is forgotten at a restart.
    pub fn failed(&mut self, ip: IpAddr, at: DateTime<Utc>) {
        self.failures.push_back((at, ip));
        self.attempts.failed(ip, at);
        while self.failures.len() > FAILURES_MAX || self.failures.front().is_some_and(|f| !matters(f.0, at)) {
            self.failures.pop_front();
        }
        if let Err(error) = self.journal.append(ip, at, &self.failures) {
            tracing::error!(%error, "cannot write the journal of failed passwords");
        }
    }

    /// Failures of an address that count now.
    pub fn count(&self, ip: IpAddr, now: DateTime<Utc>) -> usize {
        self.attempts.count(ip, now)
    }

    pub fn closed_until(&self, ip: IpAddr, now: DateTime<Utc>) -> Option<DateTime<Utc>> {
        self.attempts.closed_until(ip, now)
    }

    /// Failures that happened elsewhere count too; those of the forgiven addresses before the instants of
    /// their pardon do not, wherever they happened. Whole each time.
    pub fn hear(&mut self, elsewhere: &[Failure], forgiven: &[Forgiven]) {
        if self.elsewhere != elsewhere || self.forgiven != forgiven {
            self.elsewhere = elsewhere.to_vec();
            self.forgiven = forgiven.to_vec();
            self.count_again();
        }
    }

    fn count_again(&mut self) {
        let pardons: HashMap<IpAddr, DateTime<Utc>> =
            self.forgiven.iter().map(|pardon| (source_of(pardon.ip), pardon.at)).collect();
        let elsewhere = self.elsewhere.iter().map(|failure| (failure.at, failure.ip));
        let mut all: Vec<_> = self.failures.iter().copied().chain(elsewhere).collect();
        all.retain(|(at, ip)| pardons.get(&source_of(*ip)).is_none_or(|pardon| at >= pardon));
        all.sort_unstable();
        self.attempts = Attempts::default();
        all.into_iter().for_each(|(at, ip)| self.attempts.failed(ip, at));
    }
}

/// Whether a failure can still close an address.
fn matters(at: DateTime<Utc>, now: DateTime<Utc>) -> bool {
    now - at < TimeDelta::seconds(LOCK_WINDOW_S + LOCK_DURATION_S)
}

struct Journal {
    path: PathBuf,
    file: File,
    lines: usize,
}

impl Journal {
    fn rewrite(path: &Path, failures: &VecDeque<(DateTime<Utc>, IpAddr)>) -> io::Result<Self> {
        let text: String = failures.iter().map(|(at, ip)| line(*ip, *at)).collect();
        crate::atomic_file::write(path, text.as_bytes(), 0o600)?;
        let file = OpenOptions::new().append(true).open(path)?;
        Ok(Self { path: path.into(), file, lines: failures.len() })
    }

    fn append(
        &mut self,
        ip: IpAddr,
        at: DateTime<Utc>,
        all: &VecDeque<(DateTime<Utc>, IpAddr)>,
    ) -> io::Result<()> {
        if self.lines >= JOURNAL_LINES_MAX {
            *self = Self::rewrite(&self.path, all)?;
            return Ok(());
        }
        self.lines += 1;
        self.file.write_all(line(ip, at).as_bytes())
    }
}

fn line(ip: IpAddr, at: DateTime<Utc>) -> String {
    format!("{} {ip}\n", at.timestamp_micros())
}

fn from_line(line: &str) -> Option<(DateTime<Utc>, IpAddr)> {
    let (micros, ip) = line.split_once(' ')?;
    Some((DateTime::from_timestamp_micros(micros.parse().ok()?)?, ip.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failures_survive_a_restart_and_are_forgiven() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("failures");
        let ip: IpAddr = "2001:db8::1".parse().unwrap();
        let neighbour: IpAddr = "2001:db8::2".parse().unwrap();
        let t0 = Utc::now();
        let mut memory = FailureMemory::open(&path, t0).unwrap();
        for _ in 0..5 {
            memory.failed(ip, t0);
        }
        assert!(memory.closed_until(neighbour, t0).is_some());
        drop(memory);
        OpenOptions::new().append(true).open(&path).unwrap().write_all(b"17000 2001").unwrap();

        let mut memory = FailureMemory::open(&path, t0).unwrap();
        assert_eq!(memory.count(ip, t0), 5, "the torn line does not count");
        let later = t0 + TimeDelta::seconds(1);
        memory.hear(&[], &[Forgiven { ip: neighbour, at: later }]);
        assert_eq!((memory.count(ip, later), memory.closed_until(ip, later)), (0, None));
        memory.failed(ip, later);
        assert_eq!(memory.count(ip, later), 1, "what comes after the pardon counts");

        let much_later = t0 + TimeDelta::seconds(2 * (LOCK_WINDOW_S + LOCK_DURATION_S));
        assert_eq!(FailureMemory::open(&path, much_later).unwrap().failures.len(), 0);
    }
}
