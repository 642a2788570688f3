//! What do stories through the public surface need, wherever they take place? The stories themselves are
//! in `tests/stories`, on containers, and in `tests/kubernetes`.

pub mod client_commands;
pub mod client_files;
pub mod client_forwards;
pub mod client_programs;
pub mod kubernetes;
pub mod ledger;
pub mod main_job;
pub mod world;
