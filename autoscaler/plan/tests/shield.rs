//! The shield's rules one by one, over several ticks where memory matters.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test: a panic is its way to fail"
)]

#[path = "world/mod.rs"]
mod world;

use msars_domain::{MilliCpu, Rate, RateSample, Reading, Unknown};
use msars_plan::{Condition, ConditionReason, ConditionType, Guard, Reason, State};
use world::{Run, after, ms, plain, single, start};

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
fn a_peak_that_is_over_keeps_what_there_is_and_asks_for_nothing() {
    let now = start();
    // (fleet's pods, rate now, the highest of the last minute; whether it grows, whether it shrinks): a pod carries 40.
    for (pods, load, peak, wanted) in [
        (2, 60.0, 300.0, "stays"),
        (2, 300.0, 300.0, "grows"),
        (8, 60.0, 270.0, "stays"),
        (8, 60.0, 60.0, "shrinks"),
    ] {
        let mut seen = plain(now, pods, load);
        seen.behavior.scale_down.stabilization_window_seconds = 60;
        seen.history = vec![RateSample {
            at: after(now, -60),
            rate: Rate::new(peak).unwrap(),
        }];
        let made = single(now, &seen, &State::default());
        let found = if made.proposed.grows_from(made.current) {
            "grows"
        } else if made.proposed.shrinks_from(made.current) {
            "shrinks"
        } else {
            "stays"
        };
        assert_eq!(found, wanted, "{}", made.explain());
    }
}

#[test]
fn latency_from_before_the_load_fell_is_no_reason_for_pressure() {
    let mut run = Run::new(2, 60.0);
    run.tick(60.0);
    // Three times the load for a minute, more than it may grow to.
    run.seen.max_replicas = 2;
    run.seen.cpu.max = MilliCpu(200);
    for rate in [300.0, 300.0, 300.0, 60.0, 60.0, 60.0] {
        run.measured(400.0);
        run.seen.history.push(RateSample {
            at: run.now,
            rate: Rate::new(rate).unwrap(),
        });
        let made = run.tick(rate);
        assert_eq!(made.state.pressure, None, "{rate}: {}", made.explain());
    }
}

#[test]
fn a_window_no_longer_than_a_tick_keeps_nothing_for_ever() {
    for window in [0, 1, 15, 16, 30] {
        let mut run = Run::new(4, 130.0);
        run.seen.resizable = Some(false);
        run.seen.behavior.scale_down.stabilization_window_seconds = window;
        run.tick(130.0);
        assert_eq!(run.seen.replicas, 4, "{window}");
        for _ in 0..12 {
            run.tick(30.0);
        }
        assert_eq!(run.seen.replicas, 1, "{window}");
    }
}

#[test]
fn pods_shrink_in_place_after_a_minute_and_are_removed_after_five() {
    let mut run = Run::new(4, 300.0);
    let grown = run.tick(300.0).wanted;
    assert!(grown.size > MilliCpu(200), "{grown}");
    let (mut smaller, mut fewer) = (None, None);
    for tick in 1..40 {
        let wanted = run.tick(100.0).wanted;
        if wanted.size < grown.size {
            smaller.get_or_insert(tick * 15);
        }
        if wanted.replicas < grown.replicas {
            fewer.get_or_insert(tick * 15);
        }
        let carries = msars_plan::Profile::of(&run.seen).unwrap();
        let carries = carries.capacity(wanted.size).unwrap() * f64::from(wanted.replicas);
        assert!(carries >= 115.0, "{wanted} carries {carries}");
    }
    assert_eq!(smaller, Some(60));
    assert!(fewer.is_none_or(|at| at >= 300), "{fewer:?}");
    // A shorter window of the user's counts for both.
    let mut run = Run::new(4, 300.0);
    run.seen.behavior.scale_down.stabilization_window_seconds = 0;
    run.tick(300.0);
    assert!(run.tick(100.0).wanted.size < grown.size);
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
fn a_latency_above_its_largest_bound_shrinks_nothing_and_is_a_breach_where_the_budget_is_below_that()
 {
    let above = |least: f64| Reading::Unknown {
        why: Unknown::Saturated { least: ms(least) },
    };
    let known = |run: &Run| Reading::Known {
        value: ms(20.0),
        at: run.now,
    };
    let nothing = Reading::Unknown {
        why: Unknown::NoSeries,
    };
    // The budget is 50 ms, and the load lets six pods become fewer.
    let run = Run::at_once(6, 60.0);
    // (self time, request time, breach, may shrink)
    let table = [
        (above(10.0), known(&run), None, false),
        (above(80.0), known(&run), Some(ms(80.0)), false),
        (nothing.clone(), above(10.0), None, false),
        (nothing, above(80.0), Some(ms(80.0)), false),
        // The callees are slow, and not the workload.
        (known(&run), above(80.0), None, true),
    ];
    for (own, whole, breach, shrinks) in table {
        let mut run = Run::at_once(6, 60.0);
        run.seen.signals.self_quantile = own.clone();
        run.seen.signals.request_quantile = whole.clone();
        let made = single(run.now, &run.seen, &run.state);
        let told = (made.wanted.replicas < 6, made.guards.clone());
        assert_eq!(told.0, shrinks, "{own:?} {whole:?}: {}", made.explain());
        let unknown = |guard: &Guard| matches!(guard, Guard::UnknownSignal { .. });
        assert_eq!(told.1.iter().any(unknown), !shrinks, "{own:?} {whole:?}");
        let found = told.1.iter().find_map(|guard| match guard {
            Guard::Breach { measured } => Some(*measured),
            _ => None,
        });
        assert_eq!(found, breach, "{own:?} {whole:?}");
        let pressed = made.state.pressure.is_some();
        assert_eq!(pressed, breach.is_some(), "{own:?} {whole:?}");
        // What the load asks for is given all the same.
        run.seen.signals.rate = plain(run.now, 6, 600.0).signals.rate;
        run.seen.signals.peak_rate = run.seen.signals.rate.clone();
        let grown = single(run.now, &run.seen, &run.state);
        assert!(grown.wanted.replicas > 6, "{}", grown.explain());
    }
}

#[test]
fn unready_pods_under_high_load_mean_grow() {
    let now = start();
    let mut seen = plain(now, 4, 100.0);
    seen.resizable = Some(false);
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
fn pods_that_no_node_has_room_for_are_not_replaced_by_more_of_them() {
    let mut run = Run::new(2, 70.0);
    run.seen.resizable = Some(false);
    let wanted = run.tick(140.0).wanted.replicas;
    assert!(wanted > 2);
    for _ in 0..20 {
        for pod in run.seen.pods.iter_mut().skip(2) {
            pod.ready = false;
            pod.unschedulable = true;
        }
        let made = run.tick(140.0);
        assert_eq!(made.wanted.replicas, wanted, "{}", made.explain());
        let limited = |c: &&Condition| c.kind == ConditionType::ScalingLimited;
        let limited = made.conditions.iter().find(limited).unwrap();
        assert_eq!(limited.reason, ConditionReason::PodsUnschedulable);
    }
}

#[test]
fn metrics_that_vanish_raise_and_return_slowly() {
    let mut run = Run::new(4, 150.0);
    run.seen.resizable = Some(false);
    run.tick(150.0);
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
    run.seen.resizable = Some(false);
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
    run.seen.resizable = Some(false);
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
    seen.resizable = Some(false);
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
fn the_last_write_of_replicas_is_remembered_while_the_product_acts() {
    let now = start();
    let mut seen = plain(now, 3, 180.0);
    seen.resizable = Some(false);
    let made = single(now, &seen, &State::default());
    assert_eq!(made.state.wrote, Some(now));
    assert_eq!(made.state_without_scale(now).wrote, None);
    let next = after(now, 15);
    seen.replicas = made.wanted.replicas;
    seen.pods = plain(now, seen.replicas, 1.0).pods;
    seen.signals = plain(next, 3, 180.0).signals;
    let stays = single(next, &seen, &made.state);
    assert_eq!(stays.actions, []);
    assert_eq!(stays.state.wrote, Some(now));
    seen.wishes.acts = false;
    assert_eq!(single(next, &seen, &made.state).state.wrote, None);
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
    seen.resizable = Some(false);
    let before = single(now, &seen, &State::default()).wanted.replicas;
    seen.revisions[0].work_ratio = Some(2.0);
    let after = single(now, &seen, &State::default()).wanted.replicas;
    assert!(after >= 2 * before - 1, "{before} → {after}");
}

#[test]
fn a_profile_that_promises_too_much_is_corrected_by_live_self_time() {
    let mut run = Run::new(3, 100.0);
    run.seen.resizable = Some(false);
    run.measured(70.0);
    let sizes: Vec<u32> = (0..20)
        .map(|_| {
            run.measured(70.0);
            run.tick(100.0).wanted.replicas
        })
        .collect();
    assert!(sizes[19] > 3, "{sizes:?}");
    assert!(sizes[19] <= 7, "bounded by twice the load: {sizes:?}");
    assert!(sizes.windows(2).all(|w| w[1] >= w[0]), "{sizes:?}");
}
