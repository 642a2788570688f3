//! What can be counted here? The connection, commands under way, results that wait.

use kit::health::Health;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;

#[derive(Clone, Default)]
pub struct Metrics {
    pub connected: Gauge,
    pub running: Gauge,
    pub spooled: Gauge,
    pub tunnels: Gauge,
    commands: Family<[(&'static str, &'static str); 1], Counter>,
}

impl Metrics {
    pub fn new(health: &Health) -> Self {
        let metrics = Self::default();
        let shown = metrics.clone();
        health.register(move |registry| {
            registry.register("portreeve_agent_connected", "Connected to a hub", shown.connected);
            registry.register("portreeve_agent_running", "Commands under way", shown.running);
            registry.register("portreeve_agent_spooled", "Results not acknowledged", shown.spooled);
            registry.register("portreeve_agent_tunnels", "Tunnels open", shown.tunnels);
            registry.register("portreeve_agent_commands", "Commands that ended, by how", shown.commands);
        });
        metrics
    }

    pub fn ended(&self, how: &'static str) {
        self.commands.get_or_create(&[("how", how)]).inc();
    }
}
