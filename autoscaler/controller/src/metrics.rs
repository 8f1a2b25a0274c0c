//! The autoscaler's metrics of itself. Every label is an enum: no name of a user's becomes a series.

mod labels;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use msars_api::annotations::Mode;
use msars_api::crd::SloAutoscaler;
use msars_budget::Method;
use msars_client::apply::{Applied, ApplyError, apply};
use msars_client::unread::UnreadObjects;
use msars_domain::Action;
use msars_observe::{Hears, PromError};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;

use self::labels::{
    ProfileLabels, QueryLabels, QueryOutcome, QueueLabels, Ready, SplitLabels, SplitMethod,
    TickLabels, WorkloadLabels, WorkloadMode, WriteKind, WriteLabels, WriteOutcome,
};
pub use self::labels::{ProfileOutcome, Queue, TickOutcome};

/// Seconds; a tick has 15.
const TICK: [f64; 8] = [0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 15.0];
/// Seconds; a query has 10.
const QUERY: [f64; 8] = [0.005, 0.02, 0.05, 0.2, 0.5, 1.0, 2.5, 10.0];
/// Seconds.
const SPLIT: [f64; 7] = [0.001, 0.005, 0.02, 0.1, 0.5, 2.0, 10.0];

/// The metrics; clones share their values.
#[derive(Clone, Debug)]
pub struct Metrics {
    ticks: Family<TickLabels, Counter>,
    tick_seconds: Histogram,
    queries: Family<QueryLabels, Counter>,
    query_seconds: Histogram,
    writes: Family<WriteLabels, Counter>,
    holds: Gauge,
    profiles: Family<ProfileLabels, Counter>,
    pruned: Counter,
    splits: Family<SplitLabels, Counter>,
    split_seconds: Histogram,
    workloads: Family<WorkloadLabels, Gauge>,
    leader: Gauge,
    drops: Family<QueueLabels, Counter>,
    unread: UnreadObjects,
}

impl Default for Metrics {
    fn default() -> Self {
        Self {
            ticks: Family::default(),
            tick_seconds: Histogram::new(TICK),
            queries: Family::default(),
            query_seconds: Histogram::new(QUERY),
            writes: Family::default(),
            holds: Gauge::default(),
            profiles: Family::default(),
            pruned: Counter::default(),
            splits: Family::default(),
            split_seconds: Histogram::new(SPLIT),
            workloads: Family::default(),
            leader: Gauge::default(),
            drops: Family::default(),
            unread: UnreadObjects::default(),
        }
    }
}

impl Metrics {
    /// Registers the metrics in `registry`.
    pub fn register(registry: &mut Registry) -> Self {
        let unread = UnreadObjects::register(registry);
        let all = registry.sub_registry_with_prefix("msars");
        let it = Self {
            unread,
            ..Self::default()
        };
        all.register("ticks", "Ticks by outcome", it.ticks.clone());
        all.register(
            "tick_seconds",
            "Time from the answers about all workloads to their last write",
            it.tick_seconds.clone(),
        );
        all.register(
            "prometheus_queries",
            "Queries to Prometheus by outcome",
            it.queries.clone(),
        );
        all.register(
            "prometheus_query_seconds",
            "Time of a query to Prometheus, whatever its outcome",
            it.query_seconds.clone(),
        );
        all.register(
            "api_writes",
            "Writes to users' objects and shadow pods by action and outcome",
            it.writes.clone(),
        );
        all.register("holds_open", "Revisions held now", it.holds.clone());
        all.register(
            "profiles",
            "Profiles by shadow pods, by outcome",
            it.profiles.clone(),
        );
        all.register(
            "profiles_pruned",
            "Profiles deleted because no revision needs them",
            it.pruned.clone(),
        );
        all.register(
            "splits",
            "Splits of objectives by method",
            it.splits.clone(),
        );
        all.register(
            "split_seconds",
            "Time of computing a split",
            it.split_seconds.clone(),
        );
        all.register(
            "workloads",
            "Workloads in reach by mode and by their autoscaler's condition Ready; the leader counts",
            it.workloads.clone(),
        );
        all.register(
            "leader",
            "1 while this replica leads, else 0",
            it.leader.clone(),
        );
        all.register(
            "queue_drops",
            "Work that a full queue turned away, by queue",
            it.drops.clone(),
        );
        it.begin();
        it
    }

    /// Every series begins at 0.
    fn begin(&self) {
        self.leads(false);
        for outcome in TickOutcome::ALL.iter().copied() {
            drop(self.ticks.get_or_create(&TickLabels { outcome }));
        }
        for outcome in QueryOutcome::ALL.iter().copied() {
            drop(self.queries.get_or_create(&QueryLabels { outcome }));
        }
        for action in WriteKind::ALL.iter().copied() {
            for outcome in WriteOutcome::ALL.iter().copied() {
                drop(self.writes.get_or_create(&WriteLabels { action, outcome }));
            }
        }
        for outcome in ProfileOutcome::ALL.iter().copied() {
            drop(self.profiles.get_or_create(&ProfileLabels { outcome }));
        }
        for method in SplitMethod::ALL.iter().copied() {
            drop(self.splits.get_or_create(&SplitLabels { method }));
        }
        for queue in Queue::ALL.iter().copied() {
            drop(self.drops.get_or_create(&QueueLabels { queue }));
        }
    }

    /// Performs one action and counts how it ended.
    pub async fn apply(
        &self,
        client: &kube::Client,
        action: &Action,
    ) -> Result<Applied, ApplyError> {
        let ended = apply(client, action).await;
        self.wrote(action, &ended);
        ended
    }

    fn wrote(&self, action: &Action, ended: &Result<Applied, ApplyError>) {
        let labels = WriteLabels {
            action: action.into(),
            outcome: ended.into(),
        };
        self.writes.get_or_create(&labels).inc();
    }

    /// What counts the queries of a client of Prometheus.
    pub fn hears(&self) -> Hears {
        let it = self.clone();
        Hears::new(Arc::new(move |error, took| it.asked(error, took)))
    }

    fn asked(&self, error: Option<&PromError>, took: Duration) {
        let outcome = QueryOutcome::of(error);
        self.queries.get_or_create(&QueryLabels { outcome }).inc();
        self.query_seconds.observe(took.as_secs_f64());
    }

    /// Counts a tick.
    pub fn ticked(&self, outcome: TickOutcome, took: Duration) {
        self.ticks.get_or_create(&TickLabels { outcome }).inc();
        self.tick_seconds.observe(took.as_secs_f64());
        if outcome == TickOutcome::Busy {
            self.dropped(Queue::Ticks);
        }
    }

    /// Counts work that a queue had no room for.
    pub fn dropped(&self, queue: Queue) {
        self.drops.get_or_create(&QueueLabels { queue }).inc();
    }

    /// Counts a profile.
    pub fn profiled(&self, outcome: ProfileOutcome) {
        self.profiles
            .get_or_create(&ProfileLabels { outcome })
            .inc();
    }

    /// Counts a profile that was deleted because no revision needs it.
    pub fn pruned(&self) {
        self.pruned.inc();
    }

    /// Counts a split; `None` when there was none.
    pub fn split(&self, method: Option<Method>, seconds: f64) {
        let method = method.into();
        self.splits.get_or_create(&SplitLabels { method }).inc();
        self.split_seconds.observe(seconds);
    }

    /// How many revisions are held.
    pub fn held(&self, holds: usize) {
        self.holds.set(i64::try_from(holds).unwrap_or(i64::MAX));
    }

    /// How many objects cannot be read; every replica tells, leading or not.
    pub fn unread(&self) -> &UnreadObjects {
        &self.unread
    }

    /// Which workloads are in reach, with their autoscalers.
    pub fn workloads<'a>(&self, all: impl Iterator<Item = (Mode, Option<&'a SloAutoscaler>)>) {
        let mut counts: HashMap<WorkloadLabels, i64> = HashMap::new();
        for (mode, autoscaler) in all {
            let labels = WorkloadLabels {
                mode: mode.into(),
                ready: Ready::of(autoscaler),
            };
            *counts.entry(labels).or_default() += 1;
        }
        for mode in WorkloadMode::ALL.iter().copied() {
            for ready in Ready::ALL.iter().copied() {
                let labels = WorkloadLabels { mode, ready };
                let count = counts.get(&labels).copied().unwrap_or(0);
                self.workloads.get_or_create(&labels).set(count);
            }
        }
    }

    /// Whether this replica leads; one that does not speaks of no workloads and no holds.
    pub fn leads(&self, leads: bool) {
        self.leader.set(i64::from(leads));
        if !leads {
            self.workloads(std::iter::empty());
            self.held(0);
        }
    }
}

#[cfg(test)]
mod tests {
    use msars_client::apply::ApplyError;
    use msars_domain::ObjectKey;
    use serde_json::json;

    use super::*;

    fn text(registry: &Registry) -> String {
        let mut out = String::new();
        prometheus_client::encoding::text::encode(&mut out, registry).unwrap();
        out
    }

    #[test]
    fn what_happened_is_counted_under_its_kind() {
        let mut registry = Registry::default();
        let metrics = Metrics::register(&mut registry);
        let second = Duration::from_secs(1);
        metrics.ticked(TickOutcome::Decided, second);
        metrics.ticked(TickOutcome::Busy, second);
        metrics.asked(None, second);
        metrics.asked(Some(&PromError::Timeout(second)), second);
        let scale = Action::Scale {
            target: ObjectKey::new("shop", "carts"),
            from: 1,
            to: 2,
        };
        metrics.wrote(&scale, &Ok(Applied::Conflict));
        let refused = ApplyError::Refused {
            action: "scale",
            target: "shop/carts".into(),
            message: "quota".into(),
        };
        metrics.wrote(&scale, &Err(refused));
        metrics.profiled(ProfileOutcome::Callee);
        metrics.profiled(ProfileOutcome::Done);
        metrics.pruned();
        metrics.split(Some(Method::Enumerated), 0.004);
        metrics.split(None, 0.004);
        metrics.dropped(Queue::Profiles);
        metrics.held(2);
        let autoscaler: SloAutoscaler = serde_json::from_value(json!({
            "apiVersion": "msars.io/v1alpha1", "kind": "SloAutoscaler", "metadata": {"name": "carts"},
            "spec": {"targetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "carts"}},
            "status": {"conditions": [{"type": "Ready", "status": "True", "reason": "Scaling", "message": "",
                "lastTransitionTime": "2026-03-01T12:00:00Z"}]},
        }))
        .unwrap();
        let all = [
            (Mode::Auto, Some(&autoscaler)),
            (Mode::Auto, None),
            (Mode::Recommend, None),
        ];
        metrics.leads(true);
        metrics.workloads(all.into_iter());
        let found = text(&registry);
        for line in [
            "msars_ticks_total{outcome=\"Decided\"} 1",
            "msars_ticks_total{outcome=\"Busy\"} 1",
            "msars_tick_seconds_count 2",
            "msars_prometheus_queries_total{outcome=\"Late\"} 1",
            "msars_prometheus_query_seconds_count 2",
            "msars_api_writes_total{action=\"Scale\",outcome=\"Conflict\"} 1",
            "msars_api_writes_total{action=\"Scale\",outcome=\"Refused\"} 1",
            "msars_holds_open 2",
            "msars_profiles_total{outcome=\"Callee\"} 1",
            "msars_profiles_total{outcome=\"Done\"} 1",
            "msars_profiles_pruned_total 1",
            "msars_splits_total{method=\"Enumerated\"} 1",
            "msars_splits_total{method=\"Failed\"} 1",
            "msars_split_seconds_count 2",
            "msars_workloads{mode=\"Auto\",ready=\"True\"} 1",
            "msars_workloads{mode=\"Auto\",ready=\"Unknown\"} 1",
            "msars_workloads{mode=\"Recommend\",ready=\"Unknown\"} 1",
            "msars_leader 1",
            "msars_queue_drops_total{queue=\"Ticks\"} 1",
            "msars_queue_drops_total{queue=\"Profiles\"} 1",
            "msars_api_writes_total{action=\"CreateAutoscaler\",outcome=\"Forbidden\"} 0",
            "msars_unreadable_objects{kind=\"SloAutoscaler\"} 0",
        ] {
            assert!(found.lines().any(|found| found == line), "{line}\n{found}");
        }
    }

    #[test]
    fn a_replica_that_does_not_lead_speaks_of_no_workloads() {
        let mut registry = Registry::default();
        let metrics = Metrics::register(&mut registry);
        metrics.leads(true);
        metrics.held(2);
        metrics.workloads([(Mode::Auto, None)].into_iter());
        metrics.leads(false);
        let found = text(&registry);
        let counted = |line: &str| line.starts_with("msars_workloads{") && !line.ends_with(" 0");
        assert!(!found.lines().any(counted), "{found}");
        assert!(found.contains("msars_leader 0\n") && found.contains("msars_holds_open 0\n"));
    }
}
