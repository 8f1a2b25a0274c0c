//! The error of the capacity at a size and a rate that were not profiled, where the service waits for a callee that is
//! throttled now and then, on a node that is not its own. The truth is the simulator with disturbances that the fit
//! does not know.

#![allow(clippy::unwrap_used, reason = "test helpers outside test functions")]

mod world;

use msars_domain::{Millis, Percentile, Rate};
use msars_llp::{Point, Setting, Times, Waits, curve, fit};
use world::{BETWEEN, P, See, Seen, World, quantile};

/// Services drawn.
const SEEDS: u64 = 40;
/// Bounds of the shop's histograms, ms: each 1.5 times the one before.
const FIRST: f64 = 0.25;
const STEP: f64 = 1.5;

/// A quantile as a histogram gives it, linear within its bucket.
fn bucketed(sample: &[f64], p: f64) -> Option<f64> {
    let below = |bound: f64| sample.iter().filter(|value| **value <= bound).count() as f64;
    let rank = p * sample.len() as f64;
    let (mut low, mut high) = (0.0, FIRST);
    while below(high) < rank {
        (low, high) = (high, high * STEP);
    }
    let inside = below(high) - below(low);
    (inside > 0.0).then(|| low + (high - low) * (rank - below(low)) / inside)
}

fn with(point: Point, times: Times, [p50_ms, p90_ms, p99_ms]: [f64; 3]) -> Point {
    Point {
        times,
        p50_ms,
        p90_ms,
        p99_ms,
        ..point
    }
}

const THREE: [f64; 3] = [0.5, 0.9, 0.99];

fn waits(seen: &Seen) -> Option<Waits> {
    let per_request = seen.calls.len() as f64 / seen.latency.len() as f64;
    Waits::new(per_request, |share| {
        bucketed(&seen.calls, share).or(Some(0.0))
    })
}

/// Client latencies and the histogram of calls.
fn client(seen: &Seen, point: Point) -> Point {
    let times = THREE.map(|p| quantile(&seen.latency, p));
    Point {
        waits: waits(seen),
        ..with(point, Times::Client, times)
    }
}

/// The service's own histogram of self times and that of calls.
fn own(seen: &Seen, point: Point) -> Point {
    let times = THREE.map(|p| bucketed(&seen.own, p).unwrap());
    Point {
        waits: waits(seen),
        ..with(point, Times::Own, times)
    }
}

/// Promised over true capacity, less one.
fn error(world: &World, truth: f64, seed: u64, see: See) -> f64 {
    let setting = Setting { cores: 2.0 };
    let fitted = fit(&world.profile(seed, see), &setting, 7).unwrap();
    let made = curve(&fitted, Percentile::new(P).unwrap(), &[BETWEEN], 7).unwrap();
    let budget = Millis::new(world.budget).unwrap();
    made.curve.sizes()[0]
        .capacity(budget)
        .map_or(0.0, Rate::get)
        / truth
        - 1.0
}

/// Errors over all seeds.
#[derive(Debug)]
struct Errors {
    median: f64,
    p90: f64,
    within: f64,
    bias: f64,
}

fn errors(all: &[f64]) -> Errors {
    let sizes: Vec<f64> = all.iter().map(|error| error.abs()).collect();
    let within = sizes.iter().filter(|size| **size <= 0.2).count();
    Errors {
        median: quantile(&sizes, 0.5),
        p90: quantile(&sizes, 0.9),
        within: within as f64 / all.len() as f64,
        bias: all.iter().sum::<f64>() / all.len() as f64,
    }
}

#[test]
fn capacity_is_found_through_waits_that_are_spread() {
    let ways: [(&str, See); 2] = [("client", client), ("own", own)];
    let one = |seed| {
        let world = World::draw(seed);
        let truth = world.capacity();
        ways.map(|(_, see)| error(&world, truth, seed, see))
    };
    let each: Vec<[f64; 2]> = std::thread::scope(|scope| {
        let half =
            |from: u64| scope.spawn(move || (from..=SEEDS).step_by(2).map(one).collect::<Vec<_>>());
        let halves = [half(1), half(2)];
        halves
            .into_iter()
            .flat_map(|half| half.join().unwrap())
            .collect()
    });
    let found = [0, 1].map(|way| {
        let all: Vec<f64> = each.iter().map(|errors| errors[way]).collect();
        let errors = errors(&all);
        println!("{}: {errors:.3?}", ways[way].0);
        errors
    });
    for errors in found {
        assert!(errors.median <= 0.07, "{errors:?}");
        assert!(errors.p90 <= 0.22, "{errors:?}");
        assert!(errors.within >= 0.88, "{errors:?}");
        assert!(errors.bias.abs() <= 0.05, "{errors:?}");
    }
}
