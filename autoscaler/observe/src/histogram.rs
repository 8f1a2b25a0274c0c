//! Classic histograms: cumulative counts by upper bound.

use msars_domain::{Percentile, Unknown};

/// Cumulative counts by upper bound, `+Inf` included, in the unit of the metric.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Buckets {
    /// (upper bound, count at or below), by bound; the last bound is infinite.
    bounds: Vec<(f64, f64)>,
}

/// A quantile read from buckets.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Quantile {
    /// In the unit of the metric.
    pub value: f64,
    /// The quantile lies above the largest finite bound: the true value is at least `value`.
    pub saturated: bool,
}

/// Whether `count` requests make a quantile: at least ten must lie above it.
pub fn enough(count: f64, percentile: Percentile) -> bool {
    count * percentile.miss() >= 10.0 - 1e-6
}

impl Buckets {
    /// Builds from (`le` as text, cumulative count) in any order; counts of equal bounds add up.
    ///
    /// `NoSeries` without a pair; `NotANumber` where a bound can't be read, a count is negative, NaN or infinite, or
    /// `+Inf` is missing. Counts that fall from one bound to the next (rates of pods scraped at different times) are
    /// levelled up, as `histogram_quantile` does.
    pub fn new<'a>(pairs: impl IntoIterator<Item = (&'a str, f64)>) -> Result<Self, Unknown> {
        let mut bounds: Vec<(f64, f64)> = Vec::new();
        for (le, count) in pairs {
            let bound: f64 = le.parse().map_err(|_| Unknown::NotANumber)?;
            if bound.is_nan() || !count.is_finite() || count < 0.0 {
                return Err(Unknown::NotANumber);
            }
            bounds.push((bound, count));
        }
        bounds.sort_by(|a, b| a.0.total_cmp(&b.0));
        bounds.dedup_by(|later, kept| {
            let same = later.0.total_cmp(&kept.0).is_eq();
            if same {
                kept.1 += later.1;
            }
            same
        });
        match bounds.last() {
            None => return Err(Unknown::NoSeries),
            Some((last, _)) if last.is_finite() => return Err(Unknown::NotANumber),
            Some(_) => {}
        }
        let mut level = 0.0_f64;
        for (_, count) in &mut bounds {
            level = level.max(*count);
            *count = level;
        }
        Ok(Self { bounds })
    }

    /// Number of observations.
    pub fn count(&self) -> f64 {
        self.bounds.last().map_or(0.0, |(_, count)| *count)
    }

    /// The sum of two histograms, on the bounds that both have: exact where it has a bound at all.
    #[must_use]
    pub fn plus(&self, other: &Self) -> Self {
        if self.bounds.is_empty() {
            return other.clone();
        }
        if other.bounds.is_empty() {
            return self.clone();
        }
        let mut bounds = Vec::with_capacity(self.bounds.len());
        let mut others = other.bounds.iter().peekable();
        for (bound, count) in &self.bounds {
            while others.next_if(|(b, _)| b < bound).is_some() {}
            if let Some((_, more)) = others.next_if(|(b, _)| b.total_cmp(bound).is_eq()) {
                bounds.push((*bound, count + more));
            }
        }
        Self { bounds }
    }

    /// The same counts with every bound times `factor`: another unit.
    #[must_use]
    pub fn scaled(mut self, factor: f64) -> Self {
        for (bound, _) in &mut self.bounds {
            *bound *= factor;
        }
        self
    }

    /// What came after `earlier`, a snapshot of the same counters: `NotANumber` if bounds differ or a count fell
    /// (the process restarted in between).
    pub fn since(&self, earlier: &Self) -> Result<Self, Unknown> {
        if self.bounds.len() != earlier.bounds.len() {
            return Err(Unknown::NotANumber);
        }
        let mut bounds = Vec::with_capacity(self.bounds.len());
        for ((bound, now), (same, then)) in self.bounds.iter().zip(&earlier.bounds) {
            if bound.total_cmp(same).is_ne() || now < then {
                return Err(Unknown::NotANumber);
            }
            bounds.push((*bound, now - then));
        }
        Ok(Self { bounds })
    }

    /// The quantile, linear within its bucket as `histogram_quantile` reads it; `None` without observations.
    pub fn quantile(&self, percentile: Percentile) -> Option<Quantile> {
        let count = self.count();
        if count <= 0.0 {
            return None;
        }
        let rank = percentile.get() * count;
        let at = self.bounds.iter().position(|(_, c)| *c >= rank)?;
        let (upper, cumulative) = self.bounds[at];
        let (lower, below) = match at.checked_sub(1) {
            Some(previous) => self.bounds[previous],
            None => (0.0_f64.min(upper), 0.0),
        };
        if upper.is_infinite() {
            return Some(Quantile {
                value: lower,
                saturated: true,
            });
        }
        let inside = cumulative - below;
        let share = if inside > 0.0 {
            (rank - below) / inside
        } else {
            1.0
        };
        Some(Quantile {
            value: lower + (upper - lower) * share,
            saturated: false,
        })
    }

    /// Share of observations at or below `limit`, linear within its bucket; above the largest finite bound nothing
    /// is known, so that what lies there counts as over the limit. `None` without observations.
    pub fn share_within(&self, limit: f64) -> Option<f64> {
        let count = self.count();
        if count <= 0.0 {
            return None;
        }
        let (mut lower, mut below) = (0.0, 0.0);
        for (upper, cumulative) in &self.bounds {
            if limit < *upper {
                if upper.is_finite() && limit > lower {
                    below += (cumulative - below) * (limit - lower) / (upper - lower);
                }
                return Some((below / count).clamp(0.0, 1.0));
            }
            (lower, below) = (*upper, *cumulative);
        }
        Some(1.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn p(share: f64) -> Percentile {
        Percentile::new(share).unwrap()
    }

    fn buckets(pairs: &[(&str, f64)]) -> Buckets {
        Buckets::new(pairs.iter().copied()).unwrap()
    }

    #[test]
    fn a_quantile_is_linear_within_its_bucket() {
        let h = buckets(&[
            ("+Inf", 100.0),
            ("0.1", 50.0),
            ("0.2", 90.0),
            ("1e+00", 99.0),
        ]);
        for (share, expected) in [
            (0.25, 0.05),
            (0.5, 0.1),
            (0.7, 0.15),
            (0.9, 0.2),
            (0.95, 0.2 + 0.8 * 5.0 / 9.0),
        ] {
            let found = h.quantile(p(share)).unwrap();
            assert!((found.value - expected).abs() < 1e-12, "{share}: {found:?}");
            assert!(!found.saturated);
        }
        let top = h.quantile(p(0.995)).unwrap();
        assert_eq!(
            top,
            Quantile {
                value: 1.0,
                saturated: true
            }
        );
    }

    #[test]
    fn attainment_is_linear_within_its_bucket_and_pessimistic_above_the_last() {
        let h = buckets(&[("0.1", 50.0), ("0.2", 90.0), ("+Inf", 100.0)]);
        for (limit, expected) in [
            (0.0, 0.0),
            (0.05, 0.25),
            (0.1, 0.5),
            (0.15, 0.7),
            (0.2, 0.9),
            (5.0, 0.9),
        ] {
            let found = h.share_within(limit).unwrap();
            assert!((found - expected).abs() < 1e-12, "{limit}: {found}");
        }
        assert_eq!(h.share_within(f64::INFINITY), Some(1.0));
    }

    #[test]
    fn no_observation_is_no_quantile() {
        let h = buckets(&[("0.1", 0.0), ("+Inf", 0.0)]);
        assert_eq!(h.quantile(p(0.5)), None);
        assert_eq!(h.share_within(1.0), None);
        assert_eq!(Buckets::default().quantile(p(0.5)), None);
    }

    #[test]
    fn what_is_no_histogram_is_refused_with_its_reason() {
        assert_eq!(Buckets::new([]), Err(Unknown::NoSeries));
        for bad in [
            vec![("0.1", 1.0)],
            vec![("x", 1.0), ("+Inf", 1.0)],
            vec![("0.1", f64::NAN), ("+Inf", 1.0)],
            vec![("0.1", -1.0), ("+Inf", 1.0)],
            vec![("+Inf", f64::INFINITY)],
        ] {
            assert_eq!(
                Buckets::new(bad.iter().copied()),
                Err(Unknown::NotANumber),
                "{bad:?}"
            );
        }
    }

    #[test]
    fn sums_keep_common_bounds_and_level_up() {
        let old = buckets(&[("0.1", 10.0), ("0.5", 20.0), ("+Inf", 20.0)]);
        let new = buckets(&[("0.25", 5.0), ("0.5", 9.0), ("+Inf", 10.0)]);
        assert_eq!(old.plus(&new), buckets(&[("0.5", 29.0), ("+Inf", 30.0)]));
        assert_eq!(old.plus(&Buckets::default()), old);
        assert_eq!(Buckets::default().plus(&new), new);
        assert_eq!(
            buckets(&[("0.1", 3.0), ("0.2", 2.9), ("+Inf", 3.1)]),
            buckets(&[("0.1", 3.0), ("0.2", 3.0), ("+Inf", 3.1)])
        );
    }

    #[test]
    fn a_restart_between_two_snapshots_is_no_difference() {
        let before = buckets(&[("0.1", 10.0), ("+Inf", 20.0)]);
        let after = buckets(&[("0.1", 15.0), ("+Inf", 40.0)]);
        assert_eq!(
            after.since(&before),
            Ok(buckets(&[("0.1", 5.0), ("+Inf", 20.0)]))
        );
        assert_eq!(before.since(&after), Err(Unknown::NotANumber));
        let other = buckets(&[("0.2", 10.0), ("+Inf", 20.0)]);
        assert_eq!(after.since(&other), Err(Unknown::NotANumber));
    }

    #[test]
    fn ten_observations_must_lie_above_a_quantile() {
        assert!(enough(1000.0, p(0.99)) && !enough(999.0, p(0.99)));
        assert!(enough(20.0, p(0.5)) && !enough(19.0, p(0.5)));
    }
}
