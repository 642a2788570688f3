//! Is a server reached, and is each way not to reach it told by its name? Real log, real vault, real sshd.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod accounts;
mod classes;
mod doctor;
mod facts;
mod host_keys;
mod ways_in;
mod world;
