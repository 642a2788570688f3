//! What do people and programs see from outside? Stories through the public surface, one binary.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod bad_input;
mod busy_people;
mod gateway;
mod gateway_lockout;
mod in_a_browser;
mod kill_anywhere;
mod left_behind;
mod main_job;
mod pool;
mod projectors;
mod quota_race;
mod repairs;
mod secrets;
mod spool;
