//! How often did something happen that is not worth telling each time? Counted by whom it concerns, and told
//! in summaries: a flood costs one of them.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Mutex, MutexGuard, PoisonError};

use chrono::{DateTime, Utc};

/// Since the summary before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Count {
    pub count: u64,
    /// The first of them.
    pub from: DateTime<Utc>,
    /// The last of them.
    pub to: DateTime<Utc>,
}

#[derive(Default)]
struct Entry {
    told: u64,
    counted: Option<Count>,
}

struct Counted<K> {
    entries: HashMap<K, Entry>,
    /// Of more keys than have an entry.
    beyond: u64,
}

pub struct Tally<K> {
    keys_max: usize,
    told_max: u64,
    counted: Mutex<Counted<K>>,
}

impl<K: Eq + Hash> Tally<K> {
    /// Between two summaries, at most `keys_max` keys have one, and of each the first `told_max` are told by
    /// themselves.
    pub fn new(keys_max: usize, told_max: u64) -> Self {
        let counted = Mutex::new(Counted { entries: HashMap::new(), beyond: 0 });
        Self { keys_max, told_max, counted }
    }

    fn lock(&self) -> MutexGuard<'_, Counted<K>> {
        self.counted.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Once more, for the summary.
    pub fn count(&self, key: K, now: DateTime<Utc>) {
        let mut counted = self.lock();
        match counted.of(key, self.keys_max) {
            Some(entry) => entry.count(now),
            None => counted.beyond += 1,
        }
    }

    /// Whether this time is told by itself; otherwise it is counted.
    pub fn is_told(&self, key: K, now: DateTime<Utc>) -> bool {
        let mut counted = self.lock();
        match counted.of(key, self.keys_max) {
            Some(entry) if entry.told < self.told_max => {
                entry.told += 1;
                return true;
            }
            Some(entry) => entry.count(now),
            None => counted.beyond += 1,
        }
        false
    }

    /// The summaries since the last call.
    pub fn take(&self) -> Vec<(K, Count)> {
        let empty = Counted { entries: HashMap::new(), beyond: 0 };
        let Counted { entries, beyond } = std::mem::replace(&mut *self.lock(), empty);
        if beyond > 0 {
            tracing::warn!(
                count = beyond,
                keys_max = self.keys_max,
                "more were turned away than are told of"
            );
        }
        entries.into_iter().filter_map(|(key, entry)| Some((key, entry.counted?))).collect()
    }
}

impl<K: Eq + Hash> Counted<K> {
    fn of(&mut self, key: K, keys_max: usize) -> Option<&mut Entry> {
        if self.entries.len() >= keys_max && !self.entries.contains_key(&key) {
            return None;
        }
        Some(self.entries.entry(key).or_default())
    }
}

impl Entry {
    fn count(&mut self, now: DateTime<Utc>) {
        let counted = self.counted.get_or_insert(Count { count: 0, from: now, to: now });
        counted.count += 1;
        counted.to = now;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use chrono::TimeDelta;

    #[test]
    fn a_flood_is_one_summary_a_key_and_many_keys_are_bounded() {
        let tally = Tally::new(1_000, 0);
        let (first, last) = (Utc::now(), Utc::now() + TimeDelta::seconds(9));
        tally.count(1, first);
        (0..100_000).for_each(|_| tally.count(1, last));
        assert_eq!(tally.take(), [(1, Count { count: 100_001, from: first, to: last })]);
        assert_eq!(tally.take(), [], "told once");
        (0..100_000).for_each(|key| tally.count(key, first));
        assert_eq!(tally.take().len(), 1_000);
    }

    #[test]
    fn the_first_are_told_by_themselves_and_not_again_in_the_summary() {
        let (tally, now) = (Tally::new(10, 5), Utc::now());
        assert_eq!((0..100).filter(|_| tally.is_told("one", now)).count(), 5);
        assert_eq!(tally.take(), [("one", Count { count: 95, from: now, to: now })]);
        assert!(tally.is_told("one", now), "after the summary again");
        assert_eq!(tally.take(), []);
        assert!(!Tally::new(0, 5).is_told("beyond the bound", now));
    }
}
