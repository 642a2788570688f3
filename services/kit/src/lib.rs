//! What do all processes share? Telemetry, shutdown, health and metrics, errors written down, the sentry protocol, and
//! tunnels through relays.

pub mod client_address;
pub mod error;
pub mod health;
pub mod password;
pub mod sentry_protocol;
pub mod shutdown;
pub mod tally;
pub mod telemetry;
pub mod tunnel;
