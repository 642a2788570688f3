//! Is the command's time over? While it waits and while it runs there is an instant at which it is.

use chrono::{DateTime, Utc};

use super::{Command, CommandEvent, CommandPhase, CommandRefusal, CommandTimedOut, Stage};
use crate::aggregate::Decision;

impl Command {
    /// When its time is over, as long as it has not ended.
    pub fn deadline(&self) -> Option<DateTime<Utc>> {
        match self.stage {
            Stage::Queued => self.asked.as_ref().map(|asked| asked.start_by),
            Stage::Dispatched { deadline } => Some(deadline),
            Stage::Absent | Stage::Ended(_) => None,
        }
    }
}

pub fn time_out(state: &Command, now: DateTime<Utc>) -> Decision<CommandEvent, CommandRefusal> {
    let over = state.deadline().is_some_and(|deadline| now >= deadline);
    let phase = if state.stage == Stage::Queued { CommandPhase::Queued } else { CommandPhase::Dispatched };
    Ok(over.then(|| CommandTimedOut { phase }.into()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command::testing::{command, dispatched, relay};
    use crate::testing::t;

    #[test]
    fn waiting_and_running_both_end() {
        let queued = command(false, vec![]);
        assert_eq!(time_out(&queued, t(99)), Ok(None));
        assert_eq!(
            time_out(&queued, t(100)),
            Ok(Some(CommandTimedOut { phase: CommandPhase::Queued }.into()))
        );
        let given = command(false, vec![dispatched(relay(1, 1), 1)]);
        assert_eq!(time_out(&given, t(19)), Ok(None));
        let over: CommandEvent = CommandTimedOut { phase: CommandPhase::Dispatched }.into();
        assert_eq!(time_out(&given, t(20)), Ok(Some(over.clone())));
        let ended = command(false, vec![dispatched(relay(1, 1), 1), over]);
        assert_eq!((time_out(&ended, t(999)), ended.deadline()), (Ok(None), None));
    }
}
