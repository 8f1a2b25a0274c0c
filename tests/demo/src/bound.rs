//! How large a pod may be, so that a load needs more pods: read from the workload's profile, as a team would. Pure.

use msars_domain::{Knot, MilliCpu, Millis, Rate, SizeCurve as Table};

use crate::stored::SizeCurve;

/// Sizes are compared in steps of this, thousandths of a core.
const STEP: u32 = 50;

/// The largest size allowed, and what a pod of it carries.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Bound {
    /// CPU limit, thousandths of a core.
    pub size: u32,
    /// Requests per second within the budget.
    pub carries: f64,
}

fn table(curve: &SizeCurve) -> Option<Table> {
    let knot = |knot: &crate::stored::Knot| {
        Some(Knot {
            rate: Rate::new(knot.rate).ok()?,
            quantile: Millis::new(knot.ms).ok()?,
        })
    };
    Some(Table {
        size: MilliCpu(curve.size_milli),
        knots: curve.knots.iter().map(knot).collect::<Option<_>>()?,
    })
}

/// What a pod of a size carries within the budget: linear between the sizes of the curve, as the planner reads it.
fn carries(tables: &[Table], size: u32, budget: Millis) -> Option<f64> {
    let cap = |table: &Table| table.capacity(budget).map(Rate::get);
    let above = tables.partition_point(|table| table.size.0 <= size);
    let low = tables
        .get(..above)?
        .iter()
        .filter_map(cap)
        .reduce(f64::max)?;
    let below = tables.get(above.checked_sub(1)?)?;
    let Some(next) = tables.get(above) else {
        return Some(low);
    };
    let high = cap(next).map_or(low, |high| high.max(low));
    let share = f64::from(size - below.size.0) / f64::from((next.size.0 - below.size.0).max(1));
    Some(low + share * (high - low))
}

/// The largest size of which a pod carries at most `most` requests per second within the budget; none when even the
/// smallest carries more, or none carries anything.
pub fn largest(curve: &[SizeCurve], budget_ms: f64, most: f64) -> Option<Bound> {
    let mut tables: Vec<Table> = curve.iter().filter_map(table).collect();
    tables.sort_by_key(|table| table.size);
    let budget = Millis::new(budget_ms).ok()?;
    let (first, last) = (tables.first()?.size.0, tables.last()?.size.0);
    (first..=last)
        .filter(|size| size % STEP == 0)
        .filter_map(|size| {
            let carries = carries(&tables, size, budget)?;
            (carries > 0.0 && carries <= most).then_some(Bound { size, carries })
        })
        .next_back()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stored::Knot;

    /// Carries 10, 20 and 40 requests per second within 100 ms.
    fn curve() -> Vec<SizeCurve> {
        [(400, 40.0), (100, 10.0), (200, 20.0)]
            .map(|(size_milli, rate)| SizeCurve {
                size_milli,
                knots: [(1.0, 50.0), (rate, 100.0), (rate * 2.0, 900.0)]
                    .map(|(rate, ms)| Knot { rate, ms })
                    .to_vec(),
            })
            .to_vec()
    }

    #[test]
    fn the_largest_size_that_carries_no_more_is_found() {
        let found = |budget, most| largest(&curve(), budget, most).map(|b| (b.size, b.carries));
        assert_eq!(found(100.0, 16.0), Some((150, 15.0)));
        assert_eq!(found(100.0, 34.0), Some((300, 30.0)));
        assert_eq!(found(100.0, 500.0), Some((400, 40.0)));
        assert_eq!(found(100.0, 9.0), None);
        // No size keeps that budget at any rate.
        assert_eq!(found(40.0, 16.0), None);
        assert_eq!(largest(&[], 100.0, 16.0), None);
    }
}
