//! No room in the namespace: replicas that get no pod, and quotas that workloads share.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test: a panic is its way to fail"
)]

#[path = "world/mod.rs"]
mod world;

use msars_domain::{
    Action, Beside, Bytes, Headroom, MilliCpu, ObjectKey, Observation, PodCost, Rate, RateSample,
};
use msars_plan::{
    Condition, ConditionReason, ConditionType, Decision, Fleet, Guard, Limits, State, Tick, decide,
};
use world::{Run, after, engines, plain, single, sizes, start};

fn limited(made: &Decision) -> &Condition {
    let mut found = made.conditions.iter();
    let found = found.find(|c| c.kind == ConditionType::ScalingLimited);
    found.unwrap()
}

/// A tick in a namespace that has room for so many pods.
fn tick(run: &mut Run, load: f64, room: u32) -> Decision {
    run.seen.pods.truncate(room as usize);
    run.seen.uncreated = run.seen.replicas - run.seen.pods.len() as u32;
    run.tick(load)
}

#[test]
fn replicas_that_get_no_pod_do_not_serve_and_more_are_not_asked_for() {
    let mut run = Run::new(3, 60.0);
    let wanted = run.tick(1130.0).wanted;
    assert_eq!((wanted.replicas, wanted.size), (6, MilliCpu(800)));
    run.seen.create_failure = Some("exceeded quota: team".into());
    for second in (15..600).step_by(15) {
        let made = tick(&mut run, 1130.0, 3);
        let long = second > 15 + 60;
        let carried = if long { 660.0 } else { 1320.0 };
        let told = made.numbers.carries_now.unwrap();
        assert!((told - carried).abs() < 1.0, "{second}: {}", made.explain());
        assert_eq!(made.wanted, wanted, "{second}: {}", made.explain());
        assert_eq!(made.guards.contains(&Guard::Uncreated { pods: 3 }), long);
        let limited = limited(&made);
        let reason = limited.reason == ConditionReason::PodsNotCreated;
        assert_eq!(reason, long, "{second}: {}", limited.message);
        for said in [
            "exceeded quota: team",
            "kubectl -n shop describe rs catalogue-",
        ] {
            assert_eq!(limited.message.contains(said), long, "{}", limited.message);
        }
    }
    run.seen.pods = plain(run.now, 6, 1.0).pods;
    let made = tick(&mut run, 1130.0, 6);
    assert_eq!(limited(&made).reason, ConditionReason::DesiredWithinRange);
    assert!(made.guards.is_empty(), "{}", made.explain());
}

#[test]
fn sizes_grow_in_place_of_pods_that_are_not_created() {
    let mut run = Run::new(3, 60.0);
    (run.seen.replicas, run.state.reshaped) = (6, Some(run.now));
    let made: Vec<Fleet> = (0..8).map(|_| tick(&mut run, 180.0, 3).wanted).collect();
    let fleet = |size| Fleet {
        replicas: 6,
        size: MilliCpu(size),
    };
    // A pod may take a minute to start.
    assert_eq!(made[..5], [fleet(200); 5]);
    assert_eq!(made[5..], [fleet(300); 3]);
}

#[test]
fn while_no_replica_has_a_pod_the_size_in_force_stays() {
    // A rollout that recreates its pods, or a webhook that refuses them; (who keeps replicas, load of a profile).
    for (keeper, guests) in [
        (None, None),
        (Some("argocd-controller"), None),
        (None, Some(90.0)),
    ] {
        let mut run = Run::new(4, 130.0);
        let before = run.tick(130.0).wanted;
        assert_eq!((before.replicas, before.size), (4, MilliCpu(200)));
        run.seen.declared_by = keeper.map(Into::into);
        // The load is that of the last two minutes.
        run.seen.history = vec![RateSample {
            at: start(),
            rate: Rate::new(130.0).unwrap(),
        }];
        run.seen.pods.clear();
        run.seen.uncreated = 4;
        for second in (15..=120).step_by(15) {
            let long = second > 15 + 60;
            let profiled = guests.filter(|_| long);
            run.seen.guests = profiled.map(|rate| Rate::new(rate).unwrap());
            let made = run.blind();
            assert_eq!(made.wanted, before, "{second}: {}", made.explain());
            let told = made.guards.contains(&Guard::Uncreated { pods: 4 });
            assert_eq!(told, long, "{second}: {}", made.explain());
        }
    }
}

#[test]
fn a_fresh_growth_has_its_own_time() {
    let mut run = Run::new(3, 60.0);
    run.seen.resizable = Some(false);
    (run.seen.min_replicas, run.seen.max_replicas) = (9, 9);
    // Of nine replicas three have no pod for long, then six, then five.
    let mut created = Vec::new();
    for (seconds, room) in [(0, 6), (75, 6), (15, 3), (60, 3), (15, 3), (15, 4)] {
        run.now = after(run.now, seconds - 15);
        run.seen.replicas = 9;
        run.seen.pods = plain(run.now, 9, 1.0).pods;
        let made = tick(&mut run, 10.0, room);
        created.push((made.numbers.carries_now.unwrap() / 40.0).round() as u32);
    }
    assert_eq!(created, [9, 6, 6, 6, 3, 4]);
}

#[test]
fn pods_beyond_the_replicas_are_a_rollout_and_none_is_missing() {
    let mut run = Run::new(4, 100.0);
    run.seen.rolling = true;
    for _ in 0..10 {
        run.seen.pods = plain(run.now, 5, 1.0).pods;
        let made = run.tick(100.0);
        assert_eq!(limited(&made).reason, ConditionReason::DesiredWithinRange);
        assert_eq!(made.wanted, made.current, "{}", made.explain());
    }
}

fn quota(name: &str, seen: &mut Observation, headroom: Headroom) {
    seen.headroom = headroom;
    seen.quotas = vec![name.into()];
}

#[test]
fn a_new_pod_costs_its_whole_pod() {
    let none = Headroom::default();
    let cost = PodCost {
        requests: Beside {
            others: MilliCpu(50),
            least: MilliCpu(0),
        },
        limits: Beside {
            others: MilliCpu(0),
            least: MilliCpu(700),
        },
        request_memory: Bytes(64),
        limit_memory: Bytes(128),
    };
    // From 3 to 6 replicas of 100m with a limit of 200m.
    for (headroom, replicas) in [
        (none, 6),
        (
            Headroom {
                requests: Some(MilliCpu(450)),
                ..none
            },
            6,
        ),
        (
            Headroom {
                requests: Some(MilliCpu(449)),
                ..none
            },
            5,
        ),
        (
            Headroom {
                limits: Some(MilliCpu(2099)),
                ..none
            },
            5,
        ),
        (
            Headroom {
                request_memory: Some(Bytes(64)),
                ..none
            },
            4,
        ),
        (
            Headroom {
                limit_memory: Some(Bytes(127)),
                ..none
            },
            3,
        ),
        (
            Headroom {
                pods: Some(2),
                ..none
            },
            5,
        ),
    ] {
        let mut seen = plain(start(), 3, 180.0);
        (seen.resizable, seen.cost) = (Some(false), cost);
        quota("team", &mut seen, headroom);
        let made = single(start(), &seen, &State::default());
        assert_eq!(made.wanted.replicas, replicas, "{headroom:?}");
        let told = limited(&made).reason == ConditionReason::QuotaReached;
        assert_eq!(told, replicas < 6, "{headroom:?}");
    }
}

/// One tick over workloads that each want 3 to 6 replicas.
fn tick_of(workloads: &[(&str, &str, Headroom)]) -> Vec<u32> {
    let seen = |(namespace, name, headroom): &(&str, &str, Headroom)| {
        let mut seen = plain(start(), 3, 180.0);
        seen.resizable = Some(false);
        seen.signals.workload = ObjectKey::new(*namespace, "any");
        quota(name, &mut seen, *headroom);
        seen
    };
    let tick = Tick {
        now: start(),
        seed: 1,
        observations: workloads.iter().map(seen).collect(),
        states: Vec::new(),
    };
    let made = decide(&tick, &mut engines(), &Limits::default());
    made.iter().map(|made| made.wanted.replicas).collect()
}

#[test]
fn what_one_workload_is_given_of_a_quota_the_next_does_not_have() {
    let pods = |pods| Headroom {
        pods: Some(pods),
        ..Headroom::default()
    };
    let cpu = Headroom {
        requests: Some(MilliCpu(500)),
        ..Headroom::default()
    };
    let none = Headroom::default();
    for (workloads, wanted) in [
        (vec![("shop", "a", pods(5)), ("shop", "a", pods(5))], [6, 5]),
        (vec![("shop", "a", cpu), ("shop", "a", cpu)], [6, 5]),
        (vec![("shop", "a", pods(5)), ("shop", "b", pods(5))], [6, 6]),
        (vec![("shop", "a", pods(5)), ("bank", "a", pods(5))], [6, 6]),
        (vec![("shop", "a", pods(5)), ("shop", "a", none)], [6, 6]),
    ] {
        assert_eq!(tick_of(&workloads), wanted, "{workloads:?}");
    }
}

#[test]
fn a_resize_is_given_as_well() {
    let mut first = plain(start(), 3, 180.0);
    quota(
        "a",
        &mut first,
        Headroom {
            limits: Some(MilliCpu(500)),
            ..Headroom::default()
        },
    );
    let tick = Tick {
        now: start(),
        seed: 1,
        observations: vec![first.clone(), first],
        states: Vec::new(),
    };
    let made = decide(&tick, &mut engines(), &Limits::default());
    // 300m of 500m for the first, and 50m for each pod of the next.
    assert_eq!(made[0].wanted.size, MilliCpu(300));
    assert_eq!(made[1].wanted.size, MilliCpu(250));
    assert_eq!(sizes(&made[1]).len(), 3);
    let scales = |made: &Decision| {
        let scale = |a: &&Action| matches!(a, Action::Scale { .. });
        made.actions.iter().filter(scale).count()
    };
    assert_eq!((scales(&made[0]), scales(&made[1])), (0, 0));
}
