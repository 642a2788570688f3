//! Does the adapter keep its word against a real server?
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod anchors;
mod decide;
mod permissions;
mod positions;
mod recordings;
mod stand;
mod tail;
mod tap_stage;
mod taps;
mod topology;
mod vault;
mod worker;
