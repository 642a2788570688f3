//! Which aggregates are hot? State and last sequence by subject, so that a decision costs one publish.
//!
//! A stale entry does no harm: the conditional append is the check. Whoever wants to answer without
//! appending reads the tail of the subject first.

use std::any::Any;
use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use events::Aggregate;
use events::ids::EventId;

/// Aggregates held.
pub(crate) const ENTRIES_MAX: usize = 10_000;
/// Dropped at once when full, oldest use first.
const DROPPED_AT_ONCE: usize = ENTRIES_MAX / 10;
/// Newest event ids held of each aggregate.
pub(crate) const IDS_MAX: usize = 1_024;

/// What is known of one subject.
pub(crate) struct Known<A> {
    pub(crate) state: Arc<A>,
    /// Of the newest event folded into `state`; 0 if none.
    pub(crate) seq: u64,
    /// Newest last, with their sequences.
    pub(crate) ids: VecDeque<(EventId, u64)>,
}

impl<A: Aggregate> Default for Known<A> {
    fn default() -> Self {
        Self { state: Arc::default(), seq: 0, ids: VecDeque::new() }
    }
}

impl<A: Aggregate> Known<A> {
    pub(crate) fn sequence_of(&self, id: EventId) -> Option<u64> {
        self.ids.iter().rev().find(|(known, _)| *known == id).map(|(_, seq)| *seq)
    }

    pub(crate) fn remember(&mut self, id: EventId, seq: u64) {
        if self.ids.len() == IDS_MAX {
            self.ids.pop_front();
        }
        self.ids.push_back((id, seq));
        self.seq = seq;
    }
}

struct Entry {
    state: Arc<dyn Any + Send + Sync>,
    seq: u64,
    ids: VecDeque<(EventId, u64)>,
    used: u64,
}

#[derive(Default)]
struct Entries {
    by_subject: HashMap<String, Entry>,
    clock: u64,
}

/// Shared by all parts of a process; least recently used go first.
#[derive(Default)]
pub(crate) struct Cache {
    entries: Mutex<Entries>,
    turns: Mutex<HashMap<String, Arc<tokio::sync::Mutex<()>>>>,
}

impl Cache {
    /// Takes the entry out: whoever works on a subject has it alone and puts it back.
    pub(crate) fn take<A: Aggregate>(&self, subject: &str) -> Option<Known<A>> {
        let entry = lock(&self.entries).by_subject.remove(subject)?;
        let state = entry.state.downcast::<A>().ok()?;
        Some(Known { state, seq: entry.seq, ids: entry.ids })
    }

    /// Keeps what is newer.
    pub(crate) fn put<A: Aggregate>(&self, subject: &str, known: Known<A>) {
        let mut entries = lock(&self.entries);
        entries.clock += 1;
        let used = entries.clock;
        if entries.by_subject.get(subject).is_some_and(|held| held.seq > known.seq) {
            return;
        }
        let entry = Entry { state: known.state, seq: known.seq, ids: known.ids, used };
        entries.by_subject.insert(subject.to_owned(), entry);
        if entries.by_subject.len() > ENTRIES_MAX {
            let mut ages: Vec<u64> = entries.by_subject.values().map(|entry| entry.used).collect();
            let (_, newest_dropped, _) = ages.select_nth_unstable(DROPPED_AT_ONCE);
            let newest_dropped = *newest_dropped;
            entries.by_subject.retain(|_, entry| entry.used > newest_dropped);
        }
    }

    /// Waits until nobody else in this process works on the subject.
    pub(crate) async fn turn<'c>(&'c self, subject: &'c str) -> Turn<'c> {
        let mutex = Arc::clone(lock(&self.turns).entry(subject.to_owned()).or_default());
        let mut turn = Turn { cache: self, subject, guard: None };
        turn.guard = Some(mutex.lock_owned().await);
        turn
    }
}

/// The right to work on one subject; ends when dropped.
pub(crate) struct Turn<'c> {
    cache: &'c Cache,
    subject: &'c str,
    guard: Option<tokio::sync::OwnedMutexGuard<()>>,
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        let mut turns = lock(&self.cache.turns);
        drop(self.guard.take());
        // Only the map still knows it: nobody waits.
        if turns.get(self.subject).is_some_and(|mutex| Arc::strong_count(mutex) == 1) {
            turns.remove(self.subject);
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
