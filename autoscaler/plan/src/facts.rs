//! What follows from one observation and its memory before anything is decided.

use jiff::Timestamp;
use msars_domain::{MilliCpu, Millis, Observation, PodState, Qos, Reading, Resize, Unknown};

use crate::{
    Fleet, Lack, Limits, Profile, Refused, Refuser, State, shield::bounds, state::elapsed,
    state::within,
};

/// Most sizes that are compared; a finer step is widened.
const SIZES: u32 = 64;
/// Share of the ready pods' capacity above which unready pods mean overload and not a broken start.
const OVERLOAD: f64 = 0.8;
/// Throttled periods, or share of the limit in use, that mean saturation.
const THROTTLED: f64 = 0.25;
const BUSY: f64 = 0.9;
/// Largest factor on the load while live self time is over the budget.
pub(crate) const MOST_PRESSURE: f64 = 2.0;
/// Mean callee wait over request time below which request time stands for self time.
const LEAF: f64 = 0.1;

/// One size that may be asked for and what a pod of it carries, requests per second.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Choice {
    pub size: MilliCpu,
    pub carries: f64,
}

#[derive(Debug)]
pub(crate) struct Facts<'a> {
    pub seen: &'a Observation,
    pub limits: &'a Limits,
    pub profile: Profile<'a>,
    pub current: Fleet,
    /// Pods can be resized in place.
    pub vertical: bool,
    /// Sizes that may be asked for, smallest first; never empty.
    pub choices: Vec<Choice>,
    pub ready: u32,
    /// Pods that should be ready and are not.
    pub lost: u32,
    /// Replicas that have had no pod for so long that more would get none either.
    pub uncreated: u32,
    /// Replicas whose pods no node has room for, once that has lasted so long that they count for nothing.
    pub waiting: u32,
    /// Factor on the load, from live self time over the budget.
    pub pressure: f64,
    stuck: Option<f64>,
}

pub(crate) fn vertical(seen: &Observation) -> bool {
    seen.resizable == Some(true) && seen.qos != Qos::BestEffort && seen.template.size().0 > 0
}

/// Whether memory says that `pod` does not get `size`.
pub(crate) fn refuses(refused: &[Refused], pod: &PodState, size: MilliCpu) -> bool {
    refused.iter().any(|r| r.stops(pod, size))
}

/// The largest size that no living pod's node has called infeasible: a step below what was refused, so that the way
/// down to what the node can give is not walked by thousandths of a core, but never below what the pod has. Once the
/// API server has refused a growth, none above what it has accepted: pods born larger would be refused as well.
fn ceiling(seen: &Observation, state: &State) -> MilliCpu {
    let step = seen.cpu.step.0.max(1);
    let below = |pod: &PodState, refused: MilliCpu| {
        let kept = refused.0.saturating_sub(step).max(pod.actual.size().0);
        kept.min(refused.0.saturating_sub(1))
    };
    let remembered = state.refused.iter().filter(|r| r.infeasible);
    let remembered = remembered.filter_map(|r| {
        let pod = seen.pods.iter().find(|pod| pod.uid == r.uid)?;
        Some(below(pod, r.size))
    });
    let now = seen.pods.iter().filter_map(|pod| match pod.resize {
        Resize::Infeasible { size } => Some(below(pod, size)),
        _ => None,
    });
    let growth = |r: &Refused| r.by == Refuser::Server && !r.shrink;
    let accepted = state.refused.iter().any(growth).then(|| {
        let ours = seen.pods.iter().filter(|pod| !pod.foreign);
        ours.map(|pod| pod.asked.size().max(pod.actual.size()).0)
            .max()
    });
    let most = remembered.chain(now).chain(accepted.flatten()).min();
    MilliCpu(seen.cpu.max.0.min(most.unwrap_or(u32::MAX)))
}

/// The fleet in force: replicas as read; the size last wanted, else what the pods were asked to be, else the template's.
pub(crate) fn current(seen: &Observation, state: &State) -> Fleet {
    let asked = || {
        let ours = seen.pods.iter().filter(|p| !p.foreign);
        ours.map(|p| p.asked.size()).max()
    };
    let template = seen.template.size();
    let size = if vertical(seen) {
        let size = state.size.or_else(asked).unwrap_or(template);
        size.min(ceiling(seen, state).max(seen.cpu.min))
    } else {
        let actual = seen.pods.iter().map(|p| p.actual.size()).min();
        actual.unwrap_or(template)
    };
    Fleet {
        replicas: seen.replicas,
        size,
    }
}

impl<'a> Facts<'a> {
    pub fn new(
        now: Timestamp,
        seen: &'a Observation,
        state: &State,
        limits: &'a Limits,
    ) -> Result<Self, Lack> {
        let profile = Profile::of(seen)?;
        let current = current(seen, state);
        if current.size.0 == 0 {
            // Without CPU asked for there is no size that a profile could tell anything of.
            return Err(Lack::Profile);
        }
        let old = |pod: &&PodState| elapsed(now, pod.born) > f64::from(limits.startup_s);
        let ready = seen.pods.iter().filter(|p| p.ready).count() as u32;
        // One that has never been ready may be slow to start: others in its place would be as slow.
        let slow = |pod: &&PodState| {
            let first = elapsed(now, pod.born) <= f64::from(limits.first_start_s);
            ready > 0 && pod.starting && first
        };
        let nowhere = || seen.pods.iter().filter(|p| p.unschedulable);
        // Where one has waited for long, those that came since wait for the same.
        let long = nowhere().any(|pod| old(&pod));
        let waiting = if long { nowhere().count() } else { 0 };
        // Pods beyond the replicas are a rollout's: as many others serve.
        let beyond = seen.pods.len().saturating_sub(seen.replicas as usize);
        let mut facts = Self {
            seen,
            limits,
            profile,
            current,
            vertical: vertical(seen),
            choices: Vec::new(),
            ready,
            // Pods that no node has room for are not lost: others in their place would wait as well.
            lost: seen
                .pods
                .iter()
                .filter(|p| !p.ready && !p.unschedulable)
                .filter(|pod| old(pod) && !slow(pod))
                .count() as u32,
            uncreated: state.never_created(now, limits),
            waiting: waiting.saturating_sub(beyond) as u32,
            pressure: state.pressure.unwrap_or(1.0).clamp(1.0, MOST_PRESSURE),
            stuck: None,
        };
        let stuck = seen.pods.iter().filter(|pod| {
            if pod.unschedulable {
                // No request reaches it.
                return false;
            }
            if pod.foreign {
                // It stays as it is, whatever the others get.
                return pod.resize != Resize::InProgress;
            }
            let small = pod.actual.size() < current.size;
            let pending = !matches!(pod.resize, Resize::None | Resize::InProgress);
            let refused = refuses(&state.refused, pod, current.size);
            small && (pending || refused || state.late(now, seen, pod, limits))
        });
        let smallest = stuck.map(|pod| pod.actual.size()).min();
        facts.stuck = smallest.map(|size| facts.estimate(size));
        facts.choices = facts.choose(ceiling(seen, state));
        Ok(facts)
    }

    fn choose(&self, ceiling: MilliCpu) -> Vec<Choice> {
        let choice = |size| {
            self.profile.capacity(size).map(|carries| Choice {
                size,
                carries: self.held(carries),
            })
        };
        let fallback = |size| {
            vec![Choice {
                size,
                carries: self.held(self.estimate(size)),
            }]
        };
        if !self.vertical {
            return fallback(self.current.size);
        }
        let (low, high) = (
            self.seen.cpu.min.0.max(1),
            ceiling.0.max(self.seen.cpu.min.0).max(1),
        );
        let step = self.seen.cpu.step.0.max((high - low) / SIZES).max(1);
        let mut sizes: Vec<u32> = (low..=high).step_by(step as usize).collect();
        sizes.extend([high, self.current.size.0.clamp(low, high)]);
        sizes.sort_unstable();
        sizes.dedup();
        let choices: Vec<_> = sizes.into_iter().map(MilliCpu).filter_map(choice).collect();
        if choices.is_empty() {
            fallback(MilliCpu(high))
        } else {
            choices
        }
    }

    /// Requests are spread evenly, so that the weakest pod bounds all.
    fn held(&self, carries: f64) -> f64 {
        self.stuck.map_or(carries, |stuck| carries.min(stuck))
    }

    /// Capacity of a size that exists but may lie below the profile: in proportion to the smallest profiled one.
    fn estimate(&self, size: MilliCpu) -> f64 {
        if let Some(carries) = self.profile.capacity(size) {
            return carries;
        }
        let sizes = (0..=12).map(|k| MilliCpu(size.0.max(1).saturating_mul(1 << k)));
        let found = sizes
            .into_iter()
            .find_map(|s| self.profile.capacity(s).map(|c| (s, c)));
        found.map_or(f64::MIN_POSITIVE, |(s, c)| {
            c * f64::from(size.0) / f64::from(s.0.max(1))
        })
    }

    /// What a pod of any size carries, requests per second.
    pub fn carries(&self, size: MilliCpu) -> f64 {
        let known = self.choices.iter().find(|c| c.size == size);
        known.map_or_else(|| self.held(self.estimate(size)), |c| c.carries)
    }

    /// How many of so many replicas have a pod.
    pub fn created(&self, replicas: u32) -> u32 {
        match self.uncreated {
            0 => replicas,
            none => replicas.min(self.seen.replicas.saturating_sub(none)),
        }
    }

    /// How many of so many replicas have a pod that is not waiting for a node: these serve.
    pub fn placed(&self, replicas: u32) -> u32 {
        let none = self.uncreated.saturating_add(self.waiting);
        let created = self.created(replicas);
        match self.waiting {
            0 => created,
            _ => created.min(self.seen.replicas.saturating_sub(none)),
        }
    }

    /// No replica has a pod on a node. A larger size would help nobody, and what fits no node then would wait for ever.
    pub fn absent(&self) -> bool {
        self.placed(self.seen.replicas) == 0
    }

    /// Pods should be ready, and none is: what is measured is not what users want.
    pub fn down(&self) -> bool {
        self.lost > 0 && self.ready == 0
    }

    /// What a fleet carries.
    pub fn capacity(&self, fleet: Fleet) -> f64 {
        f64::from(self.placed(fleet.replicas)) * self.carries(fleet.size)
    }

    /// What a fleet carries once the pods that wait for a node have one. Replicas are counted by it: more of them would
    /// wait as well, and fewer may be enough.
    pub fn coming(&self, fleet: Fleet) -> f64 {
        f64::from(self.created(fleet.replicas)) * self.carries(fleet.size)
    }

    /// Fewest and most replicas; while some are not created, no more than there are.
    pub fn bounds(&self) -> (u32, u32) {
        let (low, high) = bounds(self.seen);
        match self.uncreated {
            0 => (low, high),
            _ => (low, self.seen.replicas.clamp(low, high)),
        }
    }

    /// Requested milli-cores of a fleet.
    pub fn cost(&self, fleet: Fleet) -> f64 {
        let each = self.seen.template.scaled_to(fleet.size).request.0.max(1);
        f64::from(fleet.replicas) * f64::from(each)
    }

    /// Unready pods under a load that the ready ones barely carry: they do not serve, and waiting would not help. Where
    /// none is ready, only a load that all together should not carry did that; below it something else fails them all,
    /// such as a database that their probes ask for.
    pub fn overloaded(&self, peak: f64) -> bool {
        let bears = match self.ready {
            0 => self.capacity(self.current),
            ready => OVERLOAD * f64::from(ready) * self.carries(self.current.size),
        };
        self.lost > 0 && peak > 0.0 && peak >= bears
    }

    /// Whether a fleet has every pod of another that serves, and none of them smaller: at most replicas without a node or
    /// without a pod are gone.
    pub fn loses_nothing(&self, from: Fleet, to: Fleet) -> bool {
        to.size >= from.size && self.placed(to.replicas) >= self.placed(from.replicas)
    }

    /// The CPU of those that serve is used up: what gets through may be less than what is offered.
    pub fn used_up(&self) -> bool {
        let signals = &self.seen.signals;
        let throttled = signals.throttled.value().is_some_and(|t| *t >= THROTTLED);
        let pods = self.seen.pods.iter().filter(|p| p.ready);
        let cores: f64 = pods
            .filter_map(|p| p.actual.limit)
            .map(MilliCpu::cores)
            .sum();
        let busy = signals
            .cpu_cores
            .value()
            .is_some_and(|used| cores > 0.0 && *used >= BUSY * cores);
        throttled || busy
    }

    /// The measured rate is what gets through, and the CPU is used up: more was offered.
    pub fn saturated(&self, peak: f64) -> bool {
        self.used_up() && peak >= OVERLOAD * self.coming(self.current)
    }

    /// Self time at the objective's percentile, where it is measured or request time stands for it. One above the largest
    /// bound of its histogram is that bound where the budget is below it, a breach however long it was, and else nothing.
    pub fn self_time(&self, now: Timestamp) -> Option<Millis> {
        let fresh = |reading: &Reading<Millis>| match reading {
            Reading::Known { value, at } => {
                within(now, Some(*at), self.limits.staleness_s.max(1)).then_some(*value)
            }
            Reading::Unknown {
                why: Unknown::Saturated { least },
            } => (*least > self.profile.budget).then_some(*least),
            Reading::Unknown { .. } => None,
        };
        let signals = &self.seen.signals;
        fresh(&signals.self_quantile).or_else(|| {
            let whole = fresh(&signals.request_quantile)?;
            let wait = fresh(&signals.callee_wait)?;
            (wait.get() <= LEAF * whole.get()).then_some(whole)
        })
    }
}
