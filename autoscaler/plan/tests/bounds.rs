//! Fewest and most replicas that somebody changes while it runs.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test: a panic is its way to fail"
)]

#[path = "world/mod.rs"]
mod world;

use msars_domain::{Observation, Reading, Unknown};
use msars_plan::State;
use world::{Run, after, ms, plain, single, start};

/// What forbids shrinking, and how many of eight replicas are left where at most five are allowed.
type Row = (&'static str, fn(&mut Observation, &mut State), u32);

#[test]
fn a_lowered_maximum_holds_at_once_whatever_forbids_to_shrink() {
    let now = start();
    let table: [Row; 6] = [
        ("nothing", |_, _| {}, 5),
        (
            "a breach",
            |seen, _| {
                seen.signals.self_quantile = Reading::Known {
                    value: ms(80.0),
                    at: start(),
                }
            },
            5,
        ),
        ("a rollout", |seen, _| seen.rolling = true, 5),
        (
            "an undo",
            |_, state| state.calm_until = Some(after(start(), 300)),
            5,
        ),
        ("the user", |seen, _| seen.wishes.pause_scale_down = true, 8),
        (
            "no metrics",
            |seen, _| {
                let lost = Reading::Unknown {
                    why: Unknown::Unreachable,
                };
                seen.signals.rate = lost;
            },
            8,
        ),
    ];
    for (what, change, wanted) in table {
        let mut seen = plain(now, 8, 150.0);
        seen.max_replicas = 5;
        let mut state = State::default();
        change(&mut seen, &mut state);
        let made = single(now, &seen, &state);
        assert_eq!(made.wanted.replicas, wanted, "{what}: {}", made.explain());
    }
}

#[test]
fn a_raised_minimum_holds_however_long_metrics_are_gone() {
    let mut run = Run::new(5, 100.0);
    run.tick(100.0);
    for _ in 0..60 {
        run.blind();
    }
    let before = run.seen.replicas;
    run.seen.min_replicas = 19;
    let made = run.blind();
    assert!(
        before < 19 && made.wanted.replicas == 19,
        "{}",
        made.explain()
    );
}
