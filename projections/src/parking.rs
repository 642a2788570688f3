//! What happens to an event whose row cannot be written? Its subject is parked for that projection;
//! everything else goes on.

use std::collections::{BTreeMap, BTreeSet};

use events::Recorded;
use sqlx::{Connection as _, PgConnection};

use crate::columns::{RowError, column, seq};
use crate::lane::Moved;
use crate::projection::Projection;

/// The longest reason kept, in characters.
const REASON_LENGTH_MAX: usize = 500;

/// Text that PostgreSQL can hold: without NUL, bounded.
pub(crate) fn storable(text: &str) -> String {
    text.replace('\0', "\u{fffd}").chars().take(REASON_LENGTH_MAX).collect()
}

/// Writes the rows that can be written, projection by projection.
pub(crate) async fn write_rows(
    connection: &mut PgConnection,
    moved: &Moved,
    events: &[&Recorded],
) -> Result<(), RowError> {
    for (projection, lane) in &moved.projections {
        let mut subjects = parked_subjects(connection, lane, events).await?;
        let known = subjects.len();
        let mut skipped: BTreeMap<String, i64> = BTreeMap::new();
        // Halves still to be written, the next one last: an error is cornered in log2 steps.
        let mut parts = vec![events.to_vec()];
        while let Some(part) = parts.pop() {
            let part = without_parked(part, &subjects, &mut skipped);
            let Err(error) = write_part(connection, projection, &part).await? else { continue };
            if let [event] = part[..] {
                park(connection, lane, event, &error).await?;
                subjects.insert(event.subject.to_string());
            } else {
                let second = part[part.len() / 2..].to_vec();
                let first = part[..part.len() / 2].to_vec();
                parts.extend([second, first]);
            }
        }
        if known > 0 || !skipped.is_empty() {
            note_skipped(connection, lane, &skipped).await?;
        }
    }
    Ok(())
}

fn without_parked<'e>(
    part: Vec<&'e Recorded>,
    parked: &BTreeSet<String>,
    skipped: &mut BTreeMap<String, i64>,
) -> Vec<&'e Recorded> {
    if parked.is_empty() {
        return part;
    }
    let is_kept = |event: &&Recorded| {
        let subject = event.subject.to_string();
        let kept = !parked.contains(&subject);
        if !kept {
            *skipped.entry(subject).or_default() += 1;
        }
        kept
    };
    part.into_iter().filter(is_kept).collect()
}

/// The inner error is data that was refused; nothing of the part was written then.
async fn write_part(
    connection: &mut PgConnection,
    projection: &Projection,
    part: &[&Recorded],
) -> Result<Result<(), RowError>, RowError> {
    let mut savepoint = connection.begin().await?;
    match (projection.feed)(&mut savepoint, part).await {
        Ok(()) => savepoint.commit().await?,
        Err(error) if error.is_data() => {
            savepoint.rollback().await?;
            return Ok(Err(error));
        }
        Err(error) => return Err(error),
    }
    Ok(Ok(()))
}

async fn parked_subjects(
    connection: &mut PgConnection,
    lane: &str,
    events: &[&Recorded],
) -> Result<BTreeSet<String>, RowError> {
    let subjects: BTreeSet<String> = events.iter().map(|event| event.subject.to_string()).collect();
    let parked: Vec<String> =
        sqlx::query_scalar("SELECT subject FROM public.parked WHERE lane = $1 AND subject = ANY($2)")
            .bind(lane)
            .bind(subjects.into_iter().collect::<Vec<_>>())
            .fetch_all(connection)
            .await?;
    Ok(parked.into_iter().collect())
}

async fn park(
    connection: &mut PgConnection,
    lane: &str,
    event: &Recorded,
    error: &RowError,
) -> Result<(), RowError> {
    let (subject, reason) = (event.subject.to_string(), storable(&error.reason()));
    tracing::error!(
        projection = lane,
        subject,
        event.seq = event.seq,
        event.kind = event.event.event_type(),
        reason,
        "the row of an event cannot be written; its subject is parked for this projection"
    );
    sqlx::query(
        "INSERT INTO public.parked (lane, subject, seq, reason) VALUES ($1, $2, $3, $4) \
         ON CONFLICT (lane, subject) DO NOTHING",
    )
    .bind(lane)
    .bind(subject)
    .bind(seq(event.seq))
    .bind(reason)
    .execute(connection)
    .await?;
    Ok(())
}

async fn note_skipped(
    connection: &mut PgConnection,
    lane: &str,
    skipped: &BTreeMap<String, i64>,
) -> Result<(), RowError> {
    let skipped: Vec<(&String, &i64)> = skipped.iter().collect();
    sqlx::query(
        "UPDATE public.parked p SET skipped = skipped + r.count \
         FROM UNNEST($2::text[], $3::bigint[]) AS r(subject, count) \
         WHERE p.lane = $1 AND p.subject = r.subject",
    )
    .bind(lane)
    .bind(column(&skipped, |(subject, _)| subject.as_str()))
    .bind(column(&skipped, |(_, count)| **count))
    .execute(connection)
    .await?;
    Ok(())
}
