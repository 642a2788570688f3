//! Has the environment's time to live ended? Then it is deleted, after a warning; a marked job is waited for.

use chrono::{DateTime, Utc};

use super::delete::request_delete;
use super::idle::{Next, next, warn_before};
use super::{Env, EnvEndsSoon, EnvEvent, EnvRefusal, RequestCause};
use crate::aggregate::Decision;

pub fn expire(state: &Env, now: DateTime<Utc>) -> Decision<EnvEvent, EnvRefusal> {
    let ttl_s = state.requested.as_ref().and_then(|asked| asked.ttl_s);
    let (true, false, Some(end), Some(ttl_s)) =
        (state.exists(), state.delete_requested(), state.expires_at(), ttl_s)
    else {
        return Ok(None);
    };
    let end = end.max(state.job_until.unwrap_or(end));
    match next(state.deletes_at, end, warn_before(ttl_s), now) {
        Some(Next::End) => request_delete(state, RequestCause::TtlEnded, now),
        Some(Next::Say(at)) => Ok(Some(EnvEndsSoon { cause: RequestCause::TtlEnded, at }.into())),
        None => Ok(None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::aggregate::Aggregate;
    use crate::env::testing::asked;
    use crate::env::{EnvRequested, JobMarked};
    use crate::testing::{given, t};

    fn with_ttl(ttl_s: u64) -> Env {
        given(vec![(0, EnvRequested { ttl_s: Some(ttl_s), ..asked() }.into())])
    }

    fn step(env: &mut Env, second: i64) -> Option<EnvEvent> {
        let event = expire(env, t(second)).unwrap();
        if let Some(event) = &event {
            env.evolve(event, t(second));
        }
        event
    }

    #[test]
    fn the_time_to_live_is_kept_to_the_second_and_its_end_is_said_before() {
        let mut env = with_ttl(60);
        assert_eq!(step(&mut env, 29), None);
        let warned = EnvEndsSoon { cause: RequestCause::TtlEnded, at: Some(t(60)) };
        assert_eq!(step(&mut env, 30), Some(warned.into()));
        assert_eq!(step(&mut env, 59), None);
        assert!(matches!(step(&mut env, 60), Some(EnvEvent::EnvDeleteRequested(_))));
        assert_eq!(step(&mut env, 61), None, "asked for once");
        assert_eq!(expire(&given::<Env>(vec![(0, asked().into())]), t(1_000_000_000)), Ok(None));
        assert_eq!(expire(&with_ttl(u64::MAX), t(1_000_000_000)), Ok(None));
    }

    #[test]
    fn nothing_is_deleted_without_a_warning_however_late_it_is_looked() {
        let mut env = with_ttl(3600);
        let warned = EnvEndsSoon { cause: RequestCause::TtlEnded, at: Some(t(10_300)) };
        assert_eq!(step(&mut env, 10_000), Some(warned.into()));
        assert_eq!(step(&mut env, 10_299), None);
        assert!(matches!(step(&mut env, 10_300), Some(EnvEvent::EnvDeleteRequested(_))));
    }

    #[test]
    fn a_marked_job_is_waited_for() {
        let mut env = with_ttl(60);
        assert!(step(&mut env, 30).is_some());
        env.evolve(&JobMarked { until: Some(t(500)), note: String::new() }.into(), t(40));
        let withdrawn = EnvEndsSoon { cause: RequestCause::TtlEnded, at: None };
        assert_eq!(step(&mut env, 60), Some(withdrawn.into()));
        assert_eq!(step(&mut env, 400), None);
        assert!(matches!(step(&mut env, 470), Some(EnvEvent::EnvEndsSoon(_))));
        assert!(matches!(step(&mut env, 500), Some(EnvEvent::EnvDeleteRequested(_))));
    }
}
