//! The order of probes and every reason to stop.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "test helpers outside #[test] functions"
)]

use msars_domain::{MilliCpu, Rate};
use msars_llp::{Done, Next, Plan, Point, next_probe};

fn plan() -> Plan {
    Plan {
        sizes: vec![MilliCpu(800), MilliCpu(200)],
        rates: Vec::new(),
        most: None,
        work_guess_ms: 2.0,
        window_seconds: 4.0,
        settle_seconds: 1.0,
        budget_seconds: 60.0,
    }
}

/// A window at `load` of a service with 4 ms of work.
fn point(size: u32, load: f64, p99_ms: f64) -> Point {
    let size = MilliCpu(size);
    let rate = load * size.cores() * 250.0;
    Point {
        size,
        rate: Rate::new(rate).unwrap(),
        window_seconds: 4.0,
        requests: 1000,
        errors: 0,
        cpu_seconds: 4.0,
        times: msars_llp::Times::Own,
        waits: None,
        p50_ms: 4.0,
        p90_ms: 7.0,
        p99_ms,
        callee_in_trouble: false,
    }
}

/// Equal but for the length of the window and the rounding of the rate.
fn same(name: &str, found: Next, expected: Next) {
    match (found, expected) {
        (
            Next::Probe { size, rate, .. },
            Next::Probe {
                size: s, rate: r, ..
            },
        ) => {
            assert_eq!(size, s, "{name}");
            assert!((rate.get() - r.get()).abs() < 1e-6, "{name}: {rate:?}");
        }
        (found, expected) => assert_eq!(found, expected, "{name}"),
    }
}

fn probe(size: u32, rate: f64) -> Next {
    Next::Probe {
        size: MilliCpu(size),
        rate: Rate::new(rate).unwrap(),
        seconds: 4.0,
    }
}

#[test]
fn probes_follow_the_information_and_stop_for_a_reason() {
    let low = [point(800, 0.2, 10.0), point(200, 0.2, 12.0)];
    let all = [
        low[0],
        low[1],
        point(800, 0.6, 15.0),
        point(200, 0.6, 60.0),
        point(800, 0.85, 40.0),
        point(200, 0.85, 200.0),
    ];
    let failing = |p: Point| Point { errors: 60, ..p };
    let callee = Point {
        callee_in_trouble: true,
        ..low[1]
    };
    let done = |reason| Next::Done { reason };
    let slow = |p: Point| Point {
        window_seconds: 27.0,
        ..p
    };
    let table: Vec<(&str, Vec<Point>, Next)> = vec![
        ("first: low load by the guess", vec![], probe(800, 80.0)),
        (
            "low load, by measured work",
            low[..1].to_vec(),
            probe(200, 10.0),
        ),
        ("then the middle", low.to_vec(), probe(800, 120.0)),
        ("then near the knee", all[..4].to_vec(), probe(800, 170.0)),
        ("everything measured", all.to_vec(), done(Done::Enough)),
        (
            "past the knee at 200m: on with 800m, then enough",
            vec![low[0], low[1], all[2], point(200, 0.6, 80.0), all[4]],
            done(Done::Enough),
        ),
        (
            "saturated at once, since work was far above the guess: again from low load",
            vec![point(800, 2.0, 900.0), point(200, 2.0, 900.0)],
            probe(800, 40.0),
        ),
        (
            "and on from there",
            vec![
                point(800, 2.0, 900.0),
                point(200, 2.0, 900.0),
                low[0],
                low[1],
            ],
            probe(800, 120.0),
        ),
        (
            "saturated whatever the rate",
            [point(800, 2.0, 900.0), point(200, 2.0, 900.0)].repeat(3),
            done(Done::Enough),
        ),
        (
            "errors at one size only end that size",
            vec![failing(low[0]), low[1]],
            probe(200, 30.0),
        ),
        (
            "errors everywhere",
            vec![failing(low[0]), failing(low[1])],
            done(Done::Errors),
        ),
        ("callee", vec![low[0], callee], done(Done::CalleeInTrouble)),
        (
            "time",
            vec![slow(low[0]), slow(low[1])],
            done(Done::TimeBudget),
        ),
    ];
    for (name, points, expected) in table {
        same(name, next_probe(&plan(), &points), expected);
    }
}

#[test]
fn a_window_that_would_see_few_requests_is_longer() {
    let seconds = |work_guess_ms| {
        let plan = Plan {
            work_guess_ms,
            ..plan()
        };
        match next_probe(&plan, &[]) {
            Next::Probe { seconds, .. } => seconds,
            done @ Next::Done { .. } => panic!("{done:?}"),
        }
    };
    // 20 % of 800m: 80, 20, 16 and 4 requests per second.
    for (work, expected) in [(2.0, 4.0), (8.0, 5.0), (10.0, 6.25), (40.0, 7.0)] {
        let found = seconds(work);
        assert!((found - expected).abs() < 1e-9, "{work} ms: {found} s");
    }
}

#[test]
fn rates_that_were_asked_for_are_offered_at_every_size_until_it_is_saturated() {
    let plan = Plan {
        rates: [10.0, 48.0, 120.0]
            .map(|rate| Rate::new(rate).unwrap())
            .to_vec(),
        ..plan()
    };
    let mut points = Vec::new();
    // 200m carry 50 requests per second: 48 are above 95 % of that, so that 120 are offered to the larger size alone.
    for (size, rate) in [
        (800, 10.0),
        (200, 10.0),
        (800, 48.0),
        (200, 48.0),
        (800, 120.0),
    ] {
        match next_probe(&plan, &points) {
            Next::Probe {
                size: at,
                rate: offered,
                ..
            } => {
                assert_eq!((at.0, offered.get()), (size, rate), "{}", points.len());
            }
            done @ Next::Done { .. } => panic!("{size}m at {rate}/s: {done:?}"),
        }
        points.push(point(size, rate / (MilliCpu(size).cores() * 250.0), 10.0));
    }
    let reason = Done::Enough;
    assert_eq!(next_probe(&plan, &points), Next::Done { reason });
}

#[test]
fn callees_bound_what_is_offered_and_a_full_one_gets_nothing() {
    let bound = |most| Plan {
        most: Rate::new(most).ok(),
        ..plan()
    };
    // The guess of 2 ms gives 80 requests per second at first, and 20 of the smaller size.
    let full = Next::Done {
        reason: Done::CalleesFull,
    };
    assert_eq!(next_probe(&bound(19.0), &[]), full);
    for (most, first) in [(1000.0, 80.0), (200.0, 80.0), (100.0, 40.0), (21.0, 8.4)] {
        match next_probe(&bound(most), &[]) {
            Next::Probe { rate, .. } => assert!((rate.get() - first).abs() < 1e-9, "{rate:?}"),
            done @ Next::Done { .. } => panic!("{most}: {done:?}"),
        }
    }
}

#[test]
fn where_callees_have_room_for_little_the_rates_stay_apart() {
    let asked = [10.0, 60.0, 90.0].map(|rate| Rate::new(rate).unwrap());
    let low = [point(800, 0.2, 10.0), point(200, 0.2, 12.0)];
    let at = |size: u32, rate: f64| point(size, rate / (MilliCpu(size).cores() * 250.0), 15.0);
    let done = Next::Done {
        reason: Done::Enough,
    };
    // 800m carry 200 requests per second, 200m carry 50.
    for (name, rates, most, points, expected) in [
        (
            "60 % of 800m are more than its share",
            &[][..],
            100.0,
            low.to_vec(),
            probe(800, 70.0),
        ),
        (
            "the smaller size is below it",
            &[],
            100.0,
            vec![low[0], low[1], at(800, 70.0)],
            probe(200, 30.0),
        ),
        (
            "the last step takes all",
            &[],
            100.0,
            vec![low[0], low[1], at(800, 70.0), at(200, 30.0)],
            probe(800, 100.0),
        ),
        (
            "of the smaller size what it carries",
            &[],
            100.0,
            vec![low[0], low[1], at(800, 70.0), at(200, 30.0), at(800, 100.0)],
            probe(200, 42.5),
        ),
        (
            "both sizes have three rates where there is room for a quarter of the larger one",
            &[],
            40.0,
            vec![at(800, 16.0), low[1], at(800, 28.0), at(200, 28.0)],
            probe(800, 40.0),
        ),
        (
            "rates that were asked for are cut and not repeated",
            &asked,
            40.0,
            vec![at(800, 10.0), at(200, 10.0), at(800, 40.0)],
            probe(200, 40.0),
        ),
        (
            "so that both sizes end",
            &asked,
            40.0,
            vec![at(800, 10.0), at(200, 10.0), at(800, 40.0), at(200, 40.0)],
            done,
        ),
    ] {
        let plan = Plan {
            rates: rates.to_vec(),
            most: Rate::new(most).ok(),
            ..plan()
        };
        same(name, next_probe(&plan, &points), expected);
    }
}
