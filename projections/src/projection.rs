//! Which projections are there? The one table of them.

use events::Recorded;
use futures_util::future::BoxFuture;
use sqlx::PgConnection;

use crate::columns::RowError;
use crate::{
    audit_log, batches, commands, environments, grants, logins, nats_taps, port_mappings, quotas, recordings,
    relays, schedules, servers, sessions, ssh_keys, subscriptions, tokens, users,
};

pub(crate) type Feed =
    for<'a> fn(&'a mut PgConnection, &'a [&'a Recorded]) -> BoxFuture<'a, Result<(), RowError>>;

/// Tables that are fed and rebuilt together under one name.
pub(crate) struct Projection {
    /// Also the name of its first table and of its migration.
    pub name: &'static str,
    /// Raised when the same events make other rows: the projection is then rebuilt by itself.
    pub version: i32,
    pub tables: &'static [&'static str],
    /// Writes what the events change, into the schema that the connection searches.
    pub feed: Feed,
}

macro_rules! projections {
    ($($name:ident $version:literal [$($table:literal),+];)+) => {
        /// The names of all projections.
        pub const NAMES: &[&str] = &[$(stringify!($name)),+];

        pub(crate) static ALL: &[Projection] = &[$(Projection {
            name: stringify!($name),
            version: $version,
            tables: &[$($table),+],
            feed: |connection, events| Box::pin($name::feed(connection, events)),
        }),+];
    };
}

projections! {
    environments 2 ["environments"];
    port_mappings 1 ["port_mappings", "port_blocks"];
    ssh_keys 1 ["ssh_keys"];
    logins 1 ["logins"];
    sessions 1 ["sessions"];
    recordings 1 ["recordings"];
    servers 1 ["servers"];
    relays 2 ["relays"];
    batches 2 ["batches"];
    commands 2 ["commands"];
    schedules 1 ["schedules", "schedule_runs"];
    subscriptions 1 ["subscriptions"];
    grants 1 ["grants", "people_groups"];
    quotas 1 ["quotas", "quota_claims"];
    audit_log 2 ["audit_log"];
    users 1 ["users"];
    tokens 1 ["tokens"];
    nats_taps 1 ["nats_taps"];
}

/// There is no projection of this name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("there is no projection {0:?}; there are {list}", list = NAMES.join(", "))]
pub struct UnknownProjection(pub String);

pub(crate) fn find(name: &str) -> Result<&'static Projection, UnknownProjection> {
    ALL.iter().find(|projection| projection.name == name).ok_or_else(|| UnknownProjection(name.to_owned()))
}

/// For a projection whose name stands in the code.
macro_rules! of {
    ($name:literal) => {
        crate::projection::find($name)?
    };
}
pub(crate) use of;
