//! Pods that do not serve: none is ready, or no node has room for them.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test: a panic is its way to fail"
)]

#[path = "world/mod.rs"]
mod world;

use msars_domain::{CpuSize, MilliCpu, Observation, Rate, RateSample, Reading, Unknown};
use msars_plan::{ConditionReason, ConditionType, Decision, Fleet, Guard, Reason, State};
use world::{Run, after, cpu, plain, single, sizes, start};

fn fleet(replicas: u32, milli: u32) -> Fleet {
    Fleet {
        replicas,
        size: MilliCpu(milli),
    }
}

fn reason(made: &Decision, kind: ConditionType) -> ConditionReason {
    let mut found = made.conditions.iter();
    found.find(|c| c.kind == kind).unwrap().reason
}

fn resized(made: &Decision) -> Vec<String> {
    sizes(made).into_iter().map(|(uid, ..)| uid).collect()
}

/// The last so many pods are new, and no node has room for them.
fn without_node(run: &mut Run, count: usize) {
    let kept = run.seen.pods.len() - count;
    for pod in run.seen.pods.iter_mut().skip(kept) {
        pod.ready = false;
        pod.unschedulable = true;
        pod.born = run.now;
    }
}

#[test]
fn that_no_pod_is_ready_is_no_overload_while_all_should_carry_the_load() {
    let now = start();
    // (load, whether it is measured or of a minute ago, whether it grows): four pods of 200m carry 160/s, and 139/s is
    // where they usually are.
    for (load, measured, grows) in [
        (5.0, true, false),
        (139.0, true, false),
        (139.0, false, false),
        (200.0, true, true),
        (200.0, false, true),
    ] {
        let mut seen = plain(now, 4, load);
        for pod in &mut seen.pods {
            pod.ready = false;
        }
        if !measured {
            let lost = Reading::Unknown {
                why: Unknown::NoSeries,
            };
            seen.signals.rate = lost.clone();
            seen.signals.peak_rate = lost;
            seen.history = vec![RateSample {
                at: after(now, -60),
                rate: Rate::new(load).unwrap(),
            }];
        }
        let made = single(now, &seen, &State::default());
        let told = made.explain();
        assert_eq!(made.wanted.replicas > 4, grows, "{load}: {told}");
        assert_eq!(made.wanted == fleet(4, 200), !grows, "{load}: {told}");
        let unready = Guard::Unready { pods: 4 };
        assert!(made.guards.contains(&unready), "{load}: {told}");
    }
}

#[test]
fn what_is_measured_while_no_pod_is_ready_shrinks_nothing_afterwards_either() {
    let mut run = Run::new(4, 120.0);
    run.seen.resizable = Some(false);
    run.tick(120.0);
    for pod in &mut run.seen.pods {
        pod.ready = false;
    }
    for _ in 0..40 {
        let made = run.tick(0.0);
        assert_eq!(made.actions, [], "{}", made.explain());
    }
    for pod in &mut run.seen.pods {
        pod.ready = true;
    }
    let back = run.tick(0.0);
    assert_eq!(back.wanted.replicas, 4, "{}", back.explain());
}

#[test]
fn sizes_grow_in_place_of_pods_that_find_no_node() {
    let mut run = Run::new(4, 130.0);
    run.state.reshaped = Some(run.now);
    run.tick(130.0);
    without_node(&mut run, 2);
    let made: Vec<Decision> = (0..12).map(|_| run.tick(130.0)).collect();
    let wanted: Vec<Fleet> = made.iter().map(|made| made.wanted).collect();
    // A pod may take a minute to find one.
    assert_eq!(wanted[..5], [fleet(4, 200); 5]);
    assert_eq!(wanted[5..], [fleet(4, 350); 7]);
    // What waits is not made larger, or it would wait for longer, and its size holds nobody back.
    assert_eq!(resized(&made[5]), ["uid-0", "uid-1"]);
    for made in &made[6..] {
        assert_eq!(made.actions, [], "{}", made.explain());
        let carries = made.numbers.carries_now.unwrap();
        assert!((carries - 170.0).abs() < 1e-6, "{}", made.explain());
        let each = made.numbers.each_now.zip(made.numbers.each_then).unwrap();
        assert!((each.0 - 85.0).abs() < 1e-6 && (each.1 - 85.0).abs() < 1e-6);
        let waiting = Guard::Waiting { pods: 2 };
        assert!(made.guards.contains(&waiting), "{}", made.explain());
        let blocked = reason(made, ConditionType::ResizeBlocked);
        assert_eq!(blocked, ConditionReason::NotBlocked);
    }
    for pod in &mut run.seen.pods {
        (pod.ready, pod.unschedulable) = (true, false);
    }
    assert_eq!(resized(&run.tick(130.0)), ["uid-2", "uid-3"]);
}

#[test]
fn pods_that_run_do_not_shrink_by_those_that_find_no_node() {
    let now = start();
    // Two pods of 200m carry 80/s; four of 100m would carry 60/s if all ran.
    for (least, wanted) in [(1, fleet(2, 200)), (4, fleet(4, 200))] {
        let mut seen = plain(now, 4, 50.0);
        seen.min_replicas = least;
        seen.behavior.scale_down.stabilization_window_seconds = 0;
        for pod in seen.pods.iter_mut().skip(2) {
            (pod.ready, pod.unschedulable) = (false, true);
        }
        let made = single(now, &seen, &State::default());
        assert_eq!(made.wanted, wanted, "{}", made.explain());
        assert_eq!(resized(&made), [""; 0], "{}", made.explain());
    }
}

#[test]
fn a_load_above_what_those_that_run_can_carry_adds_no_pods_to_those_that_wait() {
    let mut run = Run::new(4, 130.0);
    without_node(&mut run, 2);
    let made: Vec<Decision> = (0..16).map(|_| run.tick(500.0)).collect();
    for (tick, made) in made.iter().enumerate() {
        // All four at 550m would carry it; then the two that run get all they can.
        let wanted = fleet(4, if tick < 5 { 550 } else { 800 });
        assert_eq!(made.wanted, wanted, "{tick}: {}", made.explain());
        let limited = reason(made, ConditionType::ScalingLimited);
        assert_eq!(limited, ConditionReason::PodsUnschedulable, "{tick}");
    }
}

#[test]
fn cpu_that_is_used_up_asks_for_no_more_pods_beside_those_that_wait() {
    let mut run = Run::new(2, 70.0);
    run.seen.resizable = Some(false);
    let wanted = run.tick(140.0).wanted.replicas;
    assert!(wanted > 2);
    without_node(&mut run, wanted as usize - 2);
    for _ in 0..10 {
        run.seen.signals = plain(run.now, 1, 140.0).signals;
        run.seen.signals.throttled = Reading::Known {
            value: 0.5,
            at: run.now,
        };
        let made = run.decide(|_| None);
        assert_eq!(made.wanted.replicas, wanted, "{}", made.explain());
    }
}

#[test]
fn while_all_pods_wait_for_a_node_replicas_answer_and_no_size_grows() {
    let mut run = Run::new(4, 130.0);
    run.tick(130.0);
    without_node(&mut run, 4);
    run.now = after(run.now, 75);
    for _ in 0..6 {
        // 345/s with headroom, of 40/s each.
        let made = run.tick(300.0);
        let wanted = made.wanted;
        assert_eq!(wanted.size, MilliCpu(200), "{}", made.explain());
        assert!((4..=9).contains(&wanted.replicas), "{}", made.explain());
        for pod in run.seen.pods.iter_mut().skip(4) {
            (pod.ready, pod.unschedulable) = (false, true);
        }
    }
    assert_eq!(run.seen.replicas, 9);
}

#[test]
fn a_rollouts_extra_pod_that_finds_no_node_takes_nothing_from_those_that_serve() {
    let now = start();
    let mut seen = plain(now, 5, 130.0);
    seen.replicas = 4;
    (seen.pods[4].ready, seen.pods[4].unschedulable) = (false, true);
    let made = single(now, &seen, &State::default());
    assert_eq!(made.numbers.carries_now, Some(160.0), "{}", made.explain());
    assert_eq!(made.wanted, made.current, "{}", made.explain());
    let waits = |guard: &Guard| matches!(guard, Guard::Waiting { .. });
    assert!(!made.guards.iter().any(waits), "{}", made.explain());
}

/// Four pods of 400m, and of a rollout a fifth that large, for which no node has had room for a minute.
fn surging() -> (Observation, State) {
    let mut seen = plain(start(), 5, 200.0);
    (seen.replicas, seen.rolling) = (4, true);
    for pod in &mut seen.pods {
        pod.revision = "r0".into();
        (pod.asked, pod.actual) = (cpu(200, 400), cpu(200, 400));
    }
    let surge = &mut seen.pods[4];
    surge.revision = "r1".into();
    (surge.ready, surge.unschedulable) = (false, true);
    surge.born = after(start(), -60);
    let state = State {
        size: Some(MilliCpu(400)),
        ..State::default()
    };
    (seen, state)
}

#[test]
fn a_rollouts_large_pod_that_finds_no_node_comes_down_to_its_templates_size_once() {
    let mut run = Run::new(4, 200.0);
    (run.seen, run.state) = surging();
    let first = run.tick(200.0);
    let down = [("uid-4".to_owned(), Some(100), Some(200))];
    assert_eq!(sizes(&first), down, "{}", first.explain());
    assert!(first.guards.contains(&Guard::Unplaced { pods: 1 }));
    assert_eq!(first.wanted, fleet(4, 400), "{}", first.explain());
    for _ in 0..12 {
        let made = run.tick(200.0);
        assert_eq!(made.actions, [], "{}", made.explain());
        // It serves nobody, and its size is nobody else's.
        assert_eq!(made.wanted, fleet(4, 400), "{}", made.explain());
        assert_eq!(made.numbers.carries_now, Some(400.0), "{}", made.explain());
    }
    // With a node it grows like any other.
    let surge = &mut run.seen.pods[4];
    (surge.ready, surge.unschedulable) = (true, false);
    let made = run.tick(200.0);
    let up = [("uid-4".to_owned(), Some(200), Some(400))];
    assert_eq!(sizes(&made), up, "{}", made.explain());
    assert_eq!(run.tick(200.0).actions, []);
}

/// What is changed of a rollout's large pod without a node, and which pods come down.
type Surge = (&'static str, fn(&mut Observation), &'static [&'static str]);

#[test]
fn only_a_pod_that_stops_a_rollout_or_one_of_none_that_serve_comes_down_to_its_templates_size() {
    let table: [Surge; 10] = [
        ("as it is", |_| {}, &["uid-4"]),
        ("young", |seen| seen.pods[4].born = after(start(), -30), &[]),
        (
            "at the template's size",
            |seen| (seen.pods[4].asked, seen.pods[4].actual) = (seen.template, seen.template),
            &[],
        ),
        (
            "somebody else's size",
            |seen| seen.pods[4].foreign = true,
            &[],
        ),
        (
            "with a node",
            |seen| seen.pods[4].unschedulable = false,
            &[],
        ),
        (
            "of the older revision",
            |seen| seen.pods[4].revision = "r0".into(),
            &[],
        ),
        (
            "within the user's bounds",
            |seen| seen.cpu.min = MilliCpu(400),
            &[],
        ),
        (
            "a restart",
            |seen| {
                for pod in &mut seen.pods {
                    pod.revision = "r1".into();
                }
            },
            &["uid-4"],
        ),
        (
            "another service's rollout",
            |seen| {
                seen.replicas = 5;
                for pod in &mut seen.pods {
                    pod.revision = "r1".into();
                }
            },
            &[],
        ),
        (
            "none has a node",
            |seen| {
                (seen.replicas, seen.rolling) = (5, false);
                for pod in &mut seen.pods {
                    pod.revision = "r1".into();
                    (pod.ready, pod.unschedulable) = (false, true);
                }
            },
            &["uid-0", "uid-1", "uid-2", "uid-3", "uid-4"],
        ),
    ];
    for (name, change, wanted) in table {
        let (mut seen, state) = surging();
        change(&mut seen);
        let made = single(start(), &seen, &state);
        assert_eq!(resized(&made), wanted, "{name}: {}", made.explain());
        let told = |guard: &Guard| matches!(guard, Guard::Unplaced { .. });
        let told = made.guards.iter().any(told);
        assert_eq!(told, !wanted.is_empty(), "{name}: {}", made.explain());
    }
}

#[test]
fn pods_that_are_slow_to_start_are_not_replaced_again_and_again() {
    // A pod of 200m carries 40/s, and there are no larger ones: the ten carry 350/s, eleven with headroom.
    for (starting, wanted) in [(true, 10), (false, 16)] {
        let mut seen = plain(start(), 10, 350.0);
        seen.resizable = Some(false);
        for pod in seen.pods.iter_mut().skip(5) {
            pod.ready = false;
            pod.starting = starting;
            pod.born = after(start(), -75);
        }
        let made = single(start(), &seen, &State::default());
        assert_eq!(made.wanted.replicas, wanted, "{}", made.explain());
        // As long as a rollout may take to progress.
        for pod in seen.pods.iter_mut().skip(5) {
            pod.born = after(start(), -601);
        }
        let made = single(start(), &seen, &State::default());
        assert_eq!(made.wanted.replicas, 16, "{}", made.explain());
    }
}

#[test]
fn a_template_without_cpu_is_left_alone() {
    let mut seen = plain(start(), 3, 5.0);
    let nothing = CpuSize {
        request: MilliCpu(0),
        limit: None,
    };
    seen.template = nothing;
    for pod in &mut seen.pods {
        (pod.asked, pod.actual) = (nothing, nothing);
    }
    let made = single(start(), &seen, &State::default());
    assert_eq!(made.actions, [], "{}", made.explain());
    assert_eq!(made.reason, Reason::NoProfile);
}
