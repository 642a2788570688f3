//! When has an environment failed? When a step cannot be done, or its deadline has passed.

use chrono::{DateTime, Utc};

use super::{Env, EnvEvent, EnvFailed, EnvRefusal, Phase, Status};
use crate::aggregate::Decision;

/// A step toward the state asked for cannot be done.
pub fn fail(state: &Env, failed: EnvFailed) -> Decision<EnvEvent, EnvRefusal> {
    Ok(state.status.is_pending().then(|| failed.into()))
}

/// The deadline of a pending state has passed. What stood in the way last is the reason.
pub fn overdue(state: &Env, now: DateTime<Utc>) -> Decision<EnvEvent, EnvRefusal> {
    let Some(deadline) = state.deadline.filter(|deadline| *deadline <= now) else {
        return Ok(None);
    };
    let phase = match state.status {
        Status::Creating if !state.ports_missing().is_empty() => Phase::Port,
        Status::Creating if state.engine_ref.is_none() => Phase::Create,
        Status::Creating | Status::Starting => Phase::Ready,
        Status::Stopping => Phase::Stop,
        Status::Deleting => Phase::Delete,
        Status::Absent | Status::Running | Status::Stopped | Status::Failed | Status::Deleted => {
            return Ok(None);
        }
    };
    let late = format!("still {} at its deadline {deadline}", state.status.name());
    let (phase, reason) = match state.newest_progress().filter(|newest| newest.trouble) {
        Some(trouble) => (trouble.phase, format!("{late}; last: {}", trouble.message)),
        None => (phase, late),
    };
    Ok(Some(EnvFailed { phase, code: "deadline_exceeded".to_owned(), reason }.into()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::env::testing::{asked, bound, running};
    use crate::env::{EnvProgressed, PodLost};
    use crate::testing::{given, t};

    #[test]
    fn a_pending_environment_fails_at_its_deadline_and_not_before() {
        let asked_for = given::<Env>(vec![(0, asked().into())]);
        assert_eq!(overdue(&asked_for, t(299)), Ok(None));
        let event = overdue(&asked_for, t(300)).unwrap().unwrap();
        assert!(matches!(&event, EnvEvent::EnvFailed(failed) if failed.phase == Phase::Port), "{event:?}");
        let has_port = given::<Env>(vec![(0, asked().into()), (1, bound(30000).into())]);
        let event = overdue(&has_port, t(300)).unwrap().unwrap();
        assert!(matches!(&event, EnvEvent::EnvFailed(failed) if failed.phase == Phase::Create), "{event:?}");
    }

    #[test]
    fn what_stood_in_the_way_last_is_the_reason() {
        let said = |code: &str, trouble| EnvProgressed {
            phase: Phase::Image,
            code: code.into(),
            message: format!("{code}!"),
            trouble,
        };
        let mut past = vec![(0, asked().into()), (1, bound(30000).into()), (2, said("no", true).into())];
        let failed = |past| match overdue(&given::<Env>(past), t(300)) {
            Ok(Some(EnvEvent::EnvFailed(failed))) => (failed.phase, failed.reason),
            other => panic!("{other:?}"),
        };
        let (phase, reason) = failed(past.clone());
        assert!(phase == Phase::Image && reason.ends_with("; last: no!"), "{reason}");
        past.push((3, said("yes", false).into()));
        let (phase, reason) = failed(past);
        assert!(phase == Phase::Create && !reason.contains("no!"), "it was overcome: {reason}");
        let mut lost = running();
        lost.push((3, PodLost { reason: "its node is silent".into(), deadline: t(200) }.into()));
        let (phase, reason) = failed(lost);
        assert!(phase == Phase::Run && reason.ends_with("; last: its node is silent"), "{reason}");
    }

    #[test]
    fn a_settled_environment_is_never_overdue() {
        assert_eq!(overdue(&given(running()), t(1_000_000)), Ok(None));
    }
}
