//! One service under a trace (one rate per line), scaled by `decide` and by HPA's rule, in the fluid model of
//! `tests/world/fluid.rs`: `cargo run --profile ci -p msars-plan --example duel TRACE [SECONDS_PER_LINE] [FACTOR]
//! [explain]`; with the last word every change is told.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a tool for developers: a panic is its way to fail"
)]

#[path = "../tests/world/mod.rs"]
mod world;

use msars_plan::Decision;
use world::fluid::{Score, hpa, ours};

fn main() {
    let mut args = std::env::args().skip(1);
    let path = args.next().expect("a trace file: one rate per line");
    let per_line: usize = args
        .next()
        .map_or(1, |n| n.parse().expect("seconds per line"));
    let factor: f64 = args.next().map_or(1.0, |n| n.parse().expect("a factor"));
    let explain = args.next().is_some();
    let told = |made: &Decision| {
        if explain && made.wanted != made.current {
            println!("{}", made.explain());
        }
    };
    let text = std::fs::read_to_string(path).expect("a readable trace");
    let trace: Vec<f64> = text
        .lines()
        .filter_map(|l| l.trim().parse::<f64>().ok())
        .map(|r| r * factor)
        .collect();
    let show = |name: &str, s: &Score| {
        println!(
            "{name:<18} attained {:>7.3} %  core-seconds {:>9.0}  writes {:>5}",
            100.0 * s.attained(),
            s.core_seconds,
            s.writes
        );
    };
    for down in [300, 60] {
        println!("scale-down window {down} s");
        show("decide", &ours(&trace, per_line, down, told));
        for target in [0.4, 0.5, 0.6, 0.8] {
            show(
                &format!("HPA {:.0} %", target * 100.0),
                &hpa(&trace, per_line, target, down),
            );
        }
    }
}
