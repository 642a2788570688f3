//! May a schedule be set, or set otherwise? Once under its id; changed by the person in whose name it runs.

use super::{Schedule, ScheduleEvent, ScheduleRefusal, ScheduleSet};
use crate::aggregate::Decision;

/// A repeated request finds what the first one set.
pub fn set(state: &Schedule, asked: ScheduleSet) -> Decision<ScheduleEvent, ScheduleRefusal> {
    Ok(state.set.is_none().then(|| asked.into()))
}

/// `asked.since` is now: it counts when the times become other ones, so that no due time is lost by another name.
pub fn change(state: &Schedule, asked: ScheduleSet) -> Decision<ScheduleEvent, ScheduleRefusal> {
    let before = state.there().ok_or(ScheduleRefusal::NotFound)?;
    if before.by != asked.by {
        return Err(ScheduleRefusal::NotYours(before.by.clone()));
    }
    let since = if before.when == asked.when { before.since } else { asked.since };
    let asked = ScheduleSet { since, ..asked };
    Ok((*before != asked).then(|| asked.into()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::UserName;
    use crate::schedule::testing::{cron, set as asked};
    use crate::schedule::{ScheduleRemoved, When};
    use crate::testing::{given, t};

    #[test]
    fn it_is_set_once_and_changed_by_whose_it_is() {
        let first = asked(cron("0 3 * * *"));
        assert_eq!(set(&Schedule::default(), first.clone()), Ok(Some(first.clone().into())));
        assert_eq!(change(&Schedule::default(), first.clone()), Err(ScheduleRefusal::NotFound));
        let state = given::<Schedule>(vec![(0, first.clone().into())]);
        assert_eq!(set(&state, first.clone()), Ok(None));
        let later = ScheduleSet { since: t(9), ..first.clone() };
        assert_eq!(change(&state, later.clone()), Ok(None), "nothing is otherwise");
        let bob = ScheduleSet { by: UserName::parse("bob").unwrap(), ..later.clone() };
        assert_eq!(change(&state, bob), Err(ScheduleRefusal::NotYours(first.by.clone())));
        let gone = given::<Schedule>(vec![(0, first.into()), (1, ScheduleRemoved {}.into())]);
        assert_eq!(change(&gone, later), Err(ScheduleRefusal::NotFound));
    }

    #[test]
    fn another_name_moves_no_time_and_another_time_counts_from_now() {
        let state = given::<Schedule>(vec![(0, asked(cron("0 3 * * *")).into())]);
        let named = ScheduleSet { name: "other".into(), since: t(9), ..asked(cron("0 3 * * *")) };
        let kept = ScheduleSet { since: t(0), ..named.clone() };
        assert_eq!(change(&state, named), Ok(Some(kept.into())));
        let moved = ScheduleSet { since: t(9), ..asked(When::At(t(20))) };
        assert_eq!(change(&state, moved.clone()), Ok(Some(moved.into())));
    }
}
