//! The mechanism behind the points: work from CPU seconds, spread and workers from every window's quantiles.

use msars_sim::Mechanism;

use crate::likely::likely;
use crate::point::ERRORS;
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

/// Mean CPU work per request in ms over all points, weighted by requests. Windows in which many failed count only where
/// there are no others: what is given up half-way, or refused, takes less.
pub(crate) fn work_ms(points: &[Point]) -> Option<f64> {
    let mean = |most: f64| {
        let counted = points
            .iter()
            .filter(|p| p.usable() && p.error_share() < most);
        let (cpu, requests) = counted.fold((0.0, 0.0), |(cpu, n), p| {
            (cpu + p.cpu_seconds, n + p.requests as f64)
        });
        (requests > 0.0).then(|| cpu * 1000.0 / requests)
    };
    mean(ERRORS).or_else(|| mean(f64::INFINITY))
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

#[cfg(test)]
mod tests {
    use msars_domain::{MilliCpu, Rate};

    use super::*;
    use crate::Times;

    fn window(requests: u64, errors: u64, cpu_seconds: f64) -> Point {
        Point {
            size: MilliCpu(200),
            rate: Rate::new(10.0).unwrap(),
            window_seconds: 10.0,
            requests,
            errors,
            cpu_seconds,
            times: Times::Client,
            waits: None,
            p50_ms: 10.0,
            p90_ms: 20.0,
            p99_ms: 40.0,
            callee_in_trouble: false,
        }
    }

    #[test]
    fn what_was_given_up_half_way_is_no_measure_of_the_work() {
        let (sound, failing) = (window(100, 0, 1.0), window(300, 60, 1.0));
        let near = |found: Option<f64>, wanted: f64| {
            let found = found.unwrap();
            assert!((found - wanted).abs() < 1e-9, "{found}");
        };
        near(work_ms(&[sound, failing]), 10.0);
        // Where nothing else is known, it is better than nothing.
        near(work_ms(&[failing]), 1000.0 / 300.0);
        assert_eq!(work_ms(&[]), None);
    }
}
