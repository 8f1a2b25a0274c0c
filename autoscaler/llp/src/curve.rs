//! The table of a fitted mechanism, corrected by what was measured.

use msars_domain::{Curve, CurveError, Knot, MilliCpu, Millis, Percentile, Rate, SizeCurve};

use crate::{
    Fitted, Point, Times,
    point::{ERRORS, run},
};

/// Loads (share of the quota) at which the table has a point.
const LOADS: [f64; 16] = [
    0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.55, 0.6, 0.65, 0.7, 0.75, 0.8, 0.85, 0.9, 0.93, 0.96,
];
/// Requests simulated per point of the table.
const REQUESTS: usize = 12_000;
/// Tail samples at which measured and simulated quantiles count alike.
const TRUST: f64 = 60.0;
/// Standard error of the model itself, in logarithms.
const MODEL_ERROR: f64 = 0.1;

/// A table with its uncertainty.
#[derive(Debug, Clone, PartialEq)]
pub struct Profile {
    /// Rate per pod → quantile, per size.
    pub curve: Curve,
    /// Factor by which measured points moved the simulated quantiles.
    pub correction: f64,
    /// Half the width of the 95 % band of a quantile, as a share of it.
    pub half_width: f64,
}

/// Sum of weights, shrunk mean and variance of the logarithms measured ÷ simulated.
fn corrected(fitted: &Fitted, p: f64, seed: u64) -> (f64, f64) {
    let mut ratios = Vec::new();
    // Waits' tails are in those that are reduced, or no p99 at all: as in the fit, it does not count.
    let counted = |point: &&Point| point.times != Times::Reduced;
    for point in fitted.points.iter().filter(counted) {
        let wire = point.wire_ms(fitted.wire_ms);
        let mut runs = point.predict(&fitted.mechanism, [p.clamp(0.5, 0.99)], seed);
        runs.sort_by(|a, b| a[0].total_cmp(&b[0]));
        let tail = point.requests as f64 * (1.0 - p).max(0.001);
        if let Some([simulated]) = runs.get(runs.len() / 2)
            && simulated + wire > 0.0
        {
            let ratio = (point.quantile(p) / (simulated + wire)).ln();
            // Those that failed would have been the slowest: where there are many, the others make nothing faster.
            if ratio >= 0.0 || point.error_share() < ERRORS {
                ratios.push((tail, ratio));
            }
        }
    }
    let weight: f64 = ratios.iter().map(|r| r.0).sum();
    let mean = ratios.iter().map(|r| r.0 * r.1).sum::<f64>() / weight.max(1e-9);
    let spread = ratios
        .iter()
        .map(|r| r.0 * (r.1 - mean).powi(2))
        .sum::<f64>()
        / weight.max(1e-9);
    let count = ratios.len().max(1) as f64;
    (mean * weight / (weight + TRUST), spread / count)
}

/// The self-time quantile at every size over a grid of rates up to 96 % of the quota (or of `cores`, when the size
/// is larger). Deterministic in `seed`.
pub fn curve(
    fitted: &Fitted,
    percentile: Percentile,
    sizes: &[MilliCpu],
    seed: u64,
) -> Result<Profile, CurveError> {
    let p = percentile.get();
    let (log_ratio, variance) = corrected(fitted, p, seed);
    let correction = log_ratio.exp();
    let mechanism = &fitted.mechanism;
    let table = |&size: &MilliCpu| {
        let full = size.cores().min(mechanism.cores) * 1000.0 / mechanism.work_ms;
        let knots = LOADS
            .iter()
            .filter_map(|load| {
                let rate = Rate::new(load * full).ok()?;
                let run = run(mechanism, fitted.waits, size, rate, REQUESTS, seed);
                let quantile = Millis::new(run.quantile(p) * correction).ok()?;
                Some(Knot { rate, quantile })
            })
            .collect();
        SizeCurve { size, knots }
    };
    let error = (variance + fitted.work_error.powi(2) + MODEL_ERROR.powi(2)).sqrt();
    Ok(Profile {
        curve: Curve::new(sizes.iter().map(table).collect())?,
        correction,
        half_width: (1.96 * error).exp() - 1.0,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use msars_sim::Mechanism;

    /// A window of 3600 requests at 400m with these times, and what it is compared with.
    fn fitted(times: Times, [p50_ms, p90_ms, p99_ms]: [f64; 3], errors: u64) -> Fitted {
        let point = Point {
            size: MilliCpu(400),
            rate: Rate::new(60.0).unwrap(),
            window_seconds: 60.0,
            requests: 3600,
            errors,
            cpu_seconds: 10.8,
            times,
            waits: None,
            p50_ms,
            p90_ms,
            p99_ms,
            callee_in_trouble: false,
        };
        Fitted {
            mechanism: Mechanism {
                work_ms: 3.0,
                sigma: 0.6,
                workers: 4,
                cores: 2.0,
                callee: None,
            },
            wire_ms: 0.0,
            waits: None,
            work_error: 0.0,
            points: vec![point],
        }
    }

    #[test]
    fn a_p99_with_the_waits_tail_in_it_corrects_nothing() {
        let found = |times| corrected(&fitted(times, [3.0, 8.0, 212.0], 0), 0.99, 1);
        assert!(found(Times::Own).0 > 1.0);
        assert_eq!(found(Times::Reduced), (0.0, 0.0));
    }

    #[test]
    fn where_many_failed_the_rest_make_no_curve_faster() {
        let found = |times, errors| corrected(&fitted(Times::Client, times, errors), 0.99, 1).0;
        let (fast, slow) = ([0.3, 0.4, 0.5], [3.0, 8.0, 212.0]);
        for (errors, faster) in [(0, true), (170, true), (190, false)] {
            let log = found(fast, errors);
            assert_eq!(log < -0.5, faster, "{errors}: {log}");
            assert_eq!(log < 0.0, faster, "{errors}: {log}");
            assert!(found(slow, errors) > 0.5, "{errors}");
        }
    }
}
