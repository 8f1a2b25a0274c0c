//! From the size in force to the writes on pods, with memory of what was refused.

use jiff::Timestamp;
use msars_domain::{
    Action, CpuSize, Headroom, MilliCpu, ObjectKey, Observation, PodState, Resize, RevisionState,
};

use crate::{
    Fleet, Guard, Limits, Refused, Refuser, State,
    facts::{refuses, vertical},
    quota::{Taken, spend},
    state::{elapsed, within},
};

/// What brings the pods to their size.
#[derive(Debug, Default)]
pub(crate) struct Resizes<'a> {
    pub actions: Vec<Action>,
    /// Which pods do not go to the size in force.
    pub guards: Vec<Guard>,
    /// Uids of pods whose growth the quotas have no room for.
    pub short: Vec<&'a str>,
}

/// Why a pod lacks its size, the least telling first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Cause {
    /// Nobody says why.
    Late,
    /// The kubelet has no room now, or had none for too long.
    Deferred,
    /// A quota has no room for what would be asked.
    Quota,
    /// The API server refused.
    Refused,
    /// The node never has room.
    Infeasible,
}

/// Pods that lack their size.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Blocked<'a> {
    pub pods: u32,
    /// The smallest of them.
    pub least: &'a PodState,
    /// The most telling cause of all.
    pub cause: Cause,
}

/// Keeps what living pods refused, adds what they refuse now, and forgets what is over.
pub(crate) fn remember(now: Timestamp, seen: &Observation, state: &mut State, limits: &Limits) {
    state.refused.retain(|r| {
        // A pod that has the size got it after all.
        let lacks = |p: &PodState| r.stops(p, r.size);
        seen.pods.iter().any(lacks) && (r.infeasible || within(now, Some(r.at), limits.retry_s))
    });
    if state.refused.iter().all(|r| r.by == Refuser::Node) {
        state.refusal = None;
    }
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
                    by: Refuser::Node,
                    shrink: false,
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

/// The size that a pod comes down to because it finds no node with more: its template's, within the bounds. It serves
/// nobody, so that nobody loses by it. But beside larger ones it would be the weakest and bound them all, and it would ask
/// for no new node: only a pod that stops a rollout comes down, or one of a workload of which no pod has a node.
fn comes_down(
    now: Timestamp,
    seen: &Observation,
    pod: &PodState,
    limits: &Limits,
) -> Option<MilliCpu> {
    let to = seen.template.size().max(seen.cpu.min).min(seen.cpu.max);
    let waits =
        pod.unschedulable && pod.asked.size() > to && !within(now, Some(pod.born), limits.settle_s);
    let newest = |r: &RevisionState| r.current && r.hash == pod.revision;
    if !waits || !seen.revisions.iter().any(newest) {
        return None;
    }
    gives_way(seen).then_some(to)
}

/// Whether a pod that finds no node stops a rollout of this workload, or none of its pods has a node.
pub fn gives_way(seen: &Observation) -> bool {
    // The pods of a restart are all of one revision. What else holds shrinks back is no rollout of this workload.
    let mut pairs = seen.pods.windows(2);
    let mixed = pairs.any(|two| two[0].revision != two[1].revision);
    let rolls = seen.rolling && (mixed || seen.pods.len() > seen.replicas as usize);
    rolls || seen.pods.iter().all(|pod| pod.unschedulable)
}

/// Writes that bring the pods to `size`: growth first and the ready first, shrinks only when `may_shrink`. A deferred
/// resize older than its limit goes back to what the pod has, and is remembered. What was refused is not asked again,
/// but for what only lacked a grant: whoever gives it waits for it. A pod that finds no node may come down at any time.
pub(crate) fn resizes<'a>(
    now: Timestamp,
    seen: &'a Observation,
    headroom: Headroom,
    state: &mut State,
    fleet: Fleet,
    may_shrink: bool,
    limits: &Limits,
) -> Resizes<'a> {
    let mut out = Resizes::default();
    if !vertical(seen) {
        return out;
    }
    let firm = state.refused.iter().filter(|r| r.by != Refuser::Grant);
    let firm: Vec<Refused> = firm.cloned().collect();
    let size = fleet.size;
    let more = fleet.replicas.saturating_sub(seen.replicas);
    let mut left = Taken::births(seen, size, more).out_of(headroom);
    let mut ranked: Vec<((u8, u32), Action)> = Vec::new();
    let (mut withdrawn, mut unplaced) = (0, 0);
    for pod in seen.pods.iter().filter(|p| !p.foreign) {
        let asked = pod.asked.size();
        // What is asked beyond what the pod has can go back to it.
        let back = pod.actual.size() < asked && !refuses(&firm, pod, pod.actual.size());
        if let Resize::Deferred { since } = pod.resize
            && elapsed(now, since) >= f64::from(limits.withdraw_s)
            && back
        {
            withdrawn += 1;
            state.refused.push(Refused {
                uid: pod.uid.clone(),
                size: asked,
                at: now,
                infeasible: false,
                by: Refuser::Node,
                shrink: false,
            });
            ranked.push(((0, 0), action(seen, pod, pod.actual)));
            continue;
        }
        let down = comes_down(now, seen, pod, limits);
        let size = down.map_or(size, |to| to.min(size));
        // Made larger while it waits for a node, a pod would find one even later.
        if asked == size || pod.unschedulable && asked < size {
            continue;
        }
        if refuses(&firm, pod, size) {
            // What will not come goes back, so that it weighs on nobody's quota.
            if matches!(pod.resize, Resize::Infeasible { .. }) && back && size > pod.actual.size() {
                ranked.push(((0, 0), action(seen, pod, pod.actual)));
            }
            continue;
        }
        // Asking for less than was asked takes nothing away while the pod has no more than that.
        let shrinks = size < pod.actual.size();
        if shrinks && !may_shrink && down.is_none() {
            continue;
        }
        let to = wanted(seen, pod, size);
        if to.limit.is_some() != pod.asked.limit.is_some() || to == pod.asked {
            continue;
        }
        if !spend(&mut left, pod.asked, to) {
            out.short.push(&pod.uid);
            continue;
        }
        unplaced += u32::from(down.is_some());
        // Who is furthest from the size comes first: where it moves at every tick, all get their turn.
        let rank = match (shrinks, pod.ready) {
            (false, true) => (1, asked.0),
            (false, false) => (2, asked.0),
            (true, _) => (3, u32::MAX - asked.0),
        };
        ranked.push((rank, action(seen, pod, to)));
    }
    ranked.sort_by_key(|(rank, _)| *rank);
    ranked.truncate(limits.resizes_per_tick as usize);
    out.actions = ranked.into_iter().map(|(_, action)| action).collect();
    if withdrawn > 0 {
        out.guards.push(Guard::Withdrawn { pods: withdrawn });
    }
    if unplaced > 0 {
        out.guards.push(Guard::Unplaced { pods: unplaced });
    }
    out
}

/// Pods that did not get `size`. `short` are those whose growth was not asked for want of quota, `late` says of one
/// that lacks its size whether it has had the time.
pub(crate) fn blocked<'a>(
    seen: &'a Observation,
    state: &State,
    size: MilliCpu,
    short: &[&str],
    late: impl Fn(&PodState) -> bool,
) -> Option<Blocked<'a>> {
    let cause = |pod: &PodState| {
        let remembered = || state.refused.iter().filter(|r| r.uid == pod.uid);
        let lacks = pod.actual.size() < size;
        let never = matches!(pod.resize, Resize::Infeasible { .. });
        if never || lacks && remembered().any(|r| r.infeasible) {
            Some(Cause::Infeasible)
        } else if remembered().any(|r| r.by != Refuser::Node) {
            Some(Cause::Refused)
        } else if short.contains(&pod.uid.as_str()) {
            Some(Cause::Quota)
        } else if matches!(pod.resize, Resize::Deferred { .. })
            || lacks && remembered().next().is_some()
        {
            Some(Cause::Deferred)
        } else {
            (lacks && !pod.foreign && late(pod)).then_some(Cause::Late)
        }
    };
    let all = || {
        let pods = seen.pods.iter();
        pods.filter_map(|pod| cause(pod).map(|cause| (pod, cause)))
    };
    let (least, _) = all().min_by_key(|(pod, _)| pod.actual.size())?;
    Some(Blocked {
        pods: all().count() as u32,
        least,
        cause: all().map(|(_, cause)| cause).max()?,
    })
}
