//! The shield's rules one by one, over several ticks where memory matters.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test: a panic is its way to fail"
)]

#[path = "world/mod.rs"]
mod world;

use msars_domain::{Action, CpuSize, MilliCpu, Observation, Qos, Reading, Resize, Unknown};
use msars_plan::{Decision, Guard, Limits, Reason, State, leave};
use world::{after, apply, cpu, ms, plain, pod, rate, single, start};

/// A world that goes on: every tick sees what the last one did.
struct Run {
    now: jiff::Timestamp,
    seen: Observation,
    state: State,
}

impl Run {
    fn new(replicas: u32, load: f64) -> Self {
        Self {
            now: start(),
            seen: plain(start(), replicas, load),
            state: State::default(),
        }
    }

    /// Without a window downward, so that a single tick shrinks.
    fn at_once(replicas: u32, load: f64) -> Self {
        let mut run = Self::new(replicas, load);
        run.seen.resizable = false;
        run.seen.behavior.scale_down.stabilization_window_seconds = 0;
        run
    }

    fn tick(&mut self, load: f64) -> Decision {
        self.refused(load, |_| None)
    }

    fn refused(&mut self, load: f64, refuse: impl Fn(&str) -> Option<Resize>) -> Decision {
        let fresh = plain(self.now, 1, load).signals;
        let keep = self.seen.signals.self_quantile.value().copied();
        self.seen.signals = fresh;
        if let (Some(value), Reading::Known { value: slot, .. }) =
            (keep, &mut self.seen.signals.self_quantile)
        {
            *slot = value;
        }
        self.decide(refuse)
    }

    fn blind(&mut self) -> Decision {
        let lost = Reading::Unknown {
            why: Unknown::Unreachable,
        };
        self.seen.signals.rate = lost.clone();
        self.seen.signals.peak_rate = lost;
        self.decide(|_| None)
    }

    fn decide(&mut self, refuse: impl Fn(&str) -> Option<Resize>) -> Decision {
        let made = single(self.now, &self.seen, &self.state);
        apply(self.now, &mut self.seen, &made, refuse);
        self.state = made.state.clone();
        self.now = after(self.now, 15);
        made
    }

    fn measured(&mut self, self_time: f64) {
        self.seen.signals.self_quantile = Reading::Known {
            value: ms(self_time),
            at: self.now,
        };
    }
}

fn sizes(made: &Decision) -> Vec<(String, Option<u32>, Option<u32>)> {
    made.actions
        .iter()
        .filter_map(|action| match action {
            Action::Resize {
                uid,
                request,
                limit,
                ..
            } => Some((uid.clone(), request.map(|r| r.0), limit.map(|l| l.0))),
            _ => None,
        })
        .collect()
}

#[test]
fn a_scale_down_that_hurts_is_undone_and_not_repeated() {
    let mut run = Run::at_once(6, 60.0);
    let down = run.tick(60.0);
    assert!(down.wanted.replicas < 6, "{}", down.explain());
    run.measured(80.0);
    let up = run.tick(60.0);
    assert!(
        matches!(up.reason, Reason::UndoScaleDown { .. }),
        "{}",
        up.explain()
    );
    assert_eq!(up.wanted.replicas, 6);
    run.measured(20.0);
    for _ in 0..39 {
        assert_eq!(run.tick(60.0).wanted.replicas, 6, "calm for ten minutes");
    }
    let later: Vec<u32> = (0..20).map(|_| run.tick(60.0).wanted.replicas).collect();
    assert!(
        later.iter().any(|n| *n < 6),
        "and then tried again: {later:?}"
    );
}

#[test]
fn a_breach_that_was_there_before_is_no_reason_to_undo() {
    let mut run = Run::at_once(6, 60.0);
    run.seen.signals.request_quantile = Reading::Known {
        value: ms(300.0),
        at: run.now,
    };
    run.seen.signals.self_quantile = Reading::Unknown {
        why: Unknown::NoSeries,
    };
    run.seen.signals.callee_wait = Reading::Known {
        value: ms(150.0),
        at: run.now,
    };
    let made = single(run.now, &run.seen, &run.state);
    assert!(
        made.wanted.replicas < 6,
        "request time of a caller is not its self time: {}",
        made.explain()
    );
}

#[test]
fn a_deferred_resize_adds_replicas_and_is_withdrawn_after_five_minutes() {
    let mut run = Run::new(3, 60.0);
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
fn unready_pods_under_high_load_mean_grow() {
    let now = start();
    let mut seen = plain(now, 4, 100.0);
    seen.resizable = false;
    for pod in seen.pods.iter_mut().take(2) {
        pod.ready = false;
    }
    let made = single(now, &seen, &State::default());
    assert!(made.wanted.replicas >= 5, "{}", made.explain());
    seen.behavior.scale_down.stabilization_window_seconds = 0;
    seen.signals = plain(now, 4, 5.0).signals;
    let idle = single(now, &seen, &State::default());
    assert!(
        idle.wanted.replicas < 4,
        "a broken start is no overload: {}",
        idle.explain()
    );
}

#[test]
fn metrics_that_vanish_raise_and_return_slowly() {
    let mut run = Run::new(4, 140.0);
    run.seen.resizable = false;
    run.tick(140.0);
    let before = run.seen.replicas;
    let during: Vec<_> = (0..8).map(|_| run.blind()).collect();
    assert_eq!(
        during[0].wanted.replicas, before,
        "a missed scrape is no emergency"
    );
    assert!(
        during
            .windows(2)
            .all(|w| w[1].wanted.replicas >= w[0].wanted.replicas),
        "nothing shrinks"
    );
    let raised = run.seen.replicas;
    assert!(raised > before, "{}", during[7].explain());
    let after: Vec<u32> = (0..120).map(|_| run.tick(60.0).wanted.replicas).collect();
    assert_eq!(after[0], raised);
    assert!(
        after.windows(2).all(|w| w[0] - w[1] <= 1),
        "slowly: {after:?}"
    );
    assert!(after[119] < before, "{after:?}");
}

#[test]
fn metrics_that_vanish_under_low_load_change_nothing() {
    let mut run = Run::new(4, 40.0);
    run.seen.resizable = false;
    run.seen.min_replicas = 4;
    run.tick(40.0);
    for _ in 0..20 {
        let made = run.blind();
        assert!(made.actions.is_empty(), "{}", made.explain());
    }
}

#[test]
fn a_foreign_drop_is_restored_once_and_twice_is_a_conflict() {
    let mut run = Run::new(4, 140.0);
    run.seen.resizable = false;
    let full = run.tick(140.0).wanted.replicas;
    let drop = |run: &mut Run| {
        run.seen.replicas = 1;
        run.seen.pods.truncate(1);
    };
    drop(&mut run);
    let back = run.tick(140.0);
    assert!(matches!(back.reason, Reason::RestoreDrop { .. }));
    assert!(back.wanted.replicas >= full, "{}", back.explain());
    drop(&mut run);
    for _ in 0..10 {
        let left = run.tick(140.0);
        assert_eq!(left.wanted.replicas, 1, "{}", left.explain());
        assert!(
            left.conditions
                .iter()
                .any(|c| c.status && c.reason.to_string() == "ForeignWriter")
        );
    }
    run.seen.replicas = 4;
    run.seen.pods = plain(run.now, 4, 1.0).pods;
    let resolved = run.tick(200.0);
    assert!(resolved.wanted.replicas > 4, "{}", resolved.explain());
}

#[test]
fn a_failed_write_is_no_foreign_drop() {
    let now = start();
    let mut seen = plain(now, 3, 180.0);
    seen.resizable = false;
    let made = single(now, &seen, &State::default());
    assert!(made.wanted.replicas > 3);
    let next = after(now, 15);
    seen.signals = plain(next, 3, 180.0).signals;
    let again = single(next, &seen, &made.state_without_scale(now));
    assert_eq!(again.wanted, made.wanted);
    assert!(
        matches!(again.reason, Reason::LoadRose),
        "{}",
        again.explain()
    );
}

#[test]
fn during_a_rollout_the_tighter_budget_and_the_larger_floor_hold() {
    let now = start();
    let mut seen = plain(now, 3, 100.0);
    seen.resizable = false;
    let mut old = seen.revisions[0].clone();
    old.hash = "r0".into();
    old.current = false;
    old.budget = Some(ms(25.0));
    seen.revisions.push(old);
    let alone = single(now, &seen, &State::default());
    seen.rolling = true;
    let rolling = single(now, &seen, &State::default());
    assert_eq!(alone.numbers.budget, Some(ms(50.0)));
    assert_eq!(rolling.numbers.budget, Some(ms(25.0)));
    assert!(
        rolling.wanted.replicas > alone.wanted.replicas,
        "{}",
        rolling.explain()
    );
    seen.signals = plain(now, 3, 1.0).signals;
    assert_eq!(
        single(now, &seen, &State::default()).wanted.replicas,
        3,
        "nothing shrinks"
    );
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
fn a_caller_that_declares_replicas_keeps_them_and_size_makes_up() {
    let now = start();
    let mut seen = plain(now, 3, 900.0);
    seen.declared_by = Some("argocd-controller".into());
    let made = single(now, &seen, &State::default());
    assert_eq!(made.wanted.replicas, 3);
    assert_eq!(made.wanted.size, MilliCpu(800), "{}", made.explain());
}

#[test]
fn a_budget_below_every_size_is_relaxed_and_said() {
    let now = start();
    let mut seen = plain(now, 3, 60.0);
    seen.revisions[0].budget = Some(ms(2.0));
    let made = single(now, &seen, &State::default());
    assert_eq!(made.numbers.budget, Some(ms(11.0)));
    assert!(
        made.guards
            .iter()
            .any(|g| matches!(g, Guard::Unreachable { .. }))
    );
}

#[test]
fn live_work_above_the_profile_shrinks_its_rates() {
    let now = start();
    let mut seen = plain(now, 3, 100.0);
    seen.resizable = false;
    let before = single(now, &seen, &State::default()).wanted.replicas;
    seen.revisions[0].work_ratio = Some(2.0);
    let after = single(now, &seen, &State::default()).wanted.replicas;
    assert!(after >= 2 * before - 1, "{before} → {after}");
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
