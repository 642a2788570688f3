//! Are the live rows what the log says? Builds them anew beside and shows every difference.

use sqlx::AssertSqlSafe;
use uuid::Uuid;

use crate::beside::{Build, BuildError, LEASE_S, Source};
use crate::pool::Projections;
use crate::projection::{Projection, find};

/// Differing rows shown at most, each way.
pub const DIFFERENCES_MAX: i64 = 100;
/// Tries to reach the live position; each follows new events.
const TRIES_MAX: u32 = 100;

/// The newest event that a row stands for, as its table calls it.
const SEQUENCE: &str = "coalesce((to_jsonb(d) ->> 'seq')::bigint, (to_jsonb(d) ->> 'released_seq')::bigint, \
    (to_jsonb(d) ->> 'allocated_seq')::bigint)";

/// The differences between the live rows and those that the log gives, at one position.
#[derive(Debug, Clone, PartialEq)]
pub struct Comparison {
    pub position: u64,
    /// Live rows that the log does not give; the first hundred of each table, by `sequence`: the newest event
    /// that the row stands for. `table` says where.
    pub only_live: Vec<serde_json::Value>,
    /// Rows that the log gives and that are not live; likewise.
    pub only_log: Vec<serde_json::Value>,
}

impl Comparison {
    pub fn is_equal(&self) -> bool {
        self.only_live.is_empty() && self.only_log.is_empty()
    }
}

impl Projections {
    /// `source` begins with the first message of the log. Nothing waits for this; feeding goes on.
    pub async fn compare<S: Source>(&self, name: &str, source: &mut S) -> Result<Comparison, BuildError> {
        let projection = find(name)?;
        let lane = format!("compare_{}", projection.name);
        let owner = Uuid::new_v4();
        let claimed = sqlx::query(
            "INSERT INTO shadow (lane, projection, owner, touched_at) VALUES ($1, $2, $3, now()) \
             ON CONFLICT (lane) DO UPDATE SET owner = EXCLUDED.owner, touched_at = now() \
             WHERE shadow.touched_at < now() - make_interval(secs => $4)",
        )
        .bind(&lane)
        .bind(projection.name)
        .bind(owner)
        .bind(LEASE_S)
        .execute(self.pool())
        .await?;
        if claimed.rows_affected() != 1 {
            return Err(BuildError::Busy(lane));
        }
        let mut build = Build::start(self, &lane, projection, owner).await?;
        let compared = build_and_compare(&mut build, source).await;
        build.discard().await?;
        compared
    }
}

async fn build_and_compare<S: Source>(build: &mut Build, source: &mut S) -> Result<Comparison, BuildError> {
    for _ in 0..TRIES_MAX {
        build.catch_up(source).await?;
        if let Some(comparison) = differences(build).await? {
            return Ok(comparison);
        }
    }
    Err(BuildError::NeverCaughtUp { tries: TRIES_MAX })
}

/// In one snapshot of the live rows, which the rows beside are brought to and rolled back from.
async fn differences(build: &mut Build) -> Result<Option<Comparison>, BuildError> {
    let projection = build.shadow.projection;
    let lock = projection.tables.join(", ");
    let lock = format!("LOCK TABLE {lock} IN ACCESS SHARE MODE");
    let mut transaction =
        build.projections.pool().begin_with("BEGIN ISOLATION LEVEL REPEATABLE READ").await?;
    sqlx::query(AssertSqlSafe(lock)).execute(&mut *transaction).await?;
    let position: i64 = sqlx::query_scalar("SELECT seq FROM checkpoint WHERE name = $1")
        .bind(projection.name)
        .fetch_one(&mut *transaction)
        .await?;
    let position = u64::try_from(position).unwrap_or_default();
    if !build.reaches(position) {
        return Ok(None);
    }
    build.feed_rest(&mut transaction, position).await?;
    let lane = build.shadow.name.as_str();
    let only_live = except(&mut transaction, projection, "public", lane).await?;
    let only_log = except(&mut transaction, projection, lane, "public").await?;
    Ok(Some(Comparison { position, only_live, only_log }))
}

async fn except(
    connection: &mut sqlx::PgConnection,
    projection: &Projection,
    these: &str,
    those: &str,
) -> Result<Vec<serde_json::Value>, sqlx::Error> {
    let mut found = Vec::new();
    for table in projection.tables {
        let query = format!(
            "SELECT row || jsonb_build_object('table', '{table}', 'sequence', sequence) FROM ( \
             SELECT to_jsonb(d) AS row, {SEQUENCE} AS sequence FROM \
             (SELECT * FROM {these}.{table} EXCEPT ALL SELECT * FROM {those}.{table}) d) r \
             ORDER BY sequence LIMIT $1"
        );
        let rows: Vec<serde_json::Value> = sqlx::query_scalar(AssertSqlSafe(query))
            .bind(DIFFERENCES_MAX)
            .fetch_all(&mut *connection)
            .await?;
        found.extend(rows);
    }
    Ok(found)
}
