//! How well a mechanism explains what was measured, and the likely one: simulated windows against measured ones.

use msars_sim::Mechanism;

use crate::{Point, Times};

/// Worker limits that are tried.
const WORKERS: [u32; 5] = [32, 8, 4, 2, 1];
/// Spreads of the work that are tried first.
const SIGMAS: [f64; 11] = [0.1, 0.25, 0.4, 0.55, 0.7, 0.85, 1.0, 1.15, 1.3, 1.5, 1.8];
/// Step of the spreads around the likely one.
const FINE: f64 = 0.09;
/// Spread of the work where nothing tells it, and the standard error of its logarithm.
const USUAL: (f64, f64) = (0.6, 0.6);
/// Step in ms of the candidates for what a client sees beside the service.
const WIRE_STEP: f64 = 0.1;
/// Number of these steps.
const WIRE_STEPS: i32 = 12;
/// Standard error of the model's own times, in logarithms.
const OWN_ERROR: f64 = 0.1;
/// Degrees of freedom of the errors.
const FREEDOM: f64 = 4.0;

/// Shares whose times are compared.
const SHARES: [f64; 3] = [0.5, 0.9, 0.99];

/// How badly a mechanism explains the points, with the best time beside the service: minus twice the logarithm of the
/// likelihood of p50, p90 and p99, each spread as it is over simulated windows of the same length, with the long tails
/// of Student's t, so that a window that was disturbed does not decide.
fn misfit(points: &[Point], mechanism: &Mechanism, seed: u64) -> (f64, f64) {
    let predict = |point: &Point| point.predict(mechanism, SHARES, seed);
    let runs: Vec<Vec<[f64; 3]>> = points.iter().map(predict).collect();
    let with = |wire_ms: f64| -> f64 {
        let of = |(point, runs): (&Point, &Vec<[f64; 3]>)| {
            let measured = [point.p50_ms, point.p90_ms, point.p99_ms];
            let wire = point.wire_ms(wire_ms);
            let used = if point.times == Times::Reduced { 2 } else { 3 };
            let one = |at: usize| {
                let logs = || runs.iter().map(|run| (run[at] + wire).max(1e-3).ln());
                let count = runs.len().max(2) as f64;
                let mean = logs().sum::<f64>() / count;
                let spread = logs().map(|log| (log - mean).powi(2)).sum::<f64>() / (count - 1.0);
                let variance = spread + OWN_ERROR * OWN_ERROR;
                let square = (measured[at].ln() - mean).powi(2) / variance;
                variance.ln() + (FREEDOM + 1.0) * (1.0 + square / FREEDOM).ln()
            };
            (0..used).map(one).sum::<f64>()
        };
        points.iter().zip(&runs).map(of).sum()
    };
    let wires = if points.iter().all(|point| point.times == Times::Own) {
        0..=0
    } else {
        0..=WIRE_STEPS
    };
    let all = wires
        .map(|n| f64::from(n) * WIRE_STEP)
        .map(|wire| (with(wire), wire));
    all.min_by(|a, b| a.0.total_cmp(&b.0))
        .unwrap_or((f64::INFINITY, 0.0))
}

/// A candidate with its likelihood, relative to the best.
struct Weighed {
    mechanism: Mechanism,
    wire_ms: f64,
    weight: f64,
}

fn weighed(
    points: &[Point],
    candidates: impl Iterator<Item = Mechanism>,
    seed: u64,
) -> Vec<Weighed> {
    let tried = |mechanism: Mechanism| {
        let (badness, wire_ms) = misfit(points, &mechanism, seed);
        let prior = ((mechanism.sigma / USUAL.0).ln() / USUAL.1).powi(2);
        (mechanism, wire_ms, badness + prior)
    };
    let all: Vec<(Mechanism, f64, f64)> = candidates.map(tried).collect();
    let least = all.iter().map(|one| one.2).fold(f64::INFINITY, f64::min);
    let weigh = |(mechanism, wire_ms, badness): (Mechanism, f64, f64)| Weighed {
        mechanism,
        wire_ms,
        weight: (-(badness - least) / 2.0).exp(),
    };
    all.into_iter().map(weigh).collect()
}

fn sum(list: &[Weighed], of: impl Fn(&Weighed) -> f64) -> f64 {
    let all: f64 = list.iter().map(|one| one.weight).sum();
    list.iter().map(|one| one.weight * of(one)).sum::<f64>() / all.max(1e-300)
}

/// The likely mechanism and time beside the service: means over all candidates by their likelihood, which waver less
/// from window to window than the best candidate does.
pub(crate) fn likely(points: &[Point], start: Mechanism, seed: u64) -> (Mechanism, f64) {
    let workers = WORKERS[0];
    let coarse = SIGMAS.map(|sigma| Mechanism {
        sigma,
        workers,
        ..start
    });
    let found = weighed(points, coarse.into_iter(), seed);
    let middle = sum(&found, |one| one.mechanism.sigma);
    let fine = (-3..=3)
        .map(|n| middle + FINE * f64::from(n))
        .filter(|sigma| *sigma > 0.05)
        .flat_map(|sigma| {
            WORKERS.map(|workers| Mechanism {
                sigma,
                workers,
                ..start
            })
        });
    let found = weighed(points, fine, seed);
    let workers = sum(&found, |one| f64::from(one.mechanism.workers).ln()).exp();
    let mechanism = Mechanism {
        sigma: sum(&found, |one| one.mechanism.sigma),
        workers: workers.round().max(1.0) as u32,
        ..start
    };
    (mechanism, sum(&found, |one| one.wire_ms))
}
