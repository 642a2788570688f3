//! How fast do events become rows? The log read and all projections fed, beside bare UNNEST inserts of
//! the same rows into copies of the tables. And: how long does a rebuild of a million events take?

use std::time::{Duration, Instant};

use events::Recorded;
use harness::postgres::Postgres;
use nats::{Start, Tail, Tailed};
use projections::rebuild::Source;
use projections::{Chunk, Projections, Unreadable};
use sqlx::{PgConnection, PgPool};
use tokio::sync::mpsc;

use crate::Effort;
use crate::fill::{fill, hasty_conf};
use crate::report::{Better, Report, Run};
use crate::stand::Stand;

/// Events of a chunk, as the projector takes them, and rows of a bare insert.
const CHUNK: usize = 500;
/// Events of a round, and of the rebuild.
const EVENTS: usize = 50_000;
const REBUILT: usize = 1_000_000;
const WAIT: Duration = Duration::from_secs(2);
/// Chunks read ahead of the one being written, as the projector does.
const CHUNKS_AHEAD: usize = 1;
/// The tables beside the audit log that the events of the bench lead to.
const TABLES: [&str; 3] = ["environments", "logins", "sessions"];
/// Ours is at least so much of theirs.
const GOAL: f64 = 0.5;

/// The log, in order.
pub struct FromLog {
    tail: Tail,
    position: u64,
}

impl FromLog {
    pub fn start(connection: &nats::Connection) -> Self {
        Self::after(&connection.log(), 0)
    }

    pub fn after(log: &nats::Log, position: u64) -> Self {
        let tail = log.tail(Start::Sequence(position + 1), vec![]);
        Self { tail, position }
    }
}

impl Source for FromLog {
    async fn next(&mut self, max: usize) -> Result<Chunk, Box<dyn std::error::Error + Send + Sync>> {
        let mut chunk = Chunk::after(self.position);
        for tailed in self.tail.next_chunk(max, WAIT).await? {
            match tailed {
                Tailed::Event(event) => chunk.push(*event)?,
                Tailed::Unreadable { seq, subject, why, .. } => {
                    chunk.push_unreadable(Unreadable { seq, subject, reason: why })?;
                }
            }
        }
        self.position = chunk.to;
        Ok(chunk)
    }
}

pub async fn measure(effort: Effort) -> anyhow::Result<Report> {
    let stand = Stand::start(&hasty_conf()).await?;
    let rebuilt = effort.of(REBUILT);
    let per_run = effort.of(EVENTS).min(rebuilt / effort.rounds).max(CHUNK);
    let filled = Instant::now();
    let there = fill(&stand, rebuilt.max(per_run * effort.rounds)).await?;
    eprintln!("  {there} events in the log after {:.0} s", filled.elapsed().as_secs_f32());
    let postgres = Postgres::start().await?;
    let projections = Projections::connect(&postgres.url()).await?;
    projections.migrate().await?;
    let bare = PgPool::connect(&postgres.url()).await?;
    for table in ["audit_log"].into_iter().chain(TABLES) {
        let create = format!("CREATE TABLE bare_{table} (LIKE {table} INCLUDING ALL)");
        sqlx::query(sqlx::AssertSqlSafe(create)).execute(&bare).await?;
    }

    let mut source = FromLog::start(&stand.ours);
    let mut runs = Vec::new();
    for _ in 0..effort.rounds {
        let (ours, events) = ours(&projections, &mut source, per_run).await?;
        let theirs = theirs(&bare, &events).await?;
        runs.push(Run { ours, theirs });
    }
    // the rest, so that there is something to rebuild
    let began = Instant::now();
    let before = source.position;
    while usize::try_from(source.position)? < there {
        let chunk = next(&mut source, CHUNK).await?;
        projections.feed_chunk(&chunk).await?;
    }
    let rest_s = began.elapsed().as_secs_f64();
    let mut rebuilds = serde_json::Map::new();
    for name in ["environments", "logins", "audit_log"] {
        rebuilds.insert(name.to_owned(), rebuild(&projections, &stand, name).await?.into());
    }
    let report = Report::new(
        "projection",
        "events/s",
        "bare UNNEST inserts of the same rows",
        (Better::Higher, GOAL),
        runs,
    );
    Ok(report
        .with("events_per_run", per_run)
        .with("rebuild_events", there)
        .with("rebuild_s", rebuilds)
        .with("feed_rest_events_per_s", (there as u64 - before) as f64 / rest_s))
}

async fn next(source: &mut FromLog, max: usize) -> anyhow::Result<Chunk> {
    let chunk = source.next(max).await.map_err(anyhow::Error::from_boxed)?;
    anyhow::ensure!(!chunk.is_empty(), "the log has no more events");
    Ok(chunk)
}

/// Events a second from the log into all tables, and the events. The next chunk is read while one is
/// written.
async fn ours(
    projections: &Projections,
    source: &mut FromLog,
    count: usize,
) -> anyhow::Result<(f64, Vec<Recorded>)> {
    let mut events = Vec::with_capacity(count);
    let (give, mut take) = mpsc::channel(CHUNKS_AHEAD);
    let began = Instant::now();
    let read = async move {
        let mut left = count;
        while left > 0 {
            let chunk = next(source, CHUNK.min(left)).await?;
            left -= chunk.events.len();
            give.send(chunk).await?;
        }
        anyhow::Ok(())
    };
    let write = async {
        while let Some(chunk) = take.recv().await {
            projections.feed_chunk(&chunk).await?;
            events.extend(chunk.events);
        }
        anyhow::Ok(())
    };
    tokio::try_join!(read, write)?;
    Ok((count as f64 / began.elapsed().as_secs_f64(), events))
}

/// Events a second whose rows are written, a commit a chunk. PostgreSQL reads the rows of the smaller
/// tables as it prints them; they are fetched before.
async fn theirs(pool: &PgPool, events: &[Recorded]) -> anyhow::Result<f64> {
    let mut rows = Vec::new();
    for chunk in events.chunks(CHUNK) {
        rows.push(printed(pool, chunk).await?);
    }
    let began = Instant::now();
    for (chunk, rows) in events.chunks(CHUNK).zip(&rows) {
        let mut transaction = pool.begin().await?;
        insert_bare(&mut transaction, chunk).await?;
        for (table, rows) in TABLES.iter().zip(rows) {
            // a session that was open at the end of a round comes again closed
            let insert = format!(
                "INSERT INTO bare_{table} SELECT r.* FROM UNNEST($1::text::{table}[]) AS r ON CONFLICT DO NOTHING"
            );
            sqlx::query(sqlx::AssertSqlSafe(insert)).bind(rows).execute(&mut *transaction).await?;
        }
        transaction.commit().await?;
    }
    Ok(events.len() as f64 / began.elapsed().as_secs_f64())
}

/// The rows whose last event is in this chunk, an array for each table.
async fn printed(pool: &PgPool, chunk: &[Recorded]) -> anyhow::Result<Vec<Option<String>>> {
    let (Some(first), Some(last)) = (chunk.first(), chunk.last()) else { return Ok(Vec::new()) };
    let mut all = Vec::new();
    for table in TABLES {
        let select = format!("SELECT array_agg(t)::text FROM {table} t WHERE seq BETWEEN $1 AND $2");
        let rows = sqlx::query_scalar(sqlx::AssertSqlSafe(select))
            .bind(i64::try_from(first.seq)?)
            .bind(i64::try_from(last.seq)?)
            .fetch_one(pool)
            .await?;
        all.push(rows);
    }
    Ok(all)
}

async fn insert_bare(connection: &mut PgConnection, events: &[Recorded]) -> anyhow::Result<()> {
    let texts = |pick: fn(&Recorded) -> String| events.iter().map(pick).collect::<Vec<_>>();
    sqlx::query(
        "INSERT INTO bare_audit_log SELECT seq, time, tenant, kind, id, type, version, actor, correlation, causation, event, data::jsonb \
         FROM UNNEST($1::bigint[], $2::timestamptz[], $3::text[], $4::text[], $5::text[], $6::text[], $7::integer[], \
         $8::text[], $9::uuid[], $10::uuid[], $11::uuid[], $12::text[]) \
         AS r(seq, time, tenant, kind, id, type, version, actor, correlation, causation, event, data)",
    )
    .bind(events.iter().map(|event| i64::try_from(event.seq)).collect::<Result<Vec<_>, _>>()?)
    .bind(events.iter().map(|event| event.meta.time).collect::<Vec<_>>())
    .bind(texts(|event| event.subject.tenant.to_string()))
    .bind(texts(|event| event.subject.kind.wire_name().to_owned()))
    .bind(texts(|event| event.subject.id.clone()))
    .bind(texts(|event| event.event.event_type().to_owned()))
    .bind(vec![1_i32; events.len()])
    .bind(texts(|event| event.meta.actor.clone()))
    .bind(events.iter().map(|event| event.meta.correlation).collect::<Vec<_>>())
    .bind(events.iter().map(|event| event.meta.causation.map(|id| id.0)).collect::<Vec<_>>())
    .bind(events.iter().map(|event| event.meta.id.0).collect::<Vec<_>>())
    .bind(texts(|event| event.event.to_json().to_string()))
    .execute(connection)
    .await?;
    Ok(())
}

/// Seconds from the first event to the switch.
async fn rebuild(projections: &Projections, stand: &Stand, name: &str) -> anyhow::Result<f64> {
    projections.request_rebuild(name).await?;
    let Some(rebuild) = projections.next_rebuild().await? else {
        anyhow::bail!("the rebuild that was asked for is not there")
    };
    let began = Instant::now();
    rebuild.run(&mut FromLog::start(&stand.ours)).await?;
    Ok(began.elapsed().as_secs_f64())
}
