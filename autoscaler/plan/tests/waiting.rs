//! Pods that wait for a node go when the load has no use for them any more.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test: a panic is its way to fail"
)]

#[path = "world/mod.rs"]
mod world;

use msars_domain::{MilliCpu, Reading, Resize};
use msars_plan::{Decision, Fleet, Guard, Reason};
use world::{Run, after, cpu, ms, plain, start};

fn fleet(replicas: u32, milli: u32) -> Fleet {
    Fleet {
        replicas,
        size: MilliCpu(milli),
    }
}

/// No pod but the first four finds a node.
fn full(run: &mut Run) {
    for pod in run.seen.pods.iter_mut().skip(4) {
        (pod.ready, pod.unschedulable) = (false, true);
    }
}

/// Ten pods of 200m, which carry 40/s each: four serve, and six have found no node for long.
fn crowded() -> Run {
    let mut run = Run::new(10, 170.0);
    full(&mut run);
    run
}

/// The same without sizes and without a window downward, so that a single tick shrinks.
fn at_once() -> Run {
    let mut run = Run::at_once(10, 170.0);
    full(&mut run);
    run
}

fn tick(run: &mut Run, load: f64) -> Decision {
    let made = run.tick(load);
    full(run);
    made
}

#[test]
fn pods_that_wait_for_a_node_go_with_the_load_after_the_window() {
    // (load, minimum, replicas after five minutes)
    for (load, least, wanted) in [
        (340.0, 1, 10),
        (250.0, 1, 8),
        // 195.5 with headroom, and a tenth that is tolerated.
        (170.0, 1, 6),
        (170.0, 7, 7),
        // The four that serve are close enough to 172.5.
        (150.0, 1, 5),
        (130.0, 1, 4),
        (130.0, 8, 8),
        (120.0, 1, 4),
    ] {
        let mut run = crowded();
        run.seen.resizable = Some(false);
        run.seen.min_replicas = least;
        let made: Vec<Decision> = (0..30).map(|_| tick(&mut run, load)).collect();
        let replicas: Vec<u32> = made.iter().map(|made| made.wanted.replicas).collect();
        assert_eq!(replicas[..20], [10; 20], "{load}: {}", made[0].explain());
        assert_eq!(replicas[20..], [wanted; 10], "{load} {least}");
        if wanted < 10 {
            assert_eq!(made[20].reason, Reason::LoadFell, "{}", made[20].explain());
        }
        // Nothing that served is gone.
        for made in &made {
            let carries = made.numbers.carries_then;
            assert_eq!(carries, Some(160.0), "{load}: {}", made.explain());
        }
    }
}

#[test]
fn a_noisy_load_brings_none_back_of_those_that_waited() {
    let mut run = at_once();
    for load in [170.0, 160.0, 190.0, 165.0, 200.0, 175.0].repeat(5) {
        let made = tick(&mut run, load);
        assert_eq!(made.wanted.replicas, 6, "{load}: {}", made.explain());
    }
}

#[test]
fn while_cpu_is_used_up_no_more_go_than_would_be_asked_for_again() {
    let mut run = at_once();
    for _ in 0..20 {
        run.seen.signals = plain(run.now, 1, 135.0).signals;
        run.seen.signals.throttled = Reading::Known {
            value: 0.5,
            at: run.now,
        };
        let made = run.decide(|_| None);
        full(&mut run);
        // 155.3 with headroom; four alone would be saturated by 135/s.
        assert_eq!(made.wanted.replicas, 7, "{}", made.explain());
    }
}

#[test]
fn pods_that_wait_go_although_a_policy_forgot_what_the_others_were_refused() {
    let mut run = crowded();
    run.state.size = Some(MilliCpu(800));
    for pod in run.seen.pods.iter_mut().take(4) {
        pod.asked = cpu(400, 800);
        pod.resize = Resize::Deferred {
            since: after(start(), -200),
        };
    }
    let made: Vec<Decision> = (0..40).map(|_| tick(&mut run, 170.0)).collect();
    let told = made.iter().position(|made| {
        let withdrawn = |guard: &Guard| matches!(guard, Guard::Withdrawn { .. });
        made.guards.iter().any(withdrawn)
    });
    assert_eq!(told, Some(7), "the deferred resizes are taken back");
    let wanted: Vec<Fleet> = made.iter().map(|made| made.wanted).collect();
    assert_eq!(wanted[..20], [fleet(10, 800); 20]);
    assert_eq!(wanted[20..], [fleet(6, 800); 20]);
}

#[test]
fn the_size_of_those_that_serve_stays_while_others_wait_to_go() {
    let mut run = crowded();
    for pod in run.seen.pods.iter_mut().take(4) {
        (pod.asked, pod.actual) = (cpu(400, 800), cpu(400, 800));
    }
    // 814 with headroom, which 750m would carry just so: within what is tolerated nothing shrinks.
    let wanted: Vec<Fleet> = (0..30).map(|_| tick(&mut run, 708.0).wanted).collect();
    assert_eq!(wanted[..20], [fleet(10, 800); 20]);
    assert_eq!(wanted[20..], [fleet(4, 800); 10]);
}

#[test]
fn a_breach_keeps_those_that_wait_and_brings_none_back() {
    let mut run = at_once();
    run.measured(80.0);
    let made = tick(&mut run, 170.0);
    assert_eq!(made.wanted.replicas, 10, "{}", made.explain());
    let breach = Guard::Breach { measured: ms(80.0) };
    assert!(made.guards.contains(&breach), "{}", made.explain());
    run.measured(20.0);
    let made = tick(&mut run, 130.0);
    assert_eq!(made.wanted.replicas, 4, "{}", made.explain());
    assert_eq!(made.state.shrink, None, "nobody misses them");
    run.measured(80.0);
    let made = tick(&mut run, 130.0);
    assert_eq!(made.wanted.replicas, 4, "{}", made.explain());
}
