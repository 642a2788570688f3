//! Did the environment never begin, for want of a port? Then it goes again by itself.

use chrono::{DateTime, Utc};

use super::{Env, EnvEvent, EnvRefusal, RequestCause, Status, delete::request_delete};
use crate::aggregate::Decision;

/// `EnvFailed.code` when no port of the pool is free.
pub const PORT_POOL_EXHAUSTED: &str = "port_pool_exhausted";

/// It got no port, whether or not it is on its way out already.
pub fn never_started(state: &Env) -> bool {
    let exhausted = state.failure.as_ref().is_some_and(|failure| failure.code == PORT_POOL_EXHAUSTED);
    state.delete_cause == Some(RequestCause::NeverStarted) || (exhausted && state.engine_ref.is_none())
}

/// There is nothing in it to look at, and its claim shall not be held for nothing.
pub fn give_up(state: &Env, now: DateTime<Utc>) -> Decision<EnvEvent, EnvRefusal> {
    if state.status == Status::Failed && never_started(state) {
        request_delete(state, RequestCause::NeverStarted, now)
    } else {
        Ok(None)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::env::testing::asked;
    use crate::env::{EnvDeleted, EnvFailed, Phase, PodCreated};
    use crate::testing::{given, t};

    fn exhausted() -> EnvEvent {
        let code = PORT_POOL_EXHAUSTED.to_owned();
        EnvFailed { phase: Phase::Port, code, reason: "every port is taken".to_owned() }.into()
    }

    #[test]
    fn without_a_port_it_goes_again_and_it_stays_known_why() {
        let mut past = vec![(0, asked().into()), (1, exhausted())];
        assert!(never_started(&given(past.clone())));
        let given_up = give_up(&given(past.clone()), t(1)).unwrap().unwrap();
        past.push((1, given_up));
        assert!(never_started(&given(past.clone())), "while it goes");
        assert_eq!(give_up(&given(past.clone()), t(2)), Ok(None), "once");
        past.push((3, EnvDeleted {}.into()));
        assert!(never_started(&given(past)), "when it is gone");
    }

    #[test]
    fn what_began_is_kept_for_a_look() {
        let created = PodCreated { engine_ref: "7f3a".to_owned() };
        let past = vec![(0, asked().into()), (1, created.into()), (2, exhausted())];
        assert_eq!(give_up(&given(past), t(3)), Ok(None));
    }
}
