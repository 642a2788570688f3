//! How long may an environment stay in a pending state? Then it is failed, whatever happened.

use chrono::{DateTime, TimeDelta, Utc};

/// From the request to ready, a first pull of the image included.
pub const CREATE_S: i64 = 300;
pub const START_S: i64 = 120;
pub const STOP_S: i64 = 120;
pub const DELETE_S: i64 = 300;

pub fn create(now: DateTime<Utc>) -> DateTime<Utc> {
    now + TimeDelta::seconds(CREATE_S)
}

pub fn start(now: DateTime<Utc>) -> DateTime<Utc> {
    now + TimeDelta::seconds(START_S)
}

pub fn stop(now: DateTime<Utc>) -> DateTime<Utc> {
    now + TimeDelta::seconds(STOP_S)
}

pub fn delete(now: DateTime<Utc>) -> DateTime<Utc> {
    now + TimeDelta::seconds(DELETE_S)
}
