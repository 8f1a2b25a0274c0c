//! Whole days in the fluid model: `decide` against HPA's rule on the same arithmetic of windows and policies.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test: a panic is its way to fail"
)]

#[path = "world/mod.rs"]
mod world;

use world::{
    Dice,
    fluid::{hpa, ours},
};

/// An hour with a slow wave, noise, and a threefold surge within 10 s.
fn hour(seed: u64) -> Vec<f64> {
    let mut dice = Dice(seed);
    (0..3600)
        .map(|second| {
            let wave = 250.0 - 150.0 * (f64::from(second) / 3600.0 * std::f64::consts::TAU).cos();
            let surge = match second {
                2400..2410 => 1.0 + 0.2 * f64::from(second - 2399),
                2410..2700 => 3.0,
                _ => 1.0,
            };
            wave * surge * (0.95 + 0.1 * dice.unit())
        })
        .collect()
}

#[test]
fn at_least_the_best_hpas_attainment_for_less_cpu() {
    for seed in 1..=3 {
        let trace = hour(seed);
        let mine = ours(&trace, 1, 300, |_| {});
        let best = [0.4, 0.6, 0.8]
            .map(|target| hpa(&trace, 1, target, 300))
            .into_iter()
            .reduce(|a, b| if b.attained() > a.attained() { b } else { a })
            .unwrap();
        assert!(
            mine.attained() >= best.attained(),
            "{} {}",
            mine.attained(),
            best.attained()
        );
        assert!(
            mine.core_seconds <= 0.9 * best.core_seconds,
            "{} {}",
            mine.core_seconds,
            best.core_seconds
        );
    }
}

#[test]
fn a_steady_load_is_left_alone() {
    let trace = vec![200.0; 3600];
    let mine = ours(&trace, 1, 300, |_| {});
    assert!(mine.writes <= 12, "{} writes in an hour", mine.writes);
    assert!(mine.attained() > 0.99, "{}", mine.attained());
}
