//! What can be counted here? Relays that are connected, commands under way, outcomes.

use kit::health::Health;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;

type Labels = [(&'static str, &'static str); 1];

#[derive(Clone, Default)]
pub struct Metrics {
    /// To this hub.
    pub relays: Gauge,
    pub tunnels: Gauge,
    /// Of all hubs.
    pub waiting: Gauge,
    pub in_flight: Gauge,
    outcomes: Family<Labels, Counter>,
    refused: Family<Labels, Counter>,
}

impl Metrics {
    pub fn new(health: &Health) -> Self {
        let metrics = Self::default();
        let shown = metrics.clone();
        health.register(move |registry| {
            registry.register("portreeve_relay_relays", "Relays connected to this hub", shown.relays);
            registry.register("portreeve_relay_tunnels", "Tunnels through relays of this hub", shown.tunnels);
            registry.register("portreeve_relay_commands_waiting", "Commands that wait", shown.waiting);
            registry.register(
                "portreeve_relay_commands_in_flight",
                "Commands given away and not ended",
                shown.in_flight,
            );
            registry.register("portreeve_relay_outcomes", "Commands that ended, by outcome", shown.outcomes);
            registry.register("portreeve_relay_refused", "Relays turned away, by reason", shown.refused);
        });
        metrics
    }

    pub fn outcome(&self, outcome: &'static str) {
        self.outcomes.get_or_create(&[("outcome", outcome)]).inc();
    }

    pub fn refused(&self, reason: &'static str) {
        self.refused.get_or_create(&[("reason", reason)]).inc();
    }
}
