//! Does it hold with real servers and real clients? sshd, ssh and paramiko.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod back_pressure;
mod forward;
mod login;
mod parting_words;
mod relay;
mod second_attempt;
mod terminals;
mod world;
