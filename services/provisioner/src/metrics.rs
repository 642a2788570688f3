//! What can be counted here? Environments by status, ports, reconciliations, repairs, reports.

use std::collections::BTreeMap;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use chrono::Utc;
use kit::health::Health;
use kit::sentry_protocol::Report;
use nats::Outcome;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};

use crate::fleet::Fleet;

type Labels = [(&'static str, &'static str); 1];

/// Every status an environment that is not deleted can have.
const STATUSES: [&str; 7] = ["creating", "running", "stopping", "stopped", "starting", "failed", "deleting"];

#[derive(Clone)]
pub struct Metrics {
    environments: Family<Labels, Gauge>,
    ports: Family<Labels, Gauge>,
    reconcile_s: Family<Labels, Histogram>,
    sweep_s: Histogram,
    repairs: Family<Labels, Counter>,
    reports: Family<Labels, Counter>,
    unreadable: Counter<u64, AtomicU64>,
}

impl Metrics {
    pub fn new(health: &Health) -> Self {
        let metrics = Self {
            environments: Family::default(),
            ports: Family::default(),
            // 10 ms to about 80 s
            reconcile_s: Family::new_with_constructor(|| Histogram::new(exponential_buckets(0.01, 2.0, 14))),
            // 1 ms to about 16 s
            sweep_s: Histogram::new(exponential_buckets(0.001, 2.0, 15)),
            repairs: Family::default(),
            reports: Family::default(),
            unreadable: Counter::default(),
        };
        let m = metrics.clone();
        health.register(move |registry| {
            registry.register("portreeve_provisioner_environments", "Environments by status", m.environments);
            registry.register("portreeve_provisioner_ports", "Ports of the pool, held and free", m.ports);
            registry.register(
                "portreeve_provisioner_reconcile_seconds",
                "Duration of a reconciliation by its outcome",
                m.reconcile_s,
            );
            registry.register(
                "portreeve_provisioner_sweep_seconds",
                "Duration of a comparison of what should be with what is, repairs included",
                m.sweep_s,
            );
            registry.register(
                "portreeve_provisioner_repairs",
                "What was found amiss and put right, by kind",
                m.repairs,
            );
            registry.register("portreeve_provisioner_reports", "Reports recorded by kind", m.reports);
            registry.register(
                "portreeve_provisioner_unreadable",
                "Messages of the log that could not be read",
                m.unreadable,
            );
        });
        metrics
    }

    pub fn reconciled(&self, duration: Duration, outcome: &Outcome) {
        let label = match outcome {
            Outcome::Done => "done",
            Outcome::Again { .. } => "again",
            Outcome::Park { .. } => "park",
        };
        self.reconcile_s.get_or_create(&[("outcome", label)]).observe(duration.as_secs_f64());
    }

    pub fn swept(&self, duration: Duration) {
        self.sweep_s.observe(duration.as_secs_f64());
    }

    pub fn repaired(&self, kind: &'static str) {
        self.repairs.get_or_create(&[("kind", kind)]).inc();
    }

    pub fn reported(&self, report: &Report) {
        let kind = match report {
            Report::LoginSucceeded { .. } => "login_succeeded",
            Report::LoginFailed { .. } => "login_failed",
            Report::LoginsRefused { .. } => "logins_refused",
            Report::InnerOpened { .. } => "inner_opened",
            Report::SessionOpened { .. } => "session_opened",
            Report::SessionClosed { .. } => "session_closed",
        };
        self.reports.get_or_create(&[("kind", kind)]).inc();
    }

    pub fn unreadable(&self) {
        self.unreadable.inc();
    }

    /// Brings the gauges to what the fleet knows.
    pub fn observe(&self, fleet: &Fleet) {
        let mut counts: BTreeMap<&'static str, i64> = STATUSES.map(|status| (status, 0)).into();
        for (_, _, status) in fleet.all() {
            *counts.entry(status.name()).or_default() += 1;
        }
        for (status, count) in counts {
            self.environments.get_or_create(&[("status", status)]).set(count);
        }
        let held = i64::try_from(fleet.held_ports().len()).unwrap_or(i64::MAX);
        let free = i64::try_from(fleet.free_ports(Utc::now())).unwrap_or(i64::MAX);
        self.ports.get_or_create(&[("state", "held")]).set(held);
        self.ports.get_or_create(&[("state", "free")]).set(free);
    }
}
