//! How long one tick takes: `cargo run --profile ci -p msars-plan --example tick [WORKLOADS]…`, 1,000 and 10,000 unless
//! given. Prints seconds on one core (median and worst of nine) and the resident set.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a tool for developers: a panic is its way to fail"
)]

#[path = "../tests/world/mod.rs"]
mod world;

use std::time::Instant;

use msars_plan::{Limits, State, Tick, decide};
use world::{Dice, after, engines, plain, start};

/// Resident set in MiB, from the kernel.
fn resident() -> f64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find(|l| l.starts_with("VmRSS:"));
    let kib = line
        .and_then(|l| l.split_whitespace().nth(1))
        .and_then(|n| n.parse::<f64>().ok());
    kib.unwrap_or(0.0) / 1024.0
}

fn main() {
    let asked: Vec<usize> = std::env::args()
        .skip(1)
        .map(|n| n.parse().expect("a number"))
        .collect();
    let sizes = if asked.is_empty() {
        vec![1000, 10_000]
    } else {
        asked
    };
    for count in sizes {
        let mut dice = Dice(7);
        let mut engines = engines();
        let mut now = start();
        let mut tick = Tick {
            now,
            seed: 7,
            observations: (0..count)
                .map(|_| plain(now, 1 + dice.below(8) as u32, 300.0 * dice.unit()))
                .collect(),
            states: vec![State::default(); count],
        };
        let (mut seconds, mut writes) = (Vec::new(), 0);
        for _ in 0..9 {
            let begun = Instant::now();
            let made = decide(&tick, &mut engines, &Limits::default());
            seconds.push(begun.elapsed().as_secs_f64());
            now = after(now, 15);
            tick.now = now;
            for ((seen, state), decision) in
                tick.observations.iter_mut().zip(&mut tick.states).zip(made)
            {
                writes += decision.actions.len();
                world::apply(now, seen, &decision, |_| None);
                *state = decision.state;
                seen.signals = plain(now, 1, 300.0 * dice.unit()).signals;
            }
        }
        seconds.sort_by(f64::total_cmp);
        let (median, worst) = (seconds[4], seconds[8]);
        println!(
            "{count} workloads: {median:.4} s a tick (worst {worst:.4}), {:.0} MiB resident, {writes} writes in 9 ticks",
            resident()
        );
    }
}
