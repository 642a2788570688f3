//! How long does it take to say what was? The fleet at an instant of logs of growing length, by a process that has
//! nothing in memory: with the snapshots that the projector keeps, and folded from the first event.

use std::time::Instant;

use audit::time_travel::TimeTravel;
use chrono::Utc;
use harness::postgres::Postgres;
use nats::Log;
use projections::Projections;
use projections::environments::Filter;
use serde_json::{Map, Value, json};

use crate::Effort;
use crate::fill::{fill_from, hasty_conf};
use crate::projection::FromLog;
use crate::report::{Better, Report, Run, median};
use crate::stand::Stand;

/// Lengths of the log, in events.
const LENGTHS: [usize; 3] = [10_000, 100_000, 1_000_000];
/// The longest that an answer may take, in milliseconds.
const LIMIT_MS: f64 = 2_000.0;
/// Ours is at most so much of the limit.
const GOAL: f64 = 1.0;

pub async fn measure(effort: Effort) -> anyhow::Result<Report> {
    let stand = Stand::start(&hasty_conf()).await?;
    let postgres = Postgres::start().await?;
    let projections = Projections::connect(&postgres.url()).await?;
    projections.migrate().await?;
    let log = stand.ours.log();
    let mut lengths = Map::new();
    let (mut there, mut runs) = (0, Vec::new());
    for length in LENGTHS.map(|length| effort.of(length)) {
        there = fill_from(&stand, there, length).await?;
        let (with, without) = at_length(&log, &projections, there, effort.rounds).await?;
        let shown = json!({
            "with_snapshots_ms": median(with.clone()), "without_ms": median(without), "events": there,
        });
        eprintln!("  {shown}");
        lengths.insert(length.to_string(), shown);
        runs = with.into_iter().map(|ours| Run { ours, theirs: LIMIT_MS }).collect();
    }
    let report = Report::new("as_of", "ms", "the limit of an answer", (Better::Lower, GOAL), runs);
    Ok(report.with("lengths", Value::Object(lengths)))
}

/// Milliseconds of each round, at instants over the newest tenth of the log: the longest ways from its beginning.
async fn at_length(
    log: &Log,
    projections: &Projections,
    there: usize,
    rounds: usize,
) -> anyhow::Result<(Vec<f64>, Vec<f64>)> {
    let head = u64::try_from(there)?;
    let read = |after| FromLog::after(log, after);
    let began = Instant::now();
    projections.keep_snapshots(head, read).await?;
    eprintln!("  snapshots of {there} events kept in {:.1} s", began.elapsed().as_secs_f32());
    let (mut with, mut without) = (Vec::new(), Vec::new());
    for round in 0..rounds {
        let at = head - head / 10 * u64::try_from(round)? / u64::try_from(rounds)? - 1;
        let began = Instant::now();
        let travel = TimeTravel::new(log.clone(), projections.clone());
        let at = travel.sequence(audit::time_travel::Instant::Sequence(at), Utc::now()).await?;
        let fleet = travel.fleet(at).await?;
        let page = fleet.environments(&Filter::default(), None, 50)?;
        with.push(began.elapsed().as_secs_f64() * 1_000.0);
        // once is enough to fold everything
        if round > 0 && there >= LENGTHS[2] {
            continue;
        }
        let began = Instant::now();
        let mut whole = projections::fleet::Fleet::default();
        whole.read_on(at, &mut read(0)).await?;
        let same = whole.environments(&Filter::default(), None, 50)?;
        without.push(began.elapsed().as_secs_f64() * 1_000.0);
        anyhow::ensure!(same == page, "the answer depends on the snapshot");
    }
    Ok((with, without))
}
