//! The fast path between ticks: throttled pods grow in place within a second or two, and a shrink that throttles is
//! rolled back at once. It never shrinks and never touches replicas.

use jiff::Timestamp;
use msars_domain::{
    Action, CpuBounds, CpuSize, Headroom, MilliCpu, ObjectKey, Observation, Percentile, PodState,
    Qos, Reading, Resize, Wishes,
};
use serde::{Deserialize, Serialize};

use crate::{
    Limits, Profile, Refused,
    facts::refuses,
    quota::{Given, Taken},
    state::within,
};

/// One pod, as the kubelet sees it now.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ReflexPod {
    /// The workload it belongs to, an index into [`ReflexInput::workloads`].
    pub workload: usize,
    /// The pod.
    pub state: PodState,
    /// Share of CFS periods throttled since the last look, 0 to 1.
    pub throttled: Reading<f64>,
    /// When the reflex last grew it.
    pub grown: Option<Timestamp>,
    /// When it was last shrunk, and from which size.
    pub shrunk: Option<(Timestamp, MilliCpu)>,
}

/// What the reflex needs to know of a workload.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ReflexWorkload {
    /// The Deployment.
    pub workload: ObjectKey,
    /// The serving container.
    pub container: String,
    /// The user's switches.
    pub wishes: Wishes,
    /// Sizes allowed.
    pub cpu: CpuBounds,
    /// The template's CPU.
    pub template: CpuSize,
    /// The template's class.
    pub qos: Qos,
    /// The API server offers `pods/resize`.
    pub resizable: bool,
    /// The size in force.
    pub size: MilliCpu,
    /// What quotas leave.
    pub headroom: Headroom,
    /// The quotas that bound it, by name: shared by the workloads of a namespace.
    #[serde(default)]
    pub quotas: Vec<String>,
    /// A second autoscaler has the target, or its shadow pods are being profiled.
    pub hands_off: bool,
    /// What pods refused.
    pub refused: Vec<Refused>,
    /// Share of throttled periods that its budget bears: [`bearable`].
    #[serde(default)]
    pub bearable: f64,
}

/// A CFS period, in which a throttled request waits at most, ms.
const PERIOD_MS: f64 = 100.0;
/// However long the budget, pods that are throttled in half of all periods are near their limit.
const MOST_BEARABLE: f64 = 0.5;

/// Share of throttled periods under which the quantile still keeps a budget: where n whole periods fit into it, it takes
/// n + 1 throttled ones in a row to break it, and they may come as often as the percentile leaves out. 0.01 at p99 under
/// 100 ms, 0.1 from there, 0.22 from 200 ms; 0 without a budget. A plan within the budget may throttle that much, and
/// the reflex leaves it alone.
pub fn bearable(seen: &Observation) -> f64 {
    let Ok(profile) = Profile::of(seen) else {
        return 0.0;
    };
    let left_out = |percentile: Percentile| 1.0 - percentile.get();
    let revisions = seen.revisions.iter();
    let strictest = revisions.map(|revision| left_out(revision.percentile));
    let rare = strictest.fold(1.0, f64::min);
    let whole = (profile.budget.get() / PERIOD_MS).floor();
    rare.max(0.0).powf(1.0 / (whole + 1.0)).min(MOST_BEARABLE)
}

/// One look at all pods.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ReflexInput {
    /// The time.
    pub now: Timestamp,
    /// Resizes written within the last second.
    pub written: u32,
    /// Workloads.
    pub workloads: Vec<ReflexWorkload>,
    /// Pods of them.
    pub pods: Vec<ReflexPod>,
}

impl ReflexInput {
    /// The part of it that resizes rest on: the workloads that they are of, with all their pods. The reflex answers it
    /// with the same resizes in the same order, as only what grows takes of quotas and of the writes of a second.
    #[must_use]
    pub fn of(&self, grow: impl Fn(&ObjectKey) -> bool) -> Self {
        let kept: Vec<usize> = (self.workloads.iter().enumerate())
            .filter(|(_, workload)| grow(&workload.workload))
            .map(|(index, _)| index)
            .collect();
        let workloads = kept
            .iter()
            .filter_map(|index| self.workloads.get(*index).cloned());
        let pods = self.pods.iter().filter_map(|pod| {
            let workload = kept.iter().position(|index| *index == pod.workload)?;
            Some(ReflexPod {
                workload,
                ..pod.clone()
            })
        });
        Self {
            now: self.now,
            written: self.written,
            workloads: workloads.collect(),
            pods: pods.collect(),
        }
    }
}

/// Resizes to write now, the most throttled first. The caller tells [`crate::State::grown_by_reflex`], so that the
/// next tick neither takes it back nor leaves the other pods behind.
pub fn reflex(input: &ReflexInput, limits: &Limits) -> Vec<Action> {
    let room = limits
        .reflex
        .writes_per_second
        .saturating_sub(input.written);
    let mut wanted: Vec<(f64, &ReflexPod, &ReflexWorkload, MilliCpu)> = Vec::new();
    for pod in &input.pods {
        let Some(workload) = input.workloads.get(pod.workload) else {
            continue;
        };
        let Reading::Known { value, at } = &pod.throttled else {
            continue;
        };
        if !within(input.now, Some(*at), limits.staleness_s) || !value.is_finite() {
            continue;
        }
        if let Some(size) = grown(input.now, pod, workload, *value, limits) {
            wanted.push((*value, pod, workload, size));
        }
    }
    wanted.sort_by(|a, b| {
        b.0.total_cmp(&a.0)
            .then_with(|| a.1.state.uid.cmp(&b.1.state.uid))
    });
    let mut given = Given::default();
    let mut actions = Vec::new();
    for (_, pod, workload, size) in wanted {
        if actions.len() >= room as usize {
            break;
        }
        let (key, quotas) = (&workload.workload, &workload.quotas);
        let to = workload.template.scaled_to(size);
        let more = Taken::growth(pod.state.asked, to);
        if !more.fits(given.leaves(key, quotas, workload.headroom)) {
            continue;
        }
        given.take(key, quotas, more);
        actions.push(Action::Resize {
            pod: ObjectKey::new(&workload.workload.namespace, &pod.state.name),
            uid: pod.state.uid.clone(),
            container: workload.container.clone(),
            request: (to.request != pod.state.asked.request).then_some(to.request),
            limit: to
                .limit
                .filter(|limit| Some(*limit) != pod.state.asked.limit),
        });
    }
    actions
}

/// The size a pod should grow to now, if any.
fn grown(
    now: Timestamp,
    pod: &ReflexPod,
    workload: &ReflexWorkload,
    throttled: f64,
    limits: &Limits,
) -> Option<MilliCpu> {
    let settings = &limits.reflex;
    let state = &pod.state;
    let able = workload.wishes.acts
        && !workload.wishes.pause
        && !workload.hands_off
        && workload.resizable
        && workload.qos != Qos::BestEffort
        && workload.template.limit.is_some()
        && state.asked.limit.is_some()
        && (state.asked.limit == Some(state.asked.request))
            == (workload.template.limit == Some(workload.template.request));
    if !able || !state.ready || state.foreign || state.resize != Resize::None {
        return None;
    }
    let fine = settings.target.max(0.0).max(workload.bearable);
    let trigger = fine.max(settings.target.max(0.0) * settings.trigger);
    let asked = state.asked.size();
    let most = {
        let reach = f64::from(workload.size.0) * settings.reach.max(1.0);
        MilliCpu(reach.min(f64::from(workload.cpu.max.0)) as u32)
    };
    let rollback = pod
        .shrunk
        .filter(|(at, _)| within(now, Some(*at), settings.rollback_s))
        .map(|(_, from)| from)
        .filter(|from| throttled > fine && *from > asked);
    let size = if let Some(from) = rollback {
        from.min(workload.cpu.max)
    } else {
        // One ahead is of before the clock was set back.
        let grown = pod.grown.filter(|at| *at <= now);
        if throttled <= trigger || within(now, grown, settings.rest_s) {
            return None;
        }
        let factor = (1.0 + throttled - trigger).clamp(1.0, settings.step.max(1.0));
        let step = workload.cpu.step.0.max(1);
        let exact = (f64::from(asked.0) * factor).ceil() as u32;
        MilliCpu(exact.div_ceil(step).saturating_mul(step)).min(most)
    };
    (size > asked && !refuses(&workload.refused, state, size)).then_some(size)
}
