//! How long does it take to say what was? `GET /api/environments?as_of=` at logs of growing length, asked of an API
//! that was just started and has nothing in memory: with the snapshots that the projector keeps, and with none, so that
//! it folds the log from its first event.

use std::time::Instant;

use anyhow::ensure;
use harness::postgres::Postgres;
use projections::Projections;
use serde_json::{Map, Value, json};

use crate::Effort;
use crate::alone::LoneApi;
use crate::fill::{fill_from, hasty_conf};
use crate::projection::FromLog;
use crate::report::{Better, Report, Run, median};
use crate::stand::Stand;

/// Lengths of the log, in events.
const LENGTHS: [usize; 3] = [10_000, 100_000, 1_000_000];
/// The longest that an answer may take with snapshots, in milliseconds; so much is asked for whatever the ratio is.
const LIMIT_MS: f64 = 2_000.0;
/// Ours is at most so much of theirs at the longest log. Nobody asked for a figure; of a log that is shorter than
/// what lies between two snapshots both are the same.
const GOAL: f64 = 0.5;

/// One log; snapshots lie in one of two databases.
struct Ground {
    stand: Stand,
    postgres: Postgres,
    projections: Projections,
    without: String,
}

pub async fn measure(effort: Effort) -> anyhow::Result<Report> {
    let ground = Ground::start().await?;
    let (mut lengths, mut there, mut runs) = (Map::new(), 0, Vec::new());
    for length in LENGTHS.map(|length| effort.of(length)) {
        there = fill_from(&ground.stand, there, length).await?;
        runs = ground.now(effort.rounds).await?;
        let side = |pick: fn(&Run) -> f64| median(runs.iter().map(pick).collect());
        let shown = json!({
            "events": there, "with_snapshots_ms": side(|run| run.ours), "without_ms": side(|run| run.theirs),
            "runs": runs,
        });
        eprintln!("  {shown}");
        lengths.insert(length.to_string(), shown);
    }
    let slowest_ms = runs.iter().map(|run| run.ours).fold(0.0, f64::max);
    let held = slowest_ms <= LIMIT_MS;
    println!(
        "as_of: of {there} events the slowest answer took {slowest_ms:.0} ms, at most {LIMIT_MS} ms: {}",
        if held { "held" } else { "not held" }
    );
    let against = "the same without snapshots, at the longest log";
    Ok(Report::new("as_of", "ms", against, (Better::Lower, GOAL), runs)
        .with("lengths", Value::Object(lengths))
        .with("limit_ms", LIMIT_MS)
        .with("slowest_ms", slowest_ms)
        .with("limit_held", held))
}

impl Ground {
    async fn start() -> anyhow::Result<Self> {
        let stand = Stand::start(&hasty_conf()).await?;
        let postgres = Postgres::start().await?;
        let without = postgres.create_database("without").await?;
        let projections = Projections::connect(&postgres.url()).await?;
        projections.migrate().await?;
        Ok(Self { stand, postgres, projections, without })
    }

    /// Milliseconds of each round, at instants over the newest tenth of the log as it is now: the longest ways from its
    /// beginning.
    async fn now(&self, rounds: usize) -> anyhow::Result<Vec<Run>> {
        let log = self.stand.ours.log();
        let head = log.head().await?;
        let began = Instant::now();
        self.projections.keep_snapshots(head, |after| FromLog::after(&log, after)).await?;
        eprintln!("  snapshots of {head} events kept in {:.1} s", began.elapsed().as_secs_f32());
        let mut runs = Vec::new();
        for round in 0..rounds {
            let at = head - head / 10 * u64::try_from(round)? / u64::try_from(rounds)? - 1;
            let (ours, with) = self.ask(&self.postgres.url(), at).await?;
            let (theirs, without) = self.ask(&self.without, at).await?;
            ensure!(with == without, "the answer of {at} depends on the snapshot");
            runs.push(Run { ours, theirs });
        }
        Ok(runs)
    }

    /// Milliseconds of the answer, and what it says.
    async fn ask(&self, database_url: &str, at: u64) -> anyhow::Result<(f64, Value)> {
        let api = LoneApi::start(&self.stand, database_url).await?;
        // what every answer needs once: connections, and who is asking
        api.admin().get("/api/environments?limit=1").await?.expect(200)?;
        let began = Instant::now();
        let answer = api.admin().get(&format!("/api/environments?as_of={at}")).await?.expect(200)?;
        let took_ms = began.elapsed().as_secs_f64() * 1_000.0;
        ensure!(answer.position == Some(at), "asked of {at}, it says {:?}", answer.position);
        Ok((took_ms, answer.body))
    }
}
