//! What do requests to the server and its answers look like? Only what async-nats has no call for.

use async_nats::HeaderMap;
use serde::Deserialize;

/// Stream of all events.
pub(crate) const EVENTS: &str = "EVENTS";
/// Stream of what could not be read or done.
pub(crate) const PARKED: &str = "PARKED";
/// Stream behind the key-value bucket `VAULT`.
pub(crate) const VAULT: &str = "KV_VAULT";
/// Stream behind the key-value bucket `POSITIONS`.
pub(crate) const POSITIONS: &str = "KV_POSITIONS";
/// Stream of the chunks of recorded terminals.
pub(crate) const RECORDINGS: &str = "RECORDINGS";
pub(crate) const OUTPUTS: &str = "OUTPUTS";

/// Stream of what vouches for the events.
pub(crate) const ANCHORS: &str = "ANCHORS";

/// Where events are published to, and what was stored is announced on.
pub(crate) const EVENT_PREFIX: &str = "ev.";
pub(crate) const STORED_PREFIX: &str = "stored.";
/// Where chunks of recordings are published to: `rec.<tenant>.<session>.<number>`.
pub(crate) const RECORDING_PREFIX: &str = "rec.";
pub(crate) const OUTPUT_PREFIX: &str = "out.";

/// The server asks who somebody is; of those who answer one is asked.
pub(crate) const CALLOUT: &str = "$SYS.REQ.USER.AUTH";
pub(crate) const CALLOUT_QUEUE: &str = "taps";
/// Who is connected, and out with them; as `server.conf` maps it for the service that lets them in.
pub(crate) const CONNECTIONS: &str = "SERVERS.CONNZ";
pub(crate) const DISCONNECT_PREFIX: &str = "SERVERS.KICK.";

/// Where records about the log are published to; one literal subject, so that they have one order.
pub(crate) const ANCHOR_SUBJECT: &str = "anchor.log";
/// The bell of who writes them.
pub(crate) const AUDIT_BELL: &str = "bell.audit";

/// Somebody else appended first.
pub(crate) const WRONG_LAST_SEQUENCE: u32 = 10071;
/// The same, on a replicated stream with an append under way.
pub(crate) const WRONG_LAST_SEQUENCE_UNKNOWN: u32 = 10164;
/// There is no such consumer.
pub(crate) const CONSUMER_NOT_FOUND: u32 = 10014;
/// An append with this message id is under way.
pub(crate) const DUPLICATE_IN_PROCESS: u32 = 10158;
pub(crate) const STATUS_END_OF_BATCH: u16 = 204;
pub(crate) const STATUS_NOT_FOUND: u16 = 404;
pub(crate) const STATUS_NOBODY: u16 = 503;

/// The server's refusal of a request.
#[derive(Debug, Clone, Deserialize, thiserror::Error)]
#[error("the server refused with code {err_code}: {description}")]
pub struct ApiError {
    #[serde(default)]
    pub err_code: u32,
    #[serde(default)]
    pub description: String,
}

/// The answer to a publish that a stream takes.
#[derive(Debug, Deserialize)]
pub(crate) struct PublishAnswer {
    pub(crate) error: Option<ApiError>,
    #[serde(default)]
    pub(crate) seq: u64,
    #[serde(default)]
    pub(crate) duplicate: bool,
}

/// The server's own headers come after whatever the message was stored with: the last one counts.
pub(crate) fn server_header<'h>(headers: Option<&'h HeaderMap>, name: &str) -> Option<&'h str> {
    headers?.get_last(name).map(|value| value.as_str())
}

pub(crate) fn server_number(headers: Option<&HeaderMap>, name: &str) -> Option<u64> {
    server_header(headers, name)?.parse().ok()
}
