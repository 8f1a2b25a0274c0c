//! What metrics are called, as data: a preset is configuration, four are built in.

mod builtin;
mod check;

use serde::{Deserialize, Serialize};

pub use check::PresetError;

/// How a label is compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum MatchOp {
    /// Equal.
    #[serde(rename = "=")]
    Is,
    /// Not equal.
    #[serde(rename = "!=")]
    IsNot,
    /// The anchored RE2 expression matches.
    #[serde(rename = "=~")]
    Like,
    /// The anchored RE2 expression does not match.
    #[serde(rename = "!~")]
    Unlike,
}

impl MatchOp {
    pub(crate) fn text(self) -> &'static str {
        match self {
            Self::Is => "=",
            Self::IsNot => "!=",
            Self::Like => "=~",
            Self::Unlike => "!~",
        }
    }

    pub(crate) fn is_expression(self) -> bool {
        matches!(self, Self::Like | Self::Unlike)
    }

    /// Whether a label that meets the value passes.
    pub(crate) fn wants(self) -> bool {
        matches!(self, Self::Is | Self::Like)
    }
}

/// A condition on one label; the value is quoted when it is written.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Matcher {
    /// Label name.
    pub label: String,
    /// Comparison.
    pub op: MatchOp,
    /// Value or expression.
    pub value: String,
}

impl Matcher {
    pub(crate) fn new(label: &str, op: MatchOp, value: &str) -> Self {
        Self {
            label: label.into(),
            op,
            value: value.into(),
        }
    }
}

/// The unit of a duration metric.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum TimeUnit {
    /// Seconds, as Prometheus recommends.
    Seconds,
    /// Milliseconds.
    Milliseconds,
}

impl TimeUnit {
    /// Milliseconds in one unit.
    pub fn ms(self) -> f64 {
        match self {
            Self::Seconds => 1000.0,
            Self::Milliseconds => 1.0,
        }
    }
}

/// A counter with conditions of its own.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Counter {
    /// Metric name.
    pub metric: String,
    /// Conditions.
    #[serde(default)]
    pub matchers: Vec<Matcher>,
}

/// A classic histogram of durations; `_bucket`, `_sum` and `_count` are appended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Histogram {
    /// Metric name without suffix.
    pub metric: String,
    /// Unit of its bounds and sum.
    pub unit: TimeUnit,
    /// Conditions.
    #[serde(default)]
    pub matchers: Vec<Matcher>,
}

/// Where the workload's name stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum WorkloadFrom {
    /// In this label.
    Label(String),
    /// In the pod's name, `<workload>-<hash>-<suffix>`; right for names that Kubernetes did not cut (workloads of up
    /// to 46 characters).
    PodName,
}

/// Label names of request metrics.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Labels {
    /// Namespace of the workload.
    pub namespace: String,
    /// Name of the workload.
    pub workload: WorkloadFrom,
    /// Hash of the revision (`pod_template_hash`); without it, and with `PodName`, it is found in the pod's name.
    #[serde(default)]
    pub revision: Option<String>,
    /// Pod that exported the series: needed for `PodName`, and to leave shadow pods out by name. Without it and
    /// `revision` the warm-up of a new revision counts like any other request.
    #[serde(default)]
    pub pod: Option<String>,
}

/// Calls that a workload makes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Calls {
    /// How long the caller waited.
    pub wait: Histogram,
    /// Number of calls; the histogram's own count unless given.
    #[serde(default)]
    pub count: Option<Counter>,
    /// A call that meets any of these failed; without them failed calls of a copy are not seen.
    #[serde(default)]
    pub failed: Vec<Matcher>,
    /// Label names on the caller's side.
    pub labels: Labels,
    /// Label that names the callee; without it there are waits but no call graph.
    #[serde(default)]
    pub callee: Option<String>,
    /// Label that names the callee's namespace; without it every callee counts as one of the caller's namespace.
    #[serde(default)]
    pub callee_namespace: Option<String>,
}

/// The metric that is 1 for each pod whose last scrape worked, or that pushed something.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Alive {
    /// `up`.
    pub metric: String,
    /// Label of the pod's namespace.
    pub namespace: String,
    /// Label of the pod's name.
    pub pod: String,
    /// Conditions, such as the scrape job.
    #[serde(default)]
    pub matchers: Vec<Matcher>,
}

/// The kubelet's cAdvisor counters.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Cpu {
    /// CPU seconds.
    pub usage: String,
    /// CFS periods in which the container ran.
    pub periods: String,
    /// CFS periods in which it was throttled.
    pub throttled: String,
    /// Label of the pod's namespace.
    pub namespace: String,
    /// Label of the pod's name.
    pub pod: String,
    /// Label of the container's name.
    pub container: String,
    /// Conditions.
    #[serde(default)]
    pub matchers: Vec<Matcher>,
}

/// Names, labels and units of the metrics of one kind of application.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Preset {
    /// Its name.
    pub name: String,
    /// Request time, callee waits included.
    pub requests: Histogram,
    /// Number of requests where it is not the histogram's own count.
    #[serde(default)]
    pub counter: Option<Counter>,
    /// A request that meets any of these failed.
    #[serde(default)]
    pub failed: Vec<Matcher>,
    /// Time without callee waits.
    #[serde(default)]
    pub self_time: Option<Histogram>,
    /// Calls to others.
    #[serde(default)]
    pub calls: Option<Calls>,
    /// Label names of the request metrics.
    pub labels: Labels,
    /// What every request and call must meet: leaves out probes and shadow pods.
    #[serde(default)]
    pub only: Vec<Matcher>,
    /// Proof that a pod is scraped. Without it the age of each pod's newest request sample has to do, and a pod that was
    /// never asked counts as one that is not scraped; where `labels` name no pod, that of the workload's newest sample.
    #[serde(default)]
    pub alive: Option<Alive>,
    /// CPU counters.
    pub cpu: Cpu,
    /// CPU seconds that a program counts itself, read on a copy's own metrics page.
    #[serde(default)]
    pub process_cpu: Option<Counter>,
}

impl Preset {
    /// Names of the presets that are built in.
    pub const BUILT_IN: [&str; 4] = ["shop", "prometheus", "opentelemetry", "istio"];

    /// The built-in preset of this name.
    pub fn named(name: &str) -> Option<Self> {
        match name {
            "shop" => Some(Self::shop()),
            "prometheus" => Some(Self::prometheus()),
            "opentelemetry" => Some(Self::opentelemetry()),
            "istio" => Some(Self::istio()),
            _ => None,
        }
    }

    /// Labels of namespace and pod in the proof that a pod is scraped, where there is one.
    pub(crate) fn alive_labels(&self) -> Option<(&str, &str)> {
        match &self.alive {
            Some(alive) => Some((&alive.namespace, &alive.pod)),
            None => Some((&self.labels.namespace, self.labels.pod.as_deref()?)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_preset_survives_its_file_and_names_find_it() {
        for name in Preset::BUILT_IN {
            let preset = Preset::named(name).unwrap();
            assert_eq!(preset.name, name);
            assert_eq!(preset.check(), Ok(()));
            let text = serde_json::to_string(&preset).unwrap();
            assert_eq!(serde_json::from_str::<Preset>(&text).unwrap(), preset);
        }
        assert_eq!(Preset::named("statsd"), None);
    }
}
