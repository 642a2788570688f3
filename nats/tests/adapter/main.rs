//! Does the adapter keep its word against a real server?
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod decide;
mod permissions;
mod stand;
mod tail;
mod topology;
mod vault;
mod worker;
