//! Counters and the latency histogram of the webhook.

use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{counter::Counter, family::Family, gauge::Gauge, histogram::Histogram},
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
    ready: Gauge,
    pub(crate) reloads: Counter,
    pub(crate) refused_certificates: Counter,
}

impl Metrics {
    /// Registers the metrics in `registry`.
    pub fn register(registry: &mut Registry) -> Self {
        let metrics = Self {
            decisions: Family::default(),
            seconds: Histogram::new(BUCKETS),
            ready: Gauge::default(),
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
            "Changed certificate files that were unreadable or unusable, and tries to start with unusable ones",
            metrics.refused_certificates.clone(),
        );
        all.register(
            "ready",
            "1 while this replica is ready to decide, else 0",
            metrics.ready.clone(),
        );
        metrics
    }

    /// Reviews that ended in `outcome` so far.
    pub fn count(&self, outcome: Outcome) -> u64 {
        self.decisions.get_or_create(&Labels { outcome }).get()
    }

    /// Certificates that were not taken into use so far.
    pub fn refused(&self) -> u64 {
        self.refused_certificates.get()
    }

    /// Whether this replica is ready to decide.
    pub fn readiness(&self, ready: bool) {
        self.ready.set(i64::from(ready));
    }

    pub(crate) fn decided(&self, outcome: Outcome, seconds: f64) {
        self.decisions.get_or_create(&Labels { outcome }).inc();
        self.seconds.observe(seconds);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_replica_is_not_ready_until_it_says_so() {
        let mut registry = Registry::default();
        let metrics = Metrics::register(&mut registry);
        let says = |line: &str| {
            let mut text = String::new();
            prometheus_client::encoding::text::encode(&mut text, &registry).unwrap();
            text.lines().any(|found| found == line)
        };
        assert!(says("msars_admission_ready 0"));
        metrics.readiness(true);
        assert!(says("msars_admission_ready 1"));
        metrics.readiness(false);
        assert!(says("msars_admission_ready 0"));
        assert!(says("msars_admission_refused_certificates_total 0"));
    }
}
