//! What a pod of a size can carry within the budget, from the profiles of all revisions in play.

use msars_domain::{Curve, MilliCpu, Millis, Observation, RevisionState, SizeCurve};
use serde::{Deserialize, Serialize};

/// What is missing for a plan; such a workload is recommended nothing and written nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Lack {
    /// No load-latency profile of the current revision.
    Profile,
    /// No objective gives this workload a budget.
    Objective,
}

/// A revision whose profile counts, and the budget that it keeps.
#[derive(Debug, Clone, Copy)]
struct Counted<'a> {
    curve: &'a Curve,
    work_ratio: Option<f64>,
    budget: Millis,
}

/// The profiles that count: the current revision's, and during a rollout all known ones, each within its own budget, so
/// that the larger floor holds. Its own is enough: others keep the tighter of what both splits leave them, so that a
/// request by a pod of either revision is in time. What a fast version had may be out of reach for a slower one.
#[derive(Debug, Clone)]
pub struct Profile<'a> {
    revisions: Vec<Counted<'a>>,
    /// The tightest budget planned for.
    pub budget: Millis,
    /// The loosest.
    pub loosest: Millis,
    /// A budget lies below what the largest size reaches unloaded; planned for is 1.1 times that instead.
    pub relaxed: Option<Millis>,
    /// The current revision has no profile and an older one stands in: it may grow by that, but not shrink.
    pub borrowed: bool,
}

/// How far above the unloaded quantile an unreachable budget is relaxed.
const RELAXED: f64 = 1.1;

impl<'a> Profile<'a> {
    /// The profiles of one observation.
    pub fn of(seen: &'a Observation) -> Result<Self, Lack> {
        let counts = |r: &&RevisionState| seen.rolling || r.current;
        let profiled = |r: &&RevisionState| r.curve.is_some();
        let in_play = || seen.revisions.iter().filter(counts);
        let tightest = |a: Millis, b: Millis| if b < a { b } else { a };
        let budget = in_play().filter_map(|r| r.budget).reduce(tightest);
        let any = || seen.revisions.iter().filter_map(|r| r.budget);
        let budget = budget
            .or_else(|| any().reduce(tightest))
            .ok_or(Lack::Objective)?;
        let own: Vec<_> = in_play().filter(profiled).collect();
        let borrowed = own.is_empty();
        let all: Vec<_> = seen.revisions.iter().filter(profiled).collect();
        let (mut tight, mut loosest) = (None::<Millis>, budget);
        let mut relaxed = None;
        let mut revisions = Vec::new();
        for revision in if borrowed { all } else { own } {
            let Some(curve) = revision.curve.as_ref() else {
                continue;
            };
            // One that stands in does so within the budget of what runs.
            let asked = revision.budget.filter(|_| !borrowed).unwrap_or(budget);
            let best = unloaded(curve, seen.cpu.max).filter(|best| *best > asked);
            let kept = best.map(|best| Millis::new(best.get() * RELAXED).unwrap_or(best));
            relaxed = relaxed.or(kept);
            let kept = kept.unwrap_or(asked);
            tight = Some(tight.map_or(kept, |tight| tightest(tight, kept)));
            loosest = if kept > loosest { kept } else { loosest };
            revisions.push(Counted {
                curve,
                work_ratio: revision.work_ratio,
                budget: kept,
            });
        }
        Ok(Self {
            revisions,
            budget: tight.ok_or(Lack::Profile)?,
            loosest,
            relaxed,
            borrowed,
        })
    }

    /// Requests per second that one pod of `size` carries within the budget; `None` when the profile does not reach
    /// down to the size, or the budget cannot be kept at any rate.
    pub fn capacity(&self, size: MilliCpu) -> Option<f64> {
        let mut worst = f64::INFINITY;
        for revision in &self.revisions {
            let live = revision.work_ratio.filter(|r| r.is_finite());
            let ratio = live.unwrap_or(1.0).max(1.0);
            let rate = between(revision.curve, size, revision.budget)? / ratio;
            worst = worst.min(rate);
        }
        (worst.is_finite() && worst > 0.0).then_some(worst)
    }
}

/// A curve's quantile at its lowest rate and the best profiled size up to `size`.
fn unloaded(curve: &Curve, size: MilliCpu) -> Option<Millis> {
    let tables = curve.sizes();
    let reach = tables.partition_point(|t| t.size <= size).max(1);
    let first = tables.iter().take(reach).filter_map(|t| t.knots.first());
    let quantiles = first.map(|knot| knot.quantile);
    quantiles.reduce(|a, b| if b < a { b } else { a })
}

/// Linear between the two profiled sizes around `size`; at and above the largest, the largest's. Noise in the profile
/// does not make a larger size carry less.
fn between(curve: &Curve, size: MilliCpu, budget: Millis) -> Option<f64> {
    let cap = |table: &SizeCurve| table.capacity(budget).map(msars_domain::Rate::get);
    let tables = curve.sizes();
    let above = tables.partition_point(|t| t.size <= size);
    let below = tables.get(above.checked_sub(1)?)?;
    let low = tables[..above].iter().filter_map(cap).reduce(f64::max)?;
    let Some(next) = tables.get(above) else {
        return Some(low);
    };
    let high = cap(next).map_or(low, |high| high.max(low));
    let share = f64::from(size.0 - below.size.0) / f64::from((next.size.0 - below.size.0).max(1));
    Some(low + share * (high - low))
}

#[cfg(test)]
mod tests {
    use super::*;
    use msars_domain::{Knot, Rate};

    fn curve(tables: &[(u32, f64)]) -> Curve {
        let knot = |rate: f64, ms: f64| Knot {
            rate: Rate::new(rate).unwrap(),
            quantile: Millis::new(ms).unwrap(),
        };
        Curve::new(
            tables
                .iter()
                .map(|&(size, rate)| SizeCurve {
                    size: MilliCpu(size),
                    knots: vec![knot(1.0, 10.0), knot(rate, 50.0)],
                })
                .collect(),
        )
        .unwrap()
    }

    #[test]
    fn capacity_between_sizes_is_linear_and_never_extrapolated() {
        let curve = curve(&[(200, 20.0), (400, 60.0)]);
        let cap = |size| between(&curve, MilliCpu(size), Millis::new(50.0).unwrap());
        assert_eq!(cap(199), None);
        assert_eq!(cap(200), Some(20.0));
        assert_eq!(cap(300), Some(40.0));
        assert_eq!(cap(400), Some(60.0));
        assert_eq!(cap(4000), Some(60.0));
    }
}
