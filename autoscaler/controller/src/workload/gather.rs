//! Objects and metrics → one [`Observation`] per workload. Pure.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Pod, ResourceQuota};
use msars_api::annotations::Mode;
use msars_api::crd::{ServiceBudget, ServiceLevelObjective, SloAutoscaler};
use msars_domain::{
    CpuBounds, CpuSize, MilliCpu, Millis, ObjectKey, Observation, Percentile, PodState, Rate,
    RateSample, Signals, Wishes,
};
use msars_gate::{HoldState, serving};
use msars_observe::Revision;
use msars_plan::State;
use serde_json::Value;

use super::revisions::revisions;
use super::takeover::rehearses;
use super::{behavior::behavior, pod, rivals, room};
use crate::autoscalers;
use crate::objective::assemble::aims;
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

/// Reads all objectives' splits. What an unprofiled revision takes is no aim where another one has a budget: then that
/// counts.
pub fn budgets(objectives: &[Arc<ServiceLevelObjective>]) -> Budgets {
    let found: Vec<_> = objectives.iter().flat_map(|slo| given(slo)).collect();
    let mut aimed: BTreeMap<&ObjectKey, Budget> = BTreeMap::new();
    for (key, _, budget) in found.iter().filter(|(_, service, _)| aims(service)) {
        let kept = aimed.entry(key).or_insert(*budget);
        *kept = tighter(*kept, *budget);
    }
    let mut out = Budgets::new();
    for (key, service, budget) in &found {
        let other = aimed.get(key).filter(|_| !aims(service));
        let budget = *other.unwrap_or(budget);
        let kept = out
            .entry((key.clone(), service.revision.clone()))
            .or_insert(budget);
        *kept = tighter(*kept, budget);
    }
    out
}

/// What an objective's split gives, by workload.
fn given(slo: &ServiceLevelObjective) -> impl Iterator<Item = (ObjectKey, &ServiceBudget, Budget)> {
    let percentile = Percentile::new(slo.spec.percentile / 100.0).ok();
    let place = slo.metadata.namespace.as_deref().zip(percentile);
    let chains = slo.status.iter().flat_map(|status| &status.chains);
    let services = chains.flat_map(|chain| &chain.services);
    services.filter_map(move |service| {
        let (namespace, percentile) = place?;
        let ms = Millis::new(service.budget_ms).ok()?;
        let key = ObjectKey::new(namespace, &service.workload);
        Some((key, service, Budget { ms, percentile }))
    })
}

/// The tighter of two, and of equal ones that of the stricter percentile, so that no order of objectives counts.
fn tighter(one: Budget, other: Budget) -> Budget {
    let rank = |budget: Budget| (budget.ms.get(), -budget.percentile.get());
    if rank(other) < rank(one) { other } else { one }
}

/// Percentiles that objectives ask for, looked up once for all workloads of a tick.
#[derive(Debug, Default)]
pub struct Percentiles {
    /// The tightest budget by workload.
    tightest: BTreeMap<ObjectKey, Budget>,
    /// The strictest by namespace and application.
    strictest: BTreeMap<(String, String), Percentile>,
}

impl Percentiles {
    /// Of all objectives; a spoilt one counts as none.
    pub fn of(objectives: &[Arc<ServiceLevelObjective>]) -> Self {
        let mut out = Self::default();
        for ((workload, _), budget) in budgets(objectives) {
            let kept = out.tightest.entry(workload).or_insert(budget);
            *kept = tighter(*kept, budget);
        }
        for slo in objectives {
            let percentile = Percentile::new(slo.spec.percentile / 100.0).ok();
            let place = slo.metadata.namespace.clone().zip(percentile);
            if let Some((namespace, percentile)) = place {
                let application = (namespace, slo.spec.application.clone());
                let kept = out.strictest.entry(application).or_insert(percentile);
                if percentile > *kept {
                    *kept = percentile;
                }
            }
        }
        out
    }

    /// That of a workload's tightest budget; without one the strictest of the objectives that cover it, and p99 without
    /// any.
    pub fn at(&self, workload: &Workload) -> Option<Percentile> {
        let own = self.tightest.get(&workload.key);
        own.map(|budget| budget.percentile)
            .or_else(|| self.strictest.get(&workload.member_of()).copied())
            .or_else(|| Percentile::new(USUAL).ok())
    }
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
    /// What profiles of its callers bring on top.
    pub guests: Option<Rate>,
    /// What is remembered of it.
    pub state: &'a State,
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
    // Windows of a namespace in which a shadow pod is driven hold its load: by them nothing shrinks either.
    let waits =
        around.profiling.contains(namespace) || around.changing.contains(&workload.member_of());
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
        revisions: revisions(
            around,
            workload,
            one.percentile,
            (&one.live, &one.state.works),
        ),
        rolling: rolling(workload) || waits,
        lasting: lasts(workload) && !workload.held() && !waits,
        promoted: false,
        behavior: behavior(spec.behavior.as_ref().or(workload.behavior.as_ref())),
        headroom: room::headroom(&around.quotas, namespace, workload.template(), qos),
        cost,
        quotas: room::names(&around.quotas, namespace, workload.template(), qos),
        rival: rival.filter(|_| !rehearses),
        declared_by: rivals::keeper(&workload.object, one.state.wrote, around.now)
            .map(|keeper| keeper.manager),
        signals: one.signals,
        history: one.history,
        guests: one.guests,
    }
}

/// Whether the product acts on a workload: its annotation and its autoscaler both say so.
pub fn acts(workload: &Workload, autoscaler: &SloAutoscaler) -> bool {
    workload.settings.mode == Mode::Auto && autoscaler.spec.mode == "auto"
}

/// Fewest and most replicas. Where the object is ours, what the annotations ask for counts at once, not only when it is
/// written there: whoever lowers the most and scales in one go is not taken for a stranger.
pub(super) fn replicas(workload: &Workload, autoscaler: &SloAutoscaler) -> (u32, u32) {
    if autoscalers::ours(autoscaler, workload) {
        return autoscalers::bounds(workload, Some(autoscaler));
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
                .find(|(_, owned)| owned.pod_template_hashes.contains(hash))
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
        autoscalers::cpu(workload)
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

/// Whether a rollout of this workload may last for ever: its user paused it, or it passed its progress deadline.
pub(super) fn lasts(workload: &Workload) -> bool {
    let conditions = workload.object.pointer("/status/conditions");
    let mut conditions = conditions.and_then(Value::as_array).into_iter().flatten();
    workload.state == HoldState::Users
        || conditions.any(|found| found["reason"] == "ProgressDeadlineExceeded")
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

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// An objective at a percentile that gives revisions of carts budgets, each with its source.
    fn objective(percentile: f64, given: &[(&str, f64, &str)]) -> Arc<ServiceLevelObjective> {
        let service = |(revision, ms, source): &(&str, f64, &str)| {
            json!({"workload": "carts", "revision": revision, "budgetMs": ms, "sharePercent": 10.0,
                "sizeMilli": 200, "replicas": 2, "source": source})
        };
        let services: Vec<Value> = given.iter().map(service).collect();
        let slo = json!({
            "apiVersion": "msars.io/v1alpha1", "kind": "ServiceLevelObjective",
            "metadata": {"namespace": "shop", "name": "front-end"},
            "spec": {"application": "shop", "entry": "front-end", "percentile": percentile, "latencyMs": 400.0},
            "status": {"chains": [{"name": "browse", "method": "dp", "reason": "", "tailFactor": 1.0,
                "feasible": true, "tookMs": 1.0, "at": "", "services": services}]},
        });
        Arc::new(serde_json::from_value(slo).unwrap())
    }

    fn carts() -> Workload {
        let object = json!({
            "metadata": {"namespace": "shop", "name": "carts", "uid": "d1",
                "annotations": {"msars.io/mode": "auto", "msars.io/application": "shop"}},
            "spec": {"template": {"spec": {"containers": [{"name": "app", "image": "i"}]}}},
        });
        Workload::read(object, true, &[]).unwrap().0
    }

    /// Revision, budget and percentile.
    fn read(objectives: &[Arc<ServiceLevelObjective>]) -> Vec<(String, f64, f64)> {
        budgets(objectives)
            .into_iter()
            .map(|((_, revision), budget)| (revision, budget.ms.get(), budget.percentile.get()))
            .collect()
    }

    #[test]
    fn what_an_unprofiled_revision_takes_is_a_budget_only_where_no_other_is_known() {
        let taken = ("v2", 15.0, "observed");
        for (given, wanted) in [
            (&[taken][..], 15.0),
            (&[taken, ("v1", 80.0, "profile")], 80.0),
            (&[taken, ("v2", 80.0, "earlier")], 80.0),
            (&[("v2", 10.0, "passive"), taken], 10.0),
        ] {
            let one = read(&[objective(99.0, given)]);
            let v2 = one.iter().find(|(revision, ..)| revision == "v2");
            assert_eq!(v2.map(|(_, ms, _)| *ms), Some(wanted), "{given:?}");
        }
    }

    #[test]
    fn the_percentile_is_that_of_the_tightest_budget_in_whatever_order() {
        let workload = carts();
        for (one, other, wanted) in [
            ((99.0, 80.0), (95.0, 20.0), 0.95),
            ((99.0, 20.0), (95.0, 80.0), 0.99),
            ((99.0, 20.0), (95.0, 20.0), 0.99),
        ] {
            let made = |(percentile, ms)| objective(percentile, &[("v1", ms, "profile")]);
            for all in [[made(one), made(other)], [made(other), made(one)]] {
                assert_eq!(read(&all), [("v1".to_owned(), 20.0, wanted)]);
                assert_eq!(
                    Percentiles::of(&all).at(&workload),
                    Percentile::new(wanted).ok()
                );
            }
        }
        // Not split yet: the strictest that covers it.
        for all in [[99.0, 95.0], [95.0, 99.0]] {
            let all = all.map(|percentile| objective(percentile, &[]));
            assert_eq!(
                Percentiles::of(&all).at(&workload),
                Percentile::new(0.99).ok()
            );
        }
    }
}
