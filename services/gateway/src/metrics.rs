//! What can be counted here? Connections, logins by outcome, sessions.

use kit::health::Health;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;

type Labels = [(&'static str, &'static str); 1];

#[derive(Clone, Default)]
pub struct Metrics {
    pub connections: Gauge,
    pub sessions: Gauge,
    logins: Family<Labels, Counter>,
    refused: Family<Labels, Counter>,
}

impl Metrics {
    pub fn new(health: &Health) -> Self {
        let metrics = Self::default();
        let shown = metrics.clone();
        health.register(move |registry| {
            registry.register(
                "portreeve_gateway_connections",
                "Connections, let in or not",
                shown.connections,
            );
            registry.register("portreeve_gateway_sessions", "Sessions that lead on", shown.sessions);
            registry.register("portreeve_gateway_logins", "Questions answered, by outcome", shown.logins);
            registry.register("portreeve_gateway_refused", "Connections refused, by reason", shown.refused);
        });
        metrics
    }

    pub fn login(&self, outcome: &'static str) {
        self.logins.get_or_create(&[("outcome", outcome)]).inc();
    }

    pub fn refused(&self, reason: &'static str) {
        self.refused.get_or_create(&[("reason", reason)]).inc();
    }
}
