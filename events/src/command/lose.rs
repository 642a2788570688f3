//! Is the command lost with whom it was given to? Unless it may be given to somebody else.

use super::dispatch::ATTEMPTS_MAX;
use super::{Command, CommandEvent, CommandLost, CommandRefusal, Via};
use crate::aggregate::Decision;

impl Command {
    /// It may be given to somebody else, as far as running it twice goes.
    pub fn may_go_again(&self) -> bool {
        self.idempotent() && self.attempts.len() < ATTEMPTS_MAX
    }
}

/// Whoever it was given to by this way is gone.
pub fn lose(state: &Command, via: &Via, reason: &str) -> Decision<CommandEvent, CommandRefusal> {
    if !state.is_with(via) || state.may_go_again() {
        return Ok(None);
    }
    Ok(Some(CommandLost { reason: reason.to_owned() }.into()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command::testing::{command, dispatched, relay};

    #[test]
    fn what_may_do_harm_is_lost_and_the_rest_goes_elsewhere() {
        let lost: CommandEvent = CommandLost { reason: "it left".into() }.into();
        let given = |idempotent| command(idempotent, vec![dispatched(relay(1, 1), 1)]);
        assert_eq!(lose(&given(false), &relay(1, 1), "it left"), Ok(Some(lost.clone())));
        assert_eq!(lose(&given(false), &relay(2, 1), "it left"), Ok(None), "another relay");
        assert_eq!(lose(&given(false), &relay(1, 0), "it left"), Ok(None), "an older connection");
        assert_eq!(lose(&given(true), &relay(1, 1), "it left"), Ok(None));
        let past = (1..4).map(|number| dispatched(relay(number.into(), 1), number)).collect();
        assert_eq!(lose(&command(true, past), &relay(3, 1), "it left"), Ok(Some(lost)), "often enough");
    }
}
