//! What must hold of every decision, written without the shield's own code.

use jiff::Timestamp;
use msars_domain::{
    Action, CpuSize, Observation, PolicyType, Qos, Reading, Resize, ScalingRules, SelectPolicy,
};
use msars_plan::{Decision, Limits, ScaleEvent, State};

fn age(now: Timestamp, at: Timestamp) -> f64 {
    now.duration_since(at).as_secs_f64()
}

fn known<T>(now: Timestamp, reading: &Reading<T>) -> bool {
    matches!(reading, Reading::Known { at, .. } if age(now, *at) < 60.0)
}

/// The furthest that one rule set lets replicas go, by the HPA's documentation.
fn furthest(
    now: Timestamp,
    replicas: u32,
    events: &[ScaleEvent],
    rules: &ScalingRules,
    up: bool,
) -> f64 {
    let limits = rules.policies.iter().map(|p| {
        let since: i64 = events
            .iter()
            .filter(|e| age(now, e.at) < f64::from(p.period_seconds))
            .map(|e| e.change)
            .sum();
        let start = (i64::from(replicas) - since) as f64;
        let sign = if up { 1.0 } else { -1.0 };
        match p.kind {
            PolicyType::Pods => start + sign * f64::from(p.value),
            PolicyType::Percent => {
                let exact = start.max(0.0) * (100.0 + sign * f64::from(p.value)) / 100.0;
                if up { exact.ceil() } else { exact.floor() }
            }
        }
    });
    let here = f64::from(replicas);
    let largest = (rules.select_policy == SelectPolicy::Max) == up;
    let limit = match rules.select_policy {
        SelectPolicy::Disabled => None,
        _ if largest => limits.reduce(f64::max),
        _ => limits.reduce(f64::min),
    };
    let limit = limit.unwrap_or(here);
    if up { limit.max(here) } else { limit.min(here) }
}

fn resized(pod: CpuSize, action: &Action) -> CpuSize {
    match action {
        Action::Resize { request, limit, .. } => CpuSize {
            request: request.unwrap_or(pod.request),
            limit: limit.or(pod.limit),
        },
        _ => pod,
    }
}

/// Every broken invariant, by name; empty when all hold. `before` is the state that went in.
pub fn broken(
    now: Timestamp,
    seen: &Observation,
    before: &State,
    made: &Decision,
    limits: &Limits,
) -> Vec<String> {
    let mut out = Vec::new();
    let mut check = |holds: bool, what: &str| {
        if !holds {
            out.push(what.to_owned());
        }
    };
    let mut to = seen.replicas;
    let (mut grown, mut shrunk) = (false, false);
    let (mut requests, mut limit_sum) = (0i64, 0i64);
    for action in &made.actions {
        match action {
            Action::Scale {
                target,
                from,
                to: wanted,
            } => {
                check(
                    target == &seen.signals.workload && *from == seen.replicas,
                    "scale of what was read",
                );
                check(*wanted != seen.replicas, "no write without a change");
                to = *wanted;
            }
            Action::Resize {
                pod,
                uid,
                container,
                ..
            } => {
                let Some(found) = seen.pods.iter().find(|p| p.uid == *uid) else {
                    check(false, "resize of a pod that exists");
                    continue;
                };
                check(
                    pod.name == found.name && container == &seen.container,
                    "resize of the serving container",
                );
                check(!found.foreign, "a foreign size is left alone");
                check(
                    seen.resizable && seen.qos != Qos::BestEffort,
                    "resize only where it is possible",
                );
                let size = resized(found.asked, action);
                check(size != found.asked, "no resize without a change");
                check(
                    size.limit.is_some() == found.asked.limit.is_some(),
                    "no limit added or removed",
                );
                let tied = |s: CpuSize| s.limit == Some(s.request);
                check(tied(size) == tied(found.asked), "QoS class kept");
                check(
                    size.limit.is_none_or(|l| size.request <= l),
                    "request within limit",
                );
                check(size.request.0 > 0, "a request above zero");
                let refused = |s| match found.resize {
                    Resize::Infeasible { size } => s >= size,
                    _ => false,
                } || before.refused.iter().any(|r| r.uid == *uid && r.infeasible && s >= r.size && found.actual.size() < r.size);
                check(
                    size.size() <= found.actual.size() || !refused(size.size()),
                    "what is infeasible is not asked again",
                );
                let withdrawal = size == found.actual;
                let inside = size.size() >= seen.cpu.min && size.size() <= seen.cpu.max;
                check(
                    inside
                        || withdrawal
                        || before.size.is_some_and(|s| s == size.size())
                        || made.current.size == size.size(),
                    "size within bounds",
                );
                grown |= size.size() > found.actual.size();
                shrunk |= size.size() < found.actual.size();
                if !withdrawal {
                    requests +=
                        (i64::from(size.request.0) - i64::from(found.asked.request.0)).max(0);
                    let l = |s: CpuSize| s.limit.map_or(0, |l| i64::from(l.0));
                    limit_sum += (l(size) - l(found.asked)).max(0);
                }
            }
            _ => check(false, "only /scale and pods/resize"),
        }
    }
    grown |= to > seen.replicas;
    shrunk |= to < seen.replicas;
    check(
        made.actions.is_empty() || seen.wishes.acts,
        "only where it may act",
    );
    check(
        made.actions.is_empty() || (!seen.wishes.pause && seen.replicas > 0),
        "paused: nothing",
    );
    check(
        made.actions.is_empty() || seen.rival.is_none(),
        "a rival: nothing",
    );
    let no_plan = seen.revisions.iter().all(|r| r.curve.is_none())
        || seen.revisions.iter().all(|r| r.budget.is_none());
    check(
        made.actions.is_empty() || !no_plan || seen.wishes.emergency,
        "no profile or objective: nothing",
    );
    check(
        seen.declared_by.is_none() || to == seen.replicas,
        "declared replicas are left alone",
    );
    if shrunk {
        check(
            known(now, &seen.signals.rate) && known(now, &seen.signals.peak_rate),
            "nothing shrinks on Unknown",
        );
        check(!seen.rolling, "nothing shrinks while rolling");
        check(!seen.wishes.pause_scale_down, "pause-scale-down");
        check(
            !seen.wishes.emergency || to >= seen.replicas.min(seen.max_replicas),
            "nothing shrinks in an emergency",
        );
        let window = f64::from(seen.behavior.scale_down.stabilization_window_seconds);
        check(
            before.last_up.is_none_or(|at| age(now, at) >= window),
            "one direction per window, down",
        );
        check(
            before.calm_until.is_none_or(|until| until <= now),
            "calm after an undo",
        );
    }
    if made.wanted.grows_from(made.current) {
        check(!shrunk, "one direction per decision");
        let window = f64::from(seen.behavior.scale_up.stabilization_window_seconds);
        check(
            before.last_down.is_none_or(|at| age(now, at) >= window),
            "one direction per window, up",
        );
    }
    let _ = grown;
    check(
        to >= seen.min_replicas.min(seen.replicas) && to <= seen.max_replicas.max(seen.replicas),
        "within min and max",
    );
    let up = furthest(
        now,
        seen.replicas,
        &before.events,
        &seen.behavior.scale_up,
        true,
    );
    let down = furthest(
        now,
        seen.replicas,
        &before.events,
        &seen.behavior.scale_down,
        false,
    );
    check(
        f64::from(to) <= up && f64::from(to) >= down.min(f64::from(seen.replicas)),
        "within the rate policies",
    );
    let extra = i64::from(to.saturating_sub(seen.replicas));
    let room = |left: Option<msars_domain::MilliCpu>, more: i64| {
        left.is_none_or(|l| more <= i64::from(l.0))
    };
    requests += extra * i64::from(seen.template.request.0);
    limit_sum += extra * seen.template.limit.map_or(0, |l| i64::from(l.0));
    check(
        room(seen.headroom.requests, requests) && room(seen.headroom.limits, limit_sum),
        "within the CPU quota",
    );
    check(
        seen.headroom.pods.is_none_or(|l| extra <= i64::from(l)),
        "within the pod quota",
    );
    check(
        made.actions.len() <= limits.resizes_per_tick as usize + 1,
        "bounded writes",
    );
    check(
        floor_kept(now, seen, made),
        "never below the profile's floor when unpromoted",
    );
    out
}

/// A shrink leaves enough pods of enough size for the measured rate, by the curve of each revision in play.
fn floor_kept(now: Timestamp, seen: &Observation, made: &Decision) -> bool {
    let (to, from) = (made.wanted, made.current);
    if seen.promoted || !to.shrinks_from(from) || !known(now, &seen.signals.rate) {
        return true;
    }
    let cap_at_bounds = to.replicas >= seen.max_replicas && from.replicas > seen.max_replicas
        || to.size >= seen.cpu.max && from.size > seen.cpu.max;
    if cap_at_bounds {
        return true;
    }
    let in_play = || seen.revisions.iter().filter(|r| r.current || seen.rolling);
    let Some(budget) = in_play()
        .filter_map(|r| r.budget)
        .reduce(|a, b| if b < a { b } else { a })
    else {
        return true;
    };
    let load = seen.signals.rate.value().map_or(0.0, |r| r.get()) / f64::from(to.replicas.max(1));
    in_play().all(|r| {
        let Some(curve) = &r.curve else { return true };
        // The next profiled size above bounds what this size may carry.
        let table = curve
            .sizes()
            .iter()
            .find(|t| t.size >= to.size)
            .or(curve.sizes().last());
        let best = curve
            .sizes()
            .iter()
            .filter(|t| table.is_some_and(|u| t.size <= u.size));
        let carries = best
            .filter_map(|t| t.capacity(budget))
            .map(|c| c.get())
            .reduce(f64::max);
        // A budget below the unloaded tail is relaxed; there is no floor to compare with.
        carries.is_none_or(|c| load <= c * 1.000_001)
    })
}
