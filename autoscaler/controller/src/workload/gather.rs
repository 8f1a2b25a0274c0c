//! Objects and metrics → one [`Observation`] per workload. Pure.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use k8s_openapi::api::core::v1::{LimitRange, Pod, ResourceQuota};
use kube::api::DynamicObject;
use msars_api::annotations::{Adopt, Mode};
use msars_api::crd::{ServiceLevelObjective, SloAutoscaler};
use msars_domain::{
    CpuBounds, CpuSize, MilliCpu, Millis, ObjectKey, Observation, Percentile, PodState, Qos,
    RateSample, RevisionState, Signals, Wishes,
};
use msars_gate::serving;
use msars_observe::Revision;
use serde_json::Value;

use super::adopt::{self, Case, Hold, Next};
use super::{behavior::behavior, pod, rivals, room};
use crate::autoscalers;
use crate::pods::{Serving, shadow};
use crate::profiles::{self, Known};
use crate::world::{Workload, hpa};

/// The percentile of a workload that no objective reaches.
const USUAL: f64 = 0.99;
/// Below this share, live work differs from the profile's by no more than scrapes can tell.
const TELLS: f64 = 0.2;

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
    /// Second autoscalers.
    pub rivals: Vec<Arc<DynamicObject>>,
    /// Quotas.
    pub quotas: Vec<Arc<ResourceQuota>>,
    /// Limit ranges.
    pub ranges: Vec<Arc<LimitRange>>,
    /// Namespaces with shadow pods.
    pub profiling: BTreeSet<String>,
    /// The API server offers `pods/resize`.
    pub resizable: bool,
    /// Cores that a pod's threads can use at once.
    pub cores: f64,
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
    Observation {
        wishes: Wishes {
            acts: acts && !rehearses,
            pause: settings.pause,
            pause_scale_down: settings.pause_scale_down,
            emergency: settings.emergency,
        },
        pods: pods(workload, one.serving, &container),
        container,
        replicas: workload.replicas,
        min_replicas,
        max_replicas,
        cpu: room::bounds(
            &around.ranges,
            namespace,
            cpu_bounds(one.autoscaler, workload, template, around.cores),
            template,
            workload.sidecars,
        ),
        template,
        qos,
        resizable: around.resizable,
        revisions: revisions(around, workload, one.percentile, &one.live),
        // Windows of a namespace in which a shadow pod is driven hold its load: by them nothing shrinks either.
        rolling: rolling(workload) || around.profiling.contains(namespace),
        promoted: false,
        behavior: behavior(spec.behavior.as_ref().or(workload.behavior.as_ref())),
        headroom: room::headroom(&around.quotas, namespace, workload.template(), qos),
        quotas: room::names(&around.quotas, namespace, workload.template(), qos),
        rival: rival.filter(|_| !rehearses),
        declared_by: rivals::declared_by(&workload.object),
        signals: one.signals,
        history: one.history,
    }
}

/// Whether the product acts on a workload: its annotation and its autoscaler both say so.
pub fn acts(workload: &Workload, autoscaler: &SloAutoscaler) -> bool {
    workload.settings.mode == Mode::Auto && autoscaler.spec.mode == "auto"
}

/// Whether nothing but a good decision is missing to take over the workload's autoscaler.
fn rehearses(around: &Around, one: &One<'_>) -> bool {
    let adopt = one.workload.settings.adopt;
    if adopt == Adopt::Nothing {
        return false;
    }
    let status = one.autoscaler.status.as_ref();
    let case = Case {
        workload: &one.workload.key,
        adopt,
        acts: true,
        found: &hpa::found(&around.rivals, &one.workload.key),
        stored: status.and_then(|status| status.adopted.as_ref()),
        good: false,
    };
    matches!(adopt::next(&case), Next::Hold(Hold::Waits(_)))
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

/// The user's bounds, else half the template's size to six times it, within the node.
fn cpu_bounds(
    autoscaler: &SloAutoscaler,
    workload: &Workload,
    template: CpuSize,
    cores: f64,
) -> CpuBounds {
    let asked = if autoscalers::ours(autoscaler, workload) {
        autoscalers::asked(workload).spec.cpu
    } else {
        autoscaler.spec.cpu
    };
    if let Some(asked) = asked {
        return CpuBounds {
            min: MilliCpu(asked.min_milli.max(1)),
            max: MilliCpu(asked.max_milli.max(1)),
            step: MilliCpu(asked.step_milli.max(1)),
        };
    }
    let size = template.size();
    let grid = profiles::allowed(workload, cores);
    CpuBounds {
        min: grid.iter().copied().min().unwrap_or(size),
        max: grid.iter().copied().max().unwrap_or(size),
        step: MilliCpu((size.0 / 4).clamp(1, 50)),
    }
}

/// A hold, a template that the Deployment controller has not seen, or pods of an older one.
fn rolling(workload: &Workload) -> bool {
    let number = |path: &str| workload.object.pointer(path).and_then(Value::as_u64);
    let replicas = number("/status/replicas").unwrap_or(0);
    let updated = number("/status/updatedReplicas").unwrap_or(0);
    let generation = number("/metadata/generation").unwrap_or(0);
    let seen = number("/status/observedGeneration").unwrap_or(generation);
    workload.held() || seen < generation || replicas > updated
}

/// The revisions in play; when none of them is profiled, the older ones that are and that an undo could bring back.
fn revisions(
    around: &Around,
    workload: &Workload,
    usual: Percentile,
    live: &[&Revision],
) -> Vec<RevisionState> {
    let profile = |revision: &str| {
        around
            .known
            .get(&(workload.key.clone(), revision.to_owned()))
    };
    let of_shape = || {
        let same = |((key, _), (shape, _)): &(&(ObjectKey, String), &(String, Known))| {
            *key == workload.key && *shape == workload.shape
        };
        around.known.iter().find(same).map(|(_, found)| found)
    };
    let state = |revision: &str| {
        let current = revision == workload.revision;
        // A template that differs in CPU sizes alone keeps its profile.
        let known = profile(revision)
            .or_else(|| if current { of_shape() } else { None })
            .map(|(_, known)| known);
        let key = (workload.key.clone(), revision.to_owned());
        let budget = around.budgets.get(&key);
        let percentile = budget
            .map(|budget| budget.percentile)
            .or_else(|| known.map(|known| known.percentile));
        RevisionState {
            hash: revision.to_owned(),
            current,
            budget: budget.map(|budget| budget.ms),
            percentile: percentile.unwrap_or(usual),
            curve: known.map(|known| known.curve.clone()),
            work_ratio: known.and_then(|known| work_ratio(workload, revision, known, live)),
        }
    };
    let mut wanted: Vec<&str> = vec![&workload.revision];
    if workload.running() != workload.revision {
        wanted.push(workload.running());
    }
    for (revision, owned) in &workload.owned {
        if owned.replicas > 0 && !wanted.contains(&revision.as_str()) {
            wanted.push(revision);
        }
    }
    let mut out: Vec<RevisionState> = wanted.iter().map(|revision| state(revision)).collect();
    if out.iter().all(|revision| revision.curve.is_none()) {
        let older = workload
            .owned
            .keys()
            .filter(|revision| !wanted.contains(&revision.as_str()))
            .filter(|revision| profile(revision).is_some());
        out.extend(older.map(|revision| state(revision)));
    }
    out
}

/// Live CPU per request over the profile's; 1 where the difference is too small to tell.
fn work_ratio(
    workload: &Workload,
    revision: &str,
    known: &Known,
    live: &[&Revision],
) -> Option<f64> {
    let hash = &workload.owned.get(revision)?.pod_template_hash;
    let found = live.iter().find(|found| &found.revision == hash)?;
    let (cores, rate) = (found.cpu_cores.value()?, found.rate.value()?);
    if rate.get() <= 1.0 || known.work_ms <= 0.0 {
        return None;
    }
    let ratio = cores * 1000.0 / rate.get() / known.work_ms;
    Some(if (ratio - 1.0).abs() > TELLS {
        ratio
    } else {
        1.0
    })
}

/// The template's class, as the API server computes it from CPU and memory of all containers.
pub fn qos(template: &Value) -> Qos {
    let (mut any, mut guaranteed) = (false, true);
    for list in ["/spec/containers", "/spec/initContainers"] {
        let containers = template.pointer(list).and_then(Value::as_array);
        for container in containers.into_iter().flatten() {
            for kind in ["cpu", "memory"] {
                let get = |side: &str| {
                    let value = container.pointer(&format!("/resources/{side}/{kind}"));
                    value.filter(|value| !zero(value))
                };
                let (request, limit) = (get("requests"), get("limits"));
                any |= request.is_some() || limit.is_some();
                guaranteed &= limit.is_some() && request.is_none_or(|r| Some(r) == limit);
            }
        }
    }
    match (any, guaranteed) {
        (false, _) => Qos::BestEffort,
        (true, true) => Qos::Guaranteed,
        (true, false) => Qos::Burstable,
    }
}

fn zero(value: &Value) -> bool {
    match value {
        Value::String(text) => text.trim_end_matches(|c: char| c.is_alphabetic()) == "0",
        other => other.as_f64() == Some(0.0),
    }
}
