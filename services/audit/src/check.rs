//! Is the log what the anchors say? Events go by in their order; each hash is held against its mark, each anchor's
//! hash against the whole, and no sequence is passed over.

use chrono::{DateTime, TimeDelta, Utc};

use crate::chain::{Chain, MARK_BYTES, mark};
use crate::evidence::{Anchored, Evidence};
use crate::verdict::Verdict;

/// Clocks of several machines differ by so much at most, in seconds.
const CLOCKS_S: i64 = 30;
/// Ranges of missing events that are remembered; what is missing beyond is told as missing, never as moved.
const RANGES_MAX: usize = 10_000;

/// The events go by.
pub struct Check {
    /// By their last event; those that may be believed.
    anchors: Vec<Anchored>,
    /// The anchor that vouches for the next event, or is behind it.
    at: usize,
    /// `None` after something that is not what it was: until the next anchor says where the chain goes on.
    chain: Option<Chain>,
    first: u64,
    next: u64,
    events: u64,
    /// First and last of each.
    missing: Vec<(u64, u64)>,
    /// The first event beyond all anchors.
    beyond: Option<(u64, DateTime<Utc>)>,
    integrity: Verdict,
    completeness: Verdict,
}

/// What came out.
pub struct Checked {
    pub first: u64,
    pub last: u64,
    pub events: u64,
    pub integrity: Verdict,
    pub completeness: Verdict,
}

/// Until when the log has to be there.
#[derive(Debug, Clone, Copy)]
pub enum End {
    /// The log goes on: promises are held against this instant.
    Live(DateTime<Utc>),
    /// A piece of it, up to this event.
    Piece(u64),
}

impl Check {
    /// From this event on; its beginning is 1 or follows an anchor, or the chain begins with the next one.
    pub fn new(first: u64, anchors: Vec<Anchored>, evidence: &Evidence) -> Self {
        let before = first.saturating_sub(1);
        let chain = match anchors.iter().find(|one| one.anchor.upto == before) {
            _ if before == 0 => Some(Chain::start()),
            Some(one) => Some(Chain::after(before, one.anchor.hash)),
            None => None,
        };
        Self {
            anchors,
            at: 0,
            chain,
            first,
            next: first,
            events: 0,
            missing: Vec::new(),
            beyond: None,
            integrity: evidence.integrity.clone(),
            completeness: evidence.completeness.clone(),
        }
    }

    /// The next event, its headers in their order.
    pub fn event(
        &mut self,
        sequence: u64,
        time: DateTime<Utc>,
        subject: &str,
        headers: &[(&str, &str)],
        payload: &[u8],
    ) {
        if !self.is_next(sequence) {
            return;
        }
        self.events += 1;
        while self.anchors.get(self.at).is_some_and(|one| one.anchor.upto < sequence) {
            self.at += 1;
        }
        let Some(covering) = self.anchors.get(self.at) else {
            self.beyond.get_or_insert((sequence, time));
            return;
        };
        let anchor = &covering.anchor;
        if let Some(chain) = &mut self.chain {
            let hash = chain.add(sequence, subject, headers, payload);
            let wrong = wrong_at(covering, sequence, &hash);
            if let Some((from, what)) = wrong {
                self.integrity.fails_also(from, || what);
                self.chain = None;
            }
        }
        if self.chain.is_none() && sequence == anchor.upto {
            self.chain = Some(Chain::after(anchor.upto, anchor.hash));
        }
    }

    /// An event that cannot be read at all.
    pub fn unreadable(&mut self, what: impl Into<String>) {
        let sequence = self.next;
        self.integrity.fails_also(sequence, || what.into());
        self.chain = None;
    }

    /// Whether it comes after those before.
    fn is_next(&mut self, sequence: u64) -> bool {
        if sequence < self.next {
            let again = self.missing.iter().position(|(from, to)| (*from..=*to).contains(&sequence));
            match again.and_then(|at| self.missing.get(at).copied().map(|range| (at, range))) {
                Some((at, (from, to))) => {
                    self.missing.remove(at);
                    let rest = [(from, sequence - 1), (sequence + 1, to)];
                    self.missing.extend(rest.into_iter().filter(|(from, to)| from <= to));
                    self.integrity.fails_also(sequence, || format!("event {sequence} is out of its place"));
                }
                None => {
                    self.integrity.fails_also(sequence, || format!("event {sequence} stands there twice"));
                }
            }
            return false;
        }
        if sequence > self.next {
            if self.missing.len() < RANGES_MAX {
                self.missing.push((self.next, sequence - 1));
            }
            self.chain = None;
            self.resume(sequence - 1);
        }
        self.next = sequence + 1;
        true
    }

    /// The chain goes on after a gap that ends where an anchor does.
    fn resume(&mut self, before: u64) {
        let found = self.anchors.binary_search_by_key(&before, |one| one.anchor.upto);
        if let Some(one) = found.ok().and_then(|at| self.anchors.get(at)) {
            self.chain = Some(Chain::after(before, one.anchor.hash));
        }
    }

    /// After the last event.
    pub fn finish(mut self, end: End) -> Checked {
        let gaps = self.missing.iter().min().copied();
        if let Some((from, to)) = gaps {
            let what = || format!("events {from} to {to} are missing");
            self.completeness.fails_also(from, what);
        }
        match end {
            End::Piece(last) if self.next <= last => {
                let from = self.next;
                self.completeness
                    .fails_also(from, || format!("events {from} to {last} are missing at the end"));
            }
            End::Piece(_) => {}
            End::Live(now) => self.promises(now),
        }
        Checked {
            first: self.first,
            last: self.next - 1,
            events: self.events,
            integrity: self.integrity,
            completeness: self.completeness,
        }
    }

    fn promises(&mut self, now: DateTime<Utc>) {
        let next = self.next;
        let Some(last) = self.anchors.last().cloned() else {
            if self.events > 0 {
                self.completeness.fails_also(self.first, || "no anchor vouches for any event".to_owned());
            }
            return;
        };
        let Anchored { number, time, anchor } = last;
        if anchor.upto >= next {
            let what =
                || format!("record {number} vouches for events up to {}, the log ends before", anchor.upto);
            self.completeness.fails_also(next, what);
        }
        if now > anchor.next_by + TimeDelta::seconds(CLOCKS_S) {
            let by = anchor.next_by;
            let what = || {
                format!(
                    "nothing vouches for what came after {time}: record {number} promised another by {by}"
                )
            };
            self.completeness.fails_also(anchor.upto + 1, what);
        }
        if let Some((sequence, stored)) = self.beyond {
            let within_s = i64::try_from(anchor.events_within_s).unwrap_or(i64::MAX / 2_000);
            if now > stored + TimeDelta::seconds(within_s.saturating_add(CLOCKS_S)) {
                let what = || {
                    format!(
                        "event {sequence}, stored at {stored}, has no anchor; one was promised within {within_s} s"
                    )
                };
                self.completeness.fails_also(sequence, what);
            }
        }
    }
}

/// Where the log begins to differ from what the anchor says, looking at one event's hash.
fn wrong_at(covering: &Anchored, sequence: u64, hash: &[u8; 32]) -> Option<(u64, String)> {
    let (number, anchor) = (covering.number, &covering.anchor);
    let place = sequence.checked_sub(anchor.after + 1).and_then(|place| usize::try_from(place).ok());
    let marked = place.and_then(|place| anchor.marks.get(place * MARK_BYTES..(place + 1) * MARK_BYTES));
    if marked.is_some_and(|marked| marked != mark(hash)) {
        let what = format!("event {sequence} is not the one that record {number} vouches for");
        return Some((sequence, what));
    }
    if sequence == anchor.upto && *hash != anchor.hash {
        let what = format!("events {} to {sequence} have not the hash of record {number}", anchor.after + 1);
        return Some((anchor.after + 1, what));
    }
    None
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;
    use crate::testing::{Writer, payload};

    /// 40 events in anchors of ten, the last five without one.
    const EVENTS: u64 = 45;
    const ANCHORED: u64 = 40;

    fn evidence() -> (Evidence, Vec<Anchored>) {
        let mut writer = Writer::new();
        for _ in 0..4 {
            writer.anchor(10);
        }
        let (mut evidence, mut anchors) = (Evidence::default(), Vec::new());
        for (number, record) in (1..).zip(&writer.records) {
            anchors.extend(evidence.take(number, record).as_ref().and_then(Anchored::of));
        }
        (evidence, anchors)
    }

    fn log() -> Vec<(u64, Vec<u8>)> {
        (1..=EVENTS).map(|sequence| (sequence, payload(sequence))).collect()
    }

    fn check_at(log: &[(u64, Vec<u8>)], later_s: i64) -> Checked {
        let (evidence, anchors) = evidence();
        let now = Utc::now();
        let mut check = Check::new(1, anchors, &evidence);
        for (sequence, payload) in log {
            check.event(*sequence, now, "s", &[], payload);
        }
        check.finish(End::Live(now + TimeDelta::seconds(later_s)))
    }

    fn check(log: &[(u64, Vec<u8>)]) -> (Option<u64>, Option<u64>) {
        let checked = check_at(log, 0);
        (checked.integrity.first_sequence, checked.completeness.first_sequence)
    }

    #[test]
    fn a_log_as_it_was_holds() {
        let checked = check_at(&log(), 0);
        assert!(checked.integrity.ok && checked.completeness.ok);
        assert_eq!((checked.first, checked.last, checked.events), (1, EVENTS, EVENTS));
    }

    #[test]
    fn a_change_is_told_at_its_event() {
        for at in [1, 10, 11, 25, 40] {
            let mut log = log();
            log[at - 1].1.push(b'0');
            assert_eq!(check(&log), (Some(at as u64), None), "event {at}");
        }
        // nothing vouches for it yet
        let mut log = log();
        log[42].1.push(b'0');
        assert_eq!(check(&log), (None, None));
    }

    #[test]
    fn what_is_missing_is_told_at_its_event() {
        for at in [1, 10, 11, 25, 40] {
            let mut log = log();
            log.remove(at - 1);
            assert_eq!(check(&log), (None, Some(at as u64)), "event {at}");
        }
        for left in [0, 5, 10, 39] {
            assert_eq!(check(&log()[..left]), (None, Some(left as u64 + 1)), "{left} are left");
        }
        assert_eq!(check(&log()[..ANCHORED as usize]), (None, None));
    }

    #[test]
    fn two_that_are_swapped_are_told_at_the_first() {
        let mut contents = log();
        (contents[13].1, contents[16].1) = (contents[16].1.clone(), contents[13].1.clone());
        assert_eq!(check(&contents), (Some(14), None));
        let mut places = log();
        places.swap(13, 14);
        assert_eq!(check(&places), (Some(14), None));
        let mut twice = log();
        twice.insert(20, (20, payload(20)));
        assert_eq!(check(&twice), (Some(20), None));
        // one taken out and the rest moved up: no gap is left to see
        let mut moved = log();
        moved.remove(20);
        (21..).zip(&mut moved[20..]).for_each(|(sequence, event)| event.0 = sequence);
        assert_eq!(check(&moved), (Some(21), None));
    }

    #[test]
    fn what_comes_later_is_checked_too() {
        let mut log = log();
        log[4].1.push(b'0');
        log.remove(24);
        assert_eq!(check(&log), (Some(5), Some(25)));
        let mut log = self::log();
        log.remove(4);
        log[23].1.push(b'0');
        assert_eq!(check(&log), (Some(25), Some(5)));
        // a gap up to an anchor leaves nothing unchecked after it
        let mut log = self::log();
        log.drain(5..10);
        log[5].1.push(b'0');
        assert_eq!(check(&log), (Some(11), Some(6)));
    }

    #[test]
    fn promises_are_held_against_the_clock() {
        let at = |log: &[(u64, Vec<u8>)], later_s| check_at(log, later_s).completeness.first_sequence;
        let anchored = &log()[..ANCHORED as usize];
        assert_eq!(at(&log(), 80), None);
        assert_eq!(at(&log(), 100), Some(41), "events were promised an anchor within 60 s");
        assert_eq!(at(anchored, 1_200), None);
        assert_eq!(at(anchored, 1_300), Some(41), "another anchor was promised within 1,200 s");
    }

    #[test]
    fn a_piece_begins_and_ends_at_anchors() {
        let (evidence, anchors) = evidence();
        let piece = |from: usize, to: usize, last: u64| {
            let mut check = Check::new(from as u64 + 1, anchors.clone(), &evidence);
            for (sequence, payload) in &log()[from..to] {
                check.event(*sequence, Utc::now(), "s", &[], payload);
            }
            let checked = check.finish(End::Piece(last));
            (checked.integrity.first_sequence, checked.completeness.first_sequence)
        };
        assert_eq!(piece(10, 30, 30), (None, None));
        assert_eq!(piece(10, 29, 30), (None, Some(30)));
        // where no anchor stands before, the first anchor within is where the chain begins
        assert_eq!(piece(13, 30, 30), (None, None));
    }
}
