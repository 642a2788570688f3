//! From when are the rows of one answer? One snapshot: rows and position belong together, also
//! while a rebuild switches tables.

use sqlx::{AssertSqlSafe, Postgres, Transaction};

use crate::paging::QueryError;
use crate::pool::Projections;
use crate::projection::Projection;

/// A reading transaction on one projection, and the position its rows are true at.
pub(crate) struct Snapshot {
    pub transaction: Transaction<'static, Postgres>,
    pub position: u64,
}

impl Projections {
    /// The tables are locked (against a switch, not against feeding) before the snapshot is taken:
    /// else a switch in between would show the new table as it was at the older snapshot, half built.
    pub(crate) async fn snapshot(&self, projection: &Projection) -> Result<Snapshot, QueryError> {
        self.snapshot_of(projection, projection.tables).await
    }

    /// The same, where rows are counted of `beside`, too.
    pub(crate) async fn snapshot_with(
        &self,
        projection: &Projection,
        beside: &Projection,
    ) -> Result<Snapshot, QueryError> {
        self.snapshot_of(projection, &[projection.tables, beside.tables].concat()).await
    }

    async fn snapshot_of(&self, projection: &Projection, tables: &[&str]) -> Result<Snapshot, QueryError> {
        let mut transaction =
            self.pool().begin_with("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY").await?;
        // by itself: with a BEGIN whose other half failed the connection would go back to the pool, aborted
        let lock = format!("LOCK TABLE {} IN ACCESS SHARE MODE", tables.join(", "));
        sqlx::query(AssertSqlSafe(lock)).execute(&mut *transaction).await?;
        let position: i64 = sqlx::query_scalar("SELECT seq FROM checkpoint WHERE name = $1")
            .bind(projection.name)
            .fetch_one(&mut *transaction)
            .await?;
        Ok(Snapshot { transaction, position: u64::try_from(position).unwrap_or_default() })
    }
}
