//! Does the one binary do what a person expects of it at a terminal? Real servers, a double of the engine.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod alone;
mod client;
mod configuration;
mod lives;
