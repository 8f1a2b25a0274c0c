//! What must hold of every decision, written without the shield's own code.

use jiff::Timestamp;
use msars_domain::{
    Action, Beside, Bytes, CpuSize, MilliCpu, Observation, PodState, PolicyType, Qos, Reading,
    Resize, ScalingRules, SelectPolicy,
};
use msars_plan::{Decision, Limits, Reason, Refuser, ScaleEvent, State};

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

/// A pod without a node that comes down to its template's size serves nobody: nothing that serves shrinks by it. A
/// rollout would wait for it, or all wait.
pub fn comes_down(
    now: Timestamp,
    seen: &Observation,
    pod: &PodState,
    size: MilliCpu,
    limits: &Limits,
) -> bool {
    let template = seen.template.size().max(seen.cpu.min).min(seen.cpu.max);
    let stops = seen.rolling || seen.pods.iter().all(|p| p.unschedulable);
    pod.unschedulable
        && stops
        && size <= template
        && age(now, pod.born) >= f64::from(limits.settle_s)
}

/// What one decision does, taken together.
struct Sum<'a> {
    now: Timestamp,
    seen: &'a Observation,
    before: &'a State,
    made: &'a Decision,
    to: u32,
    shrunk: bool,
    /// A pod shrank.
    smaller: bool,
    /// A pod shrank further than from above the largest size allowed.
    inside: bool,
    /// Growth of requests and limits, milli-cores.
    requests: i64,
    grown_limits: i64,
    limits: &'a Limits,
    broken: Vec<String>,
}

/// Every broken invariant, by name; empty when all hold. `before` is the state that went in.
pub fn broken(
    now: Timestamp,
    seen: &Observation,
    before: &State,
    made: &Decision,
    limits: &Limits,
) -> Vec<String> {
    let mut sum = Sum {
        now,
        seen,
        before,
        made,
        to: seen.replicas,
        shrunk: false,
        smaller: false,
        inside: false,
        requests: 0,
        grown_limits: 0,
        limits,
        broken: Vec::new(),
    };
    for action in &made.actions {
        sum.action(action);
    }
    sum.shrunk |= sum.to < seen.replicas;
    sum.permission();
    sum.direction();
    sum.bounds();
    sum.broken
}

impl Sum<'_> {
    fn check(&mut self, holds: bool, what: &str) {
        if !holds {
            self.broken.push(what.to_owned());
        }
    }

    fn action(&mut self, action: &Action) {
        let seen = self.seen;
        match action {
            Action::Scale { target, from, to } => {
                let read = target == &seen.signals.workload && *from == seen.replicas;
                self.check(read, "scale of what was read");
                self.check(*to != seen.replicas, "no write without a change");
                self.to = *to;
            }
            Action::Resize { uid, container, .. } => {
                let Some(found) = seen.pods.iter().find(|p| p.uid == *uid) else {
                    self.check(false, "resize of a pod that exists");
                    return;
                };
                self.check(
                    container == &seen.container,
                    "resize of the serving container",
                );
                self.resize(found, resized(found.asked, action));
            }
            _ => self.check(false, "only /scale and pods/resize"),
        }
    }

    fn resize(&mut self, found: &PodState, size: CpuSize) {
        let (seen, before) = (self.seen, self.before);
        self.check(!found.foreign, "a foreign size is left alone");
        let possible = seen.resizable == Some(true) && seen.qos != Qos::BestEffort;
        self.check(possible, "resize only where it is possible");
        self.check(size != found.asked, "no resize without a change");
        let same = size.limit.is_some() == found.asked.limit.is_some();
        self.check(same, "no limit added or removed");
        let tied = |s: CpuSize| s.limit == Some(s.request);
        self.check(tied(size) == tied(found.asked), "QoS class kept");
        let sane = size.limit.is_none_or(|l| size.request <= l) && size.request.0 > 0;
        self.check(sane, "request above zero and within limit");
        let now = matches!(found.resize, Resize::Infeasible { size: s } if size.size() >= s);
        let refused = before.refused.iter().any(|r| {
            let lacks = r.uid == found.uid && found.actual.size() < r.size;
            lacks && r.infeasible && size.size() >= r.size
        });
        let has = size.size() <= found.actual.size();
        self.check(
            has || !(now || refused),
            "what is infeasible is not asked again",
        );
        let recent = |at| age(self.now, at) < f64::from(self.limits.retry_s);
        let denied = before.refused.iter().any(|r| {
            let same = if r.shrink {
                size.size() <= r.size && found.asked.size() > r.size
            } else {
                size.size() >= r.size && found.actual.size() < r.size
            };
            r.uid == found.uid && r.by == Refuser::Server && recent(r.at) && same
        });
        self.check(!denied, "what the API server refused is not asked again");
        let inside = size.size() >= seen.cpu.min && size.size() <= seen.cpu.max;
        let in_force = before.size == Some(size.size()) || self.made.current.size == size.size();
        let back = size == found.actual;
        self.check(inside || back || in_force, "size within bounds");
        let free = comes_down(self.now, seen, found, size.size(), self.limits);
        let smaller = size.size() < found.actual.size() && !free;
        self.shrunk |= smaller;
        self.smaller |= smaller;
        self.inside |= smaller && size.size() != seen.cpu.max;
        if !back {
            let limit = |s: CpuSize| s.limit.map_or(0, |l| i64::from(l.0));
            let request = i64::from(size.request.0) - i64::from(found.asked.request.0);
            self.requests += request.max(0);
            self.grown_limits += (limit(size) - limit(found.asked)).max(0);
        }
    }

    fn permission(&mut self) {
        let (seen, none) = (self.seen, self.made.actions.is_empty());
        self.check(none || seen.wishes.acts, "only where it may act");
        let paused = seen.wishes.pause || seen.replicas == 0;
        self.check(none || !paused, "paused: nothing");
        self.check(none || seen.rival.is_none(), "a rival: nothing");
        let blank = seen.revisions.iter().all(|r| r.curve.is_none())
            || seen.revisions.iter().all(|r| r.budget.is_none());
        let planless = blank && !seen.wishes.emergency;
        self.check(none || !planless, "no profile or objective: nothing");
        let left = seen.declared_by.is_none() || self.to == seen.replicas;
        self.check(left, "declared replicas are left alone");
    }

    fn direction(&mut self) {
        let (seen, before, now, limits) = (self.seen, self.before, self.now, self.limits);
        if self.shrunk {
            let sure = known(now, &seen.signals.rate) && known(now, &seen.signals.peak_rate);
            self.check(sure, "nothing shrinks on Unknown");
            self.check(!seen.wishes.pause_scale_down, "pause-scale-down");
            let kept = !seen.wishes.emergency || self.to >= seen.replicas.min(seen.max_replicas);
            self.check(kept, "nothing shrinks in an emergency");
            let window = seen.behavior.scale_down.stabilization_window_seconds;
            let rested = |up: Option<Timestamp>, window: u32| {
                up.is_none_or(|at| age(now, at) >= f64::from(window))
            };
            let fewer = self.to < seen.replicas;
            // More than the maximum go at any time.
            let over = fewer && self.to >= seen.max_replicas;
            let to_maximum = over && !self.smaller;
            let rolls = seen.rolling && !seen.lasting;
            self.check(!rolls || to_maximum, "nothing shrinks while rolling");
            self.check(
                !fewer || over || rested(before.last_more, window),
                "one direction per window, replicas",
            );
            let shorter = window.min(limits.size_down_s);
            self.check(
                over || !(fewer || self.inside) || rested(before.last_up, shorter),
                "one direction per window, size",
            );
            let calm = before.calm_until.is_none_or(|until| until <= now);
            self.check(calm || to_maximum, "calm after an undo");
        }
        if self.made.wanted.grows_from(self.made.current) {
            self.check(!self.shrunk, "one direction per decision");
            let window = f64::from(seen.behavior.scale_up.stabilization_window_seconds);
            let rested = before.last_down.is_none_or(|at| age(now, at) >= window);
            let (to, from) = (self.made.wanted, self.made.current);
            let to_minimum = to.replicas <= seen.min_replicas && to.size <= from.size;
            let back = matches!(
                self.made.reason,
                Reason::UndoScaleDown { .. } | Reason::RestoreDrop { .. }
            );
            self.check(rested || to_minimum || back, "one direction per window, up");
        }
        let kept = floor_kept(now, seen, self.made);
        self.check(kept, "never below the profile's floor when unpromoted");
    }

    fn bounds(&mut self) {
        let (seen, to, limits) = (self.seen, self.to, self.limits);
        let inside = to >= seen.min_replicas.min(seen.replicas)
            && to <= seen.max_replicas.max(seen.replicas);
        self.check(inside, "within min and max");
        // The user's emergency, and replicas that were there before, are asked for all the same.
        let hurries = matches!(
            self.made.reason,
            Reason::Emergency
                | Reason::MetricsVanished { .. }
                | Reason::MetricsLost { .. }
                | Reason::EmergencyReturn
                | Reason::UndoScaleDown { .. }
                | Reason::RestoreDrop { .. }
        );
        let long = |since| age(self.now, since) > f64::from(limits.startup_s);
        let never = self.before.uncreated.iter().any(|u| long(u.since)) && seen.uncreated > 0;
        let more = to > seen.replicas.max(seen.min_replicas);
        self.check(hurries || !never || !more, "no more on top of none");
        let far = |rules, up| furthest(self.now, seen.replicas, &self.before.events, rules, up);
        let up = far(&seen.behavior.scale_up, true);
        let down = far(&seen.behavior.scale_down, false);
        // The way into the bounds is free.
        let (up, down) = (
            up.max(f64::from(seen.min_replicas)),
            down.min(f64::from(seen.max_replicas)),
        );
        let paced = f64::from(to) <= up && f64::from(to) >= down;
        self.check(paced, "within the rate policies");
        let extra = i64::from(to.saturating_sub(seen.replicas));
        let template = seen.template;
        let whole = |of: Beside, own: u32| i64::from((of.others.0 + own).max(of.least.0));
        let request = whole(seen.cost.requests, template.request.0);
        let limit = whole(seen.cost.limits, template.limit.map_or(0, |l| l.0));
        let room = |left: Option<MilliCpu>, more: i64| left.is_none_or(|l| more <= i64::from(l.0));
        let cpu = room(seen.headroom.requests, self.requests + extra * request)
            && room(seen.headroom.limits, self.grown_limits + extra * limit);
        self.check(cpu, "within the CPU quota");
        let room = |left: Option<Bytes>, each: Bytes| {
            left.is_none_or(|l| extra * each.0.cast_signed() <= l.0.cast_signed())
        };
        let memory = room(seen.headroom.request_memory, seen.cost.request_memory)
            && room(seen.headroom.limit_memory, seen.cost.limit_memory);
        self.check(memory, "within the memory quota");
        let pods = seen.headroom.pods.is_none_or(|l| extra <= i64::from(l));
        self.check(pods, "within the pod quota");
        let few = self.made.actions.len() <= limits.resizes_per_tick as usize + 1;
        self.check(few, "bounded writes");
    }
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
        // Each keeps its own.
        let budget = r.budget.unwrap_or(budget);
        // A budget that no size within the bounds reaches, however idle, is relaxed to a tenth above the best of them.
        let reach = curve.sizes().partition_point(|t| t.size <= seen.cpu.max);
        let idle = curve.sizes().iter().take(reach.max(1));
        let idle = idle.filter_map(|t| Some(t.knots.first()?.quantile.get()));
        let idle = idle.reduce(f64::min).filter(|best| *best > budget.get());
        let relaxed = idle.and_then(|best| msars_domain::Millis::new(1.1 * best).ok());
        let budget = relaxed.unwrap_or(budget);
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
            .map(msars_domain::Rate::get)
            .reduce(f64::max);
        // Where none of these sizes was measured within the budget, there is no floor to compare with.
        carries.is_none_or(|c| load <= c * 1.000_001)
    })
}
