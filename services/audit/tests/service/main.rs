//! Does what vouches for the log hold what it promises, against real servers, and does it notice what it must?
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod bundles;
mod keeping;
mod tampering;
mod world;
