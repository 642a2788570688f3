//! May the environment be stopped? Unless it is going away.

use chrono::{DateTime, Utc};

use super::{Env, EnvEvent, EnvRefusal, EnvStopRequested, EnvStopped, RequestCause, Status, deadlines};
use crate::aggregate::Decision;

pub fn request_stop(state: &Env, cause: RequestCause, now: DateTime<Utc>) -> Decision<EnvEvent, EnvRefusal> {
    match state.status {
        Status::Absent | Status::Deleted => Err(EnvRefusal::NotFound),
        Status::Deleting => Err(EnvRefusal::Deleting),
        Status::Failed if state.delete_requested() => Err(EnvRefusal::Deleting),
        Status::Stopping | Status::Stopped => Ok(None),
        Status::Creating | Status::Running | Status::Starting | Status::Failed => {
            Ok(Some(EnvStopRequested { cause, deadline: deadlines::stop(now) }.into()))
        }
    }
}

/// Nothing of it runs any more.
pub fn stopped(state: &Env) -> Decision<EnvEvent, EnvRefusal> {
    Ok((state.status == Status::Stopping).then(|| EnvStopped {}.into()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::env::testing::running;
    use crate::testing::{given, t};

    #[test]
    fn stopping_twice_is_one_stop() {
        let first = request_stop(&given(running()), RequestCause::Asked, t(10)).unwrap().unwrap();
        let mut past = running();
        past.push((10, first));
        assert_eq!(request_stop(&given(past.clone()), RequestCause::Asked, t(11)), Ok(None));
        assert_eq!(stopped(&given(past)), Ok(Some(EnvStopped {}.into())));
        assert_eq!(stopped(&given(running())), Ok(None));
    }
}
