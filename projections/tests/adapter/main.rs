//! Do rows follow the log, on a real PostgreSQL, whatever happens in between?
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod asking;
mod cast;
mod command_story;
mod crash;
mod feeding;
mod fencing;
mod parking;
mod rebuilding;
mod schedule_story;
mod server_story;
mod story;
mod subscription_story;
mod time_travel;
mod waiting;
mod work_then;

use events::Recorded;
use harness::postgres::Postgres;
use projections::{Chunk, Projections};

/// A server of its own and empty tables.
pub async fn fresh() -> (Postgres, Projections) {
    let postgres = Postgres::start().await.unwrap();
    let projections = Projections::connect(&postgres.url()).await.unwrap();
    projections.migrate().await.unwrap();
    (postgres, projections)
}

/// Feeds `log` from where the rows stand, in chunks of `size`.
pub async fn feed_all(projections: &Projections, log: &[Recorded], size: usize) {
    let position = usize::try_from(projections.position().await.unwrap()).unwrap();
    for chunk in log[position..].chunks(size) {
        let to = chunk.last().unwrap().seq;
        projections.feed(chunk[0].seq - 1, to, chunk).await.unwrap();
    }
}

/// The log as a rebuild or a comparison reads it.
pub struct Reader<'l> {
    log: &'l [Recorded],
    at: usize,
}

impl<'l> Reader<'l> {
    pub fn after(log: &'l [Recorded], position: u64) -> Self {
        Self { log, at: usize::try_from(position).unwrap() }
    }
}

impl projections::rebuild::Source for Reader<'_> {
    async fn next(&mut self, max: usize) -> Result<Chunk, Box<dyn std::error::Error + Send + Sync>> {
        let mut chunk = Chunk::after(self.at as u64);
        for event in self.log[self.at..].iter().take(max) {
            chunk.push(event.clone())?;
            self.at += 1;
        }
        Ok(chunk)
    }
}

/// Every projection's rows are those that a rebuild from this log gives.
pub async fn assert_rows_follow(projections: &Projections, log: &[Recorded]) {
    for name in projections::NAMES {
        let comparison = projections.compare(name, &mut Reader::after(log, 0)).await.unwrap();
        assert!(comparison.is_equal(), "{name}: {comparison:#?}");
    }
}
