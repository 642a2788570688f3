//! How do those who follow by NATS reach the server, and what does it say of them?

use nats::{Connection, TapPositions};

/// What those are told who may follow.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NatsTapsAt {
    /// `nats://host:port` or `tls://host:port`.
    pub url: String,
    /// `wss://host:port`, where the server has WebSockets.
    pub websocket_url: Option<String>,
}

pub struct NatsTaps {
    pub at: NatsTapsAt,
    pub positions: TapPositions,
    /// The server can let somebody in to see only their own.
    pub possible: bool,
}

impl NatsTaps {
    pub fn new(connection: &Connection, at: NatsTapsAt) -> Self {
        Self { at, positions: connection.tap_positions(), possible: connection.has_accounts() }
    }
}
