//! How does a rule's test read? Given the past, when this is asked, then that happens.

use chrono::{DateTime, Utc};

use crate::aggregate::Aggregate;

/// `t(s)`: the instant `s` seconds into the story.
pub fn t(seconds: i64) -> DateTime<Utc> {
    DateTime::from_timestamp(1_700_000_000 + seconds, 0).unwrap()
}

/// The state after these events, each at its second.
pub fn given<A: Aggregate>(past: Vec<(i64, A::Event)>) -> A {
    let mut state = A::default();
    for (second, event) in &past {
        state.evolve(event, t(*second));
    }
    state
}
