//! How is PostgreSQL reached, and are its tables there?

use std::collections::HashSet;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use sqlx::ConnectOptions as _;
use sqlx::migrate::Migrator;
use sqlx::postgres::{PgConnectOptions, PgPool, PgPoolOptions};
use tokio::time::Instant;

use crate::projection::{ALL, Projection};
use crate::wait::Positions;

/// How long [`Projections::connect`] waits for the server.
const CONNECT_WAIT: Duration = Duration::from_secs(60);
/// Between two tries to connect.
const CONNECT_PAUSE: Duration = Duration::from_millis(250);
/// How long a query waits for a free connection.
const ACQUIRE_WAIT: Duration = Duration::from_secs(10);
/// Connections of one process.
const CONNECTIONS_MAX: u32 = 16;
/// No statement of a page or a chunk takes longer on purpose; a rebuild's switch neither.
const STATEMENT_TIMEOUT: &str = "300s";

static MIGRATOR: Migrator = sqlx::migrate!();

/// The read models. Cheap to clone; clones share connections.
#[derive(Clone)]
pub struct Projections {
    inner: Arc<Inner>,
}

struct Inner {
    pool: PgPool,
    positions: Positions,
}

/// PostgreSQL cannot be reached. Never names the URL, which may hold a password.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    #[error("the database URL is not one of the form postgres://user:password@host:port/name")]
    Url(#[source] sqlx::Error),
    #[error("PostgreSQL did not answer within {waited_s} s")]
    Unreachable {
        waited_s: u64,
        #[source]
        source: sqlx::Error,
    },
}

/// The tables cannot be made or brought up to date.
#[derive(Debug, thiserror::Error)]
pub enum MigrateError {
    #[error("a migration of the tables failed")]
    Tables(#[source] sqlx::migrate::MigrateError),
    #[error("the checkpoints cannot be set up")]
    Checkpoints(#[source] sqlx::Error),
}

impl Projections {
    /// Waits for the server, at most a minute. Reconnects by itself afterwards.
    pub async fn connect(url: &str) -> Result<Self, ConnectError> {
        let options = PgConnectOptions::from_str(url)
            .map_err(ConnectError::Url)?
            .application_name("portreeve")
            .options([("search_path", "public"), ("statement_timeout", STATEMENT_TIMEOUT)])
            .disable_statement_logging();
        let pool = PgPoolOptions::new()
            .max_connections(CONNECTIONS_MAX)
            .acquire_timeout(ACQUIRE_WAIT)
            .connect_lazy_with(options);
        let started = Instant::now();
        loop {
            match pool.acquire().await {
                Ok(_) => break,
                Err(source) if started.elapsed() > CONNECT_WAIT => {
                    return Err(ConnectError::Unreachable { waited_s: CONNECT_WAIT.as_secs(), source });
                }
                Err(error) => {
                    tracing::debug!(error = &error as &dyn std::error::Error, "PostgreSQL is not there yet");
                    tokio::time::sleep(CONNECT_PAUSE).await;
                }
            }
        }
        Ok(Self { inner: Arc::new(Inner { positions: Positions::new(pool.clone()), pool }) })
    }

    /// Makes or updates the tables. Repeatable; two processes at once wait for each other. A
    /// projection that is new in this release, or of another version, is asked to be rebuilt.
    pub async fn migrate(&self) -> Result<(), MigrateError> {
        MIGRATOR.run(self.pool()).await.map_err(MigrateError::Tables)?;
        self.set_up_checkpoints().await.map_err(MigrateError::Checkpoints)
    }

    async fn set_up_checkpoints(&self) -> Result<(), sqlx::Error> {
        let mut transaction = self.pool().begin().await?;
        sqlx::query("LOCK TABLE checkpoint IN SHARE ROW EXCLUSIVE MODE").execute(&mut *transaction).await?;
        let there: Vec<(String, i32)> =
            sqlx::query_as("SELECT name, version FROM checkpoint").fetch_all(&mut *transaction).await?;
        let names: HashSet<&str> = there.iter().map(|(name, _)| name.as_str()).collect();
        for projection in ALL {
            if !names.contains(projection.name) {
                sqlx::query("INSERT INTO checkpoint (name, seq, version, live) VALUES ($1, 0, $2, $3)")
                    .bind(projection.name)
                    .bind(projection.version)
                    .bind(there.is_empty())
                    .execute(&mut *transaction)
                    .await?;
            }
            let current = there.is_empty()
                || there
                    .iter()
                    .any(|(name, version)| name == projection.name && *version >= projection.version);
            if !current {
                crate::rebuild::request(&mut transaction, projection).await?;
            }
        }
        transaction.commit().await
    }

    /// Whether PostgreSQL answers.
    pub async fn ping(&self) -> bool {
        sqlx::query("SELECT 1").execute(self.pool()).await.is_ok()
    }

    pub(crate) fn pool(&self) -> &PgPool {
        &self.inner.pool
    }

    pub(crate) fn positions(&self) -> &Positions {
        &self.inner.positions
    }
}

/// What makes the tables of a projection, in order: the migrations whose names begin with its name.
pub(crate) fn table_definitions(projection: &Projection) -> Vec<&'static str> {
    MIGRATOR
        .iter()
        .filter(|migration| {
            let name = migration.description.replace(' ', "_");
            name.strip_prefix(projection.name).is_some_and(|rest| rest.is_empty() || rest.starts_with("__"))
        })
        .map(|migration| migration.sql.as_str())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_projection_has_the_definition_of_its_tables() {
        for projection in ALL {
            let definitions = table_definitions(projection).concat();
            for table in projection.tables {
                assert!(definitions.contains(&format!("CREATE TABLE {table} ")), "{table} is not defined");
            }
        }
    }
}
