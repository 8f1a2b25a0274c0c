//! From the size in force to the writes on pods, with memory of what was refused.

use jiff::Timestamp;
use msars_domain::{Action, CpuSize, Headroom, MilliCpu, ObjectKey, Observation, PodState, Resize};

use crate::{
    Fleet, Limits, Refused, State,
    facts::{refuses, vertical},
    state::{elapsed, within},
};

/// Keeps what living pods refused, adds what they refuse now, and forgets what is over.
pub(crate) fn remember(now: Timestamp, seen: &Observation, state: &mut State, limits: &Limits) {
    state.refused.retain(|r| {
        // A pod that has the size got it after all.
        let lacks = |p: &PodState| p.uid == r.uid && p.actual.size() < r.size;
        seen.pods.iter().any(lacks) && (r.infeasible || within(now, Some(r.at), limits.retry_s))
    });
    for pod in &seen.pods {
        if let Resize::Infeasible { size } = pod.resize {
            state
                .refused
                .retain(|r| r.uid != pod.uid || !r.infeasible || r.size < size);
            if !refuses(&state.refused, pod, size) {
                state.refused.push(Refused {
                    uid: pod.uid.clone(),
                    size,
                    at: now,
                    infeasible: true,
                });
            }
        }
    }
}

/// What `pod` should be asked for at `size`: by the template's ratio, or its own where it was made from another kind
/// of template, so that its class stays.
fn wanted(seen: &Observation, pod: &PodState, size: MilliCpu) -> CpuSize {
    let alike = |a: CpuSize, b: CpuSize| {
        a.limit.is_some() == b.limit.is_some()
            && (a.limit == Some(a.request)) == (b.limit == Some(b.request))
    };
    if alike(seen.template, pod.asked) {
        seen.template.scaled_to(size)
    } else {
        pod.asked.scaled_to(size)
    }
}

fn action(seen: &Observation, pod: &PodState, to: CpuSize) -> Action {
    Action::Resize {
        pod: ObjectKey::new(&seen.signals.workload.namespace, &pod.name),
        uid: pod.uid.clone(),
        container: seen.container.clone(),
        request: (to.request != pod.asked.request).then_some(to.request),
        limit: if to.limit == pod.asked.limit {
            None
        } else {
            to.limit
        },
    }
}

/// Writes that bring the pods to `size`: growth first and the ready first, shrinks only when `may_shrink`. A deferred
/// resize older than its limit goes back to what the pod has, and is remembered. Returns how many were withdrawn.
pub(crate) fn resizes(
    now: Timestamp,
    seen: &Observation,
    state: &mut State,
    fleet: Fleet,
    may_shrink: bool,
    limits: &Limits,
) -> (Vec<Action>, u32) {
    if !vertical(seen) {
        return (Vec::new(), 0);
    }
    let size = fleet.size;
    let mut left = seen.headroom;
    let born = seen.template.scaled_to(size.max(seen.template.size()));
    let nothing = CpuSize {
        request: MilliCpu(0),
        limit: None,
    };
    for _ in seen.replicas..fleet.replicas {
        spend(&mut left, nothing, born);
    }
    let mut ranked: Vec<(u8, Action)> = Vec::new();
    let mut withdrawn = 0;
    for pod in seen.pods.iter().filter(|p| !p.foreign) {
        let asked = pod.asked.size();
        if let Resize::Deferred { since } = pod.resize
            && elapsed(now, since) >= f64::from(limits.withdraw_s)
            && pod.actual != pod.asked
            && pod.actual.size() < asked
        {
            withdrawn += 1;
            state.refused.push(Refused {
                uid: pod.uid.clone(),
                size: asked,
                at: now,
                infeasible: false,
            });
            ranked.push((0, action(seen, pod, pod.actual)));
            continue;
        }
        if asked == size {
            continue;
        }
        if size > pod.actual.size() && refuses(&state.refused, pod, size) {
            // What is asked and will not come goes back to what there is, so that it weighs on nobody's quota.
            if matches!(pod.resize, Resize::Infeasible { .. }) && pod.actual.size() < asked {
                ranked.push((0, action(seen, pod, pod.actual)));
            }
            continue;
        }
        // Asking for less than was asked takes nothing away while the pod has no more than that.
        let shrinks = size < pod.actual.size();
        if shrinks && !may_shrink {
            continue;
        }
        let to = wanted(seen, pod, size);
        if to.limit.is_some() != pod.asked.limit.is_some() || to == pod.asked {
            continue;
        }
        if !spend(&mut left, pod.asked, to) {
            continue;
        }
        let rank = match (shrinks, pod.ready) {
            (false, true) => 1,
            (false, false) => 2,
            (true, _) => 3,
        };
        ranked.push((rank, action(seen, pod, to)));
    }
    ranked.sort_by_key(|(rank, _)| *rank);
    ranked.truncate(limits.resizes_per_tick as usize);
    (
        ranked.into_iter().map(|(_, action)| action).collect(),
        withdrawn,
    )
}

/// Pods that did not get the size in force, and the smallest size among them.
pub(crate) fn blocked(
    seen: &Observation,
    state: &State,
    size: MilliCpu,
) -> Option<(u32, MilliCpu, bool)> {
    let pods = seen.pods.iter().filter(|pod| {
        let pending = matches!(
            pod.resize,
            Resize::Deferred { .. } | Resize::Infeasible { .. }
        );
        pending || (pod.actual.size() < size && state.refused.iter().any(|r| r.uid == pod.uid))
    });
    let (mut count, mut least, mut infeasible) = (0, MilliCpu(u32::MAX), false);
    for pod in pods {
        count += 1;
        least = least.min(pod.actual.size());
        infeasible |= matches!(pod.resize, Resize::Infeasible { .. })
            || state
                .refused
                .iter()
                .any(|r| r.uid == pod.uid && r.infeasible);
    }
    (count > 0).then_some((count, least, infeasible))
}

/// Takes the growth out of the quota's headroom; false when it has no room.
pub(crate) fn spend(left: &mut Headroom, from: CpuSize, to: CpuSize) -> bool {
    let request = to.request.0.saturating_sub(from.request.0);
    let limit = |cpu: Option<MilliCpu>| cpu.map_or(0, |c| c.0);
    let limit = limit(to.limit).saturating_sub(limit(from.limit));
    let room = |left: Option<MilliCpu>, more: u32| left.is_none_or(|left| more <= left.0);
    if !room(left.requests, request) || !room(left.limits, limit) {
        return false;
    }
    left.requests = left.requests.map(|l| MilliCpu(l.0 - request));
    left.limits = left.limits.map(|l| MilliCpu(l.0 - limit));
    true
}
