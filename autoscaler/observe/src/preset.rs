//! What metrics are called, as data: a preset is configuration, four are built in.

mod builtin;

use serde::{Deserialize, Serialize};

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
    /// Hash of the revision (`pod_template_hash`); ignored with `PodName`, which finds it in the pod's name.
    #[serde(default)]
    pub revision: Option<String>,
    /// Pod that exported the series: needed for `PodName`, and to leave shadow pods out by name.
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
    /// Label names on the caller's side.
    pub labels: Labels,
    /// Label that names the callee; without it there are waits but no call graph.
    #[serde(default)]
    pub callee: Option<String>,
    /// Label that names the callee's namespace; without it every callee counts as one of the caller's namespace.
    #[serde(default)]
    pub callee_namespace: Option<String>,
}

/// The metric that is 1 for each pod whose last scrape worked.
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
    /// Proof that a pod is scraped; without it the age of a workload's newest request sample has to do.
    #[serde(default)]
    pub alive: Option<Alive>,
    /// CPU counters.
    pub cpu: Cpu,
}

/// Why a preset can't be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PresetError {
    /// A metric or label name that PromQL can't take unquoted.
    #[error("{0:?} is no metric or label name: letters, digits and _ only, no leading digit")]
    Name(String),
    /// `PodName` without a pod label.
    #[error("preset {0:?} reads workloads from pod names but names no pod label")]
    PodLabel(String),
}

impl PresetError {
    /// A bounded label for metrics and events.
    pub fn category(&self) -> &'static str {
        match self {
            Self::Name(_) => "InvalidMetricName",
            Self::PodLabel(_) => "PodLabelMissing",
        }
    }
}

impl Preset {
    /// The built-in preset of this name: `shop`, `prometheus`, `opentelemetry` or `istio`.
    pub fn named(name: &str) -> Option<Self> {
        match name {
            "shop" => Some(Self::shop()),
            "prometheus" => Some(Self::prometheus()),
            "opentelemetry" => Some(Self::opentelemetry()),
            "istio" => Some(Self::istio()),
            _ => None,
        }
    }

    /// Checks every name that is written into a query unquoted.
    pub fn check(&self) -> Result<(), PresetError> {
        let mut names: Vec<&str> = vec![
            &self.cpu.usage,
            &self.cpu.periods,
            &self.cpu.throttled,
            &self.cpu.namespace,
            &self.cpu.pod,
            &self.cpu.container,
        ];
        let mut matchers: Vec<&Matcher> = self.failed.iter().chain(&self.only).collect();
        matchers.extend(&self.cpu.matchers);
        let calls = self.calls.as_ref();
        for histogram in [
            Some(&self.requests),
            self.self_time.as_ref(),
            calls.map(|c| &c.wait),
        ]
        .into_iter()
        .flatten()
        {
            names.push(&histogram.metric);
            matchers.extend(&histogram.matchers);
        }
        for counter in [self.counter.as_ref(), calls.and_then(|c| c.count.as_ref())]
            .into_iter()
            .flatten()
        {
            names.push(&counter.metric);
            matchers.extend(&counter.matchers);
        }
        if let Some(alive) = &self.alive {
            names.extend([&alive.metric, &alive.namespace, &alive.pod].map(String::as_str));
            matchers.extend(&alive.matchers);
        }
        names.extend(calls.and_then(|c| c.callee.as_deref()));
        names.extend(calls.and_then(|c| c.callee_namespace.as_deref()));
        for labels in [Some(&self.labels), calls.map(|c| &c.labels)]
            .into_iter()
            .flatten()
        {
            names.push(&labels.namespace);
            names.extend(labels.revision.as_deref());
            names.extend(labels.pod.as_deref());
            match &labels.workload {
                WorkloadFrom::Label(name) => names.push(name),
                WorkloadFrom::PodName if labels.pod.is_none() => {
                    return Err(PresetError::PodLabel(self.name.clone()));
                }
                WorkloadFrom::PodName => {}
            }
        }
        names.extend(matchers.iter().map(|m| m.label.as_str()));
        match names.into_iter().find(|name| !is_name(name)) {
            Some(bad) => Err(PresetError::Name(bad.to_owned())),
            None => Ok(()),
        }
    }
}

fn is_name(name: &str) -> bool {
    let mut chars = name.chars();
    chars
        .next()
        .is_some_and(|c| c.is_ascii_alphabetic() || c == '_')
        && chars.all(|c| c.is_ascii_alphanumeric() || c == '_' || c == ':')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_preset_survives_its_file_and_names_find_it() {
        for name in ["shop", "prometheus", "opentelemetry", "istio"] {
            let preset = Preset::named(name).unwrap();
            assert_eq!(preset.name, name);
            assert_eq!(preset.check(), Ok(()));
            let text = serde_json::to_string(&preset).unwrap();
            assert_eq!(serde_json::from_str::<Preset>(&text).unwrap(), preset);
        }
        assert_eq!(Preset::named("statsd"), None);
    }

    #[test]
    fn names_that_would_change_a_query_are_refused() {
        let mut preset = Preset::shop();
        preset.requests.metric = "x} or vector(1".into();
        assert_eq!(preset.check().unwrap_err().category(), "InvalidMetricName");
        let mut preset = Preset::shop();
        preset.only[0].label = "1a".into();
        assert!(preset.check().is_err());
        let mut preset = Preset::prometheus();
        preset.labels.pod = None;
        assert_eq!(preset.check().unwrap_err().category(), "PodLabelMissing");
    }
}
