//! Did the command fail before it ran? Said by whoever had it, or of one that nobody could be given.

use super::{Command, CommandEvent, CommandFailed, CommandRefusal, Stage, Via};
use crate::aggregate::Decision;

/// `via`: by which way it went, and where it is known that nothing ran; `None`: it was given to nobody.
pub fn fail(
    state: &Command,
    via: Option<&Via>,
    failed: &CommandFailed,
) -> Decision<CommandEvent, CommandRefusal> {
    let theirs = match via {
        Some(via) => state.is_with(via),
        None => state.stage == Stage::Queued,
    };
    Ok(theirs.then(|| failed.clone().into()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command::testing::{command, dispatched, relay};

    #[test]
    fn only_whoever_has_it_says_that_it_failed() {
        let failed = CommandFailed { class: "x".into(), reason: "y".into(), suggestion: None };
        let queued = command(false, vec![]);
        let given = command(false, vec![dispatched(relay(1, 1), 1)]);
        assert!(fail(&queued, None, &failed).unwrap().is_some());
        assert!(fail(&given, Some(&relay(1, 1)), &failed).unwrap().is_some());
        assert_eq!(fail(&given, None, &failed), Ok(None));
        assert_eq!(fail(&given, Some(&relay(2, 1)), &failed), Ok(None));
        let over = command(false, vec![dispatched(relay(1, 1), 1), failed.clone().into()]);
        assert_eq!(fail(&over, Some(&relay(1, 1)), &failed), Ok(None));
    }
}
