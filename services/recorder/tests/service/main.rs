//! Is a terminal recorded as it was, whatever happens to the store meanwhile?
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod recording;
mod world;
