//! Is this answer the outcome? From whom it was given to and within its time; else it is late, and noted beside.

use chrono::{DateTime, Utc};

use super::{
    Command, CommandAnsweredLate, CommandCompleted, CommandEvent, CommandPhase, CommandRefusal,
    CommandTimedOut, Stage, Via,
};
use crate::aggregate::Decision;

/// After its time the answer is the time-out; asked again it is late.
pub fn answer(
    state: &Command,
    from: &Via,
    answer: &CommandCompleted,
    now: DateTime<Utc>,
) -> Decision<CommandEvent, CommandRefusal> {
    let sent = |via: &Via| via.is_answered_by(from);
    if !state.attempts.iter().any(sent) {
        return Err(CommandRefusal::NotYours);
    }
    let by_newest = state.attempts.last().is_some_and(sent);
    match state.stage {
        Stage::Dispatched { deadline } if by_newest && now >= deadline => {
            Ok(Some(CommandTimedOut { phase: CommandPhase::Dispatched }.into()))
        }
        Stage::Dispatched { .. } if by_newest => Ok(Some(answer.clone().into())),
        Stage::Absent | Stage::Queued => Err(CommandRefusal::NotYours),
        Stage::Dispatched { .. } | Stage::Ended(_) if state.late => Ok(None),
        // the same again: whoever sent it has not heard that it arrived
        Stage::Ended(_) if state.answered.as_ref().is_some_and(sent) => Ok(None),
        Stage::Dispatched { .. } | Stage::Ended(_) => {
            let CommandCompleted { exit_code, stdout, stderr } = answer.clone();
            Ok(Some(CommandAnsweredLate { via: from.clone(), exit_code, stdout, stderr }.into()))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command::testing::{command, completed, dispatched, relay};
    use crate::command::{CommandLost, Outcome};
    use crate::testing::t;

    fn late(via: Via) -> CommandEvent {
        let CommandCompleted { exit_code, stdout, stderr } = completed();
        CommandAnsweredLate { via, exit_code, stdout, stderr }.into()
    }

    #[test]
    fn a_relay_answers_what_it_was_sent_on_this_connection_or_a_later_one() {
        let given = command(false, vec![dispatched(relay(1, 3), 1)]);
        for via in [relay(1, 3), relay(1, 4)] {
            assert_eq!(answer(&given, &via, &completed(), t(19)), Ok(Some(completed().into())));
        }
        for via in [relay(1, 2), relay(2, 3)] {
            assert_eq!(answer(&given, &via, &completed(), t(19)), Err(CommandRefusal::NotYours));
        }
        let queued = command(false, vec![]);
        assert_eq!(answer(&queued, &relay(1, 3), &completed(), t(1)), Err(CommandRefusal::NotYours));
    }

    #[test]
    fn an_answer_after_its_time_is_a_time_out_and_then_late() {
        let timed_out: CommandEvent = CommandTimedOut { phase: CommandPhase::Dispatched }.into();
        let given = command(false, vec![dispatched(relay(1, 1), 1)]);
        assert_eq!(answer(&given, &relay(1, 1), &completed(), t(20)), Ok(Some(timed_out.clone())));
        let over = command(false, vec![dispatched(relay(1, 1), 1), timed_out.clone()]);
        let noted = late(relay(1, 1));
        assert_eq!(answer(&over, &relay(1, 1), &completed(), t(20)), Ok(Some(noted.clone())));
        let told = command(false, vec![dispatched(relay(1, 1), 1), timed_out, noted]);
        assert_eq!(told.outcome(), Some(Outcome::TimedOut));
        assert_eq!(answer(&told, &relay(1, 1), &completed(), t(21)), Ok(None), "noted once");
    }

    #[test]
    fn the_answer_of_an_attempt_that_was_given_up_is_late_and_the_same_again_is_nothing() {
        let twice = vec![dispatched(relay(1, 1), 1), dispatched(relay(2, 1), 2)];
        let given = command(true, twice.clone());
        assert_eq!(answer(&given, &relay(1, 1), &completed(), t(1)), Ok(Some(late(relay(1, 1)))));
        let done = command(true, [twice, vec![completed().into()]].concat());
        assert_eq!(answer(&done, &relay(2, 2), &completed(), t(1)), Ok(None));
        let lost = CommandLost { reason: "it left".into() };
        let lost = command(false, vec![dispatched(relay(1, 1), 1), lost.into()]);
        assert_eq!(answer(&lost, &relay(1, 2), &completed(), t(1)), Ok(Some(late(relay(1, 2)))));
    }
}
