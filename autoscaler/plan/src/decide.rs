//! The only place that chains forecast, policy and shield.

use jiff::Timestamp;
use msars_domain::{Action, Headroom, Observation, PodState, Rate, Reading, Unknown};

use crate::{
    Decision, Engines, Fleet, Forecast, Guard, Limits, Load, Numbers, Proposal, Reason, ScaleEvent,
    Shrink, State, Tick, Window,
    aim::{Aim, Case, floor},
    condition::{self, Verdict},
    facts::{self, Facts},
    quota::Given,
    resize,
    search::Demand,
    shield::{Outcome, Shield},
    state::within,
};

/// One round of decisions, one per observation, in order: what the first is given of a quota, the next does not have.
/// Deterministic: the same tick and engines in the same state give the same decisions.
pub fn decide(tick: &Tick, engines: &mut Engines, limits: &Limits) -> Vec<Decision> {
    let windows: Vec<_> = tick
        .observations
        .iter()
        .map(|seen| Window {
            now: tick.now,
            signals: &seen.signals,
            history: &seen.history,
            hold_s: seen.behavior.scale_down.stabilization_window_seconds,
        })
        .collect();
    let mut forecasts = engines.forecaster.forecast(&windows);
    let unknown = Reading::Unknown {
        why: Unknown::NoSeries,
    };
    let none = Forecast {
        load: unknown.clone(),
        peak: unknown,
    };
    forecasts.resize(tick.observations.len(), none);
    let mut proposals = engines.policy.propose(&tick.observations, &forecasts);
    proposals.resize(tick.observations.len(), Proposal::default());
    let fresh = State::default();
    let inputs = tick.observations.iter().zip(forecasts).zip(proposals);
    let mut given = Given::default();
    inputs
        .enumerate()
        .map(|(index, ((seen, forecast), proposal))| {
            let state = tick.states.get(index).unwrap_or(&fresh);
            let left = given.leaves(&seen.signals.workload, &seen.quotas, seen.headroom);
            let mut made = one(tick.now, seen, left, state, &forecast, proposal, limits);
            given.give(seen, made.wanted.size, &made.actions);
            made.headroom = left;
            made
        })
        .collect()
}

fn one(
    now: Timestamp,
    seen: &Observation,
    headroom: Headroom,
    remembered: &State,
    forecast: &Forecast,
    proposal: Proposal,
    limits: &Limits,
) -> Decision {
    let mut state = remembered.clone();
    state.behind(now, limits);
    state.worked(seen);
    state.prune(now, &seen.behavior);
    resize::remember(now, seen, &mut state, limits);
    state.uncreated(now, seen.uncreated);
    let current = facts::current(seen, &state);
    state.lack(now, seen, current.size);
    if let Some(reason) = hands_off(seen) {
        return still(seen, current, reason, accepted(state, seen));
    }
    // What was remembered counts, not what is left of it: a window shorter than a tick leaves nothing, ever.
    if remembered.recommendations.is_empty() {
        // As HPA does at its start: what is there counts as recommended, so that the window holds from the first tick.
        state.recommend(now, current);
    }
    let facts = Facts::new(now, seen, &state, limits);
    let rate = seen
        .signals
        .rate
        .clone()
        .fresh(now, seconds(limits.staleness_s));
    let demand = demand(&rate, at_least(now, seen, limits), forecast);
    let peak = demand.map(|demand| demand.peak);
    if let (Reading::Known { value, .. }, Ok(facts)) = (&rate, &facts) {
        // With pods that wait for a node: an emergency would only add to them.
        let carries = facts.coming(current).max(f64::MIN_POSITIVE);
        state.load = Some(Load {
            at: now,
            rate: *value,
            // Bounded, so that it survives being written as JSON.
            share: (value.get() / carries).min(1e6),
        });
    }
    let case = Case {
        now,
        seen,
        limits,
        facts: facts.as_ref().map_err(|lack| *lack),
        rate: &rate,
        demand,
        proposal,
        current,
    };
    case.emergency(&mut state);
    let mut aim = match case.aim(&mut state) {
        Ok(aim) => aim,
        Err(reason) => return still(seen, current, reason, accepted(state, seen)),
    };
    let frozen = case.foreign(&mut state, &mut aim);
    let shield = Shield {
        now,
        seen,
        headroom,
        limits,
        facts: facts.as_ref().ok(),
        current,
        peak,
        need: aim.plan.map(|plan| plan.need),
        load: demand.map(|demand| demand.load),
        asks: aim.plan.map(|plan| plan.asks),
        floor: floor(&state),
        frozen,
        proven: aim.proven,
        undoes: aim.undoes,
    };
    let mut out = shield.apply(aim.fleet, &mut state);
    aim.guards.append(&mut out.guards);
    finish(now, seen, &shield, aim, &out, state)
}

fn seconds(s: u32) -> std::time::Duration {
    std::time::Duration::from_secs(u64::from(s.max(1)))
}

/// What is left of a rate that lacks some pods.
fn at_least(now: Timestamp, seen: &Observation, limits: &Limits) -> Option<f64> {
    let least = seen.signals.rate_at_least?;
    within(now, Some(least.at), limits.staleness_s.max(1)).then(|| least.rate.get())
}

/// What is measured and what is forecast, the larger of both; a peak without a load is one. Where the rate is not known,
/// a fleet grows for what it is at least; the unknown rate keeps it from shrinking.
fn demand(rate: &Reading<Rate>, at_least: Option<f64>, forecast: &Forecast) -> Option<Demand> {
    let known = |reading: &Reading<Rate>| reading.value().map(|r| r.get());
    let larger = |a: Option<f64>, b: Option<f64>| a.into_iter().chain(b).reduce(f64::max);
    let load = larger(known(rate), known(&forecast.load));
    let least = at_least.filter(|_| rate.value().is_none());
    let peak = larger(larger(load, least), known(&forecast.peak))?;
    Some(Demand::of(
        load.unwrap_or(peak).max(least.unwrap_or(0.0)),
        peak,
    ))
}

/// Reasons to leave everything alone.
fn hands_off(seen: &Observation) -> Option<Reason> {
    if seen.replicas == 0 {
        return Some(Reason::ScaledToZero);
    }
    if seen.wishes.pause {
        return Some(Reason::Paused);
    }
    let rival = seen.rival.as_ref().filter(|_| seen.wishes.acts)?;
    Some(Reason::Rival {
        kind: rival.kind.clone(),
        name: rival.name.clone(),
    })
}

/// Whatever replicas are found are taken as the user's will.
fn accepted(mut state: State, seen: &Observation) -> State {
    state.replicas = Some(seen.replicas);
    state.drops.clear();
    state.conflict = None;
    // Nothing was asked for.
    state.lacking.clear();
    if !seen.wishes.acts {
        state.size = None;
        state.wrote = None;
    }
    state
}

/// A decision that leaves everything as it is.
fn still(seen: &Observation, current: Fleet, reason: Reason, state: State) -> Decision {
    Decision {
        workload: seen.signals.workload.clone(),
        current,
        proposed: current,
        wanted: current,
        actions: Vec::new(),
        headroom: seen.headroom,
        conditions: condition::inactive(seen, &reason, &state),
        reason,
        guards: Vec::new(),
        numbers: Numbers::default(),
        state,
    }
}

fn finish(
    now: Timestamp,
    seen: &Observation,
    shield: &Shield<'_>,
    mut aim: Aim,
    out: &Outcome,
    mut state: State,
) -> Decision {
    let (current, wanted) = (shield.current, out.fleet);
    let mut actions = Vec::new();
    let mut short = Vec::new();
    if seen.wishes.acts {
        if wanted.replicas != seen.replicas {
            actions.push(Action::Scale {
                target: seen.signals.workload.clone(),
                from: seen.replicas,
                to: wanted.replicas,
            });
        }
        let carried = shield
            .facts
            .zip(shield.peak)
            .is_some_and(|(facts, peak)| facts.capacity(wanted) >= peak);
        let fits = aim.plan.is_some_and(|plan| plan.fits);
        // Pods above the largest size allowed come down to it whatever the load: its user, or the namespace, says so.
        let bounded = out.calm && wanted.size == seen.cpu.max;
        let enough = out.may_shrink && carried && fits;
        let may_shrink = (bounded || enough) && !wanted.grows_from(current);
        let left = shield.headroom;
        let made = resize::resizes(
            now,
            seen,
            left,
            &mut state,
            wanted,
            may_shrink,
            shield.limits,
        );
        actions.extend(made.actions);
        short = made.short;
        aim.guards.extend(made.guards);
        record(now, shield, &aim, wanted, &mut state);
    } else {
        state = accepted(state, seen);
    }
    let late = |pod: &PodState| state.late(now, seen, pod, shield.limits);
    let blocked = resize::blocked(seen, &state, wanted.size, &short, late);
    if let Some(blocked) = &blocked {
        aim.guards.push(Guard::ResizeBlocked {
            pods: blocked.pods,
            size: blocked.least.actual.size(),
        });
    }
    let theirs = |pod: &&PodState| pod.foreign && pod.actual.size() < wanted.size;
    let theirs = seen.pods.iter().filter(theirs).map(|p| p.actual.size());
    if let Some(size) = theirs.clone().min() {
        let pods = theirs.count() as u32;
        aim.guards.push(Guard::ForeignSize { pods, size });
    }
    let numbers = Numbers {
        load: shield.load,
        asks: shield.asks,
        peak: shield.peak,
        need: aim.plan.map(|p| p.need),
        budget: shield.facts.map(|f| f.profile.budget),
        carries_now: shield.facts.map(|f| f.capacity(current)),
        carries_then: shield.facts.map(|f| f.capacity(wanted)),
        each_now: shield.facts.map(|f| f.carries(current.size)),
        each_then: shield.facts.map(|f| f.carries(wanted.size)),
        requested: shield.facts.map(|f| (f.cost(current), f.cost(wanted))),
    };
    let verdict = Verdict {
        seen,
        current,
        wanted,
        limited: out.limited,
        able: out.able,
        unmet: aim.plan.is_some_and(|p| p.unmet),
        facts: shield.facts,
        need: aim.plan.map(|p| p.need),
        blocked,
    };
    Decision {
        workload: seen.signals.workload.clone(),
        current,
        proposed: aim.fleet,
        wanted,
        actions,
        headroom: shield.headroom,
        conditions: condition::active(&verdict, &aim.reason, &state),
        reason: aim.reason,
        guards: aim.guards,
        numbers,
        state,
    }
}

/// Remembers what was decided.
fn record(now: Timestamp, shield: &Shield<'_>, aim: &Aim, wanted: Fleet, state: &mut State) {
    let current = shield.current;
    if wanted.replicas != current.replicas {
        state.events.push(ScaleEvent {
            at: now,
            change: i64::from(wanted.replicas) - i64::from(current.replicas),
        });
        state.wrote = Some(now);
    }
    state.replicas = Some(wanted.replicas);
    state.size = facts::vertical(shield.seen).then_some(wanted.size);
    if wanted.grows_from(current) {
        let (more, larger) = (
            wanted.replicas > current.replicas,
            wanted.size > current.size,
        );
        state.grew(now, more, larger);
        // An undo that was held back on its way goes on; any other growth answers something new.
        let goes_on = |s: &Shrink| aim.undoes && s.from.grows_from(wanted);
        state.shrink = state.shrink.filter(goes_on);
        if matches!(aim.reason, Reason::Reshape) {
            state.reshaped = Some(now);
        }
    } else if wanted.shrinks_from(current) {
        state.last_down = Some(now);
        let facts = shield.facts;
        // Replicas without a node are missed by nobody: that they are gone hurts nobody, and no breach brings them back.
        if facts.is_some_and(|f| f.loses_nothing(current, wanted)) {
            return;
        }
        let time = facts.and_then(|f| f.self_time(now).map(|t| t <= f.profile.budget));
        // Several steps of one descent are undone together.
        let from = state.shrink.map_or(current, |s| s.from.at_least(current));
        state.shrink = Some(Shrink {
            at: now,
            from,
            within: time.unwrap_or(false),
        });
    }
}
