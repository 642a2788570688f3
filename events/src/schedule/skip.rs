//! May due times go by without being begun? Those that were missed, or the one that is due, for a reason.

use super::due::{Due, due};
use super::{Schedule, ScheduleEvent, ScheduleRefusal, ScheduleSkipped, Why};
use crate::aggregate::Decision;

pub fn skip(state: &Schedule, skipped: ScheduleSkipped) -> Decision<ScheduleEvent, ScheduleRefusal> {
    let ScheduleSkipped { first, last, count, .. } = skipped;
    let fits = match due(state, skipped.at) {
        Some(missed @ Due::Missed { .. }) => {
            skipped.why == Why::Missed && missed == Due::Missed { first, last, count }
        }
        Some(Due::Now(time)) => skipped.why != Why::Missed && (first, last, count) == (time, time, 1),
        None => false,
    };
    Ok(fits.then(|| skipped.into()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::schedule::fire::fire;
    use crate::schedule::testing::{cron, fired, set};
    use crate::testing::{given, t};

    fn skipped(first: i64, last: i64, count: u32, why: Why, at: i64) -> ScheduleSkipped {
        ScheduleSkipped { first: t(first), last: t(last), count, why, reason: None, at: t(at) }
    }

    #[test]
    fn what_was_missed_is_said_before_the_latest_is_begun() {
        let set = || (0, ScheduleEvent::from(set(cron("* * * * *"))));
        let state = given::<Schedule>(vec![set()]);
        let missed = skipped(40, 100, 2, Why::Missed, 165);
        assert_eq!(fire(&state, fired(t(160), t(165))), Ok(None), "first what was missed");
        for wrong in [
            skipped(40, 160, 3, Why::Missed, 165),
            skipped(40, 100, 1, Why::Missed, 165),
            skipped(40, 100, 2, Why::StillRunning, 165),
            skipped(40, 40, 1, Why::Missed, 45),
        ] {
            assert_eq!(skip(&state, wrong.clone()), Ok(None), "{wrong:?}");
        }
        let missed = skip(&state, missed).unwrap().unwrap();
        let state = given::<Schedule>(vec![set(), (165, missed)]);
        assert!(fire(&state, fired(t(160), t(165))).unwrap().is_some());
        let busy = skipped(160, 160, 1, Why::StillRunning, 166);
        let busy = skip(&state, busy).unwrap().unwrap();
        let mut state = state;
        crate::Aggregate::evolve(&mut state, &busy, t(166));
        assert_eq!(fire(&state, fired(t(160), t(167))), Ok(None), "it is on record");
    }
}
