//! Which port is tried next? The pool is a fold over all its ports; the cursor moves in sequence,
//! so the port released longest ago comes first.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;

use chrono::{DateTime, TimeDelta, Utc};

use super::allocate::free_at;
use super::{Port, PortEvent};
use crate::aggregate::Aggregate;

/// What is known of a pool. It may lag behind the log; the conditional append decides.
#[derive(Debug, Clone)]
pub struct Pool {
    range: RangeInclusive<u16>,
    quarantine: TimeDelta,
    ports: BTreeMap<u16, Port>,
    /// The port after the newest allocation.
    cursor: u16,
}

impl Pool {
    pub fn new(range: RangeInclusive<u16>, quarantine: TimeDelta) -> Self {
        Self { cursor: *range.start(), range, quarantine, ports: BTreeMap::new() }
    }

    pub fn quarantine(&self) -> TimeDelta {
        self.quarantine
    }

    pub fn apply(&mut self, port: u16, event: &PortEvent, at: DateTime<Utc>) {
        self.ports.entry(port).or_default().evolve(event, at);
        if matches!(event, PortEvent::PortAllocated(_)) && self.range.contains(&port) {
            self.cursor = if port == *self.range.end() { *self.range.start() } else { port + 1 };
        }
    }

    /// The ports that may be given out now, in the order to try them.
    pub fn candidates(&self, now: DateTime<Utc>) -> impl Iterator<Item = u16> {
        let (first, last) = (*self.range.start(), *self.range.end());
        (self.cursor..=last).chain(first..self.cursor).filter(move |port| self.is_free(*port, now))
    }

    fn is_free(&self, port: u16, now: DateTime<Utc>) -> bool {
        self.ports.get(&port).is_none_or(|state| {
            state.holder.is_none() && free_at(state, self.quarantine).is_none_or(|at| at <= now)
        })
    }

    /// Every port that is held, with its state.
    pub fn held(&self) -> impl Iterator<Item = (u16, &Port)> {
        self.ports.iter().filter(|(_, state)| state.holder.is_some()).map(|(port, state)| (*port, state))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::env::PortPurpose;
    use crate::ids::{EnvId, TenantId};
    use crate::ports::allocate::allocate;
    use crate::ports::release::release;
    use crate::ports::{PortAllocated, PortReleased};
    use crate::testing::t;
    use proptest::prelude::*;
    use uuid::Uuid;

    fn asked(number: u128) -> PortAllocated {
        PortAllocated {
            tenant: TenantId::parse("acme").unwrap(),
            env: EnvId::from_seed(&Uuid::from_u128(number)),
            purpose: PortPurpose::Ssh,
        }
    }

    fn pool() -> Pool {
        Pool::new(30000..=30002, TimeDelta::seconds(60))
    }

    #[test]
    fn ports_go_round_and_the_longest_free_comes_first() {
        let mut pool = pool();
        assert_eq!(pool.candidates(t(0)).collect::<Vec<_>>(), [30000, 30001, 30002]);
        pool.apply(30000, &asked(1).into(), t(0));
        pool.apply(30001, &asked(2).into(), t(0));
        pool.apply(30000, &PortReleased { env: asked(1).env }.into(), t(1));
        assert_eq!(pool.candidates(t(2)).collect::<Vec<_>>(), [30002], "30000 rests");
        assert_eq!(pool.candidates(t(61)).collect::<Vec<_>>(), [30002, 30000]);
        pool.apply(30002, &asked(3).into(), t(62));
        assert_eq!(pool.candidates(t(62)).next(), Some(30000), "round");
    }

    proptest! {
        #[test]
        fn no_port_is_held_twice(steps in prop::collection::vec((any::<bool>(), 1u128..8), 0..100)) {
            let mut pool = pool();
            let mut held: BTreeMap<EnvId, u16> = BTreeMap::new();
            for (second, (takes, number)) in (0i64..).step_by(20).zip(steps) {
                let env = asked(number).env;
                if takes && !held.contains_key(&env) {
                    let candidate = pool.candidates(t(second)).next();
                    if let Some(port) = candidate {
                        let state = pool.ports.get(&port).cloned().unwrap_or_default();
                        let event = allocate(&state, asked(number), pool.quarantine(), t(second));
                        let event = event.expect("a candidate is free").expect("not its own");
                        pool.apply(port, &event, t(second));
                        prop_assert!(!held.values().any(|other| *other == port), "{} twice", port);
                        held.insert(env, port);
                    }
                } else if let Some(port) = held.remove(&env) {
                    let event = release(&pool.ports[&port], &env).unwrap().expect("held by it");
                    pool.apply(port, &event, t(second));
                }
            }
        }
    }
}
