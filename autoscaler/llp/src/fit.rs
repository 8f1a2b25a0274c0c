//! The mechanism behind the points: work from CPU seconds, spread from low load, workers from the knee.

use msars_sim::{Mechanism, Wait};

use crate::Point;

/// Worker limits that are tried.
const WORKERS: [u32; 6] = [32, 16, 8, 4, 2, 1];
/// Windows simulated per point and candidate.
const REPEATS: u64 = 15;
/// z of the 90th percentile of the standard normal.
const Z90: f64 = 1.2816;
/// A smaller worker limit must explain the points this much better (share of squared error).
const CLEARLY_BETTER: f64 = 0.5;

/// What is known without measuring.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Setting {
    /// Cores that the pod's threads can use at once.
    pub cores: f64,
    /// The callee wait, from spans or caller metrics.
    pub callee: Option<Wait>,
}

/// A mechanism with the points that it explains.
#[derive(Debug, Clone, PartialEq)]
pub struct Fitted {
    /// The fitted mechanism.
    pub mechanism: Mechanism,
    /// Standard error of the mean work, as a share of it.
    pub work_error: f64,
    /// The usable points.
    pub points: Vec<Point>,
}

/// Why no mechanism could be fitted.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum FitError {
    /// No point with successful requests, CPU use and latencies.
    #[error("none of {0} points has successful requests, CPU use and latencies")]
    NoUsablePoint(usize),
}

impl FitError {
    /// A bounded label for metrics and events.
    pub fn category(&self) -> &'static str {
        match self {
            Self::NoUsablePoint(_) => "NoUsablePoint",
        }
    }
}

/// Mean CPU work per request in ms over all points, weighted by requests.
pub(crate) fn work_ms(points: &[Point]) -> Option<f64> {
    let usable = points.iter().filter(|p| p.usable());
    let (cpu, requests) = usable.fold((0.0, 0.0), |(cpu, n), p| {
        (cpu + p.cpu_seconds, n + p.requests as f64)
    });
    (requests > 0.0).then(|| cpu * 1000.0 / requests)
}

/// Weighted mean over points of `value`, by requests.
fn weighted(points: &[&Point], value: impl Fn(&Point) -> f64) -> f64 {
    let (sum, weight) = points.iter().fold((0.0, 0.0), |(s, w), p| {
        let n = p.requests as f64;
        (s + n * value(p), w + n)
    });
    if weight > 0.0 { sum / weight } else { 0.0 }
}

/// Spread of the work: closed form at low load, then two corrections by what the simulation predicts there, which
/// takes queueing and throttling out of the measured spread.
fn sigma(points: &[&Point], start: Mechanism, seed: u64) -> f64 {
    let measured = weighted(points, |p| (p.p90_ms / p.p50_ms).ln());
    let mut sigma = (measured / Z90).clamp(0.05, 2.0);
    for _ in 0..2 {
        let mechanism = Mechanism { sigma, ..start };
        let predicted = weighted(points, |p| {
            let [p50, p90] = p.predict(&mechanism, [0.5, 0.9], REPEATS, seed);
            (p90 / p50).ln()
        });
        sigma = (sigma + (measured - predicted) / Z90).clamp(0.05, 2.0);
    }
    sigma
}

/// Squared log error of p50 and p90 over the points, each weighted by its requests.
fn misfit(points: &[&Point], mechanism: &Mechanism, seed: u64) -> f64 {
    weighted(points, |p| {
        let [p50, p90] = p.predict(mechanism, [0.5, 0.9], REPEATS, seed);
        (p.p50_ms / p50).ln().powi(2) + (p.p90_ms / p90).ln().powi(2)
    })
}

/// Fits the mechanism to the measured points. Deterministic in `seed`.
pub fn fit(measured: &[Point], setting: &Setting, seed: u64) -> Result<Fitted, FitError> {
    let none = FitError::NoUsablePoint(measured.len());
    let work = work_ms(measured).ok_or(none)?;
    let mut points: Vec<Point> = measured.iter().copied().filter(Point::usable).collect();
    points.sort_by(|a, b| a.load(work).total_cmp(&b.load(work)));
    let lowest = points.first().map_or(0.0, |p| p.load(work));
    let (low, high): (Vec<&Point>, Vec<&Point>) = points
        .iter()
        .partition(|p| p.load(work) <= (lowest * 1.2).max(0.35));
    let mut mechanism = Mechanism {
        work_ms: work,
        sigma: 0.5,
        workers: WORKERS[0],
        cores: setting.cores,
        callee: setting.callee,
    };
    mechanism.sigma = sigma(&low, mechanism, seed);
    let mut best = f64::INFINITY;
    for workers in WORKERS {
        let candidate = Mechanism {
            workers,
            ..mechanism
        };
        let error = misfit(&high, &candidate, seed);
        if error < best * CLEARLY_BETTER {
            best = error;
            mechanism = candidate;
        }
    }
    let requests: f64 = points.iter().map(|p| p.requests as f64).sum();
    let deviation = ((mechanism.sigma * mechanism.sigma).exp() - 1.0).sqrt();
    Ok(Fitted {
        mechanism,
        work_error: deviation / requests.sqrt(),
        points,
    })
}
