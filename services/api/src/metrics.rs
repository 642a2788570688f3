//! What does the API count?

use std::sync::atomic::AtomicI64;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};

use kit::health::Health;

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct Answered {
    /// The route as it is written, so that ids do not make new series.
    pub route: String,
    pub method: String,
    pub status: u16,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct OfSubscription {
    /// A tenant has twenty at most.
    pub subscription: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct Attempted {
    /// `delivered`, `failed`, `gone`; and `parked`, when no further attempt is made.
    pub outcome: &'static str,
}

/// Shared handles of the metrics.
#[derive(Clone)]
pub struct Metrics {
    pub answers: Family<Answered, Counter>,
    pub answer_s: Histogram,
    pub taps: Gauge<i64, AtomicI64>,
    pub taps_dropped: Counter,
    pub terminal_shells: Gauge<i64, AtomicI64>,
    pub terminal_clients: Gauge<i64, AtomicI64>,
    pub webhook_attempts: Family<Attempted, Counter>,
    pub subscription_lag_events: Family<OfSubscription, Gauge<i64, AtomicI64>>,
    pub subscription_lag_s: Family<OfSubscription, Gauge<i64, AtomicI64>>,
    pub subscription_parked: Family<OfSubscription, Gauge<i64, AtomicI64>>,
}

/// First bucket of the answer times, in seconds; each further one is twice as long.
const ANSWER_FIRST_BUCKET_S: f64 = 0.001;
const ANSWER_BUCKETS: u16 = 15;

impl Metrics {
    /// Makes them and shows them at `/metrics`.
    pub fn new(health: &Health) -> Self {
        let buckets = exponential_buckets(ANSWER_FIRST_BUCKET_S, 2.0, ANSWER_BUCKETS);
        let metrics = Self {
            answers: Family::default(),
            answer_s: Histogram::new(buckets),
            taps: Gauge::default(),
            taps_dropped: Counter::default(),
            terminal_shells: Gauge::default(),
            terminal_clients: Gauge::default(),
            webhook_attempts: Family::default(),
            subscription_lag_events: Family::default(),
            subscription_lag_s: Family::default(),
            subscription_parked: Family::default(),
        };
        let shown = metrics.clone();
        health.register(|registry| {
            registry.register("portreeve_api_answers", "Answers by route, method and status", shown.answers);
            registry.register(
                "portreeve_api_answer_seconds",
                "Time to the head of an answer",
                shown.answer_s,
            );
            registry.register("portreeve_api_taps", "Event streams that are open", shown.taps);
            registry.register(
                "portreeve_api_taps_dropped",
                "Event streams ended because their reader was too slow",
                shown.taps_dropped,
            );
            registry.register(
                "portreeve_api_terminal_shells",
                "Shells of web terminals that are running",
                shown.terminal_shells,
            );
            registry.register(
                "portreeve_api_terminal_clients",
                "Connections to shells of web terminals, guests included",
                shown.terminal_clients,
            );
            registry.register(
                "portreeve_api_webhook_attempts",
                "Attempts to deliver to webhooks by outcome, and deliveries parked",
                shown.webhook_attempts,
            );
            registry.register(
                "portreeve_api_subscription_lag_events",
                "Events that a subscription has not had yet",
                shown.subscription_lag_events,
            );
            registry.register(
                "portreeve_api_subscription_lag_seconds",
                "How long the first of them waits",
                shown.subscription_lag_s,
            );
            registry.register(
                "portreeve_api_subscription_parked",
                "Deliveries that wait for somebody to retry or drop them",
                shown.subscription_parked,
            );
        });
        metrics
    }
}
