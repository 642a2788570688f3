//! Is the environment used? Without traffic for as long as it was given it is stopped, after a warning.
//!
//! What counts as traffic is for those who see it (its sentry); here is only when there was some last.
//! A marked job counts as traffic until its mark ends.

use chrono::{DateTime, TimeDelta, Utc};

use super::stop::request_stop;
use super::{Env, EnvEndsSoon, EnvEvent, EnvRefusal, RequestCause, Status};
use crate::aggregate::Decision;

/// People are told this long before an environment is stopped or deleted; where it was given less than
/// twice as much, half of that.
pub const WARN_BEFORE_S: i64 = 300;

/// How long before its end an environment with so many seconds is warned of it.
pub fn warn_before(given_s: u64) -> TimeDelta {
    let half = i64::try_from(given_s / 2).unwrap_or(i64::MAX);
    TimeDelta::seconds(half.min(WARN_BEFORE_S))
}

/// When it is stopped unless it is used: the time it was given, after it got ready, was used last
/// (`active_at`), or its job's mark ended.
pub fn stops_at(state: &Env, active_at: DateTime<Utc>) -> Option<DateTime<Utc>> {
    let idle_s = state.requested.as_ref()?.idle_s?;
    let since = active_at.max(state.ready_at?).max(state.job_until.unwrap_or(active_at));
    since.checked_add_signed(TimeDelta::try_seconds(i64::try_from(idle_s).ok()?)?)
}

/// `active_at`: when there was traffic last.
pub fn idle(state: &Env, active_at: DateTime<Utc>, now: DateTime<Utc>) -> Decision<EnvEvent, EnvRefusal> {
    let (Status::Running, Some(end)) = (state.status, stops_at(state, active_at)) else { return Ok(None) };
    let before = warn_before(state.requested.as_ref().and_then(|asked| asked.idle_s).unwrap_or(0));
    match next(state.stops_at, end, before, now) {
        Some(Next::End) => request_stop(state, RequestCause::Idle, now),
        Some(Next::Say(at)) => Ok(Some(EnvEndsSoon { cause: RequestCause::Idle, at }.into())),
        None => Ok(None),
    }
}

/// What comes next on the way to an end that people are warned of.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Next {
    Say(Option<DateTime<Utc>>),
    End,
}

/// `said`: the end that was announced. `end`: the one that is due by what is known now. Nothing ends
/// before its announcement has stood for `before`.
pub(super) fn next(
    said: Option<DateTime<Utc>>,
    end: DateTime<Utc>,
    before: TimeDelta,
    now: DateTime<Utc>,
) -> Option<Next> {
    match said {
        Some(said) if end > said => Some(Next::Say(None)),
        Some(said) => (said <= now).then_some(Next::End),
        None => (now >= end - before).then(|| Next::Say(Some(end.max(now + before)))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::aggregate::Aggregate;
    use crate::env::testing::{asked, bound};
    use crate::env::{EnvRequested, JobMarked, PodReady};
    use crate::testing::{given, t};

    /// Running since second 10, with an hour.
    fn running() -> Env {
        let asked = EnvRequested { idle_s: Some(3600), ..asked() };
        given(vec![(0, asked.into()), (1, bound(30000).into()), (10, PodReady::default().into())])
    }

    fn says(at: Option<i64>) -> Decision<EnvEvent, EnvRefusal> {
        Ok(Some(EnvEndsSoon { cause: RequestCause::Idle, at: at.map(t) }.into()))
    }

    #[test]
    fn it_is_stopped_after_a_warning_and_only_then() {
        let mut env = running();
        assert_eq!(idle(&env, t(0), t(3309)), Ok(None));
        assert_eq!(idle(&env, t(0), t(3310)), says(Some(3610)), "five minutes before");
        env.evolve(&idle(&env, t(0), t(3310)).unwrap().unwrap(), t(3310));
        assert_eq!(idle(&env, t(0), t(3609)), Ok(None), "said once");
        let stop = idle(&env, t(0), t(3610)).unwrap().unwrap();
        assert!(matches!(&stop, EnvEvent::EnvStopRequested(asked) if asked.cause == RequestCause::Idle));
        env.evolve(&stop, t(3610));
        assert_eq!((env.stops_at, idle(&env, t(0), t(9999))), (None, Ok(None)));
    }

    #[test]
    fn traffic_takes_the_warning_back() {
        let mut env = running();
        env.evolve(&idle(&env, t(0), t(3400)).unwrap().unwrap(), t(3400));
        assert_eq!(env.stops_at, Some(t(3700)), "late, so it is stopped later");
        assert_eq!(idle(&env, t(3500), t(3700)), says(None));
        env.evolve(&idle(&env, t(3500), t(3700)).unwrap().unwrap(), t(3700));
        assert_eq!(idle(&env, t(3500), t(3701)), Ok(None));
        assert_eq!(idle(&env, t(3500), t(6800)), says(Some(7100)));
    }

    #[test]
    fn a_marked_job_is_not_stopped() {
        let mut env = running();
        env.evolve(&JobMarked { until: Some(t(50_000)), note: "training".into() }.into(), t(20));
        assert_eq!(idle(&env, t(0), t(50_000)), Ok(None));
        assert_eq!(idle(&env, t(0), t(53_300)), says(Some(53_600)));
        env.evolve(&JobMarked { until: None, note: String::new() }.into(), t(30));
        assert_eq!(idle(&env, t(0), t(3310)), says(Some(3610)));
    }

    #[test]
    fn without_a_limit_nothing_is_idle_and_a_small_one_is_warned_of_at_half() {
        let endless = given::<Env>(crate::env::testing::running());
        assert_eq!(idle(&endless, t(0), t(1_000_000_000)), Ok(None));
        assert_eq!(warn_before(60), TimeDelta::seconds(30));
        assert_eq!(warn_before(u64::MAX), TimeDelta::seconds(WARN_BEFORE_S));
    }
}
