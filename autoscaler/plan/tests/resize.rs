//! In-place resizes: what moves, what is remembered, what is withdrawn.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test: a panic is its way to fail"
)]

#[path = "world/mod.rs"]
mod world;

use msars_domain::{Action, CpuSize, MilliCpu, Qos, Resize};
use msars_plan::{
    ConditionReason, ConditionType, Decision, Guard, Lacking, Refused, Refuser, State,
};
use world::{Run, after, apply, cpu, plain, pod, single, sizes, start};

fn blocked(made: &Decision) -> (ConditionReason, &str) {
    let mut found = made.conditions.iter();
    let found = found.find(|c| c.kind == ConditionType::ResizeBlocked);
    let found = found.unwrap();
    assert_eq!(found.status, found.reason != ConditionReason::NotBlocked);
    (found.reason, &found.message)
}

/// A tick whose resizes the API server refuses.
fn in_vain(run: &mut Run, load: f64, by: Refuser) -> Decision {
    run.seen.signals = plain(run.now, 1, load).signals;
    let made = single(run.now, &run.seen, &run.state);
    run.state = made.state.clone();
    for (uid, _, limit) in sizes(&made) {
        let (size, at) = (MilliCpu(limit.unwrap()), run.now);
        let pod = run.seen.pods.iter().find(|p| p.uid == uid).unwrap();
        let shrink = size < pod.asked.size();
        let refused = Refused {
            uid,
            size,
            at,
            infeasible: false,
            by,
            shrink,
        };
        run.state.refuse(refused, "exceeded quota: q");
    }
    let mut rest = made.clone();
    rest.actions
        .retain(|action| matches!(action, Action::Scale { .. }));
    apply(run.now, &mut run.seen, &rest, |_| None);
    run.now = after(run.now, 15);
    made
}

#[test]
fn a_growth_that_the_api_server_refused_is_not_counted_and_not_asked_again_for_a_while() {
    let mut run = Run::new(3, 60.0);
    let first = in_vain(&mut run, 180.0, Refuser::Server);
    assert_eq!((sizes(&first).len(), first.wanted.replicas), (3, 3));
    let second = in_vain(&mut run, 180.0, Refuser::Server);
    assert!(second.wanted.replicas >= 6, "{}", second.explain());
    assert_eq!(
        second.wanted.size,
        MilliCpu(200),
        "new pods are born with what was accepted"
    );
    let (reason, message) = blocked(&second);
    assert_eq!(reason, ConditionReason::ResizeRefused);
    assert!(message.contains("exceeded quota: q"), "{message}");
    for _ in 0..38 {
        let made = in_vain(&mut run, 180.0, Refuser::Server);
        assert!(sizes(&made).is_empty(), "{}", made.explain());
    }
    let later = in_vain(&mut run, 180.0, Refuser::Server);
    assert_eq!(blocked(&later).0, ConditionReason::NotBlocked);
    let more = in_vain(&mut run, 400.0, Refuser::Server);
    assert!(!sizes(&more).is_empty(), "{}", more.explain());
}

#[test]
fn what_only_lacks_a_grant_is_asked_at_every_tick_and_not_counted_either() {
    let mut run = Run::new(3, 60.0);
    in_vain(&mut run, 180.0, Refuser::Grant);
    let made = in_vain(&mut run, 180.0, Refuser::Grant);
    assert!(made.wanted.replicas > 3, "{}", made.explain());
    assert!(!sizes(&made).is_empty());
    assert_eq!(blocked(&made).0, ConditionReason::ResizeRefused);
    let granted = run.tick(180.0);
    assert!(!sizes(&granted).is_empty());
    let settled = run.tick(180.0);
    assert_eq!(blocked(&settled).0, ConditionReason::NotBlocked);
}

#[test]
fn a_refused_shrink_is_not_asked_at_every_tick() {
    let mut run = Run::new(4, 300.0);
    run.seen.behavior.scale_down.stabilization_window_seconds = 0;
    run.tick(300.0);
    let first = in_vain(&mut run, 100.0, Refuser::Server);
    assert_eq!(sizes(&first).len(), 4, "{}", first.explain());
    for _ in 0..20 {
        let made = in_vain(&mut run, 100.0, Refuser::Server);
        assert!(sizes(&made).is_empty(), "{}", made.explain());
        assert_eq!(blocked(&made).0, ConditionReason::ResizeRefused);
    }
}

#[test]
fn a_size_that_does_not_come_counts_as_what_is_there_whatever_the_reason() {
    let large = cpu(200, 400);
    // A kubelet that says nothing, and an API server that gives no answer.
    for asked in [large, cpu(100, 200)] {
        let mut run = Run::new(3, 230.0);
        run.state.size = Some(MilliCpu(400));
        let set = |run: &mut Run| {
            for (index, pod) in run.seen.pods.iter_mut().enumerate() {
                (pod.asked, pod.actual) = (large, large);
                if index == 2 {
                    (pod.asked, pod.actual) = (asked, cpu(100, 200));
                }
            }
        };
        for tick in 0..4 {
            set(&mut run);
            let made = run.tick(230.0);
            let late = tick == 3;
            assert_eq!(made.wanted.replicas > 3, late, "{}", made.explain());
            let told = blocked(&made).0 == ConditionReason::ResizeLate;
            assert_eq!(told, late, "{asked:?}, tick {tick}");
        }
        // One that lacks it only now has its own time.
        let mut young = Run::new(3, 230.0);
        young.state = State {
            size: Some(MilliCpu(400)),
            lacking: vec![Lacking {
                uid: "uid-1".into(),
                since: after(start(), -600),
            }],
            ..State::default()
        };
        set(&mut young);
        assert_eq!(young.tick(230.0).wanted.replicas, 3, "{asked:?}");
    }
}

#[test]
fn growth_that_a_quota_has_no_room_for_is_told() {
    let mut seen = plain(start(), 3, 200.0);
    for pod in seen.pods.iter_mut().take(2) {
        (pod.asked, pod.actual) = (cpu(200, 400), cpu(200, 400));
    }
    seen.headroom.limits = Some(MilliCpu(100));
    seen.quotas = vec!["team".into()];
    let state = State {
        size: Some(MilliCpu(400)),
        ..State::default()
    };
    let made = single(start(), &seen, &state);
    let (reason, message) = blocked(&made);
    assert_eq!(reason, ConditionReason::QuotaReached, "{}", made.explain());
    assert!(
        message.ends_with("kubectl -n shop describe quota team"),
        "{message}"
    );
}

#[test]
fn a_pod_that_somebody_made_smaller_carries_no_more_than_it_has() {
    let mut run = Run::new(3, 100.0);
    (run.seen.pods[0].asked, run.seen.pods[0].actual) = (cpu(50, 100), cpu(50, 100));
    run.seen.pods[0].foreign = true;
    let made = run.tick(100.0);
    assert!(made.wanted.replicas > 3, "{}", made.explain());
    assert!(made.guards.contains(&Guard::ForeignSize {
        pods: 1,
        size: MilliCpu(100)
    }));
    assert_eq!(blocked(&made).0, ConditionReason::NotBlocked);
    // A larger one holds nobody back.
    let mut run = Run::new(3, 180.0);
    (run.seen.pods[0].asked, run.seen.pods[0].actual) = (cpu(400, 800), cpu(400, 800));
    run.seen.pods[0].foreign = true;
    let made = run.tick(180.0);
    assert_eq!(made.wanted.replicas, 3, "{}", made.explain());
}

#[test]
fn a_deferred_resize_adds_replicas_and_is_withdrawn_after_five_minutes() {
    let mut run = Run::new(3, 60.0);
    // With more replicas the small size would soon be enough, and nothing would wait any more.
    run.seen.max_replicas = 4;
    let stuck = Resize::Deferred { since: start() };
    let first = run.refused(180.0, |uid| (uid == "uid-0").then_some(stuck));
    assert_eq!(
        first.wanted.replicas,
        3,
        "vertical first: {}",
        first.explain()
    );
    let second = run.refused(180.0, |uid| (uid == "uid-0").then_some(stuck));
    assert!(
        second.wanted.replicas > 3,
        "horizontal next: {}",
        second.explain()
    );
    let mut withdrawn = None;
    for _ in 0..30 {
        let made = run.refused(180.0, |uid| (uid == "uid-0").then_some(stuck));
        let back = sizes(&made).into_iter().find(|(uid, ..)| uid == "uid-0");
        if let (None, Some((_, _, limit))) = (&withdrawn, back) {
            assert_eq!(limit, Some(200), "back to what it has");
            withdrawn = Some(made);
            run.seen.pods[0].resize = Resize::None;
        }
    }
    let made = withdrawn.expect("withdrawn");
    assert!(
        made.guards
            .iter()
            .any(|g| matches!(g, Guard::Withdrawn { pods: 1 })),
        "{}",
        made.explain()
    );
    assert_eq!(
        run.seen.pods[0].asked,
        cpu(100, 200),
        "and not asked again for ten minutes"
    );
}

#[test]
fn an_infeasible_size_is_remembered_until_something_lower_is_asked() {
    let mut run = Run::new(3, 60.0);
    let refuse = |uid: &str| {
        (uid == "uid-1").then_some(Resize::Infeasible {
            size: MilliCpu(300),
        })
    };
    let first = run.refused(180.0, refuse);
    assert_eq!(first.wanted.size, MilliCpu(300));
    run.seen.pods[1].asked = cpu(150, 300);
    for _ in 0..10 {
        let made = run.refused(180.0, |_| None);
        assert!(made.wanted.size < MilliCpu(300), "{}", made.explain());
        for (uid, _, limit) in sizes(&made) {
            assert!(uid != "uid-1" || limit < Some(300));
        }
    }
    assert!(run.seen.replicas > 3, "replicas instead");
}

#[test]
fn the_way_down_from_an_infeasible_size_takes_few_tries() {
    let mut run = Run::new(3, 60.0);
    // A node that gives 220m at most: every larger size is refused for good.
    let mut tried = Vec::new();
    for _ in 0..20 {
        for pod in &mut run.seen.pods {
            let asked = pod.asked.size();
            if asked > MilliCpu(220) {
                pod.actual = cpu(100, 200);
                pod.resize = Resize::Infeasible { size: asked };
            } else {
                pod.resize = Resize::None;
            }
        }
        let made = run.tick(180.0);
        tried.extend(sizes(&made).into_iter().filter_map(|(_, _, limit)| limit));
    }
    tried.retain(|size| *size > 220);
    assert!(tried.len() <= 15, "{tried:?}");
}

#[test]
fn the_class_decides_what_moves() {
    let now = start();
    for (template, qos, request, limit) in [
        (cpu(200, 200), Qos::Guaranteed, Some(300), Some(300)),
        (cpu(50, 200), Qos::Burstable, Some(75), Some(300)),
        (
            CpuSize {
                request: MilliCpu(200),
                limit: None,
            },
            Qos::Burstable,
            Some(300),
            None,
        ),
    ] {
        let mut seen = plain(now, 3, 180.0);
        seen.template = template;
        seen.qos = qos;
        seen.pods = (0..3).map(|i| pod(i, template, after(now, -600))).collect();
        let made = single(now, &seen, &State::default());
        assert_eq!(
            sizes(&made)[0],
            ("uid-0".into(), request, limit),
            "{qos:?} {template:?}"
        );
    }
    let mut seen = plain(now, 3, 180.0);
    seen.qos = Qos::BestEffort;
    let made = single(now, &seen, &State::default());
    assert!(sizes(&made).is_empty() && made.wanted.replicas > 3);
}

#[test]
fn a_foreign_size_is_left_alone_and_a_wrong_born_one_is_not() {
    let mut run = Run::new(3, 150.0);
    run.tick(150.0);
    run.seen.pods[0].asked = cpu(50, 100);
    run.seen.pods[0].actual = cpu(50, 100);
    run.seen.pods[0].foreign = true;
    run.seen.pods[1].asked = cpu(100, 200);
    run.seen.pods[1].actual = cpu(100, 200);
    let made = run.tick(150.0);
    let touched: Vec<_> = sizes(&made).into_iter().map(|s| s.0).collect();
    assert_eq!(touched, ["uid-1"], "{}", made.explain());
}

#[test]
fn what_is_not_known_of_resizes_is_not_told_as_absent() {
    for (resizable, reason) in [
        (Some(false), ConditionReason::ResizeUnsupported),
        (None, ConditionReason::ResizeUndiscovered),
    ] {
        let mut seen = plain(start(), 3, 180.0);
        seen.resizable = resizable;
        let made = single(start(), &seen, &State::default());
        let blocked = ConditionType::ResizeBlocked;
        let told = made.conditions.iter().find(|c| c.kind == blocked);
        assert_eq!(told.map(|c| (c.status, c.reason)), Some((true, reason)));
        assert!(
            sizes(&made).is_empty() && made.wanted.replicas > 3,
            "horizontal only: {}",
            made.explain()
        );
    }
}

#[test]
fn where_the_size_moves_at_every_tick_all_pods_get_their_turn() {
    let mut seen = plain(start(), 200, 2000.0);
    seen.max_replicas = 200;
    seen.cpu.step = MilliCpu(10);
    let mut state = State {
        reshaped: Some(start()),
        ..State::default()
    };
    for tick in 0..12 {
        let now = after(start(), 15 * tick);
        let load = 8500.0 * 1.03_f64.powi(tick as i32);
        seen.signals = plain(now, 1, load).signals;
        let made = single(now, &seen, &state);
        assert!(sizes(&made).len() <= 50);
        apply(now, &mut seen, &made, |_| None);
        state = made.state;
    }
    let left = seen
        .pods
        .iter()
        .filter(|pod| pod.actual.size() == MilliCpu(200));
    assert_eq!(left.count(), 0);
}
