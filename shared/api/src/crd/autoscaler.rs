//! `SloAutoscaler`: replicas and size of one workload.

use std::collections::BTreeMap;

use k8s_openapi::api::autoscaling::v2::HorizontalPodAutoscalerBehavior;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, OwnerReference};
use kube::{CustomResource, KubeSchema};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

/// Bounds and behaviour of one workload's scaling.
#[derive(CustomResource, KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[kube(
    group = "msars.io",
    version = "v1alpha1",
    kind = "SloAutoscaler",
    plural = "sloautoscalers",
    singular = "sloautoscaler",
    shortname = "slas",
    category = "msars",
    namespaced,
    status = "SloAutoscalerStatus",
    derive = "PartialEq",
    validation = Rule::new("self.spec.minReplicas <= self.spec.maxReplicas").message("minReplicas must not be above maxReplicas"),
    printcolumn(name = "Target", type_ = "string", json_path = ".spec.targetRef.name"),
    printcolumn(name = "Mode", type_ = "string", json_path = ".spec.mode"),
    printcolumn(name = "Min", type_ = "integer", json_path = ".spec.minReplicas"),
    printcolumn(name = "Max", type_ = "integer", json_path = ".spec.maxReplicas"),
    printcolumn(name = "Replicas", type_ = "integer", json_path = ".status.currentReplicas"),
    printcolumn(name = "Wanted", type_ = "integer", json_path = ".status.desiredReplicas"),
    printcolumn(name = "Size-m", type_ = "integer", json_path = ".status.sizeMilli"),
    printcolumn(name = "Ready", type_ = "string", json_path = ".status.conditions[?(@.type==\"Ready\")].status"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp")
)]
#[serde(rename_all = "camelCase")]
pub struct SloAutoscalerSpec {
    /// What is scaled.
    pub target_ref: TargetRef,
    /// `off`, `recommend` or `auto`.
    #[serde(default = "recommend")]
    #[x_kube(validation = Rule::new("self in ['off', 'recommend', 'auto']").message("mode is off, recommend or auto"))]
    pub mode: String,
    /// Fewest replicas.
    #[serde(default = "one")]
    #[x_kube(validation = Rule::new("self >= 1").message("minReplicas must be at least 1"))]
    pub min_replicas: u32,
    /// Most replicas.
    #[serde(default = "ten")]
    #[x_kube(validation = Rule::new("self >= 1 && self <= 10000").message("maxReplicas must be from 1 to 10000"))]
    pub max_replicas: u32,
    /// Bounds of the size.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cpu: Option<CpuBounds>,
    /// HPA v2 behaviour; HPA's defaults unless given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "behavior")]
    pub behavior: Option<HorizontalPodAutoscalerBehavior>,
}

/// With the ranges and words that HPA's own validation asks for, which its published schema lacks.
fn behavior(_generator: &mut SchemaGenerator) -> Schema {
    let policies = json!({
        "description": "What one step may change; HPA's defaults unless given.",
        "type": "array", "maxItems": 16,
        "items": {
            "type": "object", "required": ["type", "value", "periodSeconds"],
            "properties": {
                "type": {"type": "string", "enum": ["Pods", "Percent"]},
                "value": {"type": "integer", "format": "int32", "minimum": 1},
                "periodSeconds": {"type": "integer", "format": "int32", "minimum": 1, "maximum": 1800},
            },
        },
    });
    let rules = json!({
        "type": "object",
        "properties": {
            "stabilizationWindowSeconds": {
                "description": "The safest recommendation of so many seconds counts: 0 upward, 300 downward unless given.",
                "type": "integer", "format": "int32", "minimum": 0, "maximum": 3600,
            },
            "selectPolicy": {
                "description": "Which policy counts; Max unless given, Disabled for no step at all.",
                "type": "string", "enum": ["Max", "Min", "Disabled"],
            },
            "policies": policies,
            "tolerance": {
                "description": "Share of the load that changes nothing, as a quantity such as 50m or 0.05; 100m unless given.",
                "x-kubernetes-int-or-string": true, "pattern": "^[0-9]+(\\.[0-9]+)?m?$", "minimum": 0,
            },
        },
    });
    json_schema!({
        "type": "object", "nullable": true,
        "properties": {"scaleUp": rules, "scaleDown": rules},
    })
}

fn recommend() -> String {
    "recommend".into()
}
fn one() -> u32 {
    1
}
fn ten() -> u32 {
    10
}

/// The target, by kind and name.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq, Eq, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct TargetRef {
    /// `apps/v1`.
    #[x_kube(validation = Rule::new("self == 'apps/v1'").message("targetRef.apiVersion must be apps/v1"))]
    pub api_version: String,
    /// `Deployment`.
    #[x_kube(validation = Rule::new("self == 'Deployment'").message("targetRef.kind must be Deployment"))]
    pub kind: String,
    /// Name, in this namespace.
    #[schemars(length(min = 1, max = 253))]
    pub name: String,
}

/// Bounds of the serving container's CPU.
#[derive(Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("self.minMilli <= self.maxMilli").message("cpu.minMilli must not be above cpu.maxMilli"))]
pub struct CpuBounds {
    /// Smallest limit, in thousandths of a core.
    #[x_kube(validation = Rule::new("self >= 1 && self <= 1000000").message("cpu.minMilli must be from 1 to 1000000"))]
    pub min_milli: u32,
    /// Largest limit, in thousandths of a core.
    #[x_kube(validation = Rule::new("self >= 1 && self <= 1000000").message("cpu.maxMilli must be from 1 to 1000000"))]
    pub max_milli: u32,
    /// Grid of sizes, in thousandths of a core.
    #[serde(default = "step")]
    #[x_kube(validation = Rule::new("self >= 1").message("cpu.stepMilli must be at least 1"))]
    pub step_milli: u32,
}

fn step() -> u32 {
    50
}

/// What is, what is wanted, and why.
#[derive(Serialize, Deserialize, Clone, Debug, Default, PartialEq, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SloAutoscalerStatus {
    /// The generation that this status speaks of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// Replicas of the Deployment.
    #[serde(default)]
    pub current_replicas: u32,
    /// Replicas wanted.
    #[serde(default)]
    pub desired_replicas: u32,
    /// Size of the serving container wanted for the running revision, in thousandths of a core.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub size_milli: Option<u32>,
    /// Size wanted per revision: what the pod webhook stamps at birth.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub sizes: Vec<WantedSize>,
    /// The last change, with its reason.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_change: Option<LastChange>,
    /// Windows and events of the behaviour, which outlive a leader: opaque to people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory: Option<String>,
    /// The HorizontalPodAutoscaler that was taken over, as it is created again when the workload is handed back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub adopted: Option<AdoptedAutoscaler>,
    /// Conditions in HPA's words; `Ready` sums up.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub conditions: Vec<Condition>,
}

/// A size wanted for a revision.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq, Eq, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct WantedSize {
    /// The revision's hash.
    pub revision: String,
    /// CPU limit, in thousandths of a core.
    pub size_milli: u32,
    /// Replicas that the split assumes.
    pub replicas: u32,
}

/// All of a HorizontalPodAutoscaler that creating it again needs.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct AdoptedAutoscaler {
    /// Its name.
    pub name: String,
    /// Its uid.
    pub uid: String,
    /// When it was stored, RFC 3339.
    pub at: String,
    /// Its labels.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    /// Its annotations.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, String>,
    /// Its owners.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub owner_references: Vec<OwnerReference>,
    /// Its whole spec in `autoscaling/v2`, fields that this version does not know included.
    #[schemars(schema_with = "any_object")]
    pub spec: Value,
}

fn any_object(_generator: &mut SchemaGenerator) -> Schema {
    json_schema!({"type": "object", "x-kubernetes-preserve-unknown-fields": true})
}

/// The last change that was made.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct LastChange {
    /// When, RFC 3339.
    pub at: String,
    /// Reason, one word.
    pub reason: String,
    /// Reason, one sentence with its numbers.
    pub message: String,
}
