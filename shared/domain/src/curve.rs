//! A load-latency profile as a table: per size, request rate per pod → self-time quantile.

use serde::{Deserialize, Serialize};

use crate::{MilliCpu, Millis, Rate};

/// The self-time quantile of the objective's percentile at one rate.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Knot {
    /// Requests per second and pod.
    pub rate: Rate,
    /// Self time at the objective's percentile.
    pub quantile: Millis,
}

/// One size's curve; rates strictly rise and quantiles never fall.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SizeCurve {
    /// CPU limit of the serving container.
    pub size: MilliCpu,
    /// At least one point.
    pub knots: Vec<Knot>,
}

/// All sizes of one revision, smallest first.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Curve {
    sizes: Vec<SizeCurve>,
}

/// Why a table is no curve.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum CurveError {
    /// No size, or a size without points.
    #[error("the curve has no point at {0:?}")]
    Empty(Option<MilliCpu>),
    /// Rates that do not strictly rise.
    #[error("rates at {0} must strictly rise")]
    RatesNotRising(MilliCpu),
    /// Two tables for one size.
    #[error("size {0} occurs twice")]
    DuplicateSize(MilliCpu),
}

impl CurveError {
    /// A bounded label for metrics and events.
    pub fn category(&self) -> &'static str {
        match self {
            Self::Empty(_) => "EmptyCurve",
            Self::RatesNotRising(_) => "RatesNotRising",
            Self::DuplicateSize(_) => "DuplicateSize",
        }
    }
}

impl Curve {
    /// Sorts by size, makes quantiles monotone by a running maximum (a tail that falls with load is noise).
    pub fn new(mut sizes: Vec<SizeCurve>) -> Result<Self, CurveError> {
        if sizes.is_empty() {
            return Err(CurveError::Empty(None));
        }
        sizes.sort_by_key(|s| s.size);
        for pair in sizes.windows(2) {
            if pair[0].size == pair[1].size {
                return Err(CurveError::DuplicateSize(pair[0].size));
            }
        }
        for table in &mut sizes {
            if table.knots.is_empty() {
                return Err(CurveError::Empty(Some(table.size)));
            }
            if table.knots.windows(2).any(|w| w[0].rate >= w[1].rate) {
                return Err(CurveError::RatesNotRising(table.size));
            }
            let mut worst = Millis::ZERO;
            for knot in &mut table.knots {
                if knot.quantile < worst {
                    knot.quantile = worst;
                }
                worst = knot.quantile;
            }
        }
        Ok(Self { sizes })
    }

    /// The same service when each request takes `ratio` times the CPU: every size reaches its rates divided by the
    /// ratio, at times multiplied by it. A ratio that is not finite and above zero changes nothing.
    #[must_use]
    pub fn slower(&self, ratio: f64) -> Self {
        if !(ratio.is_finite() && ratio > 0.0) {
            return self.clone();
        }
        let mut slower = self.clone();
        for knot in slower.sizes.iter_mut().flat_map(|size| &mut size.knots) {
            let rate = Rate::new(knot.rate.get() / ratio);
            let quantile = Millis::new(knot.quantile.get() * ratio);
            if let (Ok(rate), Ok(quantile)) = (rate, quantile) {
                *knot = Knot { rate, quantile };
            }
        }
        slower
    }

    /// The tables of the sizes within these bounds, both included; where there is none, that of the nearest size.
    #[must_use]
    pub fn within(&self, (low, high): (MilliCpu, MilliCpu)) -> Self {
        let inside = |table: &&SizeCurve| (low..=high).contains(&table.size);
        let mut sizes: Vec<SizeCurve> = self.sizes.iter().filter(inside).cloned().collect();
        if sizes.is_empty() {
            let far = |table: &&SizeCurve| {
                let size = table.size.0;
                size.abs_diff(low.0).min(size.abs_diff(high.0))
            };
            sizes.extend(self.sizes.iter().min_by_key(far).cloned());
        }
        Self { sizes }
    }

    /// The tables, smallest size first.
    pub fn sizes(&self) -> &[SizeCurve] {
        &self.sizes
    }
}

impl SizeCurve {
    /// cap(s; c): the largest rate per pod that keeps the quantile ≤ `budget`, linear between points; never
    /// extrapolated past the last one. `None` when even the lowest rate breaks the budget.
    pub fn capacity(&self, budget: Millis) -> Option<Rate> {
        let first = self.knots.first()?;
        if first.quantile > budget {
            return None;
        }
        let mut best = first.rate;
        for pair in self.knots.windows(2) {
            let (low, high) = (pair[0], pair[1]);
            if high.quantile <= budget {
                best = high.rate;
                continue;
            }
            let share =
                (budget.get() - low.quantile.get()) / (high.quantile.get() - low.quantile.get());
            let rate = low.rate.get() + share * (high.rate.get() - low.rate.get());
            return Rate::new(rate).ok();
        }
        Some(best)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(points: &[(f64, f64)]) -> SizeCurve {
        SizeCurve {
            size: MilliCpu(200),
            knots: points
                .iter()
                .map(|&(rate, quantile)| Knot {
                    rate: Rate::new(rate).unwrap(),
                    quantile: Millis::new(quantile).unwrap(),
                })
                .collect(),
        }
    }

    #[test]
    fn capacity_interpolates_and_never_extrapolates() {
        let table = table(&[(10.0, 20.0), (20.0, 40.0), (30.0, 100.0)]);
        let cap = |ms: f64| table.capacity(Millis::new(ms).unwrap()).map(Rate::get);
        assert_eq!(cap(10.0), None);
        assert_eq!(cap(20.0), Some(10.0));
        assert_eq!(cap(30.0), Some(15.0));
        assert_eq!(cap(70.0), Some(25.0));
        assert_eq!(cap(1000.0), Some(30.0));
    }

    #[test]
    fn within_bounds_there_is_always_a_size() {
        let table = |size| SizeCurve {
            size: MilliCpu(size),
            ..table(&[(1.0, 5.0)])
        };
        let curve = Curve::new([100, 200, 400].map(table).to_vec()).unwrap();
        for (low, high, wanted) in [
            (0, 500, &[100, 200, 400][..]),
            (100, 200, &[100, 200]),
            (25, 50, &[100]),
            (250, 290, &[200]),
            (900, 1000, &[400]),
        ] {
            let within = curve.within((MilliCpu(low), MilliCpu(high)));
            let sizes: Vec<u32> = within.sizes().iter().map(|table| table.size.0).collect();
            assert_eq!(sizes, wanted, "{low} to {high}");
        }
    }

    #[test]
    fn a_falling_tail_is_lifted_to_the_worst_so_far() {
        let curve = Curve::new(vec![table(&[(1.0, 5.0), (2.0, 3.0), (3.0, 9.0)])]).unwrap();
        let tails: Vec<f64> = curve.sizes()[0]
            .knots
            .iter()
            .map(|k| k.quantile.get())
            .collect();
        assert_eq!(tails, [5.0, 5.0, 9.0]);
    }

    #[test]
    fn broken_tables_are_refused_with_a_bounded_reason() {
        let flat = table(&[(1.0, 5.0), (1.0, 6.0)]);
        for (tables, reason) in [
            (vec![], "EmptyCurve"),
            (vec![table(&[])], "EmptyCurve"),
            (vec![flat], "RatesNotRising"),
            (
                vec![table(&[(1.0, 1.0)]), table(&[(1.0, 1.0)])],
                "DuplicateSize",
            ),
        ] {
            assert_eq!(Curve::new(tables).unwrap_err().category(), reason);
        }
    }
}
