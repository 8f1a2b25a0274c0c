//! Objects and metrics → one [`Observation`] per workload. Pure.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Pod, ResourceQuota};
use msars_api::annotations::Mode;
use msars_api::crd::{ServiceLevelObjective, SloAutoscaler};
use msars_domain::{
    CpuBounds, CpuSize, MilliCpu, Millis, ObjectKey, Observation, Percentile, PodState, RateSample,
    Signals, Wishes,
};
use msars_gate::serving;
use msars_observe::Revision;
use serde_json::Value;

use super::revisions::revisions;
use super::takeover::rehearses;
use super::{behavior::behavior, pod, rivals, room};
use crate::autoscalers;
use crate::pods::{Serving, shadow};
use crate::profiles::{self, Known};
use crate::world::Workload;
use crate::world::scalers::Scalers;
use crate::world::template::qos;

/// The percentile of a workload that no objective reaches.
const USUAL: f64 = 0.99;

/// A self-time budget at its percentile.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Budget {
    /// Self time per visit.
    pub ms: Millis,
    /// The objective's percentile.
    pub percentile: Percentile,
}

/// Budgets by workload and revision: the tightest over all chains of all objectives.
pub type Budgets = BTreeMap<(ObjectKey, String), Budget>;

/// Reads all objectives' splits.
pub fn budgets(objectives: &[Arc<ServiceLevelObjective>]) -> Budgets {
    let mut out = Budgets::new();
    for slo in objectives {
        let Some(namespace) = slo.metadata.namespace.as_deref() else {
            continue;
        };
        let Ok(percentile) = Percentile::new(slo.spec.percentile / 100.0) else {
            continue;
        };
        let chains = slo.status.iter().flat_map(|status| &status.chains);
        for service in chains.flat_map(|chain| &chain.services) {
            let Ok(ms) = Millis::new(service.budget_ms) else {
                continue;
            };
            let key = ObjectKey::new(namespace, &service.workload);
            let budget = Budget { ms, percentile };
            out.entry((key, service.revision.clone()))
                .and_modify(|kept| {
                    if ms < kept.ms {
                        *kept = budget;
                    }
                })
                .or_insert(budget);
        }
    }
    out
}

/// The percentile of the objective that covers a workload, and p99 without one.
pub fn percentile(
    objectives: &[Arc<ServiceLevelObjective>],
    workload: &Workload,
) -> Option<Percentile> {
    let covers = |slo: &&Arc<ServiceLevelObjective>| {
        slo.metadata.namespace.as_deref() == Some(&workload.key.namespace)
            && slo.spec.application == workload.application()
    };
    let found = objectives.iter().find(covers);
    let share = found.map_or(USUAL, |slo| slo.spec.percentile / 100.0);
    // A spoilt objective counts as none.
    Percentile::new(share)
        .or_else(|_| Percentile::new(USUAL))
        .ok()
}

/// Namespaces in which a shadow pod runs: their windows hold its load.
pub fn profiling(pods: &[Arc<Pod>]) -> BTreeSet<String> {
    pods.iter()
        .filter(|pod| shadow(pod))
        .filter_map(|pod| pod.metadata.namespace.clone())
        .collect()
}

/// What all workloads of a tick share.
#[derive(Debug)]
pub struct Around {
    /// Budgets.
    pub budgets: Budgets,
    /// Finished profiles by workload and revision, with the hash of the template's shape.
    pub known: BTreeMap<(ObjectKey, String), (String, Known)>,
    /// When.
    pub now: Timestamp,
    /// Second autoscalers.
    pub rivals: Scalers,
    /// Namespaces in which nothing may be written.
    pub ungranted: BTreeSet<String>,
    /// Quotas.
    pub quotas: Vec<Arc<ResourceQuota>>,
    /// Namespaces with shadow pods.
    pub profiling: BTreeSet<String>,
    /// Namespace and name of applications in which a rollout is held or under way.
    pub changing: BTreeSet<(String, String)>,
    /// Whether the API server offers `pods/resize`, when it has said so.
    pub resizable: Option<bool>,
    /// CPU of the largest node.
    pub node: Option<MilliCpu>,
}

/// What one workload brings.
#[derive(Debug)]
pub struct One<'a> {
    /// The Deployment.
    pub workload: &'a Workload,
    /// Its autoscaler.
    pub autoscaler: &'a SloAutoscaler,
    /// At which its metrics were asked for.
    pub percentile: Percentile,
    /// Its serving pods.
    pub serving: &'a [Serving],
    /// Its metrics.
    pub signals: Signals,
    /// Its metrics per `pod-template-hash`.
    pub live: Vec<&'a Revision>,
    /// Its recent rates.
    pub history: Vec<RateSample>,
    /// When we last changed its replicas.
    pub wrote: Option<Timestamp>,
}

/// Puts everything together.
pub fn observation(around: &Around, one: One<'_>) -> Observation {
    let workload = one.workload;
    let spec = &one.autoscaler.spec;
    let (container, template) = container(workload);
    let namespace = &workload.key.namespace;
    let qos = qos(workload.template());
    let settings = &workload.settings;
    let acts = acts(workload, one.autoscaler);
    // While the other autoscaler still scales, a decision only shows that it could be made.
    let rehearses = acts && rehearses(around, &one);
    let rival = rivals::rival(&around.rivals, &workload.key);
    let (min_replicas, max_replicas) = replicas(workload, one.autoscaler);
    let cost = room::cost(one.serving, workload.template(), &container);
    Observation {
        wishes: Wishes {
            acts: acts && !rehearses && !around.ungranted.contains(namespace),
            pause: settings.pause,
            pause_scale_down: settings.pause_scale_down,
            emergency: settings.emergency,
        },
        pods: pods(workload, one.serving, &container),
        container,
        replicas: workload.replicas,
        uncreated: workload.replicas.saturating_sub(one.serving.len() as u32),
        create_failure: room::create_failure(&workload.object),
        min_replicas,
        max_replicas,
        cpu: cpu_bounds(one.autoscaler, workload, template, around.node),
        template,
        qos,
        resizable: (around.resizable).map(|offered| offered && workload.restarts.is_none()),
        restarts: workload.restarts.clone(),
        revisions: revisions(around, workload, one.percentile, &one.live),
        // Windows of a namespace in which a shadow pod is driven hold its load: by them nothing shrinks either.
        rolling: rolling(workload)
            || around.profiling.contains(namespace)
            || around.changing.contains(&workload.member_of()),
        promoted: false,
        behavior: behavior(spec.behavior.as_ref().or(workload.behavior.as_ref())),
        headroom: room::headroom(&around.quotas, namespace, workload.template(), qos),
        cost,
        quotas: room::names(&around.quotas, namespace, workload.template(), qos),
        rival: rival.filter(|_| !rehearses),
        declared_by: rivals::keeper(&workload.object, one.wrote, around.now)
            .map(|keeper| keeper.manager),
        signals: one.signals,
        history: one.history,
    }
}

/// Whether the product acts on a workload: its annotation and its autoscaler both say so.
pub fn acts(workload: &Workload, autoscaler: &SloAutoscaler) -> bool {
    workload.settings.mode == Mode::Auto && autoscaler.spec.mode == "auto"
}

/// Fewest and most replicas. Where the object is ours, what the annotations ask for counts at once, not only when it is
/// written there: whoever lowers the most and scales in one go is not taken for a stranger.
fn replicas(workload: &Workload, autoscaler: &SloAutoscaler) -> (u32, u32) {
    if autoscalers::ours(autoscaler, workload) {
        return autoscalers::bounds(workload);
    }
    let spec = &autoscaler.spec;
    let least = spec.min_replicas.max(1);
    (least, spec.max_replicas.max(least))
}

fn container(workload: &Workload) -> (String, CpuSize) {
    if let Some((name, cpu)) = &workload.serving {
        return (name.clone(), *cpu);
    }
    let name = serving(workload.template()).map(|serving| serving.name.to_owned());
    (name.unwrap_or_default(), pod::NOTHING)
}

/// The serving pods' states.
pub fn pods(workload: &Workload, serving: &[Serving], container: &str) -> Vec<PodState> {
    serving
        .iter()
        .filter_map(|found| {
            let hash = &found.pod_template_hash;
            let revision = workload
                .owned
                .iter()
                .find(|(_, owned)| &owned.pod_template_hash == hash)
                .map_or(hash.as_str(), |(revision, _)| revision);
            pod::state(&found.pod, container, revision, found.ready_since.is_some())
        })
        .collect()
}

/// The user's bounds, else half the template's size to six times it within the largest node; all within LimitRanges.
fn cpu_bounds(
    autoscaler: &SloAutoscaler,
    workload: &Workload,
    template: CpuSize,
    node: Option<MilliCpu>,
) -> CpuBounds {
    let asked = if autoscalers::ours(autoscaler, workload) {
        autoscalers::asked(workload).spec.cpu
    } else {
        autoscaler.spec.cpu
    };
    let fit = |size: MilliCpu| workload.allowed.fit(size);
    if let Some(asked) = asked {
        return CpuBounds {
            min: fit(MilliCpu(asked.min_milli)),
            max: fit(MilliCpu(asked.max_milli)),
            step: MilliCpu(asked.step_milli.max(1)),
        };
    }
    let size = template.size();
    let grid = profiles::allowed(workload, node);
    CpuBounds {
        min: fit(grid.iter().copied().min().unwrap_or(size)),
        max: fit(grid.iter().copied().max().unwrap_or(size)),
        step: MilliCpu((size.0 / 4).clamp(1, 50)),
    }
}

/// A hold, a template that the Deployment controller has not seen, or pods of an older one.
pub(super) fn rolling(workload: &Workload) -> bool {
    let number = |path: &str| workload.object.pointer(path).and_then(Value::as_u64);
    let replicas = number("/status/replicas").unwrap_or(0);
    let updated = number("/status/updatedReplicas").unwrap_or(0);
    let generation = number("/metadata/generation").unwrap_or(0);
    let seen = number("/status/observedGeneration").unwrap_or(generation);
    workload.held() || seen < generation || replicas > updated
}
