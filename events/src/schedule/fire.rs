//! May this due time be begun now? If it is the one that is due at that moment; whoever comes second begins nothing.

use super::due::{Due, due};
use super::{Schedule, ScheduleEvent, ScheduleFired, ScheduleRefusal};
use crate::aggregate::Decision;

pub fn fire(state: &Schedule, fired: ScheduleFired) -> Decision<ScheduleEvent, ScheduleRefusal> {
    let is_due = due(state, fired.at) == Some(Due::Now(fired.due_at));
    Ok(is_due.then(|| fired.into()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::BatchId;
    use crate::schedule::testing::{cron, fired, set};
    use crate::schedule::{SchedulePaused, ScheduleSet, When};
    use crate::testing::{given, t};

    #[test]
    fn a_due_time_is_begun_once_and_no_other_is() {
        let set = || ScheduleEvent::from(set(When::At(t(5))));
        let state = given::<Schedule>(vec![(0, set())]);
        let begun = fire(&state, fired(t(5), t(6))).unwrap().unwrap();
        for (due_at, at) in [(5, 4), (5, 606), (6, 6)] {
            assert_eq!(fire(&state, fired(t(due_at), t(at))), Ok(None), "{due_at} at {at}");
        }
        let after = given::<Schedule>(vec![(0, set()), (6, begun)]);
        assert_eq!(fire(&after, fired(t(5), t(7))), Ok(None));
        let paused = given::<Schedule>(vec![(0, set()), (1, SchedulePaused {}.into())]);
        assert_eq!(fire(&paused, fired(t(5), t(6))), Ok(None));
    }

    #[test]
    fn what_began_is_as_it_was_set_then() {
        let before = set(cron("* * * * *"));
        let begun = fired(t(40), t(41));
        let mut later = ScheduleSet { since: t(50), ..before.clone() };
        later.run.command = "reboot".into();
        let past = vec![(0, before.into()), (41, begun.clone().into()), (50, later.into())];
        let newest = given::<Schedule>(past).newest.unwrap();
        assert_eq!((newest.due_at, newest.requested.at), (t(40), t(41)));
        assert_eq!((newest.batch_id, newest.requested.command.as_str()), (begun.batch_id, "uptime"));
    }

    #[test]
    fn a_batch_is_named_by_schedule_and_time() {
        let id = |seed| crate::ids::ScheduleId::from_seed(&uuid::Uuid::from_u128(seed));
        let of = BatchId::of_schedule(&id(1), t(1));
        assert_eq!(of, BatchId::of_schedule(&id(1), t(1)));
        assert!(of != BatchId::of_schedule(&id(1), t(2)) && of != BatchId::of_schedule(&id(2), t(1)));
    }
}
