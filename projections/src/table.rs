//! How does an event become a row? By one pure function a table, asked by whoever keeps the rows: the feed, which has
//! them in PostgreSQL, and the fleet of an instant, which has them in memory.

use std::collections::BTreeMap;

use events::Recorded;
use events::ids::TenantId;
use serde::Serialize;
use serde::de::DeserializeOwned;
use sqlx::PgConnection;

use crate::columns::RowError;

/// What events make of the rows of one table. Looks at nothing but the row and the event.
pub(crate) trait Table: Send + Sync + 'static {
    type Row: Clone + PartialEq + Serialize + DeserializeOwned + Send + Sync;

    /// Under which its subjects are parked.
    const PROJECTION: &'static str;
    const NAME: &'static str;
    /// When a key gets a new row, the one before stays as what was; else it makes place.
    const KEEPS_HISTORY: bool = false;

    /// Names the row that the event changes; `None` when it changes none of this table.
    fn key(recorded: &Recorded) -> Option<String>;

    fn key_of(row: &Self::Row) -> String;

    /// The sequence that the row begins with: no other row of the table has it, and it never changes.
    fn birth(row: &Self::Row) -> u64;

    /// Puts the sequence back where [`Table::birth`] finds it; the row may have been written without.
    fn born(row: &mut Self::Row, birth: u64);

    fn tenant(row: &Self::Row) -> &TenantId;

    /// It stands for something that is over: deleted, released, closed, removed.
    fn is_over(row: &Self::Row) -> bool;

    /// The row after the event; `None` when there is none then.
    fn apply(row: Option<Self::Row>, recorded: &Recorded) -> Result<Option<Self::Row>, RowError>;
}

/// How the rows of a table lie in PostgreSQL.
pub(crate) trait Stored: Table {
    /// Those rows of these keys that events may still change.
    fn load(
        connection: &mut PgConnection,
        keys: Vec<String>,
    ) -> impl Future<Output = Result<Vec<Self::Row>, sqlx::Error>> + Send;

    /// In place of rows of the same birth.
    fn store(
        connection: &mut PgConnection,
        rows: &[Self::Row],
    ) -> impl Future<Output = Result<(), RowError>> + Send;

    /// Only tables whose events end rows without a trace have any.
    fn remove(
        _connection: &mut PgConnection,
        _rows: &[Self::Row],
    ) -> impl Future<Output = Result<(), RowError>> + Send {
        std::future::ready(Ok(()))
    }
}

/// Loads the rows that the events change, folds, and writes each once.
pub(crate) async fn feed<T: Stored>(
    connection: &mut PgConnection,
    events: &[&Recorded],
) -> Result<(), RowError> {
    let changes: Vec<(String, &Recorded)> =
        events.iter().filter_map(|recorded| Some((T::key(recorded)?, *recorded))).collect();
    if changes.is_empty() {
        return Ok(());
    }
    let mut keys: Vec<String> = changes.iter().map(|(key, _)| key.clone()).collect();
    keys.sort_unstable();
    keys.dedup();
    let before = T::load(connection, keys).await?;
    let changed = fold::<T>(before, changes)?;
    if !changed.gone.is_empty() {
        T::remove(connection, &changed.gone).await?;
    }
    if !changed.rows.is_empty() {
        T::store(connection, &changed.rows).await?;
    }
    Ok(())
}

struct Changed<R> {
    /// By birth: what makes place stands before what takes it.
    rows: Vec<R>,
    gone: Vec<R>,
}

fn fold<T: Table>(
    before: Vec<T::Row>,
    changes: Vec<(String, &Recorded)>,
) -> Result<Changed<T::Row>, RowError> {
    let mut current: BTreeMap<String, T::Row> =
        before.into_iter().map(|row| (T::key_of(&row), row)).collect();
    let (mut rows, mut gone) = (Vec::new(), Vec::new());
    for (key, recorded) in changes {
        let before = current.remove(&key);
        let after = T::apply(before.clone(), recorded)?;
        if let Some(before) = before {
            let kept =
                T::KEEPS_HISTORY && after.as_ref().is_some_and(|row| T::birth(row) != T::birth(&before));
            if after.is_none() {
                gone.push(before);
            } else if kept {
                rows.push(before);
            }
        }
        if let Some(after) = after {
            current.insert(key, after);
        }
    }
    rows.extend(current.into_values());
    rows.sort_by_key(T::birth);
    Ok(Changed { rows, gone })
}
