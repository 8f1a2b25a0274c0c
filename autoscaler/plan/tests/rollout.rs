//! Two revisions at once: each keeps its own budget, for as long as the rollout goes on.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test: a panic is its way to fail"
)]

#[path = "world/mod.rs"]
mod world;

use msars_domain::{Curve, Knot, MilliCpu, Rate, SizeCurve};
use msars_plan::{Guard, State};
use world::{Run, ms, plain, single, start};

#[test]
fn during_a_rollout_each_revision_keeps_its_budget_and_the_larger_floor_holds() {
    let now = start();
    let mut seen = plain(now, 3, 100.0);
    seen.resizable = Some(false);
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
fn a_slower_version_needs_not_keep_the_budget_of_the_fast_one_before_it() {
    let now = start();
    let quick = |size| SizeCurve {
        size: MilliCpu(size),
        knots: [(1.0, 2.0), (200.0, 4.0)]
            .map(|(rate, quantile)| Knot {
                rate: Rate::new(rate).unwrap(),
                quantile: ms(quantile),
            })
            .to_vec(),
    };
    let mut seen = plain(now, 3, 100.0);
    let mut old = seen.revisions[0].clone();
    old.hash = "r0".into();
    old.current = false;
    old.budget = Some(ms(4.0));
    old.curve = Curve::new(vec![quick(100), quick(800)]).ok();
    seen.revisions.push(old);
    seen.rolling = true;
    let rolling = single(now, &seen, &State::default());
    assert_eq!(rolling.wanted, rolling.current, "{}", rolling.explain());
    assert_eq!(rolling.numbers.budget, Some(ms(4.0)));
    assert_eq!(rolling.numbers.carries_now, Some(120.0));
}

#[test]
fn an_older_profile_stands_in_for_growth_and_not_for_shrinking() {
    let now = start();
    let mut seen = plain(now, 3, 180.0);
    seen.behavior.scale_down.stabilization_window_seconds = 0;
    let mut new = seen.revisions[0].clone();
    seen.revisions[0].current = false;
    new.curve = None;
    seen.revisions.push(new);
    let up = single(now, &seen, &State::default());
    assert!(up.wanted.grows_from(up.current), "{}", up.explain());
    seen.signals = plain(now, 3, 5.0).signals;
    let down = single(now, &seen, &State::default());
    assert_eq!(down.wanted, down.current, "{}", down.explain());
    assert!(down.guards.contains(&Guard::Borrowed));
}

#[test]
fn a_rollout_that_may_last_for_ever_keeps_nothing_from_shrinking() {
    for (lasting, wanted) in [(false, 20), (true, 1)] {
        let mut run = Run::at_once(20, 10.0);
        run.seen.rolling = true;
        run.seen.lasting = lasting;
        // Pods of the new template never become ready.
        for pod in run.seen.pods.iter_mut().take(5) {
            pod.ready = false;
        }
        for _ in 0..10 {
            run.tick(10.0);
        }
        assert_eq!(run.seen.replicas, wanted, "{lasting}");
    }
}
