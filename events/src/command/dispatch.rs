//! May the command be given away by this way? The first time always; again only where running it twice does no
//! harm, and by another way than the one that was lost.

use chrono::{DateTime, TimeDelta, Utc};

use super::{Command, CommandDispatched, CommandEvent, CommandRefusal, Stage, Via};
use crate::aggregate::Decision;

/// Ways that one command is given away by.
pub const ATTEMPTS_MAX: usize = 3;

/// The machine that is meant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    pub host: String,
    pub port: u16,
    pub username: String,
}

pub fn dispatch(
    state: &Command,
    via: &Via,
    place: &Place,
    now: DateTime<Utc>,
) -> Decision<CommandEvent, CommandRefusal> {
    let asked = state.asked.as_ref().ok_or(CommandRefusal::NotFound)?;
    match state.stage {
        Stage::Absent => return Err(CommandRefusal::NotFound),
        Stage::Ended(outcome) => return Err(CommandRefusal::Ended(outcome)),
        Stage::Dispatched { .. } if state.attempts.contains(via) || !asked.idempotent => {
            return Err(CommandRefusal::DispatchedBefore);
        }
        Stage::Dispatched { .. } if state.attempts.len() >= ATTEMPTS_MAX => {
            return Err(CommandRefusal::TooManyAttempts);
        }
        Stage::Queued | Stage::Dispatched { .. } => {}
    }
    let Place { host, port, username } = place.clone();
    let attempt = u32::try_from(state.attempts.len() + 1).unwrap_or(u32::MAX);
    let timeout = TimeDelta::try_milliseconds(i64::try_from(asked.timeout_ms).unwrap_or(i64::MAX));
    let deadline = timeout.and_then(|timeout| now.checked_add_signed(timeout)).unwrap_or(now);
    Ok(Some(CommandDispatched { via: via.clone(), host, port, username, attempt, deadline }.into()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command::Outcome;
    use crate::command::testing::{command, completed, dispatched, place, relay};
    use crate::testing::t;

    fn again(state: &Command, via: &Via) -> Decision<CommandEvent, CommandRefusal> {
        dispatch(state, via, &place(), t(10))
    }

    #[test]
    fn what_may_do_harm_is_given_away_once() {
        let queued = command(false, vec![]);
        assert_eq!(again(&queued, &relay(1, 1)), Ok(Some(dispatched(relay(1, 1), 1))));
        let given = command(false, vec![dispatched(relay(1, 1), 1)]);
        for via in [relay(1, 1), relay(1, 2), relay(2, 1)] {
            assert_eq!(again(&given, &via), Err(CommandRefusal::DispatchedBefore));
        }
        assert_eq!(again(&Command::default(), &relay(1, 1)), Err(CommandRefusal::NotFound));
    }

    #[test]
    fn what_does_no_harm_is_given_away_again_by_other_ways() {
        let mut past = vec![dispatched(relay(1, 1), 1)];
        assert!(again(&command(true, past.clone()), &relay(1, 1)).is_err(), "it went that way");
        assert_eq!(again(&command(true, past.clone()), &relay(2, 7)), Ok(Some(dispatched(relay(2, 7), 2))));
        past.extend([dispatched(relay(2, 7), 2), dispatched(relay(1, 2), 3)]);
        assert_eq!(again(&command(true, past.clone()), &relay(3, 1)), Err(CommandRefusal::TooManyAttempts));
        past.push(completed().into());
        assert_eq!(again(&command(true, past), &relay(3, 1)), Err(CommandRefusal::Ended(Outcome::Completed)));
    }
}
