//! Learning from live pods: one long window instead of many short ones. Pure.

use msars_domain::{MilliCpu, Millis, Percentile, Reading, Signals};
use msars_llp::{FitError, Fitted, Point, Profile, Setting, Times, curve, fit};

/// The percentiles that a fit needs.
pub const NEEDED: [f64; 3] = [0.5, 0.9, 0.99];
/// The same windows give the same profile.
const SEED: u64 = 11;
/// Spread of the work where it cannot be told: the one that a fit starts from.
const USUAL_SIGMA: f64 = 0.5;
/// z of the 90th percentile of the standard normal.
const Z90: f64 = 1.2816;

/// What live pods showed over one window.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Window {
    /// Size of the pods.
    pub size: MilliCpu,
    /// Serving pods, ≥ 1.
    pub pods: u32,
    /// Its length in seconds.
    pub seconds: f64,
}

fn value<T: Copy>(reading: &Reading<T>) -> Option<T> {
    reading.value().copied()
}

/// Times of which nothing is known but that they lie above the largest bound.
fn beyond(signals: &Signals) -> bool {
    let (own, request) = (&signals.self_quantile, &signals.request_quantile);
    own.value().is_none() && (own.saturated() || request.saturated())
}

/// One point of one pod, out of the same workload's signals at p50, p90 and p99; none while one of them lies above the
/// largest bound of its histogram, since no number stands for it. A p99 that too few requests stand
/// behind is replaced by the p90, and the fit does not use it. Where the workload
/// exports no self time, the mean wait for callees is taken out of its request time; where that mean is more than half
/// of the median, the rest says nothing about the spread, and the usual one around the measured work stands for it.
pub fn point(signals: [&Signals; 3], window: Window) -> Option<Point> {
    if signals.into_iter().any(beyond) {
        return None;
    }
    let pods = f64::from(window.pods.max(1));
    let rate = value(&signals[0].rate)?;
    let cores = value(&signals[0].cpu_cores)?;
    let wait = value(&signals[0].callee_wait).map_or(0.0, Millis::get);
    let time = |signals: &Signals| {
        value(&signals.self_quantile).map(Millis::get).or_else(|| {
            let request = value(&signals.request_quantile)?.get();
            Some((request - wait).max(request / 10.0))
        })
    };
    let (p50, p90) = (time(signals[0])?, time(signals[1])?);
    let requests = (rate.get() * window.seconds / pods).round();
    if requests < 20.0 || cores <= 0.0 {
        return None;
    }
    let mostly_waits = signals[0].self_quantile.value().is_none()
        && value(&signals[0].request_quantile).is_some_and(|request| wait > request.get() / 2.0);
    let (p50, p90) = if mostly_waits {
        usual(cores * 1000.0 / rate.get())
    } else {
        (p50, p90)
    };
    let own = |signals: &Signals| signals.self_quantile.value().is_some();
    let times = if signals.into_iter().all(own) {
        Times::Own
    } else {
        Times::Reduced
    };
    let errors = value(&signals[0].error_share).unwrap_or(0.0);
    Some(Point {
        size: window.size,
        rate: msars_domain::Rate::new(rate.get() / pods).ok()?,
        window_seconds: window.seconds,
        requests: requests as u64,
        errors: (errors * requests).round() as u64,
        cpu_seconds: cores * window.seconds / pods,
        times,
        waits: None,
        p50_ms: p50,
        p90_ms: p90.max(p50),
        p99_ms: time(signals[2]).unwrap_or(p90).max(p90),
        callee_in_trouble: false,
    })
}

/// p50 and p90 in ms of lognormal work with this mean, alone on a core.
fn usual(work_ms: f64) -> (f64, f64) {
    let p50 = work_ms * (-USUAL_SIGMA * USUAL_SIGMA / 2.0).exp();
    (p50, p50 * (Z90 * USUAL_SIGMA).exp())
}

/// Fits and draws the curve.
pub fn learn(
    point: Point,
    cores: f64,
    percentile: Percentile,
    grid: &[MilliCpu],
) -> Result<(Fitted, Profile), FitError> {
    let setting = Setting { cores };
    let fitted = fit(&[point], &setting, SEED)?;
    let profile =
        curve(&fitted, percentile, grid, SEED).map_err(|_empty| FitError::NoUsablePoint(1))?;
    Ok((fitted, profile))
}

#[cfg(test)]
mod tests {
    use super::*;
    use jiff::Timestamp;
    use msars_domain::{ObjectKey, Rate, Unknown};

    fn known<T>(value: T) -> Reading<T> {
        Reading::Known {
            value,
            at: Timestamp::UNIX_EPOCH,
        }
    }

    fn signals(ms: f64) -> Signals {
        let nothing = Reading::Unknown {
            why: Unknown::NoSeries,
        };
        Signals {
            workload: ObjectKey::new("shop", "catalogue"),
            rate: known(Rate::new(40.0).unwrap()),
            peak_rate: known(Rate::new(50.0).unwrap()),
            rate_at_least: None,
            request_quantile: known(Millis::new(ms + 2.0).unwrap()),
            self_quantile: nothing.clone(),
            callee_wait: known(Millis::new(2.0).unwrap()),
            error_share: known(0.0),
            cpu_cores: known(0.12),
            throttled: Reading::Unknown {
                why: Unknown::NoSeries,
            },
        }
    }

    const WINDOW: Window = Window {
        size: MilliCpu(200),
        pods: 2,
        seconds: 120.0,
    };

    #[test]
    fn a_window_of_live_pods_is_one_point_of_one_pod() {
        let (p50, p90, p99) = (signals(3.0), signals(7.0), signals(12.0));
        let point = point([&p50, &p90, &p99], WINDOW).unwrap();
        assert_eq!(point.requests, 2400);
        assert!((point.cpu_seconds / point.requests as f64 - 0.003).abs() < 1e-9);
        assert!((point.p50_ms - 3.0).abs() < 1e-9 && (point.p90_ms - 7.0).abs() < 1e-9);
    }

    #[test]
    fn a_service_that_mostly_waits_is_learnt_by_its_work() {
        // 3 ms of work and, after rollouts, a mean wait far above the median: p50 less the mean would be a tenth.
        let waiting = |ms: f64| Signals {
            callee_wait: known(Millis::new(30.0).unwrap()),
            ..signals(ms)
        };
        let (p50, p90, p99) = (waiting(4.0), waiting(41.0), waiting(70.0));
        let point = point([&p50, &p90, &p99], WINDOW).unwrap();
        assert!((point.p50_ms - 2.65).abs() < 0.01, "{point:?}");
        assert!(
            (point.p90_ms / point.p50_ms - 1.9).abs() < 0.01,
            "{point:?}"
        );
        let p = Percentile::new(0.99).unwrap();
        let (fitted, _) = learn(point, 2.0, p, &[MilliCpu(200)]).unwrap();
        assert!(fitted.mechanism.sigma < 1.0, "{:?}", fitted.mechanism);
    }

    #[test]
    fn without_cpu_or_requests_nothing_is_learnt() {
        let mut blind = signals(3.0);
        blind.cpu_cores = Reading::Unknown {
            why: Unknown::Stale,
        };
        assert_eq!(point([&blind, &blind, &blind], WINDOW), None);
        let mut idle = signals(3.0);
        idle.rate = known(Rate::new(0.1).unwrap());
        assert_eq!(point([&idle, &idle, &idle], WINDOW), None);
    }

    #[test]
    fn a_tail_above_the_largest_bound_is_not_learnt_from() {
        let (p50, p90) = (signals(3.0), signals(7.0));
        let mut p99 = signals(12.0);
        let learnt = |p99: &Signals| point([&p50, &p90, p99], WINDOW).is_some();
        p99.request_quantile = Reading::Unknown {
            why: Unknown::TooFewSamples,
        };
        assert!(learnt(&p99));
        let least = Millis::new(10.0).unwrap();
        p99.request_quantile = Reading::Unknown {
            why: Unknown::Saturated { least },
        };
        assert!(!learnt(&p99));
        // Its own time is known; its callees are slow.
        p99.self_quantile = known(least);
        assert!(learnt(&p99));
    }

    #[test]
    fn the_work_of_a_live_service_is_found() {
        let (p50, p90, p99) = (signals(2.6), signals(6.0), signals(12.0));
        let point = point([&p50, &p90, &p99], WINDOW).unwrap();
        let p = Percentile::new(0.99).unwrap();
        let (fitted, profile) = learn(point, 2.0, p, &[MilliCpu(200), MilliCpu(400)]).unwrap();
        assert!((fitted.mechanism.work_ms / 3.0 - 1.0).abs() < 0.01);
        assert_eq!(profile.curve.sizes().len(), 2);
    }
}
