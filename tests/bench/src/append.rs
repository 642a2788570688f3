//! What does deciding cost? Decided appends on distinct aggregates, beside raw acknowledged publishes
//! of the same payload to the same stream.

use std::time::Instant;

use events::env::request::request;
use events::env::{Env, EnvRequested};
use events::ids::{EnvId, TenantId, UserName};
use events::{Cause, Event, Resources};
use futures_util::{StreamExt, TryStreamExt, stream};
use uuid::Uuid;

use crate::Effort;
use crate::report::{Better, Report, Run};
use crate::stand::Stand;

/// Appends of a round, by number in flight.
const fn usual(in_flight: usize) -> usize {
    if in_flight == 1 { 2_000 } else { 6_000 }
}

/// Both sides take turns so often within a round: the disk's moods meet both.
const SLICES: usize = 20;

/// Ours is at least so much of theirs.
const GOAL: f64 = 0.8;

pub async fn measure(in_flight: usize, effort: Effort) -> anyhow::Result<Report> {
    let stand = Stand::start(nats::SERVER_CONF).await?;
    let count = effort.of(usual(in_flight)).max(SLICES);
    // Both sides once for nothing: connections, caches and files are warm.
    ours(&stand, in_flight, count / 10 + 1).await?;
    theirs(&stand, in_flight, count / 10 + 1).await?;
    let mut runs = Vec::new();
    for _ in 0..effort.rounds {
        let (mut ours_s, mut theirs_s) = (0.0, 0.0);
        for _ in 0..SLICES {
            ours_s += ours(&stand, in_flight, count / SLICES).await?;
            theirs_s += theirs(&stand, in_flight, count / SLICES).await?;
        }
        let done = (count / SLICES * SLICES) as f64;
        runs.push(Run { ours: done / ours_s, theirs: done / theirs_s });
    }
    let report = Report::new(
        format!("append_{in_flight}"),
        "events/s",
        "raw acknowledged JetStream publishes to the same stream",
        (Better::Higher, GOAL),
        runs,
    );
    Ok(report.with("in_flight", in_flight).with("events_per_run", count))
}

pub fn asked() -> anyhow::Result<EnvRequested> {
    Ok(EnvRequested {
        name: "bench".to_owned(),
        owner: UserName::parse("bench")?,
        image: String::new(),
        resources: Resources::default(),
        ssh_public_keys: Vec::new(),
        jupyter: false,
        ttl_s: None,
        idle_s: None,
        allow_list: Vec::new(),
        datasets: vec![],
        gateway_only: false,
        deadline: chrono::Utc::now(),
    })
}

/// Seconds for so many appends.
async fn ours(stand: &Stand, in_flight: usize, count: usize) -> anyhow::Result<f64> {
    let (log, tenant, asked) = (stand.ours.log(), TenantId::parse("bench")?, asked()?);
    let began = Instant::now();
    stream::iter(0..count)
        .map(|_| {
            let (log, tenant, asked) = (&log, &tenant, asked.clone());
            async move {
                let command = Uuid::new_v4();
                let id = EnvId::from_seed(&command);
                let cause = Cause::new(command, "service:bench");
                let decided = log
                    .decide(tenant, id.as_str(), &cause, 0, |env: &Env| request(env, asked.clone()))
                    .await?;
                anyhow::ensure!(decided.appended.is_some(), "nothing was appended");
                Ok(())
            }
        })
        .buffer_unordered(in_flight)
        .try_collect::<()>()
        .await?;
    Ok(began.elapsed().as_secs_f64())
}

/// Seconds for so many acknowledged publishes.
async fn theirs(stand: &Stand, in_flight: usize, count: usize) -> anyhow::Result<f64> {
    let payload: bytes::Bytes =
        Event::from(events::env::EnvEvent::from(asked()?)).to_json().to_string().into();
    let began = Instant::now();
    stream::iter(0..count)
        .map(|_| {
            let (jetstream, payload) = (&stand.theirs, payload.clone());
            async move {
                let subject = format!("ev.bench.env.{}", EnvId::from_seed(&Uuid::new_v4()));
                jetstream.publish(subject, payload).await?.await?;
                anyhow::Ok(())
            }
        })
        .buffer_unordered(in_flight)
        .try_collect::<()>()
        .await?;
    Ok(began.elapsed().as_secs_f64())
}
