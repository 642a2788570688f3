//! How are rows built beside the live ones? In a PostgreSQL schema of their own, made by the same
//! definitions, fed by the same statements, never ahead of the live rows.

use std::error::Error;
use std::time::Duration;

use sqlx::{AssertSqlSafe, PgConnection, Postgres, Transaction};
use tokio::time::Instant;
use uuid::Uuid;

use crate::UnknownProjection;
use crate::checkpoint::{self, FeedError, row_error};
use crate::chunk::{Chunk, Gap};
use crate::columns::seq;
use crate::lane::{Lane, Moved, Shadow};
use crate::parking;
use crate::pool::{Projections, table_definitions};
use crate::projection::Projection;

/// Messages read and fed at once.
const CHUNK_MAX: usize = 2_000;
/// Messages held back at most while the live rows are behind.
const AHEAD_MAX: usize = 10_000;
/// So near the live rows, the end is tried: this much is fed while the live checkpoints are locked.
const NEAR_MAX: u64 = 2_000;
/// While the live rows are behind.
const LIVE_PAUSE: Duration = Duration::from_millis(50);
/// Without any progress for this long, the build ends; it is resumed later.
const STALL_MAX: Duration = Duration::from_secs(120);
/// A build that was not touched for this long may be taken over, in seconds.
pub(crate) const LEASE_S: f64 = 30.0;

/// Gives the log in order.
pub trait Source: Send {
    /// The messages after those given before, at most `max`; an empty chunk when none came within a
    /// second or so.
    fn next(
        &mut self,
        max: usize,
    ) -> impl Future<Output = Result<Chunk, Box<dyn Error + Send + Sync>>> + Send;
}

/// A build beside ended early; the live rows are as they were.
#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    #[error(transparent)]
    Unknown(#[from] UnknownProjection),
    #[error("{0} is being built by another process")]
    Busy(String),
    #[error("another process took the build over")]
    TakenOver,
    #[error("the log could not be read")]
    Source(#[source] Box<dyn Error + Send + Sync>),
    #[error(transparent)]
    Gap(#[from] Gap),
    #[error("the rows built beside were not taken")]
    Feed(#[source] FeedError),
    #[error("no progress for {stalled_s} s at sequence {position}")]
    Stalled { stalled_s: u64, position: u64 },
    #[error("the live rows could not be caught up with in {tries} tries")]
    NeverCaughtUp { tries: u32 },
    #[error("PostgreSQL did not do it")]
    Database(#[from] sqlx::Error),
}

impl From<FeedError> for BuildError {
    fn from(error: FeedError) -> Self {
        match error {
            FeedError::Fenced { .. } => Self::TakenOver,
            FeedError::Gap(gap) => Self::Gap(gap),
            error @ (FeedError::NotMigrated | FeedError::Newer { .. } | FeedError::Database(_)) => {
                Self::Feed(error)
            }
        }
    }
}

/// Rows being built beside, and what was read beyond them.
pub(crate) struct Build {
    pub projections: Projections,
    pub shadow: Shadow,
    /// The last sequence in the rows built.
    pub position: u64,
    ahead: Chunk,
}

impl Build {
    /// `position` is what the lane's checkpoint says: the tables are there up to it.
    pub fn new(projections: Projections, shadow: Shadow, position: u64) -> Self {
        Self { projections, shadow, position, ahead: Chunk::after(position) }
    }

    /// Makes the empty tables, in place of any that are there.
    pub async fn start(
        projections: &Projections,
        name: &str,
        projection: &'static Projection,
        owner: Uuid,
    ) -> Result<Self, BuildError> {
        let mut transaction = projections.pool().begin().await?;
        let held = sqlx::query(
            "UPDATE shadow SET seq = 0, version = $3, touched_at = now() WHERE lane = $1 AND owner = $2",
        )
        .bind(name)
        .bind(owner)
        .bind(projection.version)
        .execute(&mut *transaction)
        .await?;
        if held.rows_affected() != 1 {
            return Err(BuildError::TakenOver);
        }
        sqlx::query("DELETE FROM parked WHERE lane = $1").bind(name).execute(&mut *transaction).await?;
        run(
            &mut transaction,
            format!(
                "DROP SCHEMA IF EXISTS {name} CASCADE; CREATE SCHEMA {name}; SET LOCAL search_path TO {name}"
            ),
        )
        .await?;
        for definition in table_definitions(projection) {
            run(&mut transaction, definition.to_owned()).await?;
        }
        transaction.commit().await?;
        let shadow = Shadow { name: name.to_owned(), projection, owner };
        Ok(Self::new(projections.clone(), shadow, 0))
    }

    /// Feeds until the rows are near the live ones and the rest is at hand.
    pub async fn catch_up<S: Source>(&mut self, source: &mut S) -> Result<(), BuildError> {
        let mut last_progress = Instant::now();
        loop {
            let live = checkpoint::position(self.projections.pool()).await?;
            if self.ahead.to >= live && live.saturating_sub(self.position) <= NEAR_MAX {
                return Ok(());
            }
            // Never ahead of the live rows, so that the last step always goes forward.
            let part = self.ahead.take_until(live);
            let wanted = self.ahead.to < live && self.ahead.len() < AHEAD_MAX;
            let (read, fed) = tokio::join!(read(source, wanted), self.feed(&part));
            fed?;
            self.position = part.to;
            let news = read?;
            if part.is_empty() && news.as_ref().is_none_or(Chunk::is_empty) {
                self.touch().await?;
                tokio::time::sleep(LIVE_PAUSE).await;
            } else {
                last_progress = Instant::now();
            }
            if let Some(news) = news {
                self.ahead.extend(news)?;
            }
            if last_progress.elapsed() > STALL_MAX {
                let stalled_s = STALL_MAX.as_secs();
                return Err(BuildError::Stalled { stalled_s, position: self.position });
            }
        }
    }

    async fn feed(&self, part: &Chunk) -> Result<(), FeedError> {
        let lane = Lane::Shadow(self.shadow.clone());
        let (events, unreadable) = (&part.events, &part.unreadable);
        checkpoint::feed(&self.projections, &lane, part.from, part.to, events, unreadable).await
    }

    /// Says that the build goes on, so that nobody takes it over.
    async fn touch(&self) -> Result<(), BuildError> {
        let touched = sqlx::query("UPDATE shadow SET touched_at = now() WHERE lane = $1 AND owner = $2")
            .bind(&self.shadow.name)
            .bind(self.shadow.owner)
            .execute(self.projections.pool())
            .await?;
        if touched.rows_affected() == 1 { Ok(()) } else { Err(BuildError::TakenOver) }
    }

    /// Whether the rows can be brought to exactly `live` with what was read.
    pub fn reaches(&self, live: u64) -> bool {
        (self.position..=self.ahead.to).contains(&live)
    }

    /// Feeds the rest up to `live` within the transaction of the last step.
    pub async fn feed_rest(
        &mut self,
        transaction: &mut Transaction<'static, Postgres>,
        live: u64,
    ) -> Result<(), BuildError> {
        let part = self.ahead.take_until(live);
        run(transaction, format!("SET LOCAL search_path TO {}", self.shadow.name)).await?;
        let events: Vec<_> = part.events.iter().collect();
        let projections = vec![(self.shadow.projection, self.shadow.name.clone())];
        let moved = Moved { projections, any_parked: true };
        parking::write_rows(transaction, &moved, &events).await.map_err(row_error)?;
        run(transaction, "SET LOCAL search_path TO public".to_owned()).await?;
        self.position = live;
        Ok(())
    }

    /// Removes the rows built and their lane.
    pub async fn discard(&self) -> Result<(), BuildError> {
        let mut transaction = self.projections.pool().begin().await?;
        discard(&mut transaction, &self.shadow.name, self.shadow.owner).await?;
        transaction.commit().await?;
        Ok(())
    }
}

async fn read<S: Source>(source: &mut S, wanted: bool) -> Result<Option<Chunk>, BuildError> {
    if !wanted {
        return Ok(None);
    }
    source.next(CHUNK_MAX).await.map(Some).map_err(BuildError::Source)
}

/// Removes what a lane has, if `owner` still holds it.
pub(crate) async fn discard(
    connection: &mut PgConnection,
    lane: &str,
    owner: Uuid,
) -> Result<(), BuildError> {
    let held = sqlx::query("DELETE FROM shadow WHERE lane = $1 AND owner = $2")
        .bind(lane)
        .bind(owner)
        .execute(&mut *connection)
        .await?;
    if held.rows_affected() != 1 {
        return Err(BuildError::TakenOver);
    }
    sqlx::query("DELETE FROM parked WHERE lane = $1").bind(lane).execute(&mut *connection).await?;
    run(connection, format!("DROP SCHEMA IF EXISTS {lane} CASCADE")).await?;
    Ok(())
}

/// Takes a lane that is asked for, left alone, or (with `create`) not there.
pub(crate) async fn claim(
    connection: &mut PgConnection,
    lane: &str,
    owner: Uuid,
) -> Result<Option<(String, Option<i64>, Option<i32>)>, sqlx::Error> {
    sqlx::query_as(
        "UPDATE shadow SET owner = $2, touched_at = now() WHERE lane = ( \
         SELECT lane FROM shadow WHERE lane LIKE $1 \
         AND (owner IS NULL OR touched_at < now() - make_interval(secs => $3)) \
         ORDER BY requested_at LIMIT 1 FOR UPDATE SKIP LOCKED) \
         RETURNING projection, seq, version",
    )
    .bind(lane)
    .bind(owner)
    .bind(LEASE_S)
    .fetch_optional(connection)
    .await
}

/// Runs statements without arguments, made of names that stand in the code.
pub(crate) async fn run(connection: &mut PgConnection, statements: String) -> Result<(), sqlx::Error> {
    sqlx::raw_sql(AssertSqlSafe(statements)).execute(connection).await?;
    Ok(())
}

/// The live position, with the checkpoints locked until the end of the transaction: nothing is fed.
pub(crate) async fn lock_live(connection: &mut PgConnection) -> Result<u64, sqlx::Error> {
    let positions: Vec<i64> =
        sqlx::query_scalar("SELECT seq FROM checkpoint WHERE live ORDER BY name FOR UPDATE")
            .fetch_all(connection)
            .await?;
    Ok(positions.into_iter().min().map_or(0, |position| u64::try_from(position).unwrap_or_default()))
}

/// Holds the lane against a take-over until the end of the transaction.
pub(crate) async fn hold(connection: &mut PgConnection, build: &Build) -> Result<(), BuildError> {
    let held: Option<i32> =
        sqlx::query_scalar("SELECT 1 FROM shadow WHERE lane = $1 AND owner = $2 AND seq = $3 FOR UPDATE")
            .bind(&build.shadow.name)
            .bind(build.shadow.owner)
            .bind(seq(build.position))
            .fetch_optional(connection)
            .await?;
    held.map(|_| ()).ok_or(BuildError::TakenOver)
}
