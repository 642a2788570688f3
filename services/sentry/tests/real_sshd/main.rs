//! Does the sentry do with real OpenSSH what it promises? Run as root: it makes namespaces.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod control_plane;
mod guesses;
mod inner_door;
mod lifetime;
mod logins;
mod policies;
mod world;
