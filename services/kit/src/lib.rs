//! What do all processes share? Telemetry, shutdown, health and metrics, and the sentry protocol.

pub mod health;
pub mod password;
pub mod sentry_protocol;
pub mod shutdown;
pub mod telemetry;
