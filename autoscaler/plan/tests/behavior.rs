//! HPA v2's arithmetic against facts of its documentation and of its public test tables
//! (kubernetes/kubernetes pkg/controller/podautoscaler/horizontal_test.go).
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test: a panic is its way to fail"
)]

use jiff::{SignedDuration, Timestamp};
use msars_domain::{Behavior, ScalingPolicy, ScalingRules, SelectPolicy};
use msars_plan::{ScaleEvent, pace, stabilize, within_tolerance};

fn now() -> Timestamp {
    "2026-03-01T12:00:00Z".parse().unwrap()
}

fn ago(seconds: i64) -> Timestamp {
    now()
        .checked_sub(SignedDuration::from_secs(seconds))
        .unwrap()
}

/// (pods, seconds, percent, seconds); 0 pods or percent is no such policy.
type Rules = (u32, u32, u32, u32);

fn rules((pods, pods_s, percent, percent_s): Rules, select: SelectPolicy) -> ScalingRules {
    let mut policies = Vec::new();
    if pods > 0 {
        policies.push(ScalingPolicy::pods(pods, pods_s));
    }
    if percent > 0 {
        policies.push(ScalingPolicy::percent(percent, percent_s));
    }
    ScalingRules {
        stabilization_window_seconds: 0,
        select_policy: select,
        policies,
        tolerance: 0.1,
    }
}

/// Changes spread evenly over the last `seconds`, oldest first.
fn spread(changes: &[i64], seconds: i64) -> Vec<ScaleEvent> {
    let step = seconds / (changes.len() as i64 + 1);
    let at = |index: usize| ago(seconds - step * (index as i64 + 1));
    let event = |(index, change): (usize, &i64)| ScaleEvent {
        at: at(index),
        change: *change,
    };
    changes.iter().enumerate().map(event).collect()
}

fn paced(
    up: bool,
    set: Rules,
    select: SelectPolicy,
    bounds: (u32, u32),
    from: u32,
    to: u32,
    events: &[ScaleEvent],
) -> (u32, String) {
    let mut behavior = Behavior::default();
    if up {
        behavior.scale_up = rules(set, select);
    } else {
        behavior.scale_down = rules(set, select);
    }
    let paced = pace(now(), from, to, bounds, events, &behavior);
    (paced.replicas, paced.reason.to_string())
}

#[test]
fn scale_up_policies() {
    let none: &[i64] = &[];
    for (name, set, (min, max), from, to, added, want, reason) in [
        (
            "pods larger than percent",
            (100, 60, 100, 60),
            (1, 1000),
            10,
            500,
            none,
            110,
            "ScaleUpLimit",
        ),
        (
            "percent larger than pods",
            (2, 60, 100, 60),
            (1, 1000),
            10,
            500,
            none,
            20,
            "ScaleUpLimit",
        ),
        (
            "a large pod policy",
            (100, 60, 0, 0),
            (1, 1000),
            10,
            50,
            none,
            50,
            "DesiredWithinRange",
        ),
        (
            "a very large pod policy",
            (10_000, 60, 0, 0),
            (1, 1000),
            10,
            50,
            none,
            50,
            "DesiredWithinRange",
        ),
        (
            "a pod policy",
            (30, 60, 0, 0),
            (1, 1000),
            10,
            50,
            none,
            40,
            "ScaleUpLimit",
        ),
        (
            "a percent policy",
            (0, 0, 200, 60),
            (1, 1000),
            10,
            50,
            none,
            30,
            "ScaleUpLimit",
        ),
        (
            "700 % of three",
            (0, 0, 700, 60),
            (1, 100),
            3,
            60,
            none,
            24,
            "ScaleUpLimit",
        ),
        (
            "700 % of three, at most 20",
            (0, 0, 700, 60),
            (1, 20),
            3,
            60,
            none,
            20,
            "TooManyReplicas",
        ),
        (
            "max with a large pod policy and events",
            (300, 60, 0, 0),
            (1, 200),
            100,
            500,
            &[1, 5, 9],
            200,
            "TooManyReplicas",
        ),
        (
            "max with a large percent policy and events",
            (0, 0, 10_000, 60),
            (1, 200),
            100,
            500,
            &[1, 5, 9],
            200,
            "TooManyReplicas",
        ),
        (
            "used up by earlier events",
            (5, 120, 0, 0),
            (1, 1000),
            100,
            500,
            &[1, 5, 9],
            100,
            "ScaleUpLimit",
        ),
        (
            "pods less what was added",
            (150, 120, 0, 0),
            (1, 1000),
            100,
            500,
            &[1, 5, 9],
            235,
            "ScaleUpLimit",
        ),
        (
            "percent of what there was",
            (0, 0, 200, 120),
            (1, 1000),
            100,
            500,
            &[1, 5, 9],
            255,
            "ScaleUpLimit",
        ),
        (
            "events of both directions",
            (0, 0, 300, 300),
            (1, 1000),
            6,
            24,
            &[4, -2],
            16,
            "ScaleUpLimit",
        ),
        (
            "rounded up, or one pod would stay one",
            (0, 0, 10, 60),
            (1, 1000),
            1,
            5,
            none,
            2,
            "ScaleUpLimit",
        ),
    ] {
        let events = spread(added, 120);
        let got = paced(true, set, SelectPolicy::Max, (min, max), from, to, &events);
        assert_eq!(got, (want, reason.to_owned()), "{name}");
    }
}

#[test]
fn scale_down_policies() {
    let none: &[i64] = &[];
    for (name, set, (min, max), from, to, removed, want, reason) in [
        (
            "pods larger than percent",
            (20, 60, 1, 60),
            (1, 1000),
            100,
            2,
            none,
            80,
            "ScaleDownLimit",
        ),
        (
            "percent no larger than pods",
            (2, 60, 1, 60),
            (1, 1000),
            100,
            2,
            none,
            98,
            "ScaleDownLimit",
        ),
        (
            "to the minimum",
            (100, 60, 0, 0),
            (1, 1000),
            10,
            0,
            none,
            1,
            "TooFewReplicas",
        ),
        (
            "to the minimum by percent",
            (0, 0, 100, 60),
            (5, 1000),
            10,
            2,
            none,
            5,
            "TooFewReplicas",
        ),
        (
            "a pod policy",
            (5, 60, 0, 0),
            (1, 1000),
            10,
            2,
            none,
            5,
            "ScaleDownLimit",
        ),
        (
            "a percent policy, just enough",
            (0, 0, 50, 60),
            (1, 1000),
            10,
            5,
            none,
            5,
            "DesiredWithinRange",
        ),
        (
            "minimum with events",
            (115, 120, 0, 0),
            (1, 1000),
            100,
            0,
            &[-1, -5, -9],
            1,
            "TooFewReplicas",
        ),
        (
            "minimum of five with events",
            (130, 120, 0, 0),
            (5, 1000),
            100,
            0,
            &[-1, -5, -9],
            5,
            "TooFewReplicas",
        ),
        (
            "all may go",
            (0, 0, 100, 120),
            (5, 1000),
            100,
            2,
            &[-1, -5, -9],
            5,
            "TooFewReplicas",
        ),
        (
            "used up by earlier events",
            (5, 120, 0, 0),
            (1, 1000),
            100,
            2,
            &[-1, -5, -9],
            100,
            "ScaleDownLimit",
        ),
        (
            "percent of what there was",
            (0, 0, 50, 120),
            (1, 1000),
            100,
            0,
            &[-2, -4, -6],
            56,
            "ScaleDownLimit",
        ),
        (
            "events of both directions",
            (0, 0, 50, 180),
            (1, 1000),
            10,
            1,
            &[2, -4],
            6,
            "ScaleDownLimit",
        ),
        (
            "more removed than allowed",
            (0, 0, 10, 120),
            (1, 1000),
            100,
            0,
            &[-10, -10, -10],
            100,
            "ScaleDownLimit",
        ),
        (
            "more than all may go",
            (0, 0, 1000, 120),
            (1, 1000),
            10,
            5,
            &[-10, -10, -10],
            5,
            "DesiredWithinRange",
        ),
    ] {
        let events = spread(removed, 120);
        let got = paced(false, set, SelectPolicy::Max, (min, max), from, to, &events);
        assert_eq!(got, (want, reason.to_owned()), "{name}");
    }
}

#[test]
fn select_policy_takes_the_smallest_change_or_none() {
    let set = (4, 60, 10, 60);
    for (name, up, select, to, want) in [
        ("max up", true, SelectPolicy::Max, 500, 110),
        ("min up", true, SelectPolicy::Min, 500, 104),
        ("disabled up", true, SelectPolicy::Disabled, 500, 100),
        ("max down", false, SelectPolicy::Max, 1, 90),
        ("min down", false, SelectPolicy::Min, 1, 96),
        ("disabled down", false, SelectPolicy::Disabled, 1, 100),
    ] {
        assert_eq!(
            paced(up, set, select, (1, 1000), 100, to, &[]).0,
            want,
            "{name}"
        );
    }
    // The documentation's example: 4 pods or 10 % a minute from 80 replicas go 80, 72, 64.8 → 57 …, and below 40
    // four pods are the larger change.
    for (from, want) in [(80, 72), (72, 64), (40, 36), (30, 26)] {
        assert_eq!(
            paced(false, set, SelectPolicy::Max, (10, 100), from, 10, &[]).0,
            want,
            "from {from}"
        );
    }
}

#[test]
fn defaults_are_the_hpas() {
    let behavior = Behavior::default();
    // Four pods or a doubling within 15 s, whichever is more; all may go at once.
    for (from, to, want) in [(1, 50, 5), (3, 50, 7), (4, 50, 8), (10, 50, 20), (50, 1, 1)] {
        assert_eq!(
            pace(now(), from, to, (1, 100), &[], &behavior).replicas,
            want,
            "{from} → {to}"
        );
    }
    let doubled = [ScaleEvent {
        at: ago(14),
        change: 10,
    }];
    assert_eq!(
        pace(now(), 20, 50, (1, 100), &doubled, &behavior).replicas,
        20
    );
    let earlier = [ScaleEvent {
        at: ago(15),
        change: 10,
    }];
    assert_eq!(
        pace(now(), 20, 50, (1, 100), &earlier, &behavior).replicas,
        40
    );
}

#[test]
fn stabilisation_windows() {
    for (name, history, current, desired, up, down, want) in [
        ("no history", &[][..], 100, 5, 0, 0, 5),
        (
            "the highest of three minutes holds a descent",
            &[(120, 4), (60, 5)],
            100,
            3,
            0,
            180,
            5,
        ),
        (
            "the lowest of five minutes holds an ascent",
            &[(120, 4), (60, 5)],
            1,
            7,
            300,
            0,
            4,
        ),
        (
            "no window downward",
            &[(120, 1), (60, 2)],
            100,
            3,
            300,
            0,
            3,
        ),
        ("no window upward", &[(120, 4), (60, 5)], 1, 3, 0, 300, 3),
        (
            "too old to count, down",
            &[(600, 10), (540, 9)],
            100,
            3,
            0,
            0,
            3,
        ),
        (
            "too old to count, up",
            &[(600, 10), (540, 9)],
            1,
            100,
            0,
            0,
            100,
        ),
        (
            "some too old",
            &[(600, 10), (60, 4), (120, 5), (540, 9)],
            100,
            3,
            0,
            180,
            5,
        ),
        (
            "an ascent over mixed history",
            &[(6000, 10), (60, 6), (120, 5), (180, 9)],
            1,
            100,
            300,
            0,
            5,
        ),
        (
            "no ascent when the wish falls",
            &[(6000, 2), (180, 3)],
            2,
            1,
            300,
            300,
            2,
        ),
        (
            "no descent when the wish rises",
            &[(6000, 2), (180, 1)],
            2,
            3,
            300,
            300,
            2,
        ),
    ] {
        let mut behavior = Behavior::default();
        behavior.scale_up.stabilization_window_seconds = up;
        behavior.scale_down.stabilization_window_seconds = down;
        let history = history.iter().map(|&(s, value)| (ago(s), value));
        assert_eq!(
            stabilize(now(), current, desired, history, &behavior),
            want,
            "{name}"
        );
    }
}

#[test]
fn tolerance_has_two_sides_and_includes_its_ends() {
    let mut behavior = Behavior::default();
    for (ratio, close) in [
        (0.899, false),
        (0.9, true),
        (1.0, true),
        (1.1, true),
        (1.101, false),
    ] {
        assert_eq!(within_tolerance(ratio, &behavior), close, "{ratio}");
    }
    behavior.scale_up.tolerance = 0.0;
    behavior.scale_down.tolerance = 0.5;
    assert!(!within_tolerance(1.001, &behavior) && within_tolerance(0.51, &behavior));
}
