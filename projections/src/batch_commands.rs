//! Which commands does a batch have, page by page?

use events::ids::BatchId;
use sqlx::QueryBuilder;

use crate::commands::{CommandRow, LISTED, WITHOUT};
use crate::paging::{Onward, Page, QueryError};
use crate::pool::Projections;
use crate::projection;

/// Which commands of a batch; each part left out lets everything through.
#[derive(Debug, Clone, Default)]
pub struct Filter {
    pub status: Option<String>,
    /// Those that ended with exit code 0, or those that ended otherwise.
    pub ok: Option<bool>,
}

impl Filter {
    /// The same as [`of_batch`] asks PostgreSQL for.
    pub(crate) fn lets_through(&self, row: &CommandRow) -> bool {
        let state = &row.state;
        let good = state.status == "completed" && state.exit_code == Some(0);
        self.status.as_ref().is_none_or(|status| *status == state.status)
            && self.ok.is_none_or(|ok| state.ended_at.is_some() && good == ok)
    }
}

/// Commands of a batch, in its order, without their outputs. `cursor` is the `next_cursor` of the page before.
pub async fn of_batch(
    projections: &Projections,
    batch: &BatchId,
    filter: &Filter,
    cursor: Option<&str>,
    limit: u32,
) -> Result<Page<CommandRow>, QueryError> {
    let onward = Onward::new("commands", cursor, limit)?;
    let mut snapshot = projections.snapshot(projection::of!("commands")).await?;
    let mut query = QueryBuilder::new(format!("SELECT {LISTED}{WITHOUT} FROM commands WHERE batch_id = "));
    query.push_bind(batch.as_str()).push(" AND place > ").push_bind(onward.after);
    if let Some(status) = &filter.status {
        query.push(" AND status = ").push_bind(status.as_str());
    }
    if let Some(ok) = filter.ok {
        query.push(" AND ended_at IS NOT NULL AND (status = 'completed' AND exit_code = 0) = ").push_bind(ok);
    }
    query.push(" ORDER BY place LIMIT ").push_bind(onward.fetch());
    let rows = query.build_query_as().fetch_all(&mut *snapshot.transaction).await?;
    Ok(onward.page(rows, snapshot.position, |row: &CommandRow| row.place))
}
