//! Does the provisioner do what it says, with a real log and a real engine?
#![allow(clippy::unwrap_used, clippy::expect_used)]
// a test looks for the events that it is about
#![allow(clippy::wildcard_enum_match_arm)]

mod engine;
mod idle;
mod inner_door;
mod life;
mod stand;
