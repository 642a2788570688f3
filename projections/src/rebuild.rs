//! How is a projection built anew? Beside the live rows, then switched in one transaction.

use std::time::Duration;

use sqlx::PgConnection;
use uuid::Uuid;

use crate::beside::{Build, claim, discard, hold, lock_live, run};
pub use crate::beside::{BuildError, Source};
use crate::columns::seq;
use crate::lane::Shadow;
use crate::paging::QueryError;
use crate::pool::Projections;
use crate::projection::{Projection, find};
use crate::wait::CHANNEL;

/// Tries to switch before the rebuild ends early; each follows new events or waits for readers.
const SWITCH_TRIES_MAX: u32 = 100;
/// Between two tries.
const SWITCH_PAUSE: Duration = Duration::from_millis(100);
/// How long a switch waits for those who read the old rows; feeding waits as long.
const READERS_WAIT: &str = "2s";

/// A rebuild that this process holds.
pub struct Rebuild {
    build: Build,
}

/// The new rows are live.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Switched {
    pub projection: &'static str,
    /// The position at which they took over.
    pub position: u64,
}

impl Projections {
    /// Asks the projector to build the rows of a projection anew. Repeatable: asking while a rebuild is
    /// asked for or under way changes nothing and answers false.
    pub async fn request_rebuild(&self, name: &str) -> Result<bool, QueryError> {
        let projection = find(name)?;
        let mut connection = self.pool().acquire().await?;
        Ok(request(&mut connection, projection).await?)
    }

    /// Takes the rebuild asked for longest ago, or one that its process left alone; it is resumed
    /// where it stood.
    pub async fn next_rebuild(&self) -> Result<Option<Rebuild>, BuildError> {
        let owner = Uuid::new_v4();
        let mut connection = self.pool().acquire().await?;
        let Some((name, position, version)) = claim(&mut connection, "rebuild\\_%", owner).await? else {
            return Ok(None);
        };
        drop(connection);
        let projection = find(&name)?;
        let lane = lane_of(projection);
        let build = match position {
            Some(position) if version == Some(projection.version) => {
                let shadow = Shadow { name: lane, projection, owner };
                Build::new(self.clone(), shadow, u64::try_from(position).unwrap_or_default())
            }
            Some(_) | None => Build::start(self, &lane, projection, owner).await?,
        };
        Ok(Some(Rebuild { build }))
    }
}

impl Rebuild {
    pub fn projection(&self) -> &'static str {
        self.build.shadow.projection.name
    }

    /// The last sequence that is in the new rows: the source begins after it.
    pub fn position(&self) -> u64 {
        self.build.position
    }

    /// Feeds the new rows from `source` and switches. Ended early (or dropped), the rebuild is taken
    /// up again by [`Projections::next_rebuild`] after half a minute.
    pub async fn run<S: Source>(mut self, source: &mut S) -> Result<Switched, BuildError> {
        let outcome = self.build_and_switch(source).await;
        if let Err(error) = &outcome {
            self.note_trouble(error).await;
        }
        outcome
    }

    async fn build_and_switch<S: Source>(&mut self, source: &mut S) -> Result<Switched, BuildError> {
        for _ in 0..SWITCH_TRIES_MAX {
            self.build.catch_up(source).await?;
            if let Some(switched) = self.switch().await? {
                return Ok(switched);
            }
            tokio::time::sleep(SWITCH_PAUSE).await;
        }
        Err(BuildError::NeverCaughtUp { tries: SWITCH_TRIES_MAX })
    }

    /// `None`: too far behind, or readers did not let go of the old rows; nothing changed.
    async fn switch(&mut self) -> Result<Option<Switched>, BuildError> {
        let projection = self.build.shadow.projection;
        let mut transaction = self.build.projections.pool().begin().await?;
        let live = lock_live(&mut transaction).await?;
        hold(&mut transaction, &self.build).await?;
        if !self.build.reaches(live) {
            return Ok(None);
        }
        let tables = public_tables(projection);
        let lock = format!(
            "SET LOCAL lock_timeout TO '{READERS_WAIT}'; LOCK TABLE {tables} IN ACCESS EXCLUSIVE MODE"
        );
        match run(&mut transaction, lock).await {
            Ok(()) => {}
            Err(error) if is_lock_timeout(&error) => return Ok(None),
            Err(error) => return Err(error.into()),
        }
        self.build.feed_rest(&mut transaction, live).await?;
        replace(&mut transaction, &self.build.shadow, live).await?;
        transaction.commit().await?;
        Ok(Some(Switched { projection: projection.name, position: live }))
    }

    async fn note_trouble(&self, error: &BuildError) {
        let noted = sqlx::query("UPDATE shadow SET trouble = $3 WHERE lane = $1 AND owner = $2")
            .bind(&self.build.shadow.name)
            .bind(self.build.shadow.owner)
            .bind(crate::parking::storable(&error.to_string()))
            .execute(self.build.projections.pool())
            .await;
        if let Err(error) = noted {
            let error = &error as &dyn std::error::Error;
            tracing::debug!(error, "why a rebuild ended early could not be noted");
        }
    }
}

fn lane_of(projection: &Projection) -> String {
    format!("rebuild_{}", projection.name)
}

fn public_tables(projection: &Projection) -> String {
    let tables: Vec<_> = projection.tables.iter().map(|table| format!("public.{table}")).collect();
    tables.join(", ")
}

/// SQLSTATE of a lock that was not granted in time.
fn is_lock_timeout(error: &sqlx::Error) -> bool {
    error.as_database_error().and_then(|error| error.code()).is_some_and(|code| code == "55P03")
}

/// True when it is asked for by this.
pub(crate) async fn request(
    connection: &mut PgConnection,
    projection: &Projection,
) -> Result<bool, sqlx::Error> {
    let asked = sqlx::query("INSERT INTO shadow (lane, projection) VALUES ($1, $2) ON CONFLICT DO NOTHING")
        .bind(lane_of(projection))
        .bind(projection.name)
        .execute(connection)
        .await?;
    Ok(asked.rows_affected() == 1)
}

/// The new tables take the place of the old ones; parked subjects and checkpoint with them.
async fn replace(connection: &mut PgConnection, shadow: &Shadow, live: u64) -> Result<(), BuildError> {
    let (projection, lane) = (shadow.projection, &shadow.name);
    let mut statements = format!("DROP TABLE {};", public_tables(projection));
    for table in projection.tables {
        statements.push_str(&format!("ALTER TABLE {lane}.{table} SET SCHEMA public;"));
    }
    run(&mut *connection, statements).await?;
    sqlx::query("DELETE FROM parked WHERE lane = $1").bind(projection.name).execute(&mut *connection).await?;
    sqlx::query("UPDATE parked SET lane = $1 WHERE lane = $2")
        .bind(projection.name)
        .bind(lane)
        .execute(&mut *connection)
        .await?;
    sqlx::query(
        "UPDATE checkpoint SET seq = $2, version = $3, live = true, fed_at = now() WHERE name = $1 \
         RETURNING pg_notify($4, $2::text)::text",
    )
    .bind(projection.name)
    .bind(seq(live))
    .bind(projection.version)
    .bind(CHANNEL)
    .execute(&mut *connection)
    .await?;
    discard(connection, lane, shadow.owner).await
}
