//! Is the command called off? Whatever it does; what has ended stays as it ended.

use super::{Command, CommandCancelled, CommandEvent, CommandRefusal};
use crate::aggregate::Decision;

pub fn cancel(state: &Command) -> Decision<CommandEvent, CommandRefusal> {
    Ok(state.phase().map(|phase| CommandCancelled { phase }.into()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command::testing::{command, completed, dispatched, relay};
    use crate::command::{CommandPhase, Outcome};

    #[test]
    fn whatever_has_not_ended_is_called_off() {
        let off = |phase| Ok(Some(CommandCancelled { phase }.into()));
        assert_eq!(cancel(&command(false, vec![])), off(CommandPhase::Queued));
        let given = vec![dispatched(relay(1, 1), 1)];
        assert_eq!(cancel(&command(false, given.clone())), off(CommandPhase::Dispatched));
        let done = command(false, [given, vec![completed().into()]].concat());
        assert_eq!((cancel(&done), done.outcome()), (Ok(None), Some(Outcome::Completed)));
    }
}
