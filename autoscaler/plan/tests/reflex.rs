//! The fast path: what it grows, and every bound on it.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test: a panic is its way to fail"
)]

#[path = "world/mod.rs"]
mod world;

use msars_domain::{Action, CpuSize, Headroom, MilliCpu, Qos, Reading, Resize, Unknown};
use msars_plan::{
    Limits, ReflexInput, ReflexPod, ReflexWorkload, Refused, Refuser, State, bearable, reflex,
};
use world::{after, plain, pod, start};

fn input(throttled: &[f64]) -> ReflexInput {
    let now = start();
    let seen = plain(now, 1, 10.0);
    let pods = throttled
        .iter()
        .enumerate()
        .map(|(index, value)| ReflexPod {
            workload: 0,
            state: pod(index, seen.template, after(now, -600)),
            throttled: Reading::Known {
                value: *value,
                at: now,
            },
            grown: None,
            shrunk: None,
        });
    ReflexInput {
        now,
        written: 0,
        pods: pods.collect(),
        workloads: vec![ReflexWorkload {
            workload: seen.signals.workload,
            container: seen.container,
            wishes: seen.wishes,
            cpu: seen.cpu,
            template: seen.template,
            qos: seen.qos,
            resizable: true,
            size: MilliCpu(200),
            headroom: Headroom::default(),
            quotas: Vec::new(),
            hands_off: false,
            refused: Vec::new(),
            bearable: 0.0,
        }],
    }
}

fn limits(input: &ReflexInput) -> Vec<(String, u32)> {
    reflex(input, &Limits::default())
        .into_iter()
        .map(|action| match action {
            Action::Resize { uid, limit, .. } => (uid, limit.unwrap().0),
            other => panic!("only resizes: {other:?}"),
        })
        .collect()
}

#[test]
fn throttled_pods_grow_the_worst_first() {
    let got = limits(&input(&[0.1, 0.4, 0.16, 0.9]));
    assert_eq!(
        got,
        [
            ("uid-3".into(), 350),
            ("uid-1".into(), 250),
            ("uid-2".into(), 250)
        ]
    );
}

#[test]
fn request_keeps_its_ratio() {
    let actions = reflex(&input(&[0.9]), &Limits::default());
    assert!(matches!(
        actions[0],
        Action::Resize {
            request: Some(MilliCpu(175)),
            limit: Some(MilliCpu(350)),
            ..
        }
    ));
}

#[test]
fn writes_per_second_are_bounded() {
    let mut many = input(&[0.5; 30]);
    assert_eq!(limits(&many).len(), 10);
    many.written = 7;
    assert_eq!(limits(&many).len(), 3);
    many.written = 11;
    assert!(limits(&many).is_empty());
}

#[test]
fn size_and_quota_are_bounded() {
    let mut one = input(&[1.0]);
    one.pods[0].state.asked = one.workloads[0].template.scaled_to(MilliCpu(550));
    assert_eq!(
        limits(&one),
        [("uid-0".into(), 600)],
        "three times the size in force"
    );
    one.workloads[0].size = MilliCpu(800);
    one.pods[0].state.asked = one.workloads[0].template.scaled_to(MilliCpu(780));
    assert_eq!(limits(&one), [("uid-0".into(), 800)], "the user's bound");
    let mut two = input(&[0.9, 0.8]);
    two.workloads[0].headroom.limits = Some(MilliCpu(200));
    assert_eq!(limits(&two).len(), 1, "the quota has room for one");
}

#[test]
fn a_quota_is_shared_by_the_workloads_that_it_bounds() {
    for (quotas, written) in [(["q", "q"], 1), (["q", "r"], 2)] {
        let mut two = input(&[0.9, 0.8]);
        two.workloads[0].headroom.limits = Some(MilliCpu(200));
        two.workloads.push(two.workloads[0].clone());
        for (workload, quota) in two.workloads.iter_mut().zip(quotas) {
            workload.quotas = vec![quota.into()];
        }
        two.pods[1].workload = 1;
        assert_eq!(limits(&two).len(), written, "{quotas:?}");
    }
}

#[test]
fn a_harmful_shrink_is_rolled_back_at_once() {
    let mut one = input(&[0.08]);
    assert!(limits(&one).is_empty(), "below the trigger");
    one.pods[0].shrunk = Some((after(one.now, -10), MilliCpu(400)));
    one.pods[0].grown = Some(one.now);
    assert_eq!(limits(&one), [("uid-0".into(), 400)]);
    one.pods[0].shrunk = Some((after(one.now, -61), MilliCpu(400)));
    assert!(limits(&one).is_empty(), "long ago");
}

#[test]
fn a_clock_that_was_set_back_holds_no_growth_back() {
    let mut one = input(&[0.9]);
    one.pods[0].grown = Some(after(one.now, 300));
    assert_eq!(limits(&one), [("uid-0".into(), 350)]);
}

#[test]
fn a_long_budget_bears_throttling() {
    for (budget, wanted) in [(50.0, 0.01), (120.0, 0.1), (250.0, 0.215), (2000.0, 0.5)] {
        let mut seen = plain(start(), 1, 10.0);
        for revision in &mut seen.revisions {
            revision.budget = Some(world::ms(budget));
        }
        let found = bearable(&seen);
        assert!((found - wanted).abs() < 1e-3, "{budget} ms: {found}");
    }
    let mut seen = plain(start(), 1, 10.0);
    seen.revisions.clear();
    assert!(bearable(&seen).abs() < 1e-12);
    let mut one = input(&[0.2]);
    assert_eq!(limits(&one).len(), 1);
    one.workloads[0].bearable = 0.215;
    assert!(limits(&one).is_empty());
    one.pods[0].shrunk = Some((after(one.now, -10), MilliCpu(400)));
    assert!(
        limits(&one).is_empty(),
        "and a shrink to there is none that hurts"
    );
    one.workloads[0].bearable = 0.1;
    assert_eq!(limits(&one), [("uid-0".into(), 400)]);
}

#[test]
fn after_a_shrink_that_was_rolled_back_nothing_shrinks_for_a_while() {
    let (now, limits) = (start(), Limits::default());
    let grown = |last_down| {
        let mut state = State {
            last_down,
            ..State::default()
        };
        state.grown_by_reflex(now, MilliCpu(350), &limits);
        state.calm_until
    };
    assert_eq!(grown(None), None);
    assert_eq!(grown(Some(after(now, -61))), None);
    assert_eq!(grown(Some(after(now, -20))), Some(after(now, 600)));
}

#[test]
fn it_keeps_its_hands_off() {
    type Change = fn(&mut ReflexInput);
    let cases: [(&str, Change); 15] = [
        ("recommend", |i| i.workloads[0].wishes.acts = false),
        ("paused", |i| i.workloads[0].wishes.pause = true),
        ("a rival", |i| i.workloads[0].hands_off = true),
        ("no subresource", |i| i.workloads[0].resizable = false),
        ("best effort", |i| i.workloads[0].qos = Qos::BestEffort),
        ("not ready", |i| i.pods[0].state.ready = false),
        ("resized by somebody", |i| i.pods[0].state.foreign = true),
        ("a resize under way", |i| {
            i.pods[0].state.resize = Resize::InProgress;
        }),
        ("grown a second ago", |i| {
            i.pods[0].grown = Some(after(i.now, -1));
        }),
        ("unknown", |i| {
            i.pods[0].throttled = Reading::Unknown {
                why: Unknown::NoSeries,
            };
        }),
        ("stale", |i| {
            i.pods[0].throttled = Reading::Known {
                value: 1.0,
                at: after(i.now, -60),
            };
        }),
        ("not a number", |i| {
            i.pods[0].throttled = Reading::Known {
                value: f64::NAN,
                at: i.now,
            };
        }),
        ("refused", |i| {
            i.workloads[0].refused = vec![Refused {
                uid: "uid-0".into(),
                size: MilliCpu(210),
                at: i.now,
                infeasible: true,
                by: Refuser::Node,
                shrink: false,
            }];
        }),
        ("refused by the API server", |i| {
            i.workloads[0].refused = vec![Refused {
                uid: "uid-0".into(),
                size: MilliCpu(300),
                at: i.now,
                infeasible: false,
                by: Refuser::Server,
                shrink: false,
            }];
        }),
        ("no limit to be throttled by", |i| {
            i.pods[0].state.asked = CpuSize {
                request: MilliCpu(200),
                limit: None,
            };
        }),
    ];
    assert_eq!(limits(&input(&[0.9])).len(), 1);
    for (name, change) in cases {
        let mut one = input(&[0.9]);
        change(&mut one);
        assert!(limits(&one).is_empty(), "{name}");
    }
}

#[test]
fn the_next_tick_neither_takes_it_back_nor_leaves_others_behind() {
    let now = start();
    let mut seen = plain(now, 2, 50.0);
    let grown = seen.template.scaled_to(MilliCpu(350));
    seen.pods[0].asked = grown;
    seen.pods[0].actual = grown;
    let mut state = State::default();
    state.grown_by_reflex(now, MilliCpu(350), &Limits::default());
    let made = world::single(now, &seen, &state);
    assert_eq!(made.wanted.size, MilliCpu(350), "{}", made.explain());
    assert_eq!(made.actions.len(), 1, "{:?}", made.actions);
    assert!(matches!(&made.actions[0], Action::Resize { uid, .. } if uid == "uid-1"));
}

#[test]
fn what_grows_rests_on_its_own_workloads_alone() {
    let mut all = input(&[0.1, 0.4, 0.16, 0.9, 0.5, 0.02, 0.7, 0.3, 0.8]);
    let first = all.workloads.remove(0);
    for name in ["idle", "first", "kept", "second", "third"] {
        let mut workload = first.clone();
        workload.workload.name = name.to_owned();
        workload.quotas = vec!["team".into()];
        workload.headroom.limits = Some(MilliCpu(300));
        workload.wishes.pause = name == "kept";
        all.workloads.push(workload);
    }
    let of = [0, 1, 2, 3, 1, 0, 4, 3, 2];
    for (pod, workload) in all.pods.iter_mut().zip(of) {
        pod.workload = workload;
    }
    let settings = |writes| {
        let mut limits = Limits::default();
        limits.reflex.writes_per_second = writes;
        limits
    };
    let mut fewer = 0;
    for writes in 0..8 {
        let limits = settings(writes);
        let actions = reflex(&all, &limits);
        let grew = |workload: &msars_domain::ObjectKey| {
            let of = |pod: &&ReflexPod| all.workloads[pod.workload].workload == *workload;
            let mut pods = all.pods.iter().filter(of);
            pods.any(|pod| {
                let own = |action: &Action| matches!(action, Action::Resize { uid, .. } if *uid == pod.state.uid);
                actions.iter().any(own)
            })
        };
        let part = all.of(grew);
        assert!(part.workloads.len() < all.workloads.len());
        assert_eq!(reflex(&part, &limits), actions, "{writes} writes");
        fewer += usize::from(!actions.is_empty() && part.pods.len() < all.pods.len());
    }
    assert!(fewer > 2, "of {fewer} looks that grew, some were cut");
}
