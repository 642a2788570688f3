//! What is an aggregate? State folded from its own events; a rule looks at it and at nothing else.

use chrono::{DateTime, Utc};

use crate::catalogue::{Event, Kind};

/// State that is a fold of the events of one subject. `Default` is the state before the first.
pub trait Aggregate: Default + Clone + Send + Sync + 'static {
    type Event: AggregateEvent;

    /// Total and infallible: the past cannot be refused. `at` is the event's own time.
    fn evolve(&mut self, event: &Self::Event, at: DateTime<Utc>);

    /// The state after all of `history`.
    fn fold<'e>(history: impl IntoIterator<Item = (&'e Self::Event, DateTime<Utc>)>) -> Self {
        let mut state = Self::default();
        for (event, at) in history {
            state.evolve(event, at);
        }
        state
    }
}

/// The events of one kind of aggregate.
pub trait AggregateEvent: Clone + Send + Sync + Into<Event> + 'static {
    const KIND: Kind;

    /// The event, if it is one of this kind.
    fn from_event(event: &Event) -> Option<&Self>;
}

/// What a rule answers: an event to append, nothing (it is already so), or a refusal.
pub type Decision<E, R> = Result<Option<E>, R>;

/// The business said no. The text tells a person what is wrong and what to do.
pub trait Refusal: std::error::Error + Send + Sync + 'static {
    /// Stable, for programs: `quota_exceeded`.
    fn code(&self) -> &'static str;
}
