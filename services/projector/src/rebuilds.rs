//! How are rebuilds carried out? One after the other, beside the live read models, each with a tail of
//! its own.

use std::time::{Duration, Instant};

use nats::Log;
use projections::Projections;
use projections::rebuild::{BuildError, Rebuild};
use tokio_util::sync::CancellationToken;

use crate::back_off::BackOff;
use crate::from_log::FromLog;
use crate::metrics::Metrics;

/// How often it is looked whether one is asked for.
const LOOK_EVERY: Duration = Duration::from_secs(1);

pub struct Rebuilder {
    pub log: Log,
    pub projections: Projections,
    pub metrics: Metrics,
    pub shutdown: CancellationToken,
}

impl Rebuilder {
    /// Until shutdown; a rebuild under way is left then, and resumed by the next projector.
    pub async fn run(&self) {
        self.shutdown.run_until_cancelled(self.run_for_ever()).await;
    }

    async fn run_for_ever(&self) {
        let mut back_off = BackOff::new();
        loop {
            let pause = match self.projections.next_rebuild().await {
                Ok(Some(rebuild)) => match self.rebuild(rebuild).await {
                    Ok(()) => Duration::ZERO,
                    Err(error) => self.failed(&error, &mut back_off),
                },
                Ok(None) => {
                    back_off.reset();
                    LOOK_EVERY
                }
                Err(error) => self.failed(&error, &mut back_off),
            };
            tokio::time::sleep(pause).await;
        }
    }

    fn failed(&self, error: &BuildError, back_off: &mut BackOff) -> Duration {
        let error = error as &dyn std::error::Error;
        tracing::warn!(error, "a rebuild ended early; it is taken up again");
        back_off.next()
    }

    async fn rebuild(&self, rebuild: Rebuild) -> Result<(), BuildError> {
        let (projection, from) = (rebuild.projection(), rebuild.position());
        tracing::info!(projection, event.seq = from, "rebuilding a projection beside the live one");
        let started = Instant::now();
        let mut source = FromLog::after(&self.log, from);
        let switched = rebuild.run(&mut source).await?;
        self.metrics.rebuilds.inc();
        let duration_ms = u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX);
        tracing::info!(projection, event.seq = switched.position, duration_ms, "a projection was rebuilt");
        Ok(())
    }
}
