//! What do stories through the public surface need, wherever they take place? The stories themselves are
//! in `tests/stories`, on containers, and in `tests/kubernetes`.

pub mod client_automation;
pub mod client_commands;
pub mod client_files;
pub mod client_forwards;
pub mod client_loads;
pub mod client_mounts;
pub mod client_programs;
pub mod client_windows;
pub mod entrances;
pub mod foreign_relay;
pub mod kubernetes;
pub mod ledger;
pub mod main_job;
pub mod memory;
pub mod screen;
pub mod talk;
pub mod world;
