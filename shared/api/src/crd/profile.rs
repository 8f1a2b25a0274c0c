//! `LoadLatencyProfile`: what a revision can do.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The load-latency profile of one revision of one Deployment.
#[derive(CustomResource, KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[kube(
    group = "msars.io",
    version = "v1alpha1",
    kind = "LoadLatencyProfile",
    plural = "loadlatencyprofiles",
    singular = "loadlatencyprofile",
    shortname = "llp",
    category = "msars",
    namespaced,
    status = "LoadLatencyProfileStatus",
    derive = "PartialEq",
    printcolumn(name = "Workload", type_ = "string", json_path = ".spec.workload"),
    printcolumn(name = "Revision", type_ = "string", json_path = ".spec.revision"),
    printcolumn(name = "Phase", type_ = "string", json_path = ".status.phase"),
    printcolumn(name = "Source", type_ = "string", json_path = ".status.source"),
    printcolumn(
        name = "Work-ms",
        type_ = "number",
        json_path = ".status.mechanism.workMs"
    ),
    printcolumn(name = "Points", type_ = "integer", json_path = ".status.pointCount"),
    printcolumn(
        name = "Age",
        type_ = "date",
        json_path = ".metadata.creationTimestamp"
    )
)]
#[serde(rename_all = "camelCase")]
pub struct LoadLatencyProfileSpec {
    /// The Deployment.
    #[x_kube(validation = Rule::new("size(self) >= 1 && size(self) <= 253").message("workload must name a Deployment"))]
    pub workload: String,
    /// The revision's hash.
    #[x_kube(validation = Rule::new("self.matches('^[0-9a-f]{20}$')").message("revision is the hash of a pod template: 20 hexadecimal digits"))]
    pub revision: String,
    /// The hash that ignores CPU sizes: revisions of one shape share a profile inside the profiled sizes.
    pub shape: String,
    /// Images of the template, for people.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub images: Vec<String>,
    /// Requests to replay, in the form of `msars.io/profile-request`; empty for passive learning.
    #[serde(default)]
    pub requests: String,
    /// Sizes wanted, in thousandths of a core.
    #[serde(default)]
    #[x_kube(validation = Rule::new("self.all(s, s >= 1 && s <= 1000000)").message("sizes are thousandths of a core, from 1 to 1000000"))]
    #[schemars(length(max = 16))]
    pub sizes_milli: Vec<u32>,
    /// Rates wanted, requests per second; chosen for information when empty.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[x_kube(validation = Rule::new("self.all(r, r > 0.0 && r <= 2000.0)").message("rates are requests per second, above 0 and at most 2000"))]
    #[schemars(length(max = 16))]
    pub rates: Vec<f64>,
}

/// Where a profile stands.
#[derive(Serialize, Deserialize, Clone, Copy, Debug, Default, PartialEq, Eq, JsonSchema)]
pub enum Phase {
    /// Waits for its turn.
    #[default]
    Queued,
    /// The shadow pod is on its way to Ready.
    Starting,
    /// Load is driven.
    Probing,
    /// The profile stands.
    Done,
    /// No profile came of it; the condition says why.
    Failed,
}

/// Where the points come from.
#[derive(Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq, JsonSchema)]
pub enum ProfileSource {
    /// A shadow pod.
    Shadow,
    /// Live pods.
    Passive,
    /// Neither: an assumption.
    Prior,
}

/// What was measured and what follows.
#[derive(Serialize, Deserialize, Clone, Debug, Default, PartialEq, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct LoadLatencyProfileStatus {
    /// The generation that this status speaks of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// Where it stands.
    #[serde(default)]
    pub phase: Phase,
    /// Where the points come from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<ProfileSource>,
    /// Number of points.
    #[serde(default)]
    pub point_count: u32,
    /// Measured windows.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub points: Vec<MeasuredPoint>,
    /// The mechanism fitted to the points.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mechanism: Option<FittedMechanism>,
    /// The percentile of the curve, in percent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub percentile: Option<f64>,
    /// Rate per pod → self-time quantile, per size.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub curve: Vec<SizeTable>,
    /// Half the width of the 95 % band of a quantile, as a share of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub half_width: Option<f64>,
    /// Live CPU per request over the profile's, less one, as `LLPDrift` last told it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub drift: Option<f64>,
    /// How long each step took.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seconds: Option<PhaseSeconds>,
    /// Conditions; `Ready` sums up.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub conditions: Vec<Condition>,
}

/// One measured window.
#[derive(Serialize, Deserialize, Clone, Copy, Debug, PartialEq, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct MeasuredPoint {
    /// CPU limit, in thousandths of a core.
    pub size_milli: u32,
    /// Offered requests per second.
    pub rate: f64,
    /// Length of the window.
    pub window_seconds: f64,
    /// Requests sent.
    pub requests: u64,
    /// Requests that failed.
    pub errors: u64,
    /// CPU seconds used by the serving container.
    pub cpu_seconds: f64,
    /// Median self time, ms.
    pub p50_ms: f64,
    /// p90 of self time, ms.
    pub p90_ms: f64,
    /// p99 of self time, ms.
    pub p99_ms: f64,
}

/// CPU work per request and what bounds it.
#[derive(Serialize, Deserialize, Clone, Copy, Debug, PartialEq, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct FittedMechanism {
    /// Mean CPU work per request, ms.
    pub work_ms: f64,
    /// Standard error of the mean work, as a share of it.
    pub work_error: f64,
    /// σ of the lognormal work.
    pub sigma: f64,
    /// Requests in service at once.
    pub workers: u32,
    /// Cores that the pod's threads can use.
    pub cores: f64,
    /// Factor by which measured points moved the simulated tail.
    pub correction: f64,
}

/// One size's table.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SizeTable {
    /// CPU limit, in thousandths of a core.
    pub size_milli: u32,
    /// Points by rising rate.
    pub knots: Vec<TableKnot>,
}

/// One entry of a table.
#[derive(Serialize, Deserialize, Clone, Copy, Debug, PartialEq, JsonSchema)]
pub struct TableKnot {
    /// Requests per second and pod.
    pub rate: f64,
    /// Self time at the percentile, ms.
    pub ms: f64,
}

/// How long each step took, in seconds.
#[derive(Serialize, Deserialize, Clone, Copy, Debug, Default, PartialEq, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PhaseSeconds {
    /// From the hold to the start of the shadow pod.
    pub queued: f64,
    /// Until the shadow pod was Ready.
    pub starting: f64,
    /// Windows, warm-up and resizes.
    pub probing: f64,
    /// Fit and curve.
    pub fitting: f64,
}
