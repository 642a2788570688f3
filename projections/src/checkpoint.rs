//! How are events fed? Rows of all projections and their checkpoints in one transaction.

use events::Recorded;
use sqlx::{AssertSqlSafe, PgConnection};

use crate::chunk::{Chunk, Gap, Unreadable, check};
use crate::columns::{RowError, column, seq};
use crate::lane::{Lane, Moved};
use crate::paging::QueryError;
use crate::parking;
use crate::pool::Projections;

/// Nothing of the chunk was written.
#[derive(Debug, thiserror::Error)]
pub enum FeedError {
    /// Read the position again and go on from there.
    #[error("the checkpoint does not stand at {from}: somebody else feeds too")]
    Fenced { from: u64 },
    /// An alarm: nothing may be fed until the log is whole.
    #[error(transparent)]
    Gap(#[from] Gap),
    #[error("the tables are not there; migrate first")]
    NotMigrated,
    /// This process is too old to feed this database.
    #[error("a newer release feeds the projection {projection}")]
    Newer { projection: String },
    #[error("PostgreSQL did not take the rows")]
    Database(#[source] sqlx::Error),
}

impl Projections {
    /// Writes what the events after `from` up to `to` change. Every sequence in between must be
    /// there; [`Projections::feed_chunk`] takes unreadable messages too.
    pub async fn feed(&self, from: u64, to: u64, events: &[Recorded]) -> Result<(), FeedError> {
        feed(self, &Lane::Live, from, to, events, &[]).await
    }

    /// Writes what the chunk changes: all rows and checkpoints, or nothing.
    pub async fn feed_chunk(&self, chunk: &Chunk) -> Result<(), FeedError> {
        feed(self, &Lane::Live, chunk.from, chunk.to, &chunk.events, &chunk.unreadable).await
    }

    /// The last sequence of the log whose changes are in all live rows; 0 before the first.
    pub async fn position(&self) -> Result<u64, QueryError> {
        position(self.pool()).await.map_err(QueryError::from)
    }
}

pub(crate) async fn position(executor: impl sqlx::PgExecutor<'_>) -> Result<u64, sqlx::Error> {
    let position: i64 = sqlx::query_scalar("SELECT coalesce(min(seq), 0) FROM checkpoint WHERE live")
        .fetch_one(executor)
        .await?;
    Ok(u64::try_from(position).unwrap_or_default())
}

/// How rows are written.
#[derive(Clone, Copy)]
enum Care {
    /// All at once; an error refuses the chunk.
    Whole,
    /// Looking for the events that PostgreSQL refuses, which are parked.
    Parking,
}

/// First all at once; when PostgreSQL refuses data, once more with care.
pub(crate) async fn feed(
    projections: &Projections,
    lane: &Lane,
    from: u64,
    to: u64,
    events: &[Recorded],
    unreadable: &[Unreadable],
) -> Result<(), FeedError> {
    check(from, to, events, unreadable)?;
    if from == to {
        return Ok(());
    }
    let events: Vec<&Recorded> = events.iter().collect();
    match write(projections, lane, (from, to), &events, unreadable, Care::Whole).await? {
        Ok(()) => Ok(()),
        Err(_refused) => {
            let parked = write(projections, lane, (from, to), &events, unreadable, Care::Parking).await?;
            parked.map_err(row_error)
        }
    }
}

/// One transaction. The inner error is data that PostgreSQL refuses; it was rolled back.
async fn write(
    projections: &Projections,
    lane: &Lane,
    (from, to): (u64, u64),
    events: &[&Recorded],
    unreadable: &[Unreadable],
    care: Care,
) -> Result<Result<(), RowError>, FeedError> {
    let begin = AssertSqlSafe(lane.begin());
    let mut transaction = projections.pool().begin_with(begin).await.map_err(FeedError::Database)?;
    let moved = lane.advance(&mut transaction, from, to).await?;
    let written = match care {
        Care::Whole => write_rows(&mut transaction, &moved, events).await,
        Care::Parking => parking::write_rows(&mut transaction, &moved, events).await,
    };
    match written {
        Ok(()) => {}
        Err(error) if error.is_data() => {
            transaction.rollback().await.map_err(FeedError::Database)?;
            return Ok(Err(error));
        }
        Err(error) => return Err(row_error(error)),
    }
    if matches!(lane, Lane::Live) {
        note_unreadable(&mut transaction, unreadable).await.map_err(FeedError::Database)?;
    }
    transaction.commit().await.map_err(FeedError::Database)?;
    Ok(Ok(()))
}

pub(crate) fn row_error(error: RowError) -> FeedError {
    match error {
        RowError::Database(error) => FeedError::Database(error),
        RowError::Unfit(why) => FeedError::Database(sqlx::Error::Encode(why.into())),
    }
}

async fn write_rows(
    connection: &mut PgConnection,
    moved: &Moved,
    events: &[&Recorded],
) -> Result<(), RowError> {
    if moved.any_parked {
        return parking::write_rows(connection, moved, events).await;
    }
    for (projection, _) in &moved.projections {
        (projection.feed)(connection, events).await?;
    }
    Ok(())
}

/// Messages that are no event: every projection passes them, an operator sees them.
async fn note_unreadable(
    connection: &mut PgConnection,
    unreadable: &[Unreadable],
) -> Result<(), sqlx::Error> {
    if unreadable.is_empty() {
        return Ok(());
    }
    for message in unreadable {
        tracing::error!(
            event.seq = message.seq,
            subject = message.subject,
            reason = message.reason,
            "a message of the log is no event that this release can read; the read models pass it"
        );
    }
    sqlx::query(
        "INSERT INTO public.unreadable (seq, subject, reason) \
         SELECT * FROM UNNEST($1::bigint[], $2::text[], $3::text[]) ON CONFLICT (seq) DO NOTHING",
    )
    .bind(column(unreadable, |message| seq(message.seq)))
    .bind(column(unreadable, |message| parking::storable(&message.subject)))
    .bind(column(unreadable, |message| parking::storable(&message.reason)))
    .execute(connection)
    .await?;
    Ok(())
}
