//! HPA v2's arithmetic against facts of its documentation and of its public test tables
//! (kubernetes/kubernetes pkg/controller/podautoscaler/horizontal_test.go).
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test: a panic is its way to fail"
)]

use jiff::{SignedDuration, Timestamp};
use msars_domain::{Behavior, ScalingPolicy, SelectPolicy};
use msars_plan::{ScaleEvent, pace, stabilize, windows, within_tolerance};

fn now() -> Timestamp {
    "2026-03-01T12:00:00Z".parse().unwrap()
}

fn ago(seconds: i64) -> Timestamp {
    now()
        .checked_sub(SignedDuration::from_secs(seconds))
        .unwrap()
}

/// Changes spread evenly over the last `seconds`, oldest first.
fn spread(changes: &[i64], seconds: i64) -> Vec<ScaleEvent> {
    let places = (1..).zip(changes);
    let step = seconds / (places.clone().count().max(1).cast_signed() as i64 + 1);
    let event = |(place, change): (i64, &i64)| ScaleEvent {
        at: ago(seconds - step * place),
        change: *change,
    };
    places.map(event).collect()
}

/// name | rules | bounds | from → to | changes over the last 120 s, oldest first | replicas and reason
const UP: &str = "
pods larger than percent            | 100/60 100%/60 | 1..1000 | 10 → 500  |        | 110 ScaleUpLimit
percent larger than pods            | 2/60 100%/60   | 1..1000 | 10 → 500  |        | 20 ScaleUpLimit
a large pod policy                  | 100/60         | 1..1000 | 10 → 50   |        | 50 DesiredWithinRange
a very large pod policy             | 10000/60       | 1..1000 | 10 → 50   |        | 50 DesiredWithinRange
a pod policy                        | 30/60          | 1..1000 | 10 → 50   |        | 40 ScaleUpLimit
a percent policy                    | 200%/60        | 1..1000 | 10 → 50   |        | 30 ScaleUpLimit
700 % of three                      | 700%/60        | 1..100  | 3 → 60    |        | 24 ScaleUpLimit
700 % of three, at most 20          | 700%/60        | 1..20   | 3 → 60    |        | 20 TooManyReplicas
max, a large pod policy, events     | 300/60         | 1..200  | 100 → 500 | 1 5 9  | 200 TooManyReplicas
max, a large percent policy, events | 10000%/60      | 1..200  | 100 → 500 | 1 5 9  | 200 TooManyReplicas
used up by earlier events           | 5/120          | 1..1000 | 100 → 500 | 1 5 9  | 100 ScaleUpLimit
pods less what was added            | 150/120        | 1..1000 | 100 → 500 | 1 5 9  | 235 ScaleUpLimit
percent of what there was           | 200%/120       | 1..1000 | 100 → 500 | 1 5 9  | 255 ScaleUpLimit
events of both directions           | 300%/300       | 1..1000 | 6 → 24    | 4 -2   | 16 ScaleUpLimit
rounded up, or one would stay one   | 10%/60         | 1..1000 | 1 → 5     |        | 2 ScaleUpLimit
events older than the period        | 1000/60        | 1..1000 | 100 → 200 | 8 12 9 | 200 DesiredWithinRange
";

/// As above.
const DOWN: &str = "
pods larger than percent     | 20/60 1%/60 | 1..1000 | 100 → 2 |             | 80 ScaleDownLimit
pods no larger than percent  | 2/60 1%/60  | 1..1000 | 100 → 2 |             | 98 ScaleDownLimit
to the minimum               | 100/60      | 1..1000 | 10 → 0  |             | 1 TooFewReplicas
to the minimum by percent    | 100%/60     | 5..1000 | 10 → 2  |             | 5 TooFewReplicas
a pod policy                 | 5/60        | 1..1000 | 10 → 2  |             | 5 ScaleDownLimit
a percent policy, enough     | 50%/60      | 1..1000 | 10 → 5  |             | 5 DesiredWithinRange
minimum with events          | 115/120     | 1..1000 | 100 → 0 | -1 -5 -9    | 1 TooFewReplicas
minimum of five, events      | 130/120     | 5..1000 | 100 → 0 | -1 -5 -9    | 5 TooFewReplicas
all may go                   | 100%/120    | 5..1000 | 100 → 2 | -1 -5 -9    | 5 TooFewReplicas
used up by earlier events    | 5/120       | 1..1000 | 100 → 2 | -1 -5 -9    | 100 ScaleDownLimit
percent of what there was    | 50%/120     | 1..1000 | 100 → 0 | -2 -4 -6    | 56 ScaleDownLimit
events of both directions    | 50%/180     | 1..1000 | 10 → 1  | 2 -4        | 6 ScaleDownLimit
more removed than allowed    | 10%/120     | 1..1000 | 100 → 0 | -10 -10 -10 | 100 ScaleDownLimit
more than all may go         | 1000%/120   | 1..1000 | 10 → 5  | -10 -10 -10 | 5 DesiredWithinRange
";

fn number<T: std::str::FromStr>(text: &str) -> T {
    text.trim().parse().ok().expect("a number")
}

fn policy(text: &str) -> ScalingPolicy {
    let (value, period) = text.split_once('/').unwrap();
    match value.strip_suffix('%') {
        Some(percent) => ScalingPolicy::percent(number(percent), number(period)),
        None => ScalingPolicy::pods(number(value), number(period)),
    }
}

fn table(up: bool, rows: &str) {
    for row in rows.trim().lines() {
        let cells: Vec<&str> = row.split('|').map(str::trim).collect();
        let (min, max) = cells[2].split_once("..").unwrap();
        let (from, to) = cells[3].split_once('→').unwrap();
        let changes: Vec<i64> = cells[4].split_whitespace().map(number).collect();
        let mut behavior = Behavior::default();
        let rules = if up {
            &mut behavior.scale_up
        } else {
            &mut behavior.scale_down
        };
        rules.policies = cells[1].split_whitespace().map(policy).collect();
        let bounds = (number(min), number(max));
        let paced = pace(
            now(),
            number(from),
            number(to),
            bounds,
            &spread(&changes, 120),
            &behavior,
        );
        assert_eq!(
            format!("{} {}", paced.replicas, paced.reason),
            cells[5],
            "{row}"
        );
    }
}

#[test]
fn scale_up_policies() {
    table(true, UP);
}

#[test]
fn scale_down_policies() {
    table(false, DOWN);
}

/// Four pods or 10 % a minute, as in the documentation's example.
fn either(up: bool, select: SelectPolicy, from: u32, to: u32) -> u32 {
    let mut behavior = Behavior::default();
    let rules = if up {
        &mut behavior.scale_up
    } else {
        &mut behavior.scale_down
    };
    rules.policies = vec![ScalingPolicy::pods(4, 60), ScalingPolicy::percent(10, 60)];
    rules.select_policy = select;
    pace(now(), from, to, (1, 1000), &[], &behavior).replicas
}

#[test]
fn select_policy_takes_the_smallest_change_or_none() {
    for (select, up, down) in [
        (SelectPolicy::Max, 110, 90),
        (SelectPolicy::Min, 104, 96),
        (SelectPolicy::Disabled, 100, 100),
    ] {
        assert_eq!(either(true, select, 100, 500), up, "{select:?}");
        assert_eq!(either(false, select, 100, 1), down, "{select:?}");
    }
    // From 80 replicas 10 % are more than four pods; below 40 four pods are.
    for (from, want) in [(80, 72), (72, 64), (40, 36), (30, 26)] {
        assert_eq!(
            either(false, SelectPolicy::Max, from, 1),
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
    // The tick before this one, some milliseconds less than 15 s ago.
    let before = [ScaleEvent {
        at: ago(15) + SignedDuration::from_millis(2),
        change: 10,
    }];
    assert_eq!(
        pace(now(), 20, 50, (1, 100), &before, &behavior).replicas,
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
            stabilize(now(), current, desired, history, windows(&behavior)),
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
