//! Real things for tests: servers, engines, the product itself, on free ports, gone afterwards.
//! Imports no crate of the project, so it cannot believe what the product believes.

pub mod bare_nats;
pub mod child;
pub mod descriptors;
pub mod engine_double;
mod eventually;
pub mod free_ports;
pub mod http;
pub mod kubernetes;
pub mod nats;
pub mod played_control;
pub mod played_node;
pub mod portreeve;
pub mod postgres;
pub mod programs;
pub mod real_engine;
pub mod registry;
pub mod ssh;
pub mod sshd;
pub mod terminal;
pub mod way;

pub use engine_double::EngineDouble;
pub use eventually::eventually;
pub use http::{Answer, Api};
pub use portreeve::{Installation, Portreeve, Setup};
pub use real_engine::RealEngine;
pub use ssh::{Proof, Ssh};
pub use sshd::Sshd;
pub use terminal::Terminal;
