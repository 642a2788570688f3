//! Which time of a schedule is to be begun now, and which were missed?

use chrono::{DateTime, TimeDelta, Utc};

use super::Schedule;

/// Missed times that are counted at once; what is left comes with the next look.
pub const MISSED_MAX: u32 = 10_000;

/// What is to be done, in this order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Due {
    /// Nobody looked when these were due: all but the latest, and the latest too where it is too late for it.
    Missed { first: DateTime<Utc>, last: DateTime<Utc>, count: u32 },
    /// The latest, and it is not too late.
    Now(DateTime<Utc>),
}

/// The first time that is not on record.
pub fn next(state: &Schedule) -> Option<DateTime<Utc>> {
    let set = state.there().filter(|_| !state.paused)?;
    set.when.after(state.covered).next()
}

/// `None`: nothing is due.
pub fn due(state: &Schedule, now: DateTime<Utc>) -> Option<Due> {
    let set = state.there().filter(|_| !state.paused)?;
    let mut times = set.when.after(state.covered).take_while(|time| *time <= now);
    let first = times.next()?;
    let (mut latest, mut before, mut count) = (first, None, 1);
    for time in times.take(MISSED_MAX as usize) {
        (before, latest, count) = (Some(latest), time, count + 1);
    }
    let late_max = TimeDelta::seconds(u32::try_from(set.late_s_max).unwrap_or(u32::MAX).into());
    let is_latest = count <= MISSED_MAX;
    let in_time = is_latest && now - latest <= late_max;
    Some(match before {
        None if in_time => Due::Now(latest),
        Some(last) if in_time || !is_latest => Due::Missed { first, last, count: count - 1 },
        None | Some(_) => Due::Missed { first, last: latest, count },
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::schedule::testing::{cron, set};
    use crate::schedule::{SchedulePaused, ScheduleRemoved, ScheduleResumed, When};
    use crate::testing::{given, t};

    /// `t(0)` is 22:13:20.
    const FIRST: i64 = 40;

    fn missed(first: i64, last: i64, count: u32) -> Option<Due> {
        Some(Due::Missed { first: t(first), last: t(last), count })
    }

    #[test]
    fn the_latest_is_due_and_those_before_are_missed() {
        let each_minute = given::<Schedule>(vec![(0, set(cron("* * * * *")).into())]);
        assert_eq!(next(&each_minute), Some(t(FIRST)));
        assert_eq!(due(&each_minute, t(FIRST - 1)), None);
        assert_eq!(due(&each_minute, t(FIRST)), Some(Due::Now(t(FIRST))));
        assert_eq!(due(&each_minute, t(FIRST + 59)), Some(Due::Now(t(FIRST))));
        assert_eq!(due(&each_minute, t(FIRST + 60)), missed(FIRST, FIRST, 1));
        assert_eq!(due(&each_minute, t(FIRST + 185)), missed(FIRST, FIRST + 120, 3));
    }

    #[test]
    fn what_is_too_late_is_missed_whole() {
        let daily = given::<Schedule>(vec![(0, set(cron("14 22 * * *")).into())]);
        assert_eq!(due(&daily, t(FIRST + 600)), Some(Due::Now(t(FIRST))));
        assert_eq!(due(&daily, t(FIRST + 601)), missed(FIRST, FIRST, 1));
        let day = 24 * 3_600;
        assert_eq!(due(&daily, t(FIRST + 2 * day + 601)), missed(FIRST, FIRST + 2 * day, 3));
        assert_eq!(due(&daily, t(FIRST + 2 * day + 1)), missed(FIRST, FIRST + day, 2));
        let once = given::<Schedule>(vec![(0, set(When::At(t(5))).into())]);
        assert_eq!(
            (due(&once, t(4)), due(&once, t(605)), due(&once, t(606))),
            (None, Some(Due::Now(t(5))), missed(5, 5, 1))
        );
    }

    #[test]
    fn a_long_outage_is_counted_in_parts() {
        let each_minute = given::<Schedule>(vec![(0, set(cron("* * * * *")).into())]);
        let most = i64::from(MISSED_MAX);
        let long = t(FIRST + 60 * (most + 5));
        assert_eq!(due(&each_minute, long), missed(FIRST, FIRST + 60 * (most - 1), MISSED_MAX));
        let all_but_one = t(FIRST + 60 * most);
        assert_eq!(due(&each_minute, all_but_one), missed(FIRST, FIRST + 60 * (most - 1), MISSED_MAX));
    }

    #[test]
    fn what_is_paused_or_gone_is_never_due_and_a_pause_is_not_made_up_for() {
        let past = |more: Vec<(i64, crate::schedule::ScheduleEvent)>| {
            let mut past = vec![(0, set(cron("* * * * *")).into())];
            past.extend(more);
            given::<Schedule>(past)
        };
        let paused = past(vec![(1, SchedulePaused {}.into())]);
        assert_eq!((due(&paused, t(1_000)), next(&paused)), (None, None));
        let resumed = ScheduleResumed { since: t(500) };
        let resumed = past(vec![(1, SchedulePaused {}.into()), (500, resumed.into())]);
        assert_eq!(next(&resumed), Some(t(520)));
        assert_eq!(due(&past(vec![(1, ScheduleRemoved {}.into())]), t(1_000)), None);
        assert_eq!(due(&Schedule::default(), t(1_000)), None);
    }
}
