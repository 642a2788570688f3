//! The facts and the rules that make them. Knows nothing of time, chance, files or networks:
//! instants and ids come in as arguments, events or refusals come out.

#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::panic))]

pub mod access;
pub mod aggregate;
pub mod asyncapi;
pub mod batch;
pub mod breaks;
mod cases;
pub mod catalogue;
pub mod command;
pub mod credential;
pub mod decide_again;
pub mod docs;
pub mod env;
pub mod envelope;
pub mod fields;
pub mod ids;
pub mod login;
pub mod nats_tap;
pub mod ports;
pub mod quota;
pub mod relay;
pub mod released;
pub mod request;
pub mod resources;
pub mod schedule;
pub mod schema;
pub mod server;
pub mod session;
pub mod sign_in;
pub mod ssh_key;
pub mod subject;
pub mod subscription;
pub mod tenant;
#[cfg(test)]
mod testing;
pub mod token;
pub mod user;
pub mod what_if;

pub use aggregate::{Aggregate, AggregateEvent, Decision};
pub use catalogue::{CATALOGUE, Event, Kind, ReadError};
pub use envelope::{Cause, Meta, Recorded};
pub use resources::{Limits, Milli, Resources};
pub use subject::Subject;
