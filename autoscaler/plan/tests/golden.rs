//! Plans as people read them.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test: a panic is its way to fail"
)]

#[path = "world/mod.rs"]
mod world;

use msars_domain::{Action, MilliCpu, Observation, Reading, Rival, Unknown};
use msars_plan::{Decision, Fleet, Recommendation, State};
use world::{after, cpu, plain, rate, single, start};

fn lost<T>() -> Reading<T> {
    Reading::Unknown {
        why: Unknown::Unreachable,
    }
}

fn line(action: &Action) -> String {
    let show = |cpu: &Option<MilliCpu>| cpu.map_or("–".into(), |c| c.to_string());
    match action {
        Action::Scale { from, to, .. } => format!("  scale {from} → {to}"),
        Action::Resize {
            pod,
            request,
            limit,
            ..
        } => format!(
            "  resize {} request {} limit {}",
            pod.name,
            show(request),
            show(limit)
        ),
        other => format!("  {}", other.kind()),
    }
}

fn text(made: &Decision) -> String {
    let mut lines = vec![made.explain()];
    lines.extend(made.actions.iter().map(line));
    let first = made.conditions.iter().take(3);
    lines.extend(first.map(|c| format!("  {}={} {}: {}", c.kind, c.status, c.reason, c.message)));
    lines.join("\n")
}

fn golden(name: &str, change: impl FnOnce(&mut Observation, &mut State)) {
    let now = start();
    let mut seen = plain(now, 3, 60.0);
    let mut state = State::default();
    change(&mut seen, &mut state);
    insta::assert_snapshot!(name, text(&single(now, &seen, &state)));
}

/// A window in which little was recommended.
fn calm(state: &mut State) {
    state.recommendations = vec![Recommendation {
        at: after(start(), -200),
        fleet: Fleet {
            replicas: 1,
            size: MilliCpu(100),
        },
    }];
}

#[test]
fn another_shape_is_reached_in_two_steps() {
    golden("reshape", |seen, _| {
        *seen = plain(start(), 4, 47.0);
        seen.behavior.scale_down.stabilization_window_seconds = 60;
        seen.template = cpu(50, 100);
        for pod in &mut seen.pods {
            (pod.asked, pod.actual) = (seen.template, seen.template);
        }
    });
}

#[test]
fn fits() {
    golden("fits", |seen, _| *seen = plain(start(), 3, 95.0));
}

#[test]
fn a_surge_grows_in_place_first() {
    golden("surge_in_place", |seen, _| *seen = plain(start(), 3, 180.0));
}

#[test]
fn a_larger_surge_grows_in_both() {
    golden("surge_in_both", |seen, _| *seen = plain(start(), 3, 900.0));
}

#[test]
fn without_resize_only_replicas_grow() {
    golden("horizontal_only", |seen, _| {
        *seen = plain(start(), 3, 180.0);
        seen.resizable = Some(false);
    });
}

#[test]
fn less_load_shrinks() {
    golden("shrink", |seen, state| {
        *seen = plain(start(), 8, 60.0);
        calm(state);
    });
}

#[test]
fn a_recent_recommendation_holds_a_shrink() {
    golden("stabilised", |seen, state| {
        let before = single(
            after(start(), -100),
            &plain(after(start(), -100), 8, 270.0),
            state,
        );
        *state = before.state;
        *seen = plain(start(), 8, 60.0);
    });
}

#[test]
fn an_unknown_rate_holds() {
    golden("metrics_lost", |seen, state| {
        let before = single(
            after(start(), -15),
            &plain(after(start(), -15), 3, 40.0),
            state,
        );
        *state = before.state;
        seen.signals.rate = lost();
        seen.signals.peak_rate = lost();
    });
}

#[test]
fn metrics_that_vanish_under_high_load_are_an_emergency() {
    golden("metrics_vanished", |seen, state| {
        let before = single(
            after(start(), -60),
            &plain(after(start(), -60), 3, 110.0),
            state,
        );
        *state = before.state;
        seen.signals.rate = lost();
        seen.signals.peak_rate = lost();
    });
}

#[test]
fn no_metrics_ever() {
    golden("no_metrics", |seen, _| {
        seen.signals.rate = lost();
        seen.signals.peak_rate = lost();
    });
}

#[test]
fn no_profile() {
    golden("no_profile", |seen, _| seen.revisions[0].curve = None);
}

#[test]
fn a_rival() {
    golden("rival", |seen, _| {
        seen.rival = Some(Rival {
            kind: "HorizontalPodAutoscaler".into(),
            name: "catalogue".into(),
        });
    });
}

#[test]
fn paused() {
    golden("paused", |seen, _| seen.wishes.pause = true);
}

#[test]
fn the_users_emergency() {
    golden("emergency", |seen, _| seen.wishes.emergency = true);
}

#[test]
fn quota_bounds_growth() {
    golden("quota", |seen, _| {
        *seen = plain(start(), 3, 180.0);
        seen.headroom.limits = Some(MilliCpu(350));
    });
}

#[test]
fn a_foreign_drop_is_restored() {
    golden("restored", |seen, state| {
        *seen = plain(start(), 1, 100.0);
        state.replicas = Some(3);
    });
}

#[test]
fn a_wrong_born_pod_is_resized() {
    golden("wrong_born", |seen, state| {
        let size = seen.template.scaled_to(MilliCpu(400));
        *seen = plain(start(), 3, 200.0);
        state.size = Some(MilliCpu(400));
        for pod in seen.pods.iter_mut().take(2) {
            pod.asked = size;
            pod.actual = size;
        }
    });
}

#[test]
fn the_maximum_is_said() {
    golden("maximum", |seen, _| {
        *seen = plain(start(), 3, 2000.0);
        seen.max_replicas = 4;
    });
}

#[test]
fn recommend_writes_nothing() {
    golden("recommend", |seen, _| {
        *seen = plain(start(), 3, 180.0);
        seen.wishes.acts = false;
        seen.signals.rate = rate(180.0, start());
        seen.template = cpu(100, 200);
    });
}
