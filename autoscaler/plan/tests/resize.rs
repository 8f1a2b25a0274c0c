//! In-place resizes: what moves, what is remembered, what is withdrawn; and the way out.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test: a panic is its way to fail"
)]

#[path = "world/mod.rs"]
mod world;

use msars_domain::{Action, CpuSize, MilliCpu, Qos, Resize};
use msars_plan::{Guard, Limits, State, leave};
use world::{Run, after, cpu, plain, pod, rate, single, sizes, start};

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
fn leaving_scales_for_pods_of_the_templates_size() {
    let now = start();
    let seen = plain(now, 2, 150.0);
    let state = State {
        size: Some(MilliCpu(400)),
        ..State::default()
    };
    let actions = leave(now, &seen, &state, &Limits::default());
    assert_eq!(
        actions,
        [Action::Scale {
            target: seen.signals.workload.clone(),
            from: 2,
            to: 5,
        }]
    );
    let mut quiet = plain(now, 6, 150.0);
    quiet.signals.rate = rate(1.0, now);
    quiet.signals.peak_rate = rate(1.0, now);
    assert!(
        leave(now, &quiet, &state, &Limits::default()).is_empty(),
        "never fewer"
    );
}
