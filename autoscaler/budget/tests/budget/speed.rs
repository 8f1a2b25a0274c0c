//! How long a split takes and how far it is proved: printed by `cargo test -p msars-budget speed -- --nocapture`; asserted are
//! the counts of work, which no machine changes.

use std::time::Duration;

use crate::application::{self, application, call, chain, fine_service, par, seq, service, shop};
use msars_budget::{Allocator, Equal, Proportional, Reference, Split, SplitRequest, Weight};
use msars_domain::{Call, EdgeKind, MilliCpu};

#[allow(
    clippy::disallowed_methods,
    reason = "a speed is printed, nothing is decided by it"
)]
fn timed(request: &SplitRequest) -> (Split, Duration) {
    let begin = std::time::Instant::now();
    let split = Reference::default().split(request).unwrap();
    (split, begin.elapsed())
}

fn print(what: &str, request: &SplitRequest) -> Split {
    let (split, took) = timed(request);
    let asked = std::slice::from_ref(request);
    let rule = |found: Vec<Result<Split, _>>| match &found[0] {
        Ok(split) if split.feasible => format!("{:.2}", f64::from(split.cost.0) / 1000.0),
        _ => "infeasible".to_owned(),
    };
    println!(
        "{what}: {took:?}, {} {:.2} cores, gap {:.2} %, equal {}, proportional {}",
        split.method,
        f64::from(split.cost.0) / 1000.0,
        split.gap.unwrap() * 100.0,
        rule(Equal.allocate(asked)),
        rule(Proportional.allocate(asked)),
    );
    split
}

/// Numbers without a pattern that are the same on every run.
pub struct Mix(pub u64);

impl Mix {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, n: usize) -> usize {
        (self.next() % n as u64) as usize
    }

    pub fn between(&mut self, low: f64, high: f64) -> f64 {
        low + (high - low) * (self.next() >> 11) as f64 / (1_u64 << 53) as f64
    }
}

/// A tree of calls that go to services behind the caller's, so that nothing recurses.
fn random_tree(mix: &mut Mix, services: usize, from: usize, depth: usize) -> Call {
    let width = if depth == 0 { 0 } else { mix.below(4) };
    let mut children = Vec::new();
    for _ in 0..width {
        if from + 1 < services {
            let to = from + 1 + mix.below(services - from - 1);
            let mut child = random_tree(mix, services, to, depth - 1);
            if mix.below(3) == 0 {
                child.kind = EdgeKind::Parallel;
            }
            children.push(child);
        }
    }
    seq(&format!("s{from}"), children)
}

fn random(seed: u64, services: usize, chains: usize, fine: bool) -> SplitRequest {
    let mut mix = Mix(seed);
    let bases: Vec<f64> = (0..services).map(|_| mix.between(3.0, 40.0)).collect();
    let times = (bases.iter().enumerate())
        .map(|(i, base)| (format!("s{i}"), *base))
        .collect();
    let chains = (0..chains)
        .map(|i| {
            let from = mix.below(services / 3);
            let root = random_tree(&mut mix, services, from, 4);
            let objective = application::takes(&root, &times) * mix.between(1.0, 2.5);
            chain(&format!("c{i}"), mix.between(5.0, 100.0), objective, root)
        })
        .collect();
    let mut request = application(chains, vec![]);
    request.services = (bases.iter().enumerate())
        .map(|(i, base)| {
            let knee = mix.between(10.0, 60.0);
            let make = if fine { fine_service } else { service };
            let mut service = make(*base, knee, mix.between(3.0, 15.0), 40);
            service.weight = Weight {
                ratio: mix.between(0.3, 1.0),
                sidecars: MilliCpu(mix.below(20) as u32),
            };
            (format!("s{i}"), service)
        })
        .collect();
    request
}

#[test]
fn fourteen_services_on_five_chains() {
    for (load, objective) in [
        (1.0, 400.0),
        (1.0, 250.0),
        (3.0, 400.0),
        (3.0, 250.0),
        (8.0, 400.0),
    ] {
        let split = print(
            &format!("shop at {load} times the load, {objective} ms"),
            &shop(load, objective, 1.0),
        );
        assert!(split.feasible, "{}", split.reason);
        assert!(split.gap.unwrap() < 0.05, "{}", split.reason);
    }
}

#[test]
fn applications_at_random() {
    for seed in 0..8 {
        for (services, chains, fine) in [(14, 5, false), (14, 5, true), (30, 8, true)] {
            let request = random(seed, services, chains, fine);
            let sizes = if fine { 10 } else { 2 };
            let what =
                format!("{services} services of {sizes} sizes, {chains} chains, seed {seed}");
            let split = print(&what, &request);
            assert!(split.gap.unwrap() < 0.15, "{}", split.reason);
        }
    }
}

#[test]
fn one_chain_of_many_services_is_always_proved() {
    let mut mix = Mix(7);
    let services: Vec<(String, _)> = (0..40)
        .map(|i| {
            let service = service(mix.between(3.0, 40.0), mix.between(10.0, 60.0), 9.0, 20);
            (format!("s{i}"), service)
        })
        .collect();
    let line = (0..40).rev().fold(None, |below: Option<Call>, i| {
        Some(seq(&format!("s{i}"), below.into_iter().collect()))
    });
    let fan = (1..40).map(|i| par(&format!("s{i}"), vec![])).collect();
    let twice = call("s0", EdgeKind::Sequential, 1.0, 1, fan);
    for (what, root, objective) in [("line", line.unwrap(), 900.0), ("fan", twice, 90.0)] {
        let mut request = application(vec![chain(what, 100.0, objective, root)], vec![]);
        request.services = services.iter().cloned().collect();
        let split = print(what, &request);
        assert_eq!(split.gap, Some(0.0), "{}", split.reason);
    }
}
