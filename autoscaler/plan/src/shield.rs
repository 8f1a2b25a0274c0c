//! Turns any target into a safe one. Each step may only change the target as its guard says, and the order is fixed:
//! one direction, windows, rest after growth, reasons not to shrink, the minimum, rate policies, quota, and last the
//! floor.

use jiff::Timestamp;
use msars_domain::{Headroom, Observation, Reading, Unknown};

use crate::{
    ConditionReason, Fleet, Guard, Limits, State,
    behavior::pace,
    facts::{Facts, vertical},
    quota::Taken,
    reason::Signal,
    state::within,
};

/// What the steps read.
pub(crate) struct Shield<'a> {
    pub now: Timestamp,
    pub seen: &'a Observation,
    /// What the namespace's quotas leave to it at this tick.
    pub headroom: Headroom,
    pub limits: &'a Limits,
    pub facts: Option<&'a Facts<'a>>,
    pub current: Fleet,
    /// The measured or forecast peak, requests per second.
    pub peak: Option<f64>,
    /// The same with headroom.
    pub need: Option<f64>,
    /// The measured or forecast load, requests per second.
    pub load: Option<f64>,
    /// The same with headroom.
    pub asks: Option<f64>,
    /// Replicas an emergency keeps.
    pub floor: u32,
    /// Replicas belong to somebody else.
    pub frozen: bool,
    /// A promoted policy's tail bound allows less than the profile.
    pub proven: bool,
    /// The target takes a shrink back that hurt.
    pub undoes: bool,
}

/// A target on its way through the steps.
pub(crate) struct Outcome {
    pub fleet: Fleet,
    pub guards: Vec<Guard>,
    /// HPA's reason for `ScalingLimited`.
    pub limited: ConditionReason,
    /// HPA's reason for `AbleToScale`.
    pub able: ConditionReason,
    /// Nothing forbids shrinking at this tick, but that something grew lately.
    pub calm: bool,
    /// Nothing forbids shrinking at this tick.
    pub may_shrink: bool,
}

impl Shield<'_> {
    pub fn apply(&self, target: Fleet, state: &mut State) -> Outcome {
        let current = self.current;
        let mut out = Outcome {
            fleet: target,
            guards: Vec::new(),
            limited: ConditionReason::DesiredWithinRange,
            able: ConditionReason::ReadyForNewScale,
            calm: false,
            may_shrink: false,
        };
        self.stay_in_bounds(&mut out);
        if self.frozen {
            out.fleet.replicas = current.replicas;
            out.guards.push(Guard::ReplicasLeft);
            self.compensate(&mut out);
        }
        self.one_direction(&mut out);
        self.windows(state, &mut out);
        self.rested(state, &mut out);
        let reasons = self.not_to_shrink(state);
        let window = self.limits.size_windows(&self.seen.behavior).down_s;
        out.calm = reasons.is_empty();
        out.may_shrink = out.calm && !within(self.now, state.last_up, window);
        if out.fleet.shrinks_from(current) && !reasons.is_empty() {
            out.fleet = out.fleet.at_least(current);
            // A lowered maximum holds at once, as with HPA, unless the user or missing metrics say that nothing shrinks.
            if !self.frozen && reasons.iter().all(yields) {
                let (_, most) = bounds(self.seen);
                out.fleet.replicas = out.fleet.replicas.min(most);
            }
            out.guards.extend(reasons);
        }
        let up = self.seen.behavior.scale_up.stabilization_window_seconds;
        let turned = within(self.now, state.last_down, up) && !self.undoes;
        if out.fleet.grows_from(current) && turned {
            out.fleet = current;
            out.guards.push(Guard::Direction { window_s: up });
        }
        self.up_to_minimum(&mut out);
        self.rates(state, &mut out);
        self.quota(&mut out);
        self.keep_floor(&mut out);
        self.stay_in_bounds(&mut out);
        out
    }

    /// A decision grows or shrinks; what would do both only grows.
    pub(crate) fn one_direction(&self, out: &mut Outcome) {
        if out.fleet.grows_from(self.current) {
            out.fleet = out.fleet.at_least(self.current);
        }
    }

    /// Fewer than the minimum become as many, whatever windows and metrics say, as with HPA.
    fn up_to_minimum(&self, out: &mut Outcome) {
        let (least, _) = bounds(self.seen);
        if !self.frozen && out.fleet.replicas < least {
            out.fleet.replicas = least;
            self.one_direction(out);
        }
    }

    /// Everything that forbids shrinking at this tick.
    fn not_to_shrink(&self, state: &State) -> Vec<Guard> {
        let mut out = Vec::new();
        if let Some((signal, why)) = self.unknown() {
            out.push(Guard::UnknownSignal { signal, why });
        }
        if self.seen.rolling && !self.seen.lasting {
            out.push(Guard::Rolling);
        }
        if self.seen.wishes.pause_scale_down {
            out.push(Guard::ScaleDownPaused);
        }
        if self.floor >= self.current.replicas && self.floor > 0 {
            out.push(Guard::EmergencyFloor {
                replicas: self.floor,
            });
        }
        if let Some(until) = state.calm_until.filter(|until| *until > self.now) {
            out.push(Guard::Calm { until });
        }
        match self.facts {
            None => out.push(Guard::Floor),
            Some(facts) => {
                if facts.profile.borrowed {
                    out.push(Guard::Borrowed);
                }
                let time = facts.self_time(self.now);
                if let Some(measured) = time.filter(|t| *t > facts.profile.budget) {
                    out.push(Guard::Breach { measured });
                }
                if facts.down() || self.peak.is_some_and(|peak| facts.overloaded(peak)) {
                    out.push(Guard::Unready { pods: facts.lost });
                }
            }
        }
        out
    }

    /// The first metric that a shrink needs and that is missing or old.
    fn unknown(&self) -> Option<(Signal, Unknown)> {
        let signals = &self.seen.signals;
        let why = |missing: Option<Unknown>, signal| missing.map(|why| (signal, why));
        why(self.missing(&signals.rate), Signal::Rate)
            .or_else(|| why(self.missing(&signals.peak_rate), Signal::Peak))
            .or_else(|| {
                let idle = signals.rate.value().is_some_and(|r| r.get() <= 0.0);
                let own = self.missing(&signals.self_quantile)?;
                // A request time in place of such a self time would hide how long it may be.
                if signals.self_quantile.saturated() {
                    return (!idle).then_some((Signal::Latency, own));
                }
                let whole = self.missing(&signals.request_quantile)?;
                let quiet = [whole, own].contains(&Unknown::TooFewSamples);
                let many = signals.request_quantile.saturated();
                (!idle && (many || !quiet)).then_some((Signal::Latency, whole))
            })
    }

    fn missing<T>(&self, reading: &Reading<T>) -> Option<Unknown> {
        match reading {
            Reading::Unknown { why } => Some(*why),
            Reading::Known { at, .. } => {
                let fresh = within(self.now, Some(*at), self.limits.staleness_s.max(1));
                (!fresh).then_some(Unknown::Stale)
            }
        }
    }

    /// The rate policies; the way back into the bounds is free, as with HPA.
    fn rates(&self, state: &State, out: &mut Outcome) {
        let wanted = out.fleet.replicas;
        if self.frozen || wanted == self.current.replicas {
            return;
        }
        let (least, most) = bounds(self.seen);
        let paced = pace(
            self.now,
            self.current.replicas,
            wanted,
            (least, most),
            &state.events,
            &self.seen.behavior,
        );
        let replicas = if wanted > self.current.replicas {
            let free = self.current.replicas.max(least.min(wanted));
            paced.replicas.max(free)
        } else {
            paced.replicas.min(most.max(wanted))
        };
        out.fleet.replicas = replicas;
        if replicas == wanted {
            return;
        }
        out.limited = paced.reason;
        out.guards.push(Guard::RateLimited {
            wanted,
            allowed: replicas,
        });
        if wanted > replicas {
            self.compensate(out);
        }
    }

    /// What replicas may not do, size may.
    fn compensate(&self, out: &mut Outcome) {
        if let (Some(facts), Some(need)) = (self.facts, self.asks.or(self.load))
            && facts.vertical
            && facts.capacity(out.fleet) < need
        {
            let size = facts.smallest(out.fleet.size, out.fleet.replicas, need);
            let strongest = || facts.strongest(out.fleet.size);
            out.fleet.size = out.fleet.size.max(size.unwrap_or_else(strongest));
        }
    }

    /// Growth that the quota has no room for becomes the largest that it has.
    fn quota(&self, out: &mut Outcome) {
        let wanted = out.fleet;
        if !wanted.grows_from(self.current) || self.fits_quota(wanted) {
            return;
        }
        let sizes = self.facts.map(|f| f.choices.as_slice()).unwrap_or_default();
        let larger = sizes.iter().rev().map(|c| c.size);
        let mut best = self.current;
        for size in larger.filter(|s| *s > self.current.size && *s <= wanted.size) {
            let fleet = Fleet { size, ..best };
            if self.fits_quota(fleet) {
                best = fleet;
                break;
            }
        }
        for replicas in (self.current.replicas + 1)..=wanted.replicas {
            let fleet = Fleet { replicas, ..best };
            if !self.fits_quota(fleet) {
                break;
            }
            best = fleet;
        }
        out.fleet = best;
        out.limited = ConditionReason::QuotaReached;
        out.guards.push(Guard::Quota { wanted });
    }

    /// Whether a fleet stays within the namespace's quotas.
    pub fn fits_quota(&self, fleet: Fleet) -> bool {
        let seen = self.seen;
        let extra = fleet.replicas.saturating_sub(self.current.replicas);
        let mut taken = Taken::births(seen, fleet.size, extra);
        if vertical(seen) {
            let to = seen.template.scaled_to(fleet.size);
            for pod in seen.pods.iter().filter(|p| !p.foreign) {
                taken = taken.and(Taken::growth(pod.asked, to));
            }
        }
        taken.fits(self.headroom)
    }

    /// A shrink that would not carry the measured peak does not happen, unless the bounds themselves ask for it.
    fn keep_floor(&self, out: &mut Outcome) {
        let (Some(facts), Some(peak)) = (self.facts, self.peak) else {
            return;
        };
        let base = facts.base();
        // Below the profile capacity is a guess, and nothing shrinks on a guess.
        let known = facts.profile.capacity(out.fleet.size).is_some();
        // Pods without a node carry nothing: some may go while all that come carry the peak.
        let idle = facts.loses_nothing(base, out.fleet) && facts.coming(out.fleet) >= peak;
        let carried = known && (idle || facts.capacity(out.fleet) >= peak);
        if self.proven || carried || !out.fleet.shrinks_from(base) {
            return;
        }
        let kept = base.at_least(out.fleet);
        let kept = Fleet {
            replicas: kept
                .replicas
                .min(self.current.replicas.max(out.fleet.replicas)),
            size: kept.size.min(self.current.size.max(out.fleet.size)),
        };
        if kept != out.fleet {
            out.fleet = kept;
            out.guards.push(Guard::Floor);
        }
    }

    /// Never outside the bounds, except that what is outside already may stay there on its way in.
    fn stay_in_bounds(&self, out: &mut Outcome) {
        let (least, most) = bounds(self.seen);
        let now = self.current;
        if !self.frozen {
            let replicas = out.fleet.replicas;
            out.fleet.replicas = replicas.clamp(least.min(now.replicas), most.max(now.replicas));
        }
        if vertical(self.seen) {
            let cpu = self.seen.cpu;
            // The largest choice knows what nodes have refused.
            let most = self
                .facts
                .and_then(|f| f.choices.last())
                .map_or(cpu.max, |c| c.size);
            let size = out.fleet.size;
            // A window that lets a growth go on a part of its way to the smallest size lets it go all the way.
            let least = if size > now.size {
                cpu.min
            } else {
                cpu.min.min(now.size)
            };
            out.fleet.size = size.max(least).min(most.max(now.size));
        } else {
            out.fleet.size = now.size;
        }
    }
}

/// Whether what forbids shrinking gives way to the bounds.
fn yields(reason: &Guard) -> bool {
    !matches!(reason, Guard::UnknownSignal { .. } | Guard::ScaleDownPaused)
}

pub(crate) fn bounds(seen: &Observation) -> (u32, u32) {
    let least = seen.min_replicas.max(1);
    (least, seen.max_replicas.max(least))
}
