//! How is SSH spoken? The only importer of `russh`, patched as `patches/` says.
//!
//! `client` connects (time-outs of its own, error classes, pinned host keys, certificates), `channel` is
//! what a client then works with (`forward` for bytes to a port), `ca` signs certificates. `server` serves clients whose connection leads on
//! to another server. Knows nothing of environments, the log or HTTP.

pub mod ca;
pub mod channel;
pub mod client;
mod client_events;
mod client_login;
pub mod connect_error;
mod dial;
mod forward;
mod held_output;
pub mod keys;
mod outlet;
mod packets;
pub mod server;
mod server_events;
mod stream;
pub mod terminals;

pub use connect_error::ConnectError;
