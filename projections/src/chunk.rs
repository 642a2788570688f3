//! What is fed at once? A run of the log without a gap: events, and messages that are none.

use events::Recorded;

/// A message of the log that this release cannot read as an event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unreadable {
    pub seq: u64,
    pub subject: String,
    /// Why, for an operator.
    pub reason: String,
}

/// Everything of the log after `from` up to and with `to`.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Chunk {
    /// The position that this follows.
    pub from: u64,
    pub to: u64,
    /// In the order of the log.
    pub events: Vec<Recorded>,
    /// In the order of the log.
    pub unreadable: Vec<Unreadable>,
}

/// A sequence of the log is missing (or there twice): rows would be wrong from there on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the log has a gap: sequence {expected} was due and {found} came")]
pub struct Gap {
    pub expected: u64,
    pub found: u64,
}

impl Chunk {
    /// An empty run after this position.
    pub fn after(position: u64) -> Self {
        Self { from: position, to: position, ..Self::default() }
    }

    pub fn is_empty(&self) -> bool {
        self.to == self.from
    }

    /// Messages in it.
    pub fn len(&self) -> usize {
        self.events.len() + self.unreadable.len()
    }

    /// Adds the next message of the log, which must be an event.
    pub fn push(&mut self, event: Recorded) -> Result<(), Gap> {
        self.advance(event.seq)?;
        self.events.push(event);
        Ok(())
    }

    /// Adds the next message of the log, which could not be read.
    pub fn push_unreadable(&mut self, unreadable: Unreadable) -> Result<(), Gap> {
        self.advance(unreadable.seq)?;
        self.unreadable.push(unreadable);
        Ok(())
    }

    fn advance(&mut self, seq: u64) -> Result<(), Gap> {
        let expected = self.to + 1;
        if seq != expected {
            return Err(Gap { expected, found: seq });
        }
        self.to = seq;
        Ok(())
    }

    /// Takes off the part up to and with `position`, which lies in it.
    pub(crate) fn take_until(&mut self, position: u64) -> Self {
        let position = position.clamp(self.from, self.to);
        let events_after = self.events.partition_point(|event| event.seq <= position);
        let unreadable_after = self.unreadable.partition_point(|message| message.seq <= position);
        let later_events = self.events.split_off(events_after);
        let later_unreadable = self.unreadable.split_off(unreadable_after);
        let later = Self { from: position, to: self.to, events: later_events, unreadable: later_unreadable };
        let mut taken = std::mem::replace(self, later);
        taken.to = position;
        taken
    }

    /// Appends a run that follows this one.
    pub(crate) fn extend(&mut self, next: Self) -> Result<(), Gap> {
        if next.from != self.to {
            return Err(Gap { expected: self.to + 1, found: next.from + 1 });
        }
        self.to = next.to;
        self.events.extend(next.events);
        self.unreadable.extend(next.unreadable);
        Ok(())
    }
}

/// Whether the messages are exactly those after `from` up to `to`, in order.
pub(crate) fn check(from: u64, to: u64, events: &[Recorded], unreadable: &[Unreadable]) -> Result<(), Gap> {
    let (mut events, mut unreadable) = (events.iter().peekable(), unreadable.iter().peekable());
    let mut at = from;
    while at < to || events.peek().is_some() || unreadable.peek().is_some() {
        let expected = at + 1;
        let found = if events.next_if(|event| event.seq == expected).is_some()
            || unreadable.next_if(|message| message.seq == expected).is_some()
        {
            expected
        } else {
            let event = events.peek().map(|event| event.seq);
            let message = unreadable.peek().map(|message| message.seq);
            event.into_iter().chain(message).min().unwrap_or(to + 1)
        };
        if found != expected || expected > to {
            return Err(Gap { expected: expected.min(to + 1), found });
        }
        at = expected;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;

    fn message(seq: u64) -> Unreadable {
        Unreadable { seq, subject: "ev.a.b.c".into(), reason: "why".into() }
    }

    fn messages(seqs: &[u64]) -> Vec<Unreadable> {
        seqs.iter().copied().map(message).collect()
    }

    #[test]
    fn a_missing_doubled_or_foreign_sequence_is_a_gap() {
        assert_eq!(check(0, 0, &[], &[]), Ok(()));
        assert_eq!(check(3, 5, &[], &messages(&[4, 5])), Ok(()));
        assert_eq!(check(3, 5, &[], &messages(&[5])), Err(Gap { expected: 4, found: 5 }));
        assert_eq!(check(3, 5, &[], &messages(&[4])), Err(Gap { expected: 5, found: 6 }));
        assert_eq!(check(3, 5, &[], &messages(&[4, 4])), Err(Gap { expected: 5, found: 4 }));
        assert!(check(3, 4, &[], &messages(&[4, 5])).is_err(), "beyond the end");
    }

    #[test]
    fn a_run_splits_and_joins_without_a_gap() {
        let mut run = Chunk::after(3);
        for seq in 4..=7 {
            run.push_unreadable(message(seq)).expect("in order");
        }
        assert_eq!(run.push_unreadable(message(9)), Err(Gap { expected: 8, found: 9 }));
        let mut first = run.take_until(5);
        assert_eq!((first.from, first.to, first.len()), (3, 5, 2));
        assert_eq!((run.from, run.to, run.len()), (5, 7, 2));
        assert!(run.clone().extend(first.clone()).is_err());
        first.extend(run).expect("follows");
        assert_eq!((first.from, first.to, first.len()), (3, 7, 4));
    }
}
