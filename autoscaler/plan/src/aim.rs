//! The target before the shield: what the load, an emergency, a scale-down that hurt, or a foreign hand ask for.

use jiff::{SignedDuration, Timestamp};
use msars_domain::{Millis, Observation, Rate, Reading, Unknown};

use crate::{
    Emergency, Fleet, Guard, Lack, Limits, Proposal, Reason, State,
    facts::{Facts, MOST_PRESSURE},
    search::{Demand, Plan},
    shield::bounds,
    state::within,
};

/// Growth of the factor per tick in breach, its decay per tick of relief, and the share of the budget that is relief.
const PRESS: f64 = 1.15;
const RELIEVE: f64 = 0.95;
const RELIEF: f64 = 0.7;

/// Self time over the budget from which on a scale-down has hurt; less is noise, and answered by growth alone.
const HURTS: f64 = 1.1;

/// A target with the reason for it.
pub(crate) struct Aim {
    pub fleet: Fleet,
    pub reason: Reason,
    pub guards: Vec<Guard>,
    pub plan: Option<Plan>,
    /// A promoted policy's tail bound allows less than the profile.
    pub proven: bool,
    /// The target takes a shrink back that hurt.
    pub undoes: bool,
}

/// One workload at one tick.
pub(crate) struct Case<'a> {
    pub now: Timestamp,
    pub seen: &'a Observation,
    pub limits: &'a Limits,
    pub facts: Result<&'a Facts<'a>, Lack>,
    pub rate: &'a Reading<Rate>,
    pub demand: Option<Demand>,
    pub proposal: Proposal,
    pub current: Fleet,
}

/// Replicas that an emergency keeps.
pub(crate) fn floor(state: &State) -> u32 {
    state
        .emergency
        .map_or(0, |e| e.floor.max(0.0).ceil() as u32)
}

impl Case<'_> {
    /// Raises, keeps and fades an emergency.
    pub fn emergency(&self, state: &mut State) {
        let (seen, limits) = (self.seen, self.limits);
        let (least, most) = bounds(seen);
        if seen.wishes.emergency {
            state.emergency = Some(Emergency {
                floor: f64::from(most),
                automatic: false,
            });
            return;
        }
        let lost = self.rate.value().is_none();
        if let Some(running) = &mut state.emergency {
            if !(running.automatic && lost) {
                running.floor *= limits.emergency_return.clamp(0.0, 0.999);
                if running.floor < f64::from(least) {
                    state.emergency = None;
                }
            }
            return;
        }
        let Some(load) = state.load.filter(|_| lost && seen.wishes.acts) else {
            return;
        };
        let blind = !within(self.now, Some(load.at), limits.lost_s);
        let recent = within(self.now, Some(load.at), limits.load_memory_s);
        if blind && recent && load.share >= limits.high_load {
            let floor = f64::from(self.current.replicas) * limits.emergency_factor.max(1.0);
            state.emergency = Some(Emergency {
                floor: floor.ceil().min(f64::from(most)),
                automatic: true,
            });
        }
    }

    /// Why metrics are missing, if they are.
    fn why(&self) -> Option<Unknown> {
        match self.rate {
            Reading::Known { .. } => None,
            Reading::Unknown { why } => Some(*why),
        }
    }

    fn raised(&self, fleet: Fleet, state: &State) -> Fleet {
        let (_, most) = bounds(self.seen);
        Fleet {
            replicas: fleet.replicas.max(floor(state).min(most)),
            ..fleet
        }
    }

    /// What an emergency makes the main reason.
    fn alarm(&self, state: &State) -> Option<Reason> {
        match (state.emergency, self.why()) {
            (Some(_), _) if self.seen.wishes.emergency => Some(Reason::Emergency),
            (Some(e), Some(why)) if e.automatic => Some(Reason::MetricsVanished {
                share: state.load.map_or(0.0, |l| l.share),
                why,
            }),
            _ => None,
        }
    }

    /// The target, or the reason why there can be none and nothing is written.
    pub fn aim(&self, state: &mut State) -> Result<Aim, Reason> {
        let alarm = self.alarm(state);
        let (facts, demand) = match (self.facts, self.demand) {
            (Ok(facts), Some(demand)) => (facts, demand),
            // The user's word needs no measurement.
            (Err(_), _) if self.seen.wishes.emergency => {
                return Ok(self.blind(Reason::Emergency, state));
            }
            (Err(Lack::Profile), _) => return Err(Reason::NoProfile),
            (Err(Lack::Objective), _) => return Err(Reason::NoObjective),
            (Ok(_), None) => {
                let why = self.why().unwrap_or(Unknown::NoSeries);
                let memory = self.limits.load_memory_s;
                let known = state
                    .load
                    .is_some_and(|l| within(self.now, Some(l.at), memory));
                // However long ago the load was seen, a raised minimum holds.
                let few = state.load.is_some() && self.current.replicas < bounds(self.seen).0;
                return match alarm {
                    Some(reason) => Ok(self.blind(reason, state)),
                    None if known || few || state.emergency.is_some() => {
                        Ok(self.blind(Reason::MetricsLost { why }, state))
                    }
                    None => Err(Reason::NoMetrics { why }),
                };
            }
        };
        let plan = facts.plan(demand, false);
        let mut guards = Vec::new();
        self.press(facts, &plan, state, &mut guards);
        let proven = self.proven(facts);
        let planned = self.choose(facts, &plan, state, proven, &mut guards);
        let undone = self.undo(facts, &plan, state);
        let mut fleet = planned;
        if let Some((from, _)) = undone {
            fleet = fleet.at_least(from);
        }
        fleet = self.raised(fleet, state);
        let alone = fleet;
        fleet = facts.host(fleet, plan.asks);
        let current = self.current;
        let reason = match (alarm, undone) {
            (Some(reason), _) => reason,
            (None, Some((_, measured))) => Reason::UndoScaleDown { measured },
            (None, None) if fleet.replicas > planned.replicas => Reason::EmergencyReturn,
            (None, None) if plan.fits && fleet == facts.base() && fleet != current => {
                Reason::Bounds
            }
            (None, None) if fleet.grows_from(current) && !alone.grows_from(current) => {
                Reason::Guests
            }
            (None, None) if fleet.grows_from(current) && plan.fits && facts.base() == current => {
                Reason::Reshape
            }
            (None, None) if fleet.grows_from(current) => Reason::LoadRose,
            (None, None) if let Some(why) = self.why() => Reason::MetricsLost { why },
            (None, None) if fleet.shrinks_from(current) => Reason::LoadFell,
            (None, None) => Reason::Fits,
        };
        Ok(Aim {
            undoes: matches!(reason, Reason::UndoScaleDown { .. }),
            fleet,
            reason,
            guards,
            plan: Some(plan),
            proven,
        })
    }

    /// Live self time over the budget although the fleet should have carried all of the recent past: the profile promises
    /// too much, and the load counts for more, step by step; far below the budget it counts for less again.
    fn press(&self, facts: &Facts<'_>, plan: &Plan, state: &mut State, guards: &mut Vec<Guard>) {
        let Some(measured) = facts.self_time(self.now) else {
            return;
        };
        // Of two revisions the slower is no breach within its own.
        let budget = facts.profile.loosest;
        let settled = !within(self.now, state.last_up, self.limits.quantile_s);
        let factor =
            if measured > budget && plan.peak_fits && settled && self.rate.value().is_some() {
                facts.pressure * PRESS
            } else if measured.get() < RELIEF * budget.get() {
                facts.pressure * RELIEVE
            } else {
                facts.pressure
            };
        let factor = factor.clamp(1.0, MOST_PRESSURE);
        state.pressure = (factor > 1.0).then_some(factor);
        if facts.pressure > 1.0 {
            guards.push(Guard::Pressure {
                percent: ((facts.pressure - 1.0) * 100.0).round() as u32,
            });
        }
    }

    /// A target without a plan: what there is, or what an emergency keeps.
    fn blind(&self, reason: Reason, state: &State) -> Aim {
        Aim {
            fleet: self.raised(self.current, state),
            reason,
            guards: Vec::new(),
            plan: None,
            proven: false,
            undoes: false,
        }
    }

    fn proven(&self, facts: &Facts<'_>) -> bool {
        let bound = self.proposal.bound;
        self.seen.promoted
            && self.rate.value().is_some()
            && bound.is_some_and(|bound| bound <= facts.profile.budget)
    }

    /// Between the proposal and the profile's plan.
    fn choose(
        &self,
        facts: &Facts<'_>,
        plan: &Plan,
        state: &State,
        proven: bool,
        guards: &mut Vec<Guard>,
    ) -> Fleet {
        if plan.saturated {
            guards.push(Guard::Saturated);
        }
        if plan.replaced > 0 || facts.down() {
            guards.push(Guard::Unready { pods: facts.lost });
        }
        if facts.uncreated > 0 {
            guards.push(Guard::Uncreated {
                pods: facts.uncreated,
            });
        }
        if facts.waiting > 0 {
            guards.push(Guard::Waiting {
                pods: facts.waiting,
            });
        }
        if plan.unmet {
            guards.push(Guard::AtMaximum);
        }
        if let Some(planned) = facts.profile.relaxed {
            guards.push(Guard::Unreachable { planned });
        }
        // While no pod is there, a policy knows no more than the size in force.
        let Some(wished) = self.proposal.fleet.filter(|_| !facts.absent()) else {
            return plan.fleet;
        };
        let (least, most) = facts.bounds();
        // More would only wait beside those that wait for a node.
        let most = match facts.waiting {
            0 => most,
            _ => most.min(plan.fleet.replicas.max(facts.placed(most))),
        };
        let (first, last) = (facts.choices.first(), facts.choices.last());
        let fleet = Fleet {
            replicas: wished.replicas.min(most).max(least),
            size: wished
                .size
                .max(first.map_or(wished.size, |c| c.size))
                .min(last.map_or(wished.size, |c| c.size)),
        };
        // Growth that the load does not ask for is a change of shape, and those are rare.
        if plan.fits && fleet.grows_from(facts.base()) {
            let recent = |at| within(self.now, at, self.limits.reshape_s);
            let wishes = &self.seen.wishes;
            if recent(state.reshaped)
                || recent(state.last_up)
                || self.seen.rolling
                || state.emergency.is_some()
                || wishes.pause_scale_down
            {
                guards.push(Guard::ReshapeWaits);
                return plan.fleet;
            }
        }
        let whole = plan.replaced == 0 && !facts.down();
        if proven || (facts.capacity(fleet) >= plan.need && whole) {
            return fleet;
        }
        if facts.capacity(fleet) < plan.asks && !plan.fits && fleet != plan.fleet {
            guards.push(Guard::BelowFloor { proposed: wished });
        }
        fleet.at_least(plan.fleet)
    }

    /// The fleet before a shrink that broke the budget, with the measured self time. It is remembered until that fleet is
    /// back, which may take several ticks: rate policies and quotas still apply.
    fn undo(&self, facts: &Facts<'_>, plan: &Plan, state: &mut State) -> Option<(Fleet, Millis)> {
        state.shrink = state
            .shrink
            .filter(|s| within(self.now, Some(s.at), self.limits.undo_s));
        let shrink = state
            .shrink
            .filter(|s| s.within && s.from.grows_from(self.current))?;
        let measured = facts.self_time(self.now)?;
        // A load that the fleet does not carry has risen since: that is no fault of the scale-down.
        if !plan.peak_fits || measured.get() <= facts.profile.loosest.get() * HURTS {
            return None;
        }
        // Nothing shrinks in a calm, so that one that runs was begun by this undo.
        if state.calm_until.is_none_or(|until| until <= self.now) {
            let calm = SignedDuration::from_secs(i64::from(self.limits.calm_s));
            state.calm_until = self.now.checked_add(calm).ok();
        }
        let (_, most) = bounds(self.seen);
        let from = Fleet {
            replicas: shrink.from.replicas.min(most),
            ..shrink.from
        };
        Some((from, measured))
    }

    /// Replicas that the measured peak needs at the size in force, and never fewer than the minimum.
    fn needed(&self) -> u32 {
        let (least, most) = bounds(self.seen);
        let (Ok(facts), Some(demand)) = (self.facts, self.demand) else {
            return least;
        };
        let each = facts.carries(facts.base().size).max(f64::MIN_POSITIVE);
        ((demand.peak / each).ceil().min(f64::from(most)) as u32).max(least)
    }

    /// Watches for a foreign hand on replicas: a drop below the floor is restored once. True when replicas are left
    /// to somebody else.
    pub fn foreign(&self, state: &mut State, aim: &mut Aim) -> bool {
        let (now, seen, limits) = (self.now, self.seen, self.limits);
        if !seen.wishes.acts {
            return false;
        }
        state
            .drops
            .retain(|at| within(now, Some(*at), limits.foreign_s));
        let below = seen.replicas < self.needed();
        if let Some(left) = state.replicas.filter(|left| seen.replicas < *left && below) {
            state.drops.push(now);
            if state.drops.len() >= 2 {
                state.conflict = Some(now);
            } else {
                self.restore(left, aim);
            }
        }
        let raised = state.replicas.is_some_and(|left| seen.replicas > left);
        if !below || raised || !within(now, state.conflict, limits.conflict_s) {
            state.conflict = None;
        }
        state.conflict.is_some() || seen.declared_by.is_some()
    }

    fn restore(&self, left: u32, aim: &mut Aim) {
        let (_, most) = bounds(self.seen);
        aim.reason = Reason::RestoreDrop { from: left };
        aim.fleet.replicas = aim.fleet.replicas.max(left.min(most));
        let back = Fleet {
            size: self.current.size,
            ..aim.fleet
        };
        if let (Ok(facts), Some(demand)) = (self.facts, self.demand)
            && facts.capacity(back) >= demand.peak
        {
            aim.fleet = back;
        }
    }
}
