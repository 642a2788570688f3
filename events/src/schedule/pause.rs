//! May a schedule be paused, and counted again?

use chrono::{DateTime, Utc};

use super::{Schedule, ScheduleEvent, SchedulePaused, ScheduleRefusal, ScheduleResumed};
use crate::aggregate::Decision;

pub fn pause(state: &Schedule) -> Decision<ScheduleEvent, ScheduleRefusal> {
    state.there().ok_or(ScheduleRefusal::NotFound)?;
    Ok((!state.paused).then(|| SchedulePaused {}.into()))
}

/// Nothing of the pause is made up for.
pub fn resume(state: &Schedule, now: DateTime<Utc>) -> Decision<ScheduleEvent, ScheduleRefusal> {
    state.there().ok_or(ScheduleRefusal::NotFound)?;
    Ok(state.paused.then(|| ScheduleResumed { since: now }.into()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::schedule::ScheduleRemoved;
    use crate::schedule::testing::{cron, set};
    use crate::testing::{given, t};

    #[test]
    fn each_once_and_of_one_that_is_there() {
        let set = || (0, ScheduleEvent::from(set(cron("* * * * *"))));
        let active = given::<Schedule>(vec![set()]);
        assert_eq!(pause(&active), Ok(Some(SchedulePaused {}.into())));
        assert_eq!(resume(&active, t(2)), Ok(None));
        let paused = given::<Schedule>(vec![set(), (1, SchedulePaused {}.into())]);
        assert_eq!(pause(&paused), Ok(None));
        assert_eq!(resume(&paused, t(2)), Ok(Some(ScheduleResumed { since: t(2) }.into())));
        let gone = given::<Schedule>(vec![set(), (1, ScheduleRemoved {}.into())]);
        assert_eq!(pause(&gone), Err(ScheduleRefusal::NotFound));
        assert_eq!(resume(&Schedule::default(), t(2)), Err(ScheduleRefusal::NotFound));
    }
}
