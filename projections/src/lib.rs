//! How do events become rows, and how are rows asked for? Knows nothing of NATS or HTTP; the only
//! code that imports sqlx.
//!
//! [`Projections::feed`] writes every table and its checkpoint in one transaction; one module per
//! table asks for rows; [`Projections::rebuild`] builds a table beside the live one and switches.

mod beside;
mod checkpoint;
mod chunk;
mod columns;
mod lane;
mod paging;
mod parking;
mod pool;
mod projection;
mod snapshot;
mod status;
mod table;
mod wait;

pub mod audit_log;
mod batch_commands;
pub mod batches;
mod command_rows;
pub mod commands;
pub mod compare;
pub mod environments;
pub mod fleet;
pub mod grants;
pub mod logins;
pub mod nats_taps;
pub mod port_mappings;
pub mod quotas;
pub mod rebuild;
pub mod recordings;
pub mod relays;
pub mod schedule_runs;
pub mod schedules;
mod server_rows;
pub mod servers;
pub mod sessions;
pub mod ssh_keys;
pub mod subscriptions;
pub mod timeline;
pub mod tokens;
pub mod users;

pub use checkpoint::FeedError;
pub use chunk::{Chunk, Gap, Unreadable};
pub use paging::{At, LIMIT_MAX, Page, QueryError};
pub use pool::{ConnectError, MigrateError, Projections};
pub use projection::{NAMES, UnknownProjection};
pub use status::{Parked, ProjectionStatus, State};
