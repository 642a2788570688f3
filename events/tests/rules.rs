//! Do the facts keep their shape, and the rules their promises, whatever happens?

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "rules/again.rs"]
mod again;
#[path = "rules/command_life.rs"]
mod command_life;
#[path = "rules/life.rs"]
mod life;
#[path = "rules/schedule_life.rs"]
mod schedule_life;
#[path = "rules/schemas.rs"]
mod schemas;
#[path = "rules/wire.rs"]
mod wire;
