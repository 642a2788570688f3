//! How fast is a log hashed? The chain over messages as they were read, beside bare SHA-256 of the same bytes.

use std::hint::black_box;
use std::time::Instant;

use audit::chain::{Chain, START, encode, sha256};
use nats::Stored;

use crate::Effort;
use crate::fill::{fill, hasty_conf};
use crate::report::{Better, Report, Run};
use crate::stand::Stand;

/// Events of the log.
const EVENTS: usize = 200_000;
/// Ours is at least so much of theirs.
const GOAL: f64 = 0.5;

pub async fn measure(effort: Effort) -> anyhow::Result<Report> {
    let stand = Stand::start(&hasty_conf()).await?;
    let there = fill(&stand, effort.of(EVENTS)).await?;
    let mut messages: Vec<Stored> = Vec::with_capacity(there);
    let mut reader = stand.ours.log().stored(1);
    let began = Instant::now();
    while messages.len() < there {
        let some = reader.next().await?;
        anyhow::ensure!(!some.is_empty(), "the log has no more events");
        messages.extend(some);
    }
    let read_s = began.elapsed().as_secs_f64();
    let (bytes, expected) = encoded(&messages);
    let total: usize = bytes.iter().map(Vec::len).sum();
    let mut runs = Vec::new();
    for _ in 0..effort.rounds {
        let began = Instant::now();
        let mut chain = Chain::start();
        for message in &messages {
            chain.add(message.seq, &message.subject, &message.headers(), &message.payload);
        }
        let ours = began.elapsed().as_secs_f64();
        anyhow::ensure!(chain.hash() == expected, "the chain is another");
        let began = Instant::now();
        for bytes in &bytes {
            black_box(sha256(bytes));
        }
        let theirs = began.elapsed().as_secs_f64();
        let rate = |seconds: f64| there as f64 / seconds;
        runs.push(Run { ours: rate(ours), theirs: rate(theirs) });
    }
    let report = Report::new("chain", "events/s", "SHA-256 of the same bytes", (Better::Higher, GOAL), runs);
    Ok(report
        .with("events", there)
        .with("bytes_per_event", total / there)
        .with("read_events_per_s", there as f64 / read_s))
}

/// What is hashed of each message, and the last hash.
fn encoded(messages: &[Stored]) -> (Vec<Vec<u8>>, audit::chain::Digest) {
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
