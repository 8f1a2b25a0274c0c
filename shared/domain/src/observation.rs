//! Everything one decision about one workload may look at: metrics, pods, bounds, objective and the user's wishes.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::{Behavior, Bytes, Curve, MilliCpu, Millis, Percentile, Rate, Signals};

/// CPU of the serving container.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct CpuSize {
    /// The request.
    pub request: MilliCpu,
    /// The limit, where there is one.
    pub limit: Option<MilliCpu>,
}

impl CpuSize {
    /// What a profile calls the size: the limit, and without one the request.
    pub fn size(self) -> MilliCpu {
        self.limit.unwrap_or(self.request)
    }

    /// This template scaled to another size: the request keeps its ratio to the limit and stays below it where it was
    /// below, so that the QoS class stays; without a limit only the request moves. It is rounded up: a template that keeps a
    /// LimitRange's `maxLimitRequestRatio` keeps it at any size.
    #[must_use]
    pub fn scaled_to(self, size: MilliCpu) -> Self {
        let Some(limit) = self.limit else {
            return Self {
                request: size,
                limit: None,
            };
        };
        let request = if self.request >= limit {
            size.0
        } else {
            let exact = u64::from(size.0) * u64::from(self.request.0);
            let exact = exact.div_ceil(u64::from(limit.0.max(1)));
            (exact as u32).min(size.0.saturating_sub(1)).max(1)
        };
        Self {
            request: MilliCpu(request),
            limit: Some(size),
        }
    }
}

/// The pod's quality-of-service class.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Qos {
    /// Requests equal limits in every container.
    Guaranteed,
    /// Something is requested.
    Burstable,
    /// Nothing is; such a pod cannot be resized.
    BestEffort,
}

/// Where a pod's last in-place resize stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Resize {
    /// Nothing pending: asked and actual agree as far as the kubelet is concerned.
    None,
    /// Being actuated.
    InProgress,
    /// `PodResizePending` with reason `Deferred`: feasible, but not now.
    Deferred {
        /// Since when.
        since: Timestamp,
    },
    /// `PodResizePending` with reason `Infeasible`: never on this node.
    Infeasible {
        /// The size that was refused.
        size: MilliCpu,
    },
    /// `PodResizeInProgress` with reason `Error`: the kubelet tries again.
    Error,
}

/// One serving pod. Shadow pods and pods being deleted are not listed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PodState {
    /// Name, in the workload's namespace.
    pub name: String,
    /// Uid.
    pub uid: String,
    /// Hash of its template.
    pub revision: String,
    /// The Ready condition.
    pub ready: bool,
    /// When it was created.
    pub born: Timestamp,
    /// `spec…resources`: what was asked for.
    pub asked: CpuSize,
    /// `status…resources`: what it has.
    pub actual: CpuSize,
    /// The pending resize.
    pub resize: Resize,
    /// Its size is left alone: somebody else resized it since, or a resize would restart its container.
    pub foreign: bool,
    /// It has never been Ready.
    #[serde(default)]
    pub starting: bool,
    /// No node has room for it: more pods would only wait beside it.
    #[serde(default)]
    pub unschedulable: bool,
}

/// CPU sizes that may be asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct CpuBounds {
    /// Smallest size.
    pub min: MilliCpu,
    /// Largest size.
    pub max: MilliCpu,
    /// Distance between sizes; at least 1m.
    pub step: MilliCpu,
}

/// One revision of the workload that runs or is about to.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RevisionState {
    /// Hash of its template.
    pub hash: String,
    /// The newest template: the one that counts alone when nothing rolls.
    pub current: bool,
    /// Self-time budget per visit (the partial SLO); `None` when no objective reaches this workload.
    pub budget: Option<Millis>,
    /// The percentile at which budget and curve are stated.
    pub percentile: Percentile,
    /// Its load-latency profile.
    pub curve: Option<Curve>,
    /// Live CPU per request over the profile's, where measured. Above 1 shrinks the curve's rates.
    pub work_ratio: Option<f64>,
}

/// What quotas of the namespace still allow beyond what is used; `None` is unlimited.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Headroom {
    /// `requests.cpu`.
    pub requests: Option<MilliCpu>,
    /// `limits.cpu`.
    pub limits: Option<MilliCpu>,
    /// `pods`.
    pub pods: Option<u32>,
    /// `requests.memory`.
    #[serde(default)]
    pub request_memory: Option<Bytes>,
    /// `limits.memory`.
    #[serde(default)]
    pub limit_memory: Option<Bytes>,
}

/// One CPU figure of a pod without its serving container.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Beside {
    /// What the containers that run with the serving one add up to.
    pub others: MilliCpu,
    /// What the pod takes at least, for its init containers or by its own resources.
    pub least: MilliCpu,
}

impl Beside {
    /// The whole pod's figure at a serving container's.
    pub fn with(self, serving: MilliCpu) -> MilliCpu {
        MilliCpu(self.others.0.saturating_add(serving.0)).max(self.least)
    }
}

/// What a new pod takes of quotas beside its serving container's CPU.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct PodCost {
    /// CPU requests.
    pub requests: Beside,
    /// CPU limits.
    pub limits: Beside,
    /// Memory requests of the whole pod.
    pub request_memory: Bytes,
    /// Memory limits of the whole pod.
    pub limit_memory: Bytes,
}

/// Another autoscaler in an acting mode on the same target.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rival {
    /// Kind: HorizontalPodAutoscaler, ScaledObject, VerticalPodAutoscaler.
    pub kind: String,
    /// Name, in the workload's namespace.
    pub name: String,
}

/// A rate at one instant, for forecasters.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct RateSample {
    /// When.
    pub at: Timestamp,
    /// Requests per second into the workload.
    pub rate: Rate,
}

/// The user's switches on one workload.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Wishes {
    /// Mode `auto` with the rights to write; otherwise a decision shows what it would do and writes nothing.
    pub acts: bool,
    /// Nothing changes.
    pub pause: bool,
    /// Nothing shrinks.
    pub pause_scale_down: bool,
    /// As many replicas as allowed.
    pub emergency: bool,
}

/// One workload at one instant.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Observation {
    /// Metrics, with the workload's name.
    pub signals: Signals,
    /// Recent rates, oldest first; may be empty.
    pub history: Vec<RateSample>,
    /// Requests per second that the copies of callers which are being profiled bring on top of its load; none where no
    /// profile reaches it. Pods grow in place for them, as far as they may.
    #[serde(default)]
    pub guests: Option<Rate>,
    /// The serving container.
    pub container: String,
    /// The user's switches.
    pub wishes: Wishes,
    /// Serving pods.
    pub pods: Vec<PodState>,
    /// `spec.replicas` as read; 0 is the user's implicit pause.
    pub replicas: u32,
    /// How many of them have no pod at all, not even one that waits for a node: the ReplicaSet has not created it.
    #[serde(default)]
    pub uncreated: u32,
    /// Why, in the words of the Deployment's condition `ReplicaFailure`.
    #[serde(default)]
    pub create_failure: Option<String>,
    /// Fewest replicas, at least 1.
    pub min_replicas: u32,
    /// Most replicas.
    pub max_replicas: u32,
    /// Sizes allowed: the user's bounds within any LimitRange.
    pub cpu: CpuBounds,
    /// The template's CPU.
    pub template: CpuSize,
    /// The template's class.
    pub qos: Qos,
    /// Whether the API server offers `pods/resize` and the template does not say that a change of CPU restarts the
    /// container; `None` until the server has said so.
    #[serde(default)]
    pub resizable: Option<bool>,
    /// Where the template says so: a path into the Deployment.
    #[serde(default)]
    pub restarts: Option<String>,
    /// Revisions in play.
    pub revisions: Vec<RevisionState>,
    /// A hold or a rollout is under way.
    pub rolling: bool,
    /// The rollout may last for ever: its user paused it midway, or it passed its progress deadline. It keeps nothing from
    /// shrinking.
    #[serde(default)]
    pub lasting: bool,
    /// A learned policy earned the right to go below the analytic one.
    pub promoted: bool,
    /// How fast and how far replicas may move.
    pub behavior: Behavior,
    /// What quotas leave.
    pub headroom: Headroom,
    /// What a new pod takes of them.
    #[serde(default)]
    pub cost: PodCost,
    /// The quotas that bound it, by name.
    #[serde(default)]
    pub quotas: Vec<String>,
    /// A second autoscaler.
    pub rival: Option<Rival>,
    /// A field manager that keeps `spec.replicas` as its own (GitOps).
    pub declared_by: Option<String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cpu(request: u32, limit: Option<u32>) -> CpuSize {
        CpuSize {
            request: MilliCpu(request),
            limit: limit.map(MilliCpu),
        }
    }

    #[test]
    fn a_scaled_size_keeps_the_class() {
        for (template, size, scaled) in [
            (cpu(200, Some(200)), 500, cpu(500, Some(500))),
            (cpu(100, Some(400)), 800, cpu(200, Some(800))),
            (cpu(399, Some(400)), 10, cpu(9, Some(10))),
            (cpu(1, Some(1000)), 100, cpu(1, Some(100))),
            // A limit of three times the request stays within a ratio of three.
            (cpu(100, Some(300)), 200, cpu(67, Some(200))),
            (cpu(250, None), 700, cpu(700, None)),
        ] {
            assert_eq!(template.scaled_to(MilliCpu(size)), scaled, "{template:?}");
        }
    }
}
