//! How fast are rows fed, beside a bare insert of the same audit rows? Run by hand:
//! `cargo test --release -p projections -- --ignored --nocapture speed`.

use std::time::{Duration, Instant};

use events::Recorded;
use sqlx::PgPool;

use crate::story::Story;
use crate::{Reader, feed_all, fresh};

/// Events fed.
const EVENTS: usize = 200_000;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "measures; says nothing in a debug build"]
async fn feeding_and_rebuilding() {
    let (postgres, projections) = fresh().await;
    let log = Story::long(EVENTS);
    let bare = PgPool::connect(&postgres.url()).await.unwrap();
    sqlx::query("CREATE TABLE bare (LIKE audit_log INCLUDING ALL)").execute(&bare).await.unwrap();
    let (mut ours, mut theirs) = (Duration::ZERO, Duration::ZERO);
    // In turns, so that whatever else the machine does slows both.
    for end in (10_000..=EVENTS).step_by(10_000) {
        let started = Instant::now();
        feed_all(&projections, &log[..end], 500).await;
        ours += started.elapsed();
        let started = Instant::now();
        for chunk in log[end - 10_000..end].chunks(500) {
            insert_bare(&bare, chunk).await;
        }
        theirs += started.elapsed();
    }
    feed_all(&projections, &log, 500).await;
    let rate = |seconds: f64| EVENTS as f64 / seconds;
    let (ours, theirs) = (rate(ours.as_secs_f64()), rate(theirs.as_secs_f64()));
    println!("fed {ours:.0} events/s; bare {theirs:.0} events/s; ratio {:.2}", ours / theirs);
    for name in ["audit_log", "environments"] {
        projections.request_rebuild(name).await.unwrap();
        let rebuild = projections.next_rebuild().await.unwrap().unwrap();
        let started = Instant::now();
        let mut reader = Reader::after(&log, 0);
        rebuild.run(&mut reader).await.unwrap();
        println!("rebuilt {name} at {:.0} events/s", rate(started.elapsed().as_secs_f64()));
    }
}

/// What the audit log alone would cost: the same rows into the same table, nothing else.
async fn insert_bare(pool: &PgPool, chunk: &[Recorded]) {
    let every = |value: fn(&Recorded) -> String| chunk.iter().map(value).collect::<Vec<_>>();
    sqlx::query(
        "INSERT INTO bare SELECT seq, time, tenant, kind, aggregate_id, type, 1, actor, correlation, NULL, id, \
         data::jsonb FROM UNNEST($1::bigint[], $2::timestamptz[], $3::text[], $4::text[], $5::text[], \
         $6::text[], $7::text[], $8::uuid[], $9::uuid[], $10::text[]) \
         AS r(seq, time, tenant, kind, aggregate_id, type, actor, correlation, id, data)",
    )
    .bind(chunk.iter().map(|event| i64::try_from(event.seq).unwrap()).collect::<Vec<_>>())
    .bind(chunk.iter().map(|event| event.meta.time).collect::<Vec<_>>())
    .bind(every(|event| event.subject.tenant.to_string()))
    .bind(every(|event| event.subject.kind.wire_name().to_owned()))
    .bind(every(|event| event.subject.id.clone()))
    .bind(every(|event| event.event.event_type().to_owned()))
    .bind(every(|event| event.meta.actor.clone()))
    .bind(chunk.iter().map(|event| event.meta.correlation).collect::<Vec<_>>())
    .bind(chunk.iter().map(|event| event.meta.id.0).collect::<Vec<_>>())
    .bind(every(|event| event.event.to_json().to_string()))
    .execute(pool)
    .await
    .unwrap();
}
