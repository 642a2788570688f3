//! May a schedule be removed? Always; what it began goes on.

use super::{Schedule, ScheduleEvent, ScheduleRefusal, ScheduleRemoved};
use crate::aggregate::Decision;

pub fn remove(state: &Schedule) -> Decision<ScheduleEvent, ScheduleRefusal> {
    if state.set.is_none() {
        return Err(ScheduleRefusal::NotFound);
    }
    Ok((!state.removed).then(|| ScheduleRemoved {}.into()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::schedule::testing::{cron, set};
    use crate::testing::given;

    #[test]
    fn once() {
        assert_eq!(remove(&Schedule::default()), Err(ScheduleRefusal::NotFound));
        let set = || (0, ScheduleEvent::from(set(cron("* * * * *"))));
        let removed = remove(&given(vec![set()])).unwrap().unwrap();
        assert_eq!(remove(&given(vec![set(), (1, removed)])), Ok(None));
    }
}
