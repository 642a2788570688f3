//! May the environment be deleted? Always, once.

use chrono::{DateTime, Utc};

use super::{Env, EnvDeleteRequested, EnvDeleted, EnvEvent, EnvRefusal, RequestCause, Status, deadlines};
use crate::aggregate::Decision;

pub fn request_delete(
    state: &Env,
    cause: RequestCause,
    now: DateTime<Utc>,
) -> Decision<EnvEvent, EnvRefusal> {
    match state.status {
        Status::Absent => Err(EnvRefusal::NotFound),
        Status::Deleting | Status::Deleted => Ok(None),
        Status::Creating
        | Status::Running
        | Status::Stopping
        | Status::Stopped
        | Status::Starting
        | Status::Failed => Ok(Some(EnvDeleteRequested { cause, deadline: deadlines::delete(now) }.into())),
    }
}

/// Everything of it is gone. Also after a failed try: a delete is carried on with until it is done.
pub fn deleted(state: &Env) -> Decision<EnvEvent, EnvRefusal> {
    let asked = state.delete_requested() && state.status != Status::Deleted;
    Ok(asked.then(|| EnvDeleted {}.into()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::env::testing::running;
    use crate::env::{EnvFailed, Phase};
    use crate::testing::{given, t};

    #[test]
    fn a_delete_survives_a_failed_try() {
        let mut past = running();
        assert_eq!(deleted(&given(past.clone())), Ok(None), "nobody asked");
        past.push((1, request_delete(&given(past.clone()), RequestCause::Asked, t(1)).unwrap().unwrap()));
        let failed =
            EnvFailed { phase: Phase::Delete, code: "deadline_exceeded".into(), reason: String::new() };
        past.push((2, failed.into()));
        assert_eq!(deleted(&given(past.clone())), Ok(Some(EnvDeleted {}.into())));
        past.push((3, EnvDeleted {}.into()));
        assert_eq!(deleted(&given(past.clone())), Ok(None));
        assert_eq!(request_delete(&given(past), RequestCause::Asked, t(4)), Ok(None));
    }
}
