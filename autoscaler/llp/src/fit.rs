//! The mechanism behind the points: work from CPU seconds, spread and workers from every window's quantiles.

use msars_sim::Mechanism;

use crate::likely::likely;
use crate::{Point, Waits};

/// What is known without measuring.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Setting {
    /// Cores that the pod's threads can use at once.
    pub cores: f64,
}

/// A mechanism with the points that it explains.
#[derive(Debug, Clone, PartialEq)]
pub struct Fitted {
    /// The fitted mechanism.
    pub mechanism: Mechanism,
    /// What a client sees beside the service, in ms.
    pub wire_ms: f64,
    /// The waits for callees that hold its workers, as its fullest window had them.
    pub waits: Option<Waits>,
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

/// Fits the mechanism to the measured points. Deterministic in `seed`.
pub fn fit(measured: &[Point], setting: &Setting, seed: u64) -> Result<Fitted, FitError> {
    let none = FitError::NoUsablePoint(measured.len());
    let work = work_ms(measured).ok_or(none)?;
    let mut points: Vec<Point> = measured.iter().copied().filter(Point::usable).collect();
    points.sort_by(|a, b| a.load(work).total_cmp(&b.load(work)));
    let start = Mechanism {
        work_ms: work,
        sigma: 0.0,
        workers: 1,
        cores: setting.cores,
        callee: None,
    };
    let (mechanism, wire_ms) = likely(&points, start, seed);
    let requests: f64 = points.iter().map(|p| p.requests as f64).sum();
    let deviation = ((mechanism.sigma * mechanism.sigma).exp() - 1.0).sqrt();
    let fullest = points.iter().max_by_key(|point| point.requests);
    let waits = fullest.and_then(|point| point.waits);
    Ok(Fitted {
        mechanism,
        wire_ms,
        waits,
        work_error: deviation / requests.sqrt(),
        points,
    })
}
