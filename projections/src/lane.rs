//! Which rows are fed? The live ones, all in lockstep, or a shadow of one projection built beside.

use sqlx::PgConnection;
use uuid::Uuid;

use crate::checkpoint::FeedError;
use crate::columns::seq;
use crate::projection::{ALL, Projection};
use crate::wait::CHANNEL;

/// A set of rows with its own checkpoint.
#[derive(Clone)]
pub(crate) enum Lane {
    Live,
    Shadow(Shadow),
}

/// Rows of one projection in a schema of their own, fed by one builder.
#[derive(Clone)]
pub(crate) struct Shadow {
    /// Name of the lane and of the PostgreSQL schema: `rebuild_<projection>`.
    pub name: String,
    pub projection: &'static Projection,
    /// Drawn by the builder; another one cannot feed.
    pub owner: Uuid,
}

/// A checkpoint was moved: feed these now, in the same transaction.
pub(crate) struct Moved {
    /// With the lane under which subjects of it are parked.
    pub projections: Vec<(&'static Projection, String)>,
    /// Some subject is parked, so events must be looked at.
    pub any_parked: bool,
}

impl Lane {
    /// Begins a transaction that writes this lane's rows. Not waiting for the disk is safe: rows and
    /// checkpoint are lost together, and the log gives the events again.
    pub fn begin(&self) -> String {
        let begin = "BEGIN; SET LOCAL synchronous_commit TO off";
        match self {
            Self::Live => begin.to_owned(),
            Self::Shadow(shadow) => format!("{begin}; SET LOCAL search_path TO {}", shadow.name),
        }
    }

    /// Moves the checkpoint, if it stands at `from`; else [`FeedError::Fenced`].
    pub async fn advance(
        &self,
        connection: &mut PgConnection,
        from: u64,
        to: u64,
    ) -> Result<Moved, FeedError> {
        match self {
            Self::Live => advance_live(connection, from, to).await,
            Self::Shadow(shadow) => advance_shadow(connection, shadow, from, to).await,
        }
    }
}

/// Rows are locked in the order of their names, so that two feeders queue instead of deadlocking.
const ADVANCE_LIVE: &str = "WITH held AS (
        SELECT name, seq, version FROM public.checkpoint WHERE live ORDER BY name FOR UPDATE
    ), moved AS (
        UPDATE public.checkpoint c SET seq = $2, fed_at = now() FROM held h
        WHERE c.name = h.name AND c.seq = $1 AND h.seq = $1 RETURNING c.name
    )
    SELECT array(SELECT name FROM held ORDER BY name), array(SELECT version FROM held ORDER BY name),
        (SELECT count(*) FROM moved), EXISTS (SELECT FROM public.parked p JOIN held h ON p.lane = h.name),
        pg_notify($3, $2::text)::text";

async fn advance_live(connection: &mut PgConnection, from: u64, to: u64) -> Result<Moved, FeedError> {
    let (names, versions, moved, any_parked, _told): (Vec<String>, Vec<i32>, i64, bool, String) =
        sqlx::query_as(ADVANCE_LIVE)
            .bind(seq(from))
            .bind(seq(to))
            .bind(CHANNEL)
            .fetch_one(connection)
            .await
            .map_err(FeedError::Database)?;
    if names.is_empty() {
        return Err(FeedError::NotMigrated);
    }
    if usize::try_from(moved) != Ok(names.len()) {
        return Err(FeedError::Fenced { from });
    }
    let mut projections = Vec::with_capacity(names.len());
    for (name, version) in names.into_iter().zip(versions) {
        let known = ALL.iter().find(|projection| projection.name == name && projection.version >= version);
        match known {
            Some(projection) => projections.push((projection, name)),
            None => return Err(FeedError::Newer { projection: name }),
        }
    }
    Ok(Moved { projections, any_parked })
}

async fn advance_shadow(
    connection: &mut PgConnection,
    shadow: &Shadow,
    from: u64,
    to: u64,
) -> Result<Moved, FeedError> {
    let any_parked: Option<bool> = sqlx::query_scalar(
        "UPDATE public.shadow SET seq = $4, touched_at = now() WHERE lane = $1 AND owner = $2 AND seq = $3 \
         RETURNING EXISTS (SELECT FROM public.parked p WHERE p.lane = $1)",
    )
    .bind(&shadow.name)
    .bind(shadow.owner)
    .bind(seq(from))
    .bind(seq(to))
    .fetch_optional(connection)
    .await
    .map_err(FeedError::Database)?;
    let any_parked = any_parked.ok_or(FeedError::Fenced { from })?;
    Ok(Moved { projections: vec![(shadow.projection, shadow.name.clone())], any_parked })
}
