//! Does the API keep its promises over HTTP, with a real log and a real read model?
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod browser;
mod environments;
mod idempotency;
mod isolation;
mod outages;
mod problems;
mod quota;
mod stream;
mod taps;
mod tls;
mod tokens;
mod validation;
mod world;
