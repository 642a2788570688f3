//! Does the provisioner do what it says, with a real log and a real engine?
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod engine;
mod idle;
mod inner_door;
mod life;
mod stand;
