//! What does the projector count?

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};

use kit::health::Health;

/// Shared handles of the metrics.
#[derive(Clone)]
pub struct Metrics {
    pub position: Gauge,
    pub head: Gauge,
    pub lag: Gauge,
    pub events: Counter,
    pub unreadable: Counter,
    pub gaps: Counter,
    pub fenced: Counter,
    pub rebuilds: Counter,
    pub parked_subjects: Gauge,
    pub chunk_s: Histogram,
}

/// First bucket of the times to write a chunk, in seconds; each further one is twice as long.
const CHUNK_FIRST_BUCKET_S: f64 = 0.001;
const CHUNK_BUCKETS: u16 = 15;

impl Metrics {
    /// Makes them and shows them at `/metrics`.
    pub fn new(health: &Health) -> Self {
        let metrics = Self {
            position: Gauge::default(),
            head: Gauge::default(),
            lag: Gauge::default(),
            events: Counter::default(),
            unreadable: Counter::default(),
            gaps: Counter::default(),
            fenced: Counter::default(),
            rebuilds: Counter::default(),
            parked_subjects: Gauge::default(),
            chunk_s: Histogram::new(exponential_buckets(CHUNK_FIRST_BUCKET_S, 2.0, CHUNK_BUCKETS)),
        };
        let shown = metrics.clone();
        health.register(|registry| {
            let mut gauge = |name: &str, help: &str, gauge: Gauge| registry.register(name, help, gauge);
            gauge("portreeve_projector_position", "Last sequence that is in the read models", shown.position);
            gauge("portreeve_projector_head", "Last sequence of the log", shown.head);
            gauge("portreeve_projector_lag", "Events that are not in the read models yet", shown.lag);
            gauge(
                "portreeve_projector_parked_subjects",
                "Aggregates that some projection does not follow any more",
                shown.parked_subjects,
            );
            let mut counter =
                |name: &str, help: &str, counter: Counter| registry.register(name, help, counter);
            counter("portreeve_projector_events", "Events fed by this process", shown.events);
            counter("portreeve_projector_unreadable", "Messages passed that are no event", shown.unreadable);
            counter("portreeve_projector_gaps", "Gaps found in the log: an alarm", shown.gaps);
            counter("portreeve_projector_fenced", "Chunks that somebody else fed first", shown.fenced);
            counter("portreeve_projector_rebuilds", "Rebuilds switched in", shown.rebuilds);
            registry.register("portreeve_projector_chunk_seconds", "Time to write a chunk", shown.chunk_s);
        });
        metrics
    }

    /// Where the read models and the log stand.
    pub fn stand(&self, position: u64, head: u64) {
        self.position.set(gauge_of(position));
        self.head.set(gauge_of(head));
        self.lag.set(gauge_of(head.saturating_sub(position)));
    }
}

pub fn gauge_of(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}
