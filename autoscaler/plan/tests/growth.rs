//! What growth waits for and what it does not: bounds, an undo on its way, and a rate that lacks pods.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test: a panic is its way to fail"
)]

#[path = "world/mod.rs"]
mod world;

use msars_domain::{MilliCpu, Rate, RateSample, Reading, ScalingPolicy, SelectPolicy, Unknown};
use msars_plan::{Fleet, Reason, Recommendation, ScaleEvent, State};
use world::{Run, after, ms, plain, single, sizes, start};

/// Windows and policies that let nothing move, after a move of either direction just now.
fn stopped(run: &mut Run) {
    let behavior = &mut run.seen.behavior;
    for rules in [&mut behavior.scale_up, &mut behavior.scale_down] {
        rules.stabilization_window_seconds = 300;
        rules.policies = vec![ScalingPolicy::pods(1, 60)];
        rules.select_policy = SelectPolicy::Disabled;
    }
    let state = &mut run.state;
    state.last_up = Some(run.now);
    state.last_more = Some(run.now);
    state.last_down = Some(run.now);
}

#[test]
fn the_bounds_hold_at_once_whatever_windows_and_policies_say() {
    // (replicas, load, minimum, maximum, pods that the quota leaves; replicas with metrics, without)
    for (from, load, least, most, left, (seen, blind)) in [
        (1, 30.0, 4, 20, None, (4, 4)),
        (1, 30.0, 4, 20, Some(1), (2, 2)),
        (8, 278.0, 1, 5, None, (5, 8)),
    ] {
        for (metrics, wanted) in [(true, seen), (false, blind)] {
            let mut run = Run::new(from, load);
            run.seen.resizable = Some(false);
            run.tick(load);
            assert_eq!(run.seen.replicas, from);
            stopped(&mut run);
            run.seen.min_replicas = least;
            run.seen.max_replicas = most;
            run.seen.headroom.pods = left;
            let made = if metrics { run.tick(30.0) } else { run.blind() };
            let named = made.reason == Reason::Bounds;
            assert_eq!(named, metrics && from < least, "{}", made.explain());
            assert_eq!(made.wanted.replicas, wanted, "{}", made.explain());
            assert_eq!(run.seen.replicas, wanted, "{}", made.explain());
        }
    }
}

#[test]
fn without_metrics_ever_or_a_profile_not_even_the_minimum_is_written() {
    let now = start();
    let mut silent = plain(now, 1, 30.0);
    silent.min_replicas = 2;
    silent.signals.rate = Reading::Unknown {
        why: Unknown::NoSeries,
    };
    silent.signals.peak_rate = silent.signals.rate.clone();
    let mut unprofiled = plain(now, 1, 30.0);
    unprofiled.min_replicas = 2;
    unprofiled.revisions[0].curve = None;
    for seen in [silent, unprofiled] {
        let made = single(now, &seen, &State::default());
        assert!(made.actions.is_empty(), "{}", made.explain());
    }
}

#[test]
fn latency_of_before_a_growth_is_no_reason_for_pressure() {
    let now = start();
    for (ago, pressed) in [(45, false), (139, false), (140, true)] {
        let mut seen = plain(now, 3, 60.0);
        seen.signals.self_quantile = Reading::Known {
            value: ms(80.0),
            at: now,
        };
        let state = State {
            last_up: Some(after(now, -ago)),
            ..State::default()
        };
        let made = single(now, &seen, &state);
        let found = made.state.pressure.is_some();
        assert_eq!(found, pressed, "{ago}: {}", made.explain());
    }
}

#[test]
fn an_undo_goes_on_until_the_fleet_is_back_and_waits_for_no_window() {
    let mut run = Run::at_once(6, 60.0);
    let up = &mut run.seen.behavior.scale_up;
    up.stabilization_window_seconds = 300;
    up.policies = vec![ScalingPolicy::pods(1, 15)];
    assert_eq!(run.tick(60.0).wanted.replicas, 2);
    run.measured(80.0);
    let mut calm = None;
    for wanted in 3..=6 {
        let made = run.tick(60.0);
        assert_eq!(made.wanted.replicas, wanted, "{}", made.explain());
        let undone = matches!(made.reason, Reason::UndoScaleDown { .. });
        assert!(undone, "{}", made.explain());
        assert_eq!(made.state.shrink.is_some(), wanted < 6);
        let until = made.state.calm_until;
        assert_eq!(until, *calm.get_or_insert(until), "begun once");
    }
}

#[test]
fn a_growth_of_the_size_alone_rests_replicas_no_longer_than_the_size() {
    let now = start();
    // (replicas grew, the size grew, seconds ago, replicas shrink); neither: remembered before they were told apart.
    for (more, larger, ago, shrinks) in [
        (false, false, 100, false),
        (true, false, 100, false),
        (true, true, 299, false),
        (true, true, 300, true),
        (false, true, 59, false),
        (false, true, 60, true),
    ] {
        let at = after(now, -ago);
        let little = Recommendation {
            at: after(now, -200),
            fleet: Fleet {
                replicas: 1,
                size: MilliCpu(100),
            },
        };
        let state = State {
            recommendations: vec![little],
            last_up: Some(at),
            last_more: more.then_some(at),
            last_larger: larger.then_some(at),
            ..State::default()
        };
        let made = single(now, &plain(now, 8, 60.0), &state);
        let found = made.wanted.replicas < 8;
        assert_eq!(found, shrinks, "{more} {larger} {ago}: {}", made.explain());
    }
}

/// What an idle workload is recommended.
fn little(at: jiff::Timestamp) -> Recommendation {
    let (replicas, size) = (1, MilliCpu(100));
    let fleet = Fleet { replicas, size };
    Recommendation { at, fleet }
}

#[test]
fn what_a_clock_ahead_has_left_holds_no_growth_back() {
    let ahead = after(start(), 300);
    let state = State {
        recommendations: vec![little(ahead)],
        last_down: Some(ahead),
        ..State::default()
    };
    let made = single(start(), &plain(start(), 3, 180.0), &state);
    let grown = (made.wanted.replicas, made.wanted.size);
    assert_eq!(grown, (3, MilliCpu(300)), "{}", made.explain());
    // Growth of before counts for a whole period of the rate policies, and no longer.
    let mut run = Run::new(3, 180.0);
    run.seen.resizable = Some(false);
    run.state.events = vec![ScaleEvent {
        at: ahead,
        change: 10,
    }];
    let wanted: Vec<u32> = (0..2).map(|_| run.tick(180.0).wanted.replicas).collect();
    assert_eq!(wanted, [3, 6]);
}

#[test]
fn what_a_clock_ahead_has_left_keeps_from_shrinking_as_what_is_of_now() {
    let mut run = Run::new(8, 60.0);
    run.seen.resizable = Some(false);
    let ahead = Some(after(run.now, 3600));
    run.state = State {
        recommendations: vec![little(after(run.now, -200))],
        last_up: ahead,
        last_more: ahead,
        ..State::default()
    };
    let wanted: Vec<u32> = (0..21).map(|_| run.tick(60.0).wanted.replicas).collect();
    assert_eq!(wanted[..20], [8; 20], "five minutes");
    assert!(wanted[20] < 8, "{wanted:?}");
    // A calm lasts ten minutes, however far ahead its end is.
    let mut run = Run::at_once(6, 60.0);
    run.state.calm_until = Some(after(run.now, 7200));
    let wanted: Vec<u32> = (0..41).map(|_| run.tick(60.0).wanted.replicas).collect();
    assert_eq!(wanted[..40], [6; 40]);
    assert!(wanted[40] < 6, "{wanted:?}");
}

#[test]
fn a_rate_that_lacks_pods_lets_a_fleet_grow_and_not_shrink() {
    let now = start();
    // (pods, what is left of the rate, its age, whether it grows)
    for (pods, least, age, grows) in [
        (2, 300.0, 10, true),
        (8, 30.0, 10, false),
        (2, 300.0, 60, false),
    ] {
        let mut seen = plain(now, pods, 60.0);
        seen.behavior.scale_down.stabilization_window_seconds = 0;
        seen.signals.rate = Reading::Unknown {
            why: Unknown::Stale,
        };
        seen.signals.peak_rate = seen.signals.rate.clone();
        seen.signals.rate_at_least = Some(RateSample {
            at: after(now, -age),
            rate: Rate::new(least).unwrap(),
        });
        let made = single(now, &seen, &State::default());
        let found = made.wanted.grows_from(made.current);
        assert_eq!(found, grows, "{least}: {}", made.explain());
        let shrinks = made.wanted.shrinks_from(made.current);
        assert!(!shrinks, "{least}: {}", made.explain());
    }
}

#[test]
fn a_surge_after_a_scale_down_is_no_reason_to_undo_it() {
    let mut run = Run::at_once(6, 60.0);
    let down = run.tick(60.0);
    assert!(down.wanted.replicas < 6, "{}", down.explain());
    for _ in 0..4 {
        run.measured(400.0);
        let made = run.tick(600.0);
        assert!(
            !matches!(made.reason, Reason::UndoScaleDown { .. }),
            "{}",
            made.explain()
        );
        assert_eq!(made.state.calm_until, None, "{}", made.explain());
    }
}

#[test]
fn pods_grow_for_the_guests_of_a_profile_and_are_never_more() {
    // (resizable, guests; replicas and size): two pods of 200m carry 80/s, of 300m 140/s, of 800m 440/s.
    for (resizable, guests, wanted) in [
        (true, None, (2, 200)),
        (true, Some(0.0), (2, 200)),
        (true, Some(30.0), (2, 200)),
        (true, Some(90.0), (2, 300)),
        (true, Some(900.0), (2, 800)),
        (false, Some(90.0), (2, 200)),
    ] {
        let mut run = Run::new(2, 30.0);
        run.seen.min_replicas = 2;
        run.seen.cpu.min = MilliCpu(200);
        run.seen.resizable = Some(resizable);
        assert_eq!(run.tick(30.0).wanted.size, MilliCpu(200));
        run.seen.guests = guests.map(|rate| Rate::new(rate).unwrap());
        let made = run.tick(30.0);
        let found = (made.wanted.replicas, made.wanted.size.0);
        assert_eq!(found, wanted, "{guests:?}: {}", made.explain());
        let larger = wanted.1 > 200;
        assert_eq!(made.reason == Reason::Guests, larger, "{}", made.explain());
        // They stay as long as it lasts, and the load's own growth is called that.
        let again = run.tick(30.0);
        assert_eq!(again.wanted, made.wanted, "{}", again.explain());
        let more = run.tick(500.0);
        assert_eq!(more.reason, Reason::LoadRose, "{}", more.explain());
    }
}

#[test]
fn what_grew_for_guests_shrinks_when_they_are_gone() {
    let mut run = Run::new(2, 30.0);
    run.seen.min_replicas = 2;
    run.seen.cpu.min = MilliCpu(200);
    run.seen.guests = Rate::new(90.0).ok();
    assert_eq!(run.tick(30.0).wanted.size, MilliCpu(300));
    run.seen.guests = None;
    let ticks: Vec<_> = (0..8).map(|_| run.tick(30.0)).collect();
    let last = ticks.last().unwrap();
    assert_eq!(last.wanted.size, MilliCpu(200), "{}", last.explain());
    assert_eq!(last.wanted.replicas, 2);
}

#[test]
fn a_narrowed_size_counts_at_once_as_a_narrowed_maximum_does() {
    for (most, load) in [(200, 60.0), (100, 60.0), (100, 900.0)] {
        let mut run = Run::new(2, 60.0);
        run.seen.min_replicas = 2;
        run.seen.max_replicas = 2;
        run.seen.cpu.min = MilliCpu(400);
        assert_eq!(run.tick(60.0).wanted.size, MilliCpu(400));
        // Just grown, and too small for the load: neither keeps what its user no longer wants.
        run.seen.cpu.min = MilliCpu(100);
        run.seen.cpu.max = MilliCpu(most);
        let made = run.tick(load);
        let limits = sizes(&made).into_iter().map(|(_, _, limit)| limit);
        let limits: Vec<_> = limits.collect();
        assert_eq!(limits, [Some(most), Some(most)], "{}", made.explain());
        // But not while nobody knows how it does.
        let mut run = Run::new(2, 60.0);
        run.seen.cpu.min = MilliCpu(400);
        run.tick(60.0);
        run.seen.cpu.min = MilliCpu(100);
        run.seen.cpu.max = MilliCpu(most);
        assert_eq!(sizes(&run.blind()), []);
    }
}

#[test]
fn a_growth_to_a_raised_smallest_size_goes_all_the_way() {
    let mut seen = plain(start(), 4, 30.0);
    seen.behavior.scale_up.stabilization_window_seconds = 60;
    seen.cpu.min = MilliCpu(300);
    let state = State {
        recommendations: vec![Recommendation {
            at: after(start(), -15),
            fleet: Fleet {
                replicas: 4,
                size: MilliCpu(250),
            },
        }],
        ..State::default()
    };
    let made = single(start(), &seen, &state);
    assert_eq!(made.wanted.size, MilliCpu(300), "{}", made.explain());
}
