//! How fast is a log hashed, and how fast verified? The chain that anchors are written of, and the check that holds it
//! against them, over messages as they were read, beside bare SHA-256 of the same bytes; one thread each. The slower
//! of ours counts.

use std::hint::black_box;
use std::time::{Duration, Instant};

use anyhow::ensure;
use audit::chain::{Chain, Digest, START, encode, sha256};
use audit::check::{Check, End};
use audit::evidence::{Anchored, Evidence};
use audit::live::gather;
use harness::eventually;
use nats::{Log, Stored};

use crate::Effort;
use crate::alone;
use crate::fill::{fill, hasty_conf};
use crate::report::{Better, Report, Run, median};
use crate::stand::Stand;

/// Events of the log.
const EVENTS: usize = 200_000;
/// The service vouches for all of them by then.
const ANCHORED_AT_MOST: Duration = Duration::from_secs(300);
/// Ours is at least so much of theirs.
const GOAL: f64 = 0.5;

pub async fn measure(effort: Effort) -> anyhow::Result<Report> {
    let stand = Stand::start(&hasty_conf()).await?;
    let there = fill(&stand, effort.of(EVENTS)).await?;
    let vouched = Vouched::by_the_service(&stand, u64::try_from(there)?).await?;
    let log = stand.ours.log();
    let began = Instant::now();
    let messages = read(&log, there).await?;
    let rate = |began: Instant| there as f64 / began.elapsed().as_secs_f64();
    let read_rate = rate(began);
    let (bytes, expected) = encoded(&messages);
    let total: usize = bytes.iter().map(Vec::len).sum();
    let (mut runs, mut chained, mut verified, mut from_log) = (vec![], vec![], vec![], vec![]);
    for _ in 0..effort.rounds {
        let began = Instant::now();
        let last = chain(&messages);
        let chain_rate = rate(began);
        ensure!(last == expected, "the chain is another");

        let mut check = vouched.check();
        let began = Instant::now();
        for message in &messages {
            check.event(message.seq, message.time, &message.subject, &message.headers(), &message.payload);
        }
        let verify_rate = rate(began);
        vouched.holds(check)?;

        let began = Instant::now();
        for bytes in &bytes {
            black_box(sha256(bytes));
        }
        runs.push(Run { ours: chain_rate.min(verify_rate), theirs: rate(began) });
        chained.push(chain_rate);
        verified.push(verify_rate);

        let mut check = vouched.check();
        let began = Instant::now();
        audit::feed(&log, 1, vouched.upto, &mut check).await?;
        from_log.push(rate(began));
        vouched.holds(check)?;
    }
    let report = Report::new("chain", "events/s", "SHA-256 of the same bytes", (Better::Higher, GOAL), runs);
    Ok(report
        .with("events", there)
        .with("bytes_per_event", total / there)
        .with("chain_events_per_s", median(chained))
        .with("verify_events_per_s", median(verified))
        .with("verify_from_the_log_events_per_s", median(from_log))
        .with("read_events_per_s", read_rate))
}

/// The anchors of a log.
struct Vouched {
    evidence: Evidence,
    anchored: Vec<Anchored>,
    /// The last event.
    upto: u64,
}

impl Vouched {
    /// Written by the product's own service, which has ended when this returns.
    async fn by_the_service(stand: &Stand, upto: u64) -> anyhow::Result<Self> {
        let folder = tempfile::tempdir()?;
        let told = [("PORTREEVE_AUDIT_EVERY_S", "1".to_owned())];
        let service = alone::start(folder.path(), &stand.url(), "audit", &told)?;
        let anchors = stand.ours.anchors();
        let (evidence, anchored) = eventually("every event is anchored", ANCHORED_AT_MOST, || async {
            let gathered = gather(&anchors).await.map_err(|error| error.to_string())?;
            let anchored = gathered.0.upto();
            if anchored == upto {
                return Ok(gathered);
            }
            Err(format!("{anchored} of {upto} are: {}", service.log_tail()))
        })
        .await?;
        Ok(Self { evidence, anchored, upto })
    }

    fn check(&self) -> Check {
        Check::new(1, self.anchored.clone(), &self.evidence)
    }

    fn holds(&self, check: Check) -> anyhow::Result<()> {
        let checked = check.finish(End::Piece(self.upto));
        let (integrity, completeness) = (checked.integrity, checked.completeness);
        ensure!(integrity.ok && completeness.ok, "it does not hold: {integrity:?} {completeness:?}");
        ensure!(checked.events == self.upto, "{} of {} events were checked", checked.events, self.upto);
        Ok(())
    }
}

async fn read(log: &Log, there: usize) -> anyhow::Result<Vec<Stored>> {
    let mut messages = Vec::with_capacity(there);
    let mut reader = log.stored(1);
    while messages.len() < there {
        let some = reader.next().await?;
        ensure!(!some.is_empty(), "the log has no more events");
        messages.extend(some);
    }
    Ok(messages)
}

fn chain(messages: &[Stored]) -> Digest {
    let mut chain = Chain::start();
    for message in messages {
        chain.add(message.seq, &message.subject, &message.headers(), &message.payload);
    }
    chain.hash()
}

/// What is hashed of each message, and the last hash.
fn encoded(messages: &[Stored]) -> (Vec<Vec<u8>>, Digest) {
    let mut before = START;
    let mut all = Vec::with_capacity(messages.len());
    for message in messages {
        let mut bytes = Vec::new();
        encode(&mut bytes, &before, message.seq, &message.subject, &message.headers(), &message.payload);
        before = sha256(&bytes);
        all.push(bytes);
    }
    (all, before)
}
