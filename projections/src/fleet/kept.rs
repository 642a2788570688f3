//! Where are snapshots of the fleet kept? In PostgreSQL, page by page under the hash of each, as a cache: a snapshot
//! that is not there, not whole or not of this release is passed over, and all of them may be deleted at any time.

use std::collections::BTreeMap;
use std::sync::Arc;

use data_encoding::HEXLOWER;
use serde::{Deserialize, Serialize};
use sqlx::types::Json;

use super::rows::{PageError, PageName};
use super::{Fleet, Parked};
use crate::columns::{column, seq};
use crate::paging::QueryError;
use crate::pool::Projections;
use crate::projection::ALL;

/// A snapshot each so many events: what lies between is folded in some tenths of a second.
pub const SNAPSHOT_EVERY: u64 = 20_000;
/// More are thinned: every second of the older half goes.
const SNAPSHOTS_MAX: i64 = 500;
/// Raised when rows are written otherwise.
const FORMAT: u32 = 2;
/// Pages read or written at once.
const PAGES_MAX: usize = 64;

#[derive(Serialize, Deserialize)]
struct Body {
    /// Of each table the pages, by number.
    tables: BTreeMap<String, Vec<(u64, String)>>,
    parked: Parked,
}

/// A snapshot that is none.
#[derive(Debug, thiserror::Error)]
enum Broken {
    #[error("a page of {0} is missing")]
    Missing(&'static str),
    #[error(transparent)]
    Page(#[from] PageError),
}

/// What the rows depend on: a snapshot that another release made of other rows has another version.
fn version() -> String {
    let projections = ALL.iter().map(|projection| format!(" {} {}", projection.name, projection.version));
    format!("{FORMAT}{}", projections.collect::<String>())
}

impl Projections {
    /// The newest fleet at `at` or before that a snapshot gives; pages that `known` fleets have are not read again.
    pub(super) async fn nearest_snapshot(
        &self,
        at: u64,
        known: &[Arc<Fleet>],
    ) -> Result<Option<Fleet>, QueryError> {
        let mut upto = at;
        loop {
            let found: Option<(i64, Json<Body>)> = sqlx::query_as(
                "SELECT seq, body FROM fleet_snapshots WHERE version = $1 AND seq <= $2 ORDER BY seq DESC LIMIT 1",
            )
            .bind(version())
            .bind(seq(upto))
            .fetch_optional(self.pool())
            .await?;
            let Some((position, Json(body))) = found else { return Ok(None) };
            let position = u64::try_from(position).unwrap_or_default();
            match self.read_snapshot(position, body, known).await? {
                Ok(fleet) => return Ok(Some(fleet)),
                Err(broken) => {
                    let error = &broken as &dyn std::error::Error;
                    tracing::warn!(error, event.seq = position, "a snapshot of the fleet is passed over");
                    let Some(before) = position.checked_sub(1) else { return Ok(None) };
                    upto = before;
                }
            }
        }
    }

    async fn read_snapshot(
        &self,
        position: u64,
        body: Body,
        known: &[Arc<Fleet>],
    ) -> Result<Result<Fleet, Broken>, QueryError> {
        let mut fleet = Fleet { position, parked: body.parked, ..Fleet::default() };
        let known: Vec<&Fleet> = known.iter().map(AsRef::as_ref).collect();
        macro_rules! read {
            ($($table:ident)+) => {$(
                let others: Vec<_> = known.iter().map(|fleet| &fleet.$table).collect();
                let mut wanted = Vec::new();
                for (number, name) in body.tables.get(stringify!($table)).into_iter().flatten() {
                    let Ok(Ok(name)) = HEXLOWER.decode(name.as_bytes()).map(PageName::try_from) else {
                        return Ok(Err(Broken::Missing(stringify!($table))));
                    };
                    if !fleet.$table.share(*number, &name, &others) {
                        wanted.push((*number, name));
                    }
                }
                for some in wanted.chunks(PAGES_MAX) {
                    let bytes = self.read_pages(some).await?;
                    for (number, name) in some {
                        let Some(bytes) = bytes.get(name.as_slice()) else {
                            return Ok(Err(Broken::Missing(stringify!($table))));
                        };
                        if let Err(error) = fleet.$table.read(*number, name, bytes) {
                            return Ok(Err(error.into()));
                        }
                        tokio::task::yield_now().await;
                    }
                }
                fleet.$table.index();
            )+};
        }
        read!(environments ports sessions servers tenants claims relays batches orders commands schedules runs);
        Ok(Ok(fleet))
    }

    async fn read_pages(&self, pages: &[(u64, PageName)]) -> Result<BTreeMap<Vec<u8>, Vec<u8>>, sqlx::Error> {
        let rows: Vec<(Vec<u8>, Vec<u8>)> =
            sqlx::query_as("SELECT name, bytes FROM fleet_pages WHERE name = ANY($1)")
                .bind(column(pages, |(_, name)| name.to_vec()))
                .fetch_all(self.pool())
                .await?;
        Ok(rows.into_iter().collect())
    }

    /// Keeps a snapshot of the fleet, with those pages that are not there yet.
    pub async fn keep_snapshot(&self, fleet: &Fleet) -> Result<(), QueryError> {
        let mut transaction = self.pool().begin_with("BEGIN; SET LOCAL synchronous_commit TO off").await?;
        let mut body = Body { tables: BTreeMap::new(), parked: fleet.parked.clone() };
        let mut names = Vec::new();
        macro_rules! write {
            ($($table:ident)+) => {$(
                let pages = fleet.$table.named_pages();
                let there: Vec<Vec<u8>> = sqlx::query_scalar("SELECT name FROM fleet_pages WHERE name = ANY($1)")
                    .bind(column(&pages, |(_, name, _)| name.to_vec()))
                    .fetch_all(&mut *transaction)
                    .await?;
                let there: std::collections::BTreeSet<Vec<u8>> = there.into_iter().collect();
                names.extend(pages.iter().map(|(_, name, _)| name.to_vec()));
                let listed = pages.iter().map(|(number, name, _)| (*number, HEXLOWER.encode(name)));
                body.tables.insert(stringify!($table).to_owned(), listed.collect());
                let missing = pages.into_iter().filter(|(_, name, _)| !there.contains(name.as_slice()));
                let mut missing: Vec<(Vec<u8>, Vec<u8>)> = missing
                    .map(|(number, name, bytes)| {
                        (name.to_vec(), bytes.unwrap_or_else(|| fleet.$table.write_page(number)))
                    })
                    .collect();
                while !missing.is_empty() {
                    let (names, bytes): (Vec<_>, Vec<_>) =
                        missing.split_off(missing.len().saturating_sub(PAGES_MAX)).into_iter().unzip();
                    sqlx::query(
                        "INSERT INTO fleet_pages (name, bytes) SELECT * FROM UNNEST($1::bytea[], $2::bytea[]) \
                         ON CONFLICT (name) DO NOTHING",
                    )
                    .bind(names)
                    .bind(bytes)
                    .execute(&mut *transaction)
                    .await?;
                }
            )+};
        }
        write!(environments ports sessions servers tenants claims relays batches orders commands schedules runs);
        sqlx::query(
            "INSERT INTO fleet_snapshots (seq, version, body, pages) VALUES ($1, $2, $3, $4) \
             ON CONFLICT (version, seq) DO UPDATE SET body = EXCLUDED.body, pages = EXCLUDED.pages",
        )
        .bind(seq(fleet.position))
        .bind(version())
        .bind(Json(body))
        .bind(names)
        .execute(&mut *transaction)
        .await?;
        thin_out(&mut transaction).await?;
        transaction.commit().await?;
        Ok(())
    }

    /// The snapshot of exactly this sequence; `None` when none is there that would be used.
    pub async fn snapshot_at(&self, at: u64) -> Result<Option<Fleet>, QueryError> {
        let nearest = self.nearest_snapshot(at, &[]).await?;
        Ok(nearest.filter(|fleet| fleet.position() == at))
    }

    /// The sequences of the snapshots that are there, in order.
    pub async fn snapshots(&self) -> Result<Vec<u64>, QueryError> {
        let kept: Vec<i64> =
            sqlx::query_scalar("SELECT seq FROM fleet_snapshots WHERE version = $1 ORDER BY seq")
                .bind(version())
                .fetch_all(self.pool())
                .await?;
        Ok(kept.into_iter().filter_map(|seq| u64::try_from(seq).ok()).collect())
    }

    /// Deletes all snapshots, or those of these sequences; answers without them are the same and take longer.
    pub async fn forget_snapshots(&self, only: Option<&[u64]>) -> Result<(), QueryError> {
        let only = only.map(|only| column(only, |position| seq(*position)));
        sqlx::query("DELETE FROM fleet_snapshots WHERE $1::bigint[] IS NULL OR seq = ANY($1)")
            .bind(only)
            .execute(self.pool())
            .await?;
        let mut connection = self.pool().acquire().await?;
        forget_pages(&mut connection).await?;
        Ok(())
    }
}

/// Of too many, every second of the older half; and those of releases that made none for a day.
async fn thin_out(connection: &mut sqlx::PgConnection) -> Result<(), sqlx::Error> {
    let thinned = sqlx::query(
        "WITH mine AS (SELECT seq, row_number() OVER (ORDER BY seq) AS number, count(*) OVER () AS count \
         FROM fleet_snapshots WHERE version = $1) \
         DELETE FROM fleet_snapshots s WHERE \
         (s.version = $1 AND s.seq IN (SELECT seq FROM mine WHERE count > $2 AND number < count / 2 AND number % 2 = 1)) \
         OR (s.version <> $1 AND s.made_at < now() - interval '1 day')",
    )
    .bind(version())
    .bind(SNAPSHOTS_MAX)
    .execute(&mut *connection)
    .await?;
    if thinned.rows_affected() > 0 {
        forget_pages(connection).await?;
    }
    Ok(())
}

async fn forget_pages(connection: &mut sqlx::PgConnection) -> Result<(), sqlx::Error> {
    sqlx::query("DELETE FROM fleet_pages WHERE name NOT IN (SELECT unnest(pages) FROM fleet_snapshots)")
        .execute(connection)
        .await?;
    Ok(())
}
