//! Between ticks: what kubelets show → pods that grow in place. The arithmetic is `msars_plan::reflex`.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use msars_domain::{
    Action, CpuBounds, Headroom, MilliCpu, ObjectKey, Observation, PodState, Reading, Unknown,
};
use msars_plan::{ReflexInput, ReflexPod, ReflexWorkload, State, bearable};

use crate::kubelet::{Container, Periods};

/// What is remembered of pods between two looks.
#[derive(Debug, Default)]
pub struct Pods {
    last: BTreeMap<String, Periods>,
    grown: BTreeMap<String, Timestamp>,
    shrunk: BTreeMap<String, (Timestamp, MilliCpu)>,
}

impl Pods {
    /// A pod was shrunk.
    pub fn shrunk(&mut self, uid: String, at: Timestamp, from: MilliCpu) {
        self.shrunk.insert(uid, (at, from));
    }

    /// A pod was grown.
    pub fn grown(&mut self, uid: String, at: Timestamp) {
        self.grown.insert(uid, at);
    }

    /// Share of periods throttled since the last look. A counter that stands still or ran backwards says nothing.
    fn throttled(&mut self, uid: &str, now: Option<Periods>) -> Reading<f64> {
        let unknown = |why| Reading::Unknown { why };
        let Some(now) = now else {
            return unknown(Unknown::NoSeries);
        };
        let Some(before) = self.last.insert(uid.to_owned(), now) else {
            return unknown(Unknown::TooFewSamples);
        };
        if now.at <= before.at {
            return unknown(Unknown::Stale);
        }
        let (all, throttled) = (now.all - before.all, now.throttled - before.throttled);
        if all < 0.0 || throttled < 0.0 {
            return unknown(Unknown::NotANumber);
        }
        if all < 1.0 {
            return unknown(Unknown::TooFewSamples);
        }
        Reading::Known {
            value: (throttled / all).min(1.0),
            at: now.at,
        }
    }

    /// Forgets pods that are gone.
    fn keep(&mut self, uids: &BTreeSet<&str>) {
        self.last.retain(|uid, _| uids.contains(uid.as_str()));
        self.grown.retain(|uid, _| uids.contains(uid.as_str()));
        self.shrunk.retain(|uid, _| uids.contains(uid.as_str()));
    }
}

/// A workload as it is now: the last observation with its pods read anew, and its memory.
#[derive(Debug)]
pub struct Subject<'a> {
    /// The last observation.
    pub seen: &'a Observation,
    /// Its pods now.
    pub pods: Vec<PodState>,
    /// Sizes that are allowed now: the last observation knows no LimitRange that came since.
    pub cpu: CpuBounds,
    /// What quotas leave now: the last observation knows nothing of what was written since.
    pub headroom: Headroom,
    /// Its memory.
    pub state: &'a State,
    /// A second autoscaler, or shadow pods in its namespace.
    pub hands_off: bool,
}

/// Puts the input of the reflex together.
pub fn input(
    now: Timestamp,
    subjects: &[Subject<'_>],
    periods: &BTreeMap<Container, Periods>,
    pods: &mut Pods,
) -> ReflexInput {
    let mut input = ReflexInput {
        now,
        written: 0,
        workloads: Vec::new(),
        pods: Vec::new(),
    };
    let uids: BTreeSet<&str> = subjects
        .iter()
        .flat_map(|subject| &subject.pods)
        .map(|pod| pod.uid.as_str())
        .collect();
    pods.keep(&uids);
    for (index, subject) in subjects.iter().enumerate() {
        let seen = subject.seen;
        input.workloads.push(ReflexWorkload {
            workload: seen.signals.workload.clone(),
            container: seen.container.clone(),
            wishes: seen.wishes,
            cpu: subject.cpu,
            template: seen.template,
            qos: seen.qos,
            resizable: seen.resizable == Some(true),
            size: subject.state.size.unwrap_or_else(|| seen.template.size()),
            headroom: subject.headroom,
            quotas: seen.quotas.clone(),
            hands_off: subject.hands_off,
            refused: subject.state.refused.clone(),
            bearable: bearable(seen),
        });
        for pod in &subject.pods {
            let namespace = &seen.signals.workload.namespace;
            let key = (namespace.clone(), pod.name.clone(), seen.container.clone());
            let throttled = pods.throttled(&pod.uid, periods.get(&key).copied());
            input.pods.push(ReflexPod {
                workload: index,
                state: pod.clone(),
                throttled,
                grown: pods.grown.get(&pod.uid).copied(),
                shrunk: pods.shrunk.get(&pod.uid).copied(),
            });
        }
    }
    input
}

/// What the reflex did to a workload's pods, in words.
pub fn grew(pods: usize, size: MilliCpu) -> String {
    format!("{pods} throttled pod(s) grew in place to {size}, between two ticks")
}

/// The reflex's writes by the pod's workload, with the largest size among them.
pub fn by_workload(
    input: &ReflexInput,
    actions: Vec<Action>,
) -> BTreeMap<ObjectKey, (MilliCpu, Vec<Action>)> {
    let mut out: BTreeMap<ObjectKey, (MilliCpu, Vec<Action>)> = BTreeMap::new();
    for action in actions {
        let Action::Resize {
            uid,
            request,
            limit,
            ..
        } = &action
        else {
            continue;
        };
        let pod = input.pods.iter().find(|pod| &pod.state.uid == uid);
        let workload = pod.and_then(|pod| input.workloads.get(pod.workload));
        let (Some(workload), Some(size)) = (workload, limit.or(*request)) else {
            continue;
        };
        let entry = out
            .entry(workload.workload.clone())
            .or_insert((size, Vec::new()));
        entry.0 = entry.0.max(size);
        entry.1.push(action);
    }
    out
}
