//! How is the log read and written, where do secrets lie? The only crate that imports `async-nats`.
//!
//! Knows nothing of HTTP, SQL or containers.

pub mod anchors;
mod cache;
pub mod callout;
mod chunks;
pub mod config;
pub mod connect;
mod delivery;
mod follow;
pub mod followers;
mod history;
pub mod issuer;
pub mod log;
pub mod master_keys;
pub mod outputs;
pub mod parked;
pub mod positions;
pub mod presence;
mod read;
pub mod recordings;
mod sealing;
pub mod stored;
pub mod tail;
pub mod topology;
pub mod vault;
pub mod ways;
mod wire;
pub mod worker;

pub use anchors::{Anchors, AnchorsError, AuditBell, StoredRecord};
pub use callout::{Admission, Callout, CalloutError, Knock, Knocks};
pub use config::{Config, ISSUER_VARIABLE, USERS, password_variable, quoted};
pub use connect::{ConnectError, Connection, connect};
pub use followers::{Connected, Followers, FollowersError, TapPosition, TapPositions};
pub use issuer::Issuer;
pub use log::{AppendError, DecideError, Decided, Loaded, Log, LogError};
pub use master_keys::{MasterKeys, MasterKeysError};
pub use outputs::{OutputError, OutputId, Outputs};
pub use parked::{Parked, ParkedError, ParkedMessage};
pub use positions::{Position, Positions, PositionsError};
pub use presence::{Presence, PresenceError, Present};
pub use recordings::{RecordingError, RecordingId, Recordings};
pub use stored::{Stored, StoredReader};
pub use tail::{Raw, Start, Tail, TailError, Tailed};
pub use topology::TopologyError;
pub use vault::{Vault, VaultError};
pub use ways::{Way, inbox_prefix};
pub use worker::{Outcome, WorkError, Worker};

/// The server's configuration: the same for tests, the embedded server and the cluster.
/// Everything that differs comes from environment variables, named at its top.
pub const SERVER_CONF: &str = include_str!("../server.conf");

/// What an operation of the client library failed with.
pub(crate) type BoxError = Box<dyn std::error::Error + Send + Sync>;
