//! When was an environment used last? Its sentry says so with each policy request, many times a minute, so
//! it is kept in memory and not in the log. Who was not told lately knows nothing, and stops nothing.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use chrono::{DateTime, Utc};
use events::ids::EnvId;

/// A policy request takes 25 seconds; a sentry that was not heard for longer than this is away, or
/// asks another provisioner.
const HEARD_WITHIN: Duration = Duration::from_secs(60);
/// Kept environments beyond which those not heard of are forgotten.
const KEPT: usize = 1024;

#[derive(Default)]
pub struct Activity {
    heard: Mutex<HashMap<EnvId, (DateTime<Utc>, Instant)>>,
}

impl Activity {
    /// What a sentry says; never later than now, whatever its clock says.
    pub fn hear(&self, env: &EnvId, active_at: DateTime<Utc>) {
        let mut heard = self.heard.lock().unwrap_or_else(PoisonError::into_inner);
        if heard.len() > KEPT {
            heard.retain(|_, (_, at)| at.elapsed() < HEARD_WITHIN);
        }
        heard.insert(env.clone(), (active_at.min(Utc::now()), Instant::now()));
    }

    /// `None` when its sentry was not heard lately.
    pub fn of(&self, env: &EnvId) -> Option<DateTime<Utc>> {
        let heard = self.heard.lock().unwrap_or_else(PoisonError::into_inner);
        heard.get(env).filter(|(_, at)| at.elapsed() < HEARD_WITHIN).map(|(active_at, _)| *active_at)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;
    use crate::testing::env_id;

    #[test]
    fn a_clock_that_is_ahead_keeps_nothing_up_and_silence_is_no_idleness() {
        let activity = Activity::default();
        assert_eq!(activity.of(&env_id(1)), None);
        activity.hear(&env_id(1), Utc::now() + chrono::TimeDelta::days(1));
        assert!(activity.of(&env_id(1)).unwrap() <= Utc::now());
        let long_ago = Utc::now() - chrono::TimeDelta::days(1);
        activity.hear(&env_id(1), long_ago);
        assert_eq!(activity.of(&env_id(1)), Some(long_ago));
    }
}
