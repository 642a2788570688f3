//! Has the environment's time to live ended? Then it is deleted.

use chrono::{DateTime, Utc};

use super::delete::request_delete;
use super::{Env, EnvEvent, EnvRefusal, RequestCause};
use crate::aggregate::Decision;

pub fn expire(state: &Env, now: DateTime<Utc>) -> Decision<EnvEvent, EnvRefusal> {
    if state.exists() && state.expires_at().is_some_and(|end| end <= now) {
        request_delete(state, RequestCause::TtlEnded, now)
    } else {
        Ok(None)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::env::EnvRequested;
    use crate::env::testing::asked;
    use crate::testing::{given, t};

    #[test]
    fn the_time_to_live_is_kept_to_the_second() {
        let asked_for = EnvRequested { ttl_s: Some(60), ..asked() };
        let state = given::<Env>(vec![(0, asked_for.into())]);
        assert_eq!(expire(&state, t(59)), Ok(None));
        assert!(expire(&state, t(60)).unwrap().is_some());
        let endless = given::<Env>(vec![(0, asked().into())]);
        assert_eq!(expire(&endless, t(1_000_000_000)), Ok(None));
        let absurd = EnvRequested { ttl_s: Some(u64::MAX), ..asked() };
        assert_eq!(expire(&given::<Env>(vec![(0, absurd.into())]), t(1_000_000_000)), Ok(None));
    }
}
