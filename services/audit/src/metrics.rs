//! What does the audit service count?

use kit::health::Health;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;

/// Shared handles of the metrics.
#[derive(Clone, Default)]
pub struct Metrics {
    pub anchored: Gauge,
    pub chained: Gauge,
    pub records: Counter,
    pub alarms: Counter,
}

impl Metrics {
    /// Makes them and shows them at `/metrics`.
    pub fn new(health: &Health) -> Self {
        let metrics = Self::default();
        let shown = metrics.clone();
        health.register(|registry| {
            let mut gauge = |name: &str, help: &str, gauge: Gauge| registry.register(name, help, gauge);
            gauge("portreeve_audit_anchored", "Last event that an anchor vouches for", shown.anchored);
            gauge("portreeve_audit_chained", "Last event that was chained", shown.chained);
            registry.register("portreeve_audit_records", "Records written by this process", shown.records);
            registry.register(
                "portreeve_audit_alarms",
                "Signs that the log is not what it was",
                shown.alarms,
            );
        });
        metrics
    }

    pub fn stand(&self, anchored: u64, chained: u64) {
        let gauge_of = |number: u64| i64::try_from(number).unwrap_or(i64::MAX);
        self.anchored.set(gauge_of(anchored));
        self.chained.set(gauge_of(chained));
    }
}
