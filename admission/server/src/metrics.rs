//! Counters and the latency histogram of the webhook.

use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{counter::Counter, family::Family, histogram::Histogram},
    registry::Registry,
};

use crate::answer::Outcome;

/// Seconds; the deadline of 0.8 s lies between the last two.
const BUCKETS: [f64; 9] = [0.000_25, 0.001, 0.0025, 0.005, 0.01, 0.05, 0.2, 0.5, 1.0];

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Labels {
    outcome: Outcome,
}

/// The webhook's metrics; clones share their values.
#[derive(Clone, Debug)]
pub struct Metrics {
    decisions: Family<Labels, Counter>,
    seconds: Histogram,
    pub(crate) reloads: Counter,
    pub(crate) refused_certificates: Counter,
}

impl Metrics {
    /// Registers the metrics in `registry`.
    pub fn register(registry: &mut Registry) -> Self {
        let metrics = Self {
            decisions: Family::default(),
            seconds: Histogram::new(BUCKETS),
            reloads: Counter::default(),
            refused_certificates: Counter::default(),
        };
        let all = registry.sub_registry_with_prefix("msars_admission");
        all.register("decisions", "Reviews by outcome", metrics.decisions.clone());
        all.register(
            "decision_seconds",
            "Time from the request's head to its answer",
            metrics.seconds.clone(),
        );
        all.register(
            "certificate_reloads",
            "Certificates taken into use while running",
            metrics.reloads.clone(),
        );
        all.register(
            "refused_certificates",
            "Changed certificate files that were unreadable or unusable",
            metrics.refused_certificates.clone(),
        );
        metrics
    }

    /// Reviews that ended in `outcome` so far.
    pub fn count(&self, outcome: Outcome) -> u64 {
        self.decisions.get_or_create(&Labels { outcome }).get()
    }

    pub(crate) fn decided(&self, outcome: Outcome, seconds: f64) {
        self.decisions.get_or_create(&Labels { outcome }).inc();
        self.seconds.observe(seconds);
    }
}
