//! Where to measure next: low load for the work, then rising loads for the tail, each a fixed share of the quota by the
//! work measured so far. A size that fails, is saturated or past its knee needs no higher one, and none is offered more
//! than callees have room for.

use msars_domain::{MilliCpu, Rate};

use crate::{Point, fit::work_ms, point::ERRORS};

/// Loads (share of the quota) visited at each size, all sizes at one load before the next load.
const LOADS: [f64; 3] = [0.2, 0.6, 0.85];
/// Most of what callees have room for that each of these steps takes, so that the rates of a size stay apart where there
/// is little: without near-equal windows nothing would tell its curve.
const SHARES: [f64; 3] = [0.4, 0.7, 1.0];
/// Load from which a size counts as saturated.
const SATURATED: f64 = 0.95;
/// Tail over the low-load tail of the same size that counts as the knee.
const KNEE: f64 = 6.0;
/// Requests from which a window's p99 is more than its slowest request or two; below, the p90 is compared.
const TAIL_REQUESTS: u64 = 300;
/// Requests that a window should see: the spread of a slow service's work is lost in fewer.
const WANTED: f64 = 100.0;
/// How many times as long a window may be for them.
const LONGER: f64 = 1.75;
/// Share of the most that may be offered from which a window counts as measured there: arrivals are random, so that a
/// window has now more, now less than it was to have.
const AT_MOST: f64 = 0.8;

/// What may be probed and for how long.
#[derive(Debug, Clone, PartialEq)]
pub struct Plan {
    /// Sizes in the order of visit; two or more for a profile.
    pub sizes: Vec<MilliCpu>,
    /// Rates to offer at every size, rising (`msars.io/profile-rates`); empty: chosen by load.
    pub rates: Vec<Rate>,
    /// The most that may be offered: what callees have room for.
    pub most: Option<Rate>,
    /// Mean work in ms expected before anything is measured (the last revision's); > 0.
    pub work_guess_ms: f64,
    /// Length of a window in seconds; up to three quarters longer where it would see few requests.
    pub window_seconds: f64,
    /// Resize and warm-up before a window, in seconds.
    pub settle_seconds: f64,
    /// Time for all probes in seconds.
    pub budget_seconds: f64,
}

/// Why probing ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Done {
    /// Every size was measured up to its knee, up to what callees have room for, or at every load.
    Enough,
    /// The next window would pass the time budget.
    TimeBudget,
    /// Five percent of requests failed at the lowest load of every size that is left.
    Errors,
    /// A callee suffers: no more load is put on it.
    CalleeInTrouble,
    /// Callees have no room for the lowest rate: nothing was offered.
    CalleesFull,
}

/// The next step.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Next {
    /// Measure here.
    Probe {
        /// CPU limit to set.
        size: MilliCpu,
        /// Rate to offer.
        rate: Rate,
        /// Length of the window.
        seconds: f64,
    },
    /// Stop.
    Done {
        /// Why.
        reason: Done,
    },
}

/// Whether this size needs no higher load: failing, saturated or past the knee.
fn ended(at_size: &[&Point], work: f64) -> bool {
    let Some(low) = at_size.first() else {
        return false;
    };
    at_size.iter().any(|p| {
        let (tail, calm) = if p.requests.min(low.requests) >= TAIL_REQUESTS {
            (p.p99_ms, low.p99_ms)
        } else {
            (p.p90_ms, low.p90_ms)
        };
        p.error_share() >= ERRORS || p.load(work) > SATURATED || (calm > 0.0 && tail > KNEE * calm)
    })
}

/// Windows at one size that may all be saturated before it is given up: the guess of the work was far too low.
const MISJUDGED: usize = 2;

/// The windows of one size that count as steps. Those before the first one below saturation were driven by a guess that
/// was too low: the same steps come again, with the work that they showed.
fn steps(points: &[Point], size: MilliCpu, work: f64) -> Vec<&Point> {
    let at_size: Vec<&Point> = points.iter().filter(|p| p.size == size).collect();
    let wasted = at_size
        .iter()
        .take_while(|p| p.load(work) > SATURATED)
        .count();
    if wasted == at_size.len() && wasted > MISJUDGED {
        return at_size;
    }
    at_size[wasted..].to_vec()
}

/// The rate of a load (share of the quota) at a size, with a mean work in ms.
fn at_load(load: f64, size: MilliCpu, work: f64) -> Option<Rate> {
    Rate::new(load * size.cores() * 1000.0 / work).ok()
}

/// What callees should have room for before a profile begins: the highest of `rates`, where they were asked for, else
/// what takes the smallest of `sizes` near its knee, so that the tail shows at one size at least, with an expected mean
/// work in ms.
pub fn room_wanted(sizes: &[MilliCpu], rates: &[Rate], work_guess_ms: f64) -> Option<Rate> {
    let asked = rates.iter().copied();
    let highest = asked.reduce(|a, b| if b > a { b } else { a });
    highest.or_else(|| {
        let most = LOADS.iter().copied().fold(0.0, f64::max);
        at_load(most, *sizes.iter().min()?, work_guess_ms.max(1e-3))
    })
}

impl Plan {
    /// How many rates each size gets.
    pub fn steps(&self) -> usize {
        if self.rates.is_empty() {
            LOADS.len()
        } else {
            self.rates.len()
        }
    }

    /// Whether a window was measured at what callees have room for: the next of the rates that were asked for would offer
    /// the same once more.
    fn at_most(&self, window: Option<&&Point>) -> bool {
        let at = |(most, window): (Rate, &&Point)| window.rate.get() >= AT_MOST * most.get();
        !self.rates.is_empty() && self.most.zip(window).is_some_and(at)
    }

    /// The windows of one size that count as steps; rates that were asked for are no guesses.
    fn visited<'a>(&self, points: &'a [Point], size: MilliCpu, work: f64) -> Vec<&'a Point> {
        if self.rates.is_empty() {
            return steps(points, size, work);
        }
        points.iter().filter(|p| p.size == size).collect()
    }

    /// What a step would offer if callees had room for everything.
    fn wished(&self, step: usize, size: MilliCpu, work: f64) -> Option<Rate> {
        if self.rates.is_empty() {
            return at_load(*LOADS.get(step)?, size, work);
        }
        self.rates.get(step).copied()
    }

    /// Whether callees have no room for the lowest rate of the smallest size either.
    fn full(&self, work: f64) -> bool {
        let least = self.sizes.iter().min();
        let least = least.and_then(|size| self.wished(0, *size, work));
        self.most
            .zip(least)
            .is_some_and(|(most, least)| most < least)
    }

    /// What was wished within what callees have room for.
    fn within_most(&self, step: usize, wished: Rate) -> Option<Rate> {
        let Some(most) = self.most else {
            return Some(wished);
        };
        let share = if self.rates.is_empty() {
            *SHARES.get(step)?
        } else {
            1.0
        };
        Rate::new(wished.get().min(share * most.get())).ok()
    }
}

/// Chooses the next window from the points so far, in the order in which they were measured.
pub fn next_probe(plan: &Plan, points: &[Point]) -> Next {
    let done = |reason| Next::Done { reason };
    if points.last().is_some_and(|p| p.callee_in_trouble) {
        return done(Done::CalleeInTrouble);
    }
    let settle = plan.settle_seconds * points.len() as f64;
    let spent = settle + points.iter().map(|p| p.window_seconds).sum::<f64>();
    let work = work_ms(points).unwrap_or(plan.work_guess_ms).max(1e-3);
    for step in 0..plan.steps() {
        for &size in &plan.sizes {
            let at_size = plan.visited(points, size, work);
            if at_size.len() > step || ended(&at_size, work) {
                continue;
            }
            if plan.at_most(at_size.last()) {
                continue;
            }
            let Some(wished) = plan.wished(step, size, work) else {
                return done(Done::Enough);
            };
            if points.is_empty() && plan.full(work) {
                return done(Done::CalleesFull);
            }
            let Some(rate) = plan.within_most(step, wished) else {
                return done(Done::Enough);
            };
            let shortest = plan.window_seconds;
            let seconds = (WANTED / rate.get().max(1e-3)).clamp(shortest, LONGER * shortest);
            if spent + plan.settle_seconds + seconds > plan.budget_seconds {
                return done(Done::TimeBudget);
            }
            return Next::Probe {
                size,
                rate,
                seconds,
            };
        }
    }
    let failing = !points.is_empty() && points.iter().all(|p| p.error_share() >= ERRORS);
    done(if failing { Done::Errors } else { Done::Enough })
}
