//! May a job be marked? For a bounded time, in an environment that stays.

use chrono::{DateTime, TimeDelta, Utc};

use super::{Env, EnvEvent, EnvRefusal, JobMarked};
use crate::aggregate::Decision;

/// A mark that is forgotten ends by itself.
pub const JOB_S_MAX: u64 = 7 * 24 * 60 * 60;
/// Longest note, in characters.
pub const NOTE_LENGTH_MAX: usize = 200;

/// For so many seconds from now; zero takes the mark away.
pub fn mark(state: &Env, for_s: u64, note: &str, now: DateTime<Utc>) -> Decision<EnvEvent, EnvRefusal> {
    if !state.exists() {
        return Err(EnvRefusal::NotFound);
    }
    if state.delete_requested() {
        return Err(EnvRefusal::Deleting);
    }
    if for_s == 0 {
        let nothing = JobMarked { until: None, note: String::new() };
        return Ok(state.job_until.is_some().then(|| nothing.into()));
    }
    let for_s = i64::try_from(for_s.min(JOB_S_MAX)).unwrap_or(i64::MAX);
    Ok(Some(JobMarked { until: Some(now + TimeDelta::seconds(for_s)), note: note.to_owned() }.into()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::env::testing::running;
    use crate::testing::{given, t};

    #[test]
    fn a_mark_is_bounded_replaced_and_taken_away_once() {
        let mut past = running();
        assert_eq!(mark(&given(past.clone()), 0, "", t(3)), Ok(None), "there is none");
        past.push((3, mark(&given(past.clone()), u64::MAX, "training", t(3)).unwrap().unwrap()));
        let marked = given::<Env>(past.clone());
        assert_eq!(marked.job_until, Some(t(3 + i64::try_from(JOB_S_MAX).unwrap())));
        past.push((4, mark(&marked, 60, "training", t(4)).unwrap().unwrap()));
        assert_eq!(given::<Env>(past.clone()).job_until, Some(t(64)));
        past.push((5, mark(&given(past.clone()), 0, "", t(5)).unwrap().unwrap()));
        assert_eq!(given::<Env>(past).job_until, None);
        assert_eq!(mark(&Env::default(), 60, "", t(0)), Err(EnvRefusal::NotFound));
    }
}
