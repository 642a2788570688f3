//! May the environment be started? When it is stopped or has failed.

use chrono::{DateTime, Utc};

use super::{Env, EnvEvent, EnvRefusal, EnvStartRequested, Status, deadlines};
use crate::aggregate::Decision;

pub fn request_start(state: &Env, now: DateTime<Utc>) -> Decision<EnvEvent, EnvRefusal> {
    match state.status {
        Status::Absent | Status::Deleted => Err(EnvRefusal::NotFound),
        Status::Deleting => Err(EnvRefusal::Deleting),
        Status::Failed if state.delete_requested() => Err(EnvRefusal::Deleting),
        Status::Stopping => Err(EnvRefusal::WrongStatus { status: state.status.name(), needs: "stopped" }),
        Status::Creating | Status::Running | Status::Starting => Ok(None),
        Status::Stopped | Status::Failed => {
            Ok(Some(EnvStartRequested { deadline: deadlines::start(now) }.into()))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::env::EnvStopped;
    use crate::env::testing::running;
    use crate::testing::{given, t};

    #[test]
    fn only_what_is_down_is_started() {
        assert_eq!(request_start(&given(running()), t(10)), Ok(None));
        let mut past = running();
        past.push((10, EnvStopped {}.into()));
        assert!(request_start(&given(past), t(11)).unwrap().is_some());
        assert_eq!(request_start(&Env::default(), t(0)), Err(EnvRefusal::NotFound));
    }
}
