//! Do the read models follow a real log into a real PostgreSQL, whatever is killed in between?
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod follows;
mod world;
