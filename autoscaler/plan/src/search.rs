//! The inverse of the profile: the cheapest replicas × size that carry a load within the budget.

use msars_domain::{MilliCpu, Rate};

use crate::{Fleet, behavior::within_tolerance, facts::Facts};

/// Cost of another shape over the present one below which the way there is worth its risk.
const RESHAPE: f64 = 0.8;
/// Most that the way there may cost, over the present cost.
const DETOUR: f64 = 1.5;
/// Share of cost that another count of replicas must save to be preferred over the present one.
const PREFER: f64 = 0.05;

/// What a fleet is for, requests per second.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Demand {
    /// What a fleet that does not carry it grows for.
    pub load: f64,
    /// What may come back, at least the load: nothing shrinks below what carries it.
    pub peak: f64,
}

impl Demand {
    /// The peak is at least the load.
    pub fn of(load: f64, peak: f64) -> Self {
        Self {
            load,
            peak: peak.max(load),
        }
    }
}

/// What the demand asks for.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Plan {
    pub fleet: Fleet,
    /// The fleet in force carries the load; anything above it is no answer to the load.
    pub fits: bool,
    /// It carries the peak as well.
    pub peak_fits: bool,
    /// Not even the largest fleet allowed carries it.
    pub unmet: bool,
    /// The load with headroom, requests per second: growth goes so far.
    pub asks: f64,
    /// The peak with headroom, requests per second: a shrink goes no further.
    pub need: f64,
    /// Unready pods were replaced.
    pub replaced: u32,
    pub saturated: bool,
}

impl Facts<'_> {
    /// The smallest size from `from` on at which `pods` carry `need`.
    pub fn smallest(&self, from: MilliCpu, pods: u32, need: f64) -> Option<MilliCpu> {
        self.least(from, self.placed(pods), need)
    }

    /// The same where all of `serving` serve.
    fn least(&self, from: MilliCpu, serving: u32, need: f64) -> Option<MilliCpu> {
        self.choices
            .iter()
            .find(|c| c.size >= from && f64::from(serving) * c.carries >= need)
            .map(|c| c.size)
    }

    /// The cheapest fleet with replicas and size in the ranges (both ends included) of which no more than `serving` pods
    /// carry the load, `extra` pods added to what the load needs; of nearly equal ones that with `prefer` replicas.
    fn cheapest(
        &self,
        need: f64,
        (least, most): (u32, u32),
        (small, large): (MilliCpu, MilliCpu),
        serving: u32,
        extra: u32,
        prefer: u32,
    ) -> Option<Fleet> {
        let mut best: Option<(f64, Fleet)> = None;
        let mut kept: Option<(f64, Fleet)> = None;
        for choice in &self.choices {
            if choice.size < small || choice.size > large || choice.carries <= 0.0 {
                continue;
            }
            let pods = (need / choice.carries).ceil();
            if pods > f64::from(serving) {
                continue;
            }
            let replicas = (pods as u32).saturating_add(extra).max(least);
            if replicas > most {
                continue;
            }
            let fleet = Fleet {
                replicas,
                size: choice.size,
            };
            let cost = self.cost(fleet);
            if best.is_none_or(|(least, _)| cost < least) {
                best = Some((cost, fleet));
            }
            if replicas <= prefer && prefer <= most {
                let fleet = Fleet {
                    replicas: prefer,
                    ..fleet
                };
                let cost = self.cost(fleet);
                if kept.is_none_or(|(least, _)| cost < least) {
                    kept = Some((cost, fleet));
                }
            }
        }
        match (best, kept) {
            (Some((cost, _)), Some((same, fleet))) if same <= cost * (1.0 + PREFER) => Some(fleet),
            (best, _) => best.map(|(_, fleet)| fleet),
        }
    }

    /// The fleet in force brought into the bounds and onto a size that may be asked for.
    pub fn base(&self) -> Fleet {
        let (least, most) = self.bounds();
        let size = self.current.size;
        let snapped = self
            .choices
            .iter()
            .find(|c| c.size >= size)
            .or_else(|| self.choices.last());
        Fleet {
            replicas: self.current.replicas.clamp(least, most),
            size: snapped.map_or(size, |c| c.size),
        }
    }

    fn sizes(&self) -> (MilliCpu, MilliCpu) {
        let end = |c: Option<&crate::facts::Choice>| c.map_or(self.current.size, |c| c.size);
        (end(self.choices.first()), end(self.choices.last()))
    }

    /// What a demand asks for. With `reshape`, a fleet that fits may also grow in one figure towards a much cheaper
    /// shape, so that the other can shrink later.
    pub fn plan(&self, demand: Demand, reshape: bool) -> Plan {
        let base = self.base();
        let Demand { mut load, peak } = demand;
        let lost = if self.overloaded(peak) { self.lost } else { 0 };
        if lost > 0 {
            // What pods that do not serve would have answered is not in the load.
            load = peak;
        }
        let saturated = self.saturated(load);
        let factor = self.counts(saturated);
        let room = 1.0 + self.limits.headroom.max(0.0);
        let (asks, need) = (load * factor * room, peak * factor * room);
        // While the CPU of those that serve is used up, what gets through is too low a measure of how many must wait beside
        // them: without the others the same load would be saturation, and ask for them again.
        let hidden = saturated || (self.waiting > 0 && self.used_up());
        let kept = peak * self.counts(hidden) * room;
        let serving = self.placed(base.replicas).saturating_sub(lost);
        let have = f64::from(serving) * self.carries(base.size);
        let ratio = need / have.max(f64::MIN_POSITIVE);
        let behavior = &self.seen.behavior;
        let most = have * (1.0 + behavior.scale_up.tolerance);
        let carried = |rate: f64| rate * factor <= have && rate * factor * room <= most;
        let fits = carried(load);
        let mut plan = Plan {
            fleet: base,
            fits,
            peak_fits: carried(peak),
            unmet: false,
            asks,
            need,
            replaced: lost,
            saturated,
        };
        if !fits {
            let grown = self.grow(base, asks, lost);
            plan.unmet = grown.is_none() && !self.absent();
            let (_, most) = self.bounds();
            plan.fleet = grown.unwrap_or(Fleet {
                replicas: most,
                size: self.strongest(base.size),
            });
            // All that come carry it; fewer of them may as well.
            if lost == 0 && plan.fleet == base {
                plan.fleet = self.awaited(base, kept);
            }
            return plan;
        }
        if self.down() {
            return plan;
        }
        let (least, most) = self.bounds();
        let (small, _) = self.sizes();
        let cost = self.cost(base);
        if lost == 0 && !within_tolerance(ratio, behavior) {
            let ranges = ((least, base.replicas), (small, base.size));
            let found = self.cheapest(kept, ranges.0, ranges.1, serving, 0, base.replicas);
            plan.fleet = found.filter(|f| self.saves(base, *f)).unwrap_or(base);
        }
        // What serves may be close enough to the load, with more than enough beside it that wait.
        if lost == 0 && plan.fleet == base {
            plan.fleet = self.awaited(base, kept);
        }
        // What can shrink as it is shrinks first.
        if reshape && lost == 0 && plan.fleet == base {
            let dear = |fleet: Fleet| self.cost(fleet) > cost * DETOUR;
            let sizes = self.choices.iter().map(|c| c.size);
            let large = sizes
                .rev()
                .find(|size| {
                    !dear(Fleet {
                        size: *size,
                        ..base
                    })
                })
                .unwrap_or(base.size);
            let most = most.min((f64::from(base.replicas) * DETOUR) as u32);
            let ranges = ((least, most), (small, large));
            let serving = self.placed(most);
            let found = self.cheapest(need, ranges.0, ranges.1, serving, 0, base.replicas);
            let pays = |fleet: &Fleet| self.pays_back(base, *fleet, cost * RESHAPE);
            if let Some(fleet) = found.filter(pays) {
                plan.fleet = base.at_least(fleet);
            }
        }
        plan
    }

    /// The factor on a load, where more of it was offered than is measured or not.
    fn counts(&self, hidden: bool) -> f64 {
        let more = self.limits.saturated_factor.max(1.0);
        self.pressure * if hidden { more } else { 1.0 }
    }

    /// Whether a fleet is so much cheaper than the one in force that it is taken: by no less than the load must have fallen
    /// for, where somebody tolerates less.
    fn saves(&self, base: Fleet, fleet: Fleet) -> bool {
        let least = self.limits.hysteresis.clamp(0.0, 0.9);
        let least = least.min(self.seen.behavior.scale_down.tolerance.max(0.0));
        let (now, then) = (self.cost(base), self.cost(fleet));
        then < now && then <= now * (1.0 - least) + 1e-9
    }

    /// The fleet with no more pods that wait for a node than it takes to carry a `need`, which may have fallen since they
    /// were asked for; those that serve stay as they are. Where it takes some, there is room for what `behavior` tolerates,
    /// or the next small rise would ask for one more. Until a pod has a node, what is measured is not what users want.
    fn awaited(&self, base: Fleet, need: f64) -> Fleet {
        let serving = self.placed(base.replicas);
        if self.waiting == 0 || serving == 0 || self.down() {
            return base;
        }
        let behavior = &self.seen.behavior;
        let carries = self.carries(base.size).max(f64::MIN_POSITIVE);
        let room = if need > f64::from(serving) * carries {
            1.0 + behavior.scale_up.tolerance
        } else {
            1.0
        };
        let pods = need * room / carries;
        let coming = f64::from(self.created(base.replicas));
        if pods >= coming * (1.0 - behavior.scale_down.tolerance) {
            return base;
        }
        let (least, _) = self.bounds();
        let least = least.max(serving);
        let fleet = Fleet {
            replicas: (pods.ceil() as u32).max(least).min(base.replicas),
            ..base
        };
        if self.saves(base, fleet) { fleet } else { base }
    }

    /// Whether a change of shape costs less than `most` in the end and pays back in time what it costs on the way,
    /// when both figures are up for a window. One figure grows; when both would, the load asks for it or nothing does.
    fn pays_back(&self, base: Fleet, target: Fleet, most: f64) -> bool {
        let (before, after) = (self.cost(base), self.cost(target));
        let extra = self.cost(base.at_least(target)) - before;
        let window = self.seen.behavior.scale_down.stabilization_window_seconds;
        let paid = (before - after) * f64::from(self.limits.payback_s);
        let both = target.replicas > base.replicas && target.size > base.size;
        after < most && !both && extra * f64::from(window) <= paid
    }

    /// Vertical first: a resize acts in a tenth of a second, a new pod in tens.
    fn grow(&self, base: Fleet, need: f64, lost: u32) -> Option<Fleet> {
        let serving = self.placed(base.replicas).saturating_sub(lost);
        if let Some(size) = self.least(base.size, serving, need) {
            return Some(Fleet { size, ..base });
        }
        let (_, most) = self.bounds();
        let (_, large) = self.sizes();
        let large = if self.absent() { base.size } else { large };
        // More pods would wait beside those that wait for a node, so that these count for the number of replicas.
        let coming = self.created(base.replicas).saturating_sub(lost);
        let size = self.least(base.size, coming, need);
        let mut fleet = if let Some(size) = size.filter(|size| *size <= large) {
            Fleet { size, ..base }
        } else {
            let ranges = ((base.replicas, most), (base.size, large));
            let serving = self.created(most);
            self.cheapest(need, ranges.0, ranges.1, serving, lost, base.replicas)?
        };
        // Until the new pods serve, the ready ones bridge with all they can get.
        if f64::from(serving.min(self.ready))
            * self.carries(fleet.size)
            * (1.0 + self.limits.headroom)
            < need
        {
            fleet.size = self.strongest(fleet.size);
        }
        Some(fleet)
    }

    /// Room for what copies of callers bring on top of what the load `asks` for: larger pods, as far as there are any, and
    /// never more of them, which would serve only when the copies are gone.
    pub fn host(&self, fleet: Fleet, asks: f64) -> Fleet {
        let guests = self.seen.guests.filter(|_| self.vertical);
        let Some(guests) = guests.map(Rate::get).filter(|rate| *rate > 0.0) else {
            return fleet;
        };
        let serving = fleet.replicas.min(self.current.replicas);
        let size = self.smallest(fleet.size, serving, asks + guests);
        Fleet {
            size: size.unwrap_or_else(|| self.strongest(fleet.size)),
            ..fleet
        }
    }

    /// The smallest of the sizes from `from` on that carry the most; while no pod is there to have it, none but `from`.
    pub fn strongest(&self, from: MilliCpu) -> MilliCpu {
        if self.absent() {
            return from;
        }
        let upward = self.choices.iter().filter(|c| c.size >= from);
        upward
            .reduce(|a, b| if b.carries > a.carries { b } else { a })
            .map_or(from, |c| c.size)
    }
}
