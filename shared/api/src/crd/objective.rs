//! `ServiceLevelObjective`: what the team wants, and how it was split.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// One end-to-end latency objective of an application's entry service.
#[derive(CustomResource, KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[kube(
    group = "msars.io",
    version = "v1alpha1",
    kind = "ServiceLevelObjective",
    plural = "servicelevelobjectives",
    singular = "servicelevelobjective",
    shortname = "slo",
    category = "msars",
    namespaced,
    status = "ServiceLevelObjectiveStatus",
    derive = "PartialEq",
    printcolumn(
        name = "Application",
        type_ = "string",
        json_path = ".spec.application"
    ),
    printcolumn(name = "Entry", type_ = "string", json_path = ".spec.entry"),
    printcolumn(name = "Percentile", type_ = "number", json_path = ".spec.percentile"),
    printcolumn(name = "Target-ms", type_ = "number", json_path = ".spec.latencyMs"),
    printcolumn(
        name = "Observed-ms",
        type_ = "number",
        json_path = ".status.observed.quantileMs"
    ),
    printcolumn(
        name = "Attainment",
        type_ = "number",
        json_path = ".status.observed.attainment"
    ),
    printcolumn(
        name = "Budget-left",
        type_ = "number",
        json_path = ".status.errorBudget.left"
    ),
    printcolumn(
        name = "Ready",
        type_ = "string",
        json_path = ".status.conditions[?(@.type==\"Ready\")].status"
    ),
    printcolumn(
        name = "Age",
        type_ = "date",
        json_path = ".metadata.creationTimestamp"
    )
)]
#[serde(rename_all = "camelCase")]
pub struct ServiceLevelObjectiveSpec {
    /// The application: workloads with this `msars.io/application`, in this namespace.
    #[x_kube(validation = Rule::new("size(self) >= 1 && size(self) <= 63").message("application must have 1 to 63 characters"))]
    pub application: String,
    /// The Deployment that requests enter by.
    #[x_kube(validation = Rule::new("size(self) >= 1 && size(self) <= 253").message("entry must name a Deployment"))]
    pub entry: String,
    /// The percentile in percent: 99 is p99.
    #[x_kube(validation = Rule::new("self >= 50.0 && self < 100.0").message("percentile is in percent, from 50 to below 100, such as 99 or 99.9"))]
    pub percentile: f64,
    /// Latency at the percentile, in milliseconds.
    #[x_kube(validation = Rule::new("self > 0.0 && self <= 600000.0").message("latencyMs must be above 0 and at most 600000"))]
    pub latency_ms: f64,
    /// Share of requests that must meet `latencyMs` over the window; the percentile's share unless given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[x_kube(validation = Rule::new("self > 0.0 && self < 1.0").message("attainment is a share between 0 and 1, such as 0.99"))]
    pub attainment: Option<f64>,
    /// Window of the error budget, in hours.
    #[serde(default = "window_hours")]
    #[x_kube(validation = Rule::new("self >= 1 && self <= 2160").message("windowHours must be from 1 to 2160"))]
    pub window_hours: u32,
    /// Declared request classes; discovered from call counts when there are none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[x_kube(validation = Rule::new("size(self) <= 16").message("at most 16 chains"))]
    #[schemars(length(max = 16))]
    pub chains: Vec<ChainSpec>,
}

fn window_hours() -> u32 {
    720
}

/// A declared request class: its calls as a list of edges from the entry.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct ChainSpec {
    /// Name of the request class.
    #[schemars(length(min = 1, max = 63))]
    pub name: String,
    /// Share of the entry's requests, above 0 and at most 1.
    #[x_kube(validation = Rule::new("self > 0.0 && self <= 1.0").message("share is a part of the entry's requests, above 0 and at most 1"))]
    pub share: f64,
    /// Calls; caller and callee are Deployments.
    #[schemars(length(max = 64))]
    pub calls: Vec<EdgeSpec>,
}

/// One edge of a chain.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct EdgeSpec {
    /// The Deployment that calls.
    #[schemars(length(min = 1, max = 253))]
    pub caller: String,
    /// The Deployment that is called.
    #[schemars(length(min = 1, max = 253))]
    pub callee: String,
    /// Mean calls per request of the caller.
    #[x_kube(validation = Rule::new("self > 0.0").message("visits are mean calls per request of the caller, above 0"))]
    pub visits: f64,
    /// Most sequential calls of one request; the mean rounded up unless given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[x_kube(validation = Rule::new("self >= 1 && self <= 10000").message("maxVisits must be from 1 to 10000"))]
    pub max_visits: Option<u32>,
    /// How it is called relative to the caller's other calls.
    #[serde(default)]
    pub way: EdgeWay,
}

/// How an edge is called.
#[derive(Serialize, Deserialize, Clone, Copy, Debug, Default, PartialEq, Eq, JsonSchema)]
pub enum EdgeWay {
    /// One after the other; also what is unknown counts as.
    #[default]
    Sequential,
    /// At the same time as its parallel siblings.
    Parallel,
    /// The caller does not wait.
    Async,
}

/// How the objective was split, and how it is met.
#[derive(Serialize, Deserialize, Clone, Debug, Default, PartialEq, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ServiceLevelObjectiveStatus {
    /// The generation that this status speaks of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// Splits, one per chain.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub chains: Vec<ChainSplit>,
    /// The last measured window.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed: Option<Observed>,
    /// The error budget over `windowHours`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error_budget: Option<ErrorBudget>,
    /// Conditions; `Ready` sums up.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub conditions: Vec<Condition>,
}

/// One chain's split.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ChainSplit {
    /// The chain.
    pub name: String,
    /// How the split was found.
    pub method: String,
    /// Why it was computed, and what it rests on.
    pub reason: String,
    /// Observed over predicted end-to-end quantile that the split was corrected by.
    pub tail_factor: f64,
    /// Share of requests over the objective by the union bound.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model_bound: Option<f64>,
    /// The bound that it was made for, in milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub objective_ms: Option<f64>,
    /// Whether the split meets the objective.
    pub feasible: bool,
    /// Milliseconds that computing took.
    pub took_ms: f64,
    /// When, RFC 3339.
    pub at: String,
    /// Budgets per service and revision.
    pub services: Vec<ServiceBudget>,
}

/// A service's part.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ServiceBudget {
    /// The Deployment.
    pub workload: String,
    /// The revision's hash.
    pub revision: String,
    /// Self time per visit at the objective's percentile, in milliseconds.
    pub budget_ms: f64,
    /// Share of the objective, in percent.
    pub share_percent: f64,
    /// CPU limit that the split assumes, in thousandths of a core.
    pub size_milli: u32,
    /// Replicas that the split assumes.
    pub replicas: u32,
    /// What the budget rests on: `profile`, `passive` or `prior`; of a revision without a profile `earlier`, what the
    /// workload had before, or where it had none `observed`, what it takes.
    pub source: String,
}

/// End-to-end measurement of the entry over the last minutes.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Observed {
    /// Latency at the percentile in milliseconds, when enough requests were seen.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub quantile_ms: Option<f64>,
    /// Share of requests within the objective.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub attainment: Option<f64>,
    /// Requests in the window.
    pub requests: f64,
    /// End of the window, RFC 3339.
    pub at: String,
}

/// The error budget over `windowHours`, as far as metrics go back.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ErrorBudget {
    /// Share of requests that must be within `latencyMs`.
    pub target: f64,
    /// Share that was.
    pub attainment: f64,
    /// Requests in the window.
    pub requests: f64,
    /// Share of the budget that is left; negative when overspent.
    pub left: f64,
    /// Hours of the window that metrics cover.
    pub hours: f64,
    /// End of the window, RFC 3339.
    pub at: String,
}
