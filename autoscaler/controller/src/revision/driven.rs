//! What a run of the load driver is worth: whether the copy was warm, what got no answer, whether the driver was in time.
//! Pure.

use std::collections::BTreeSet;

use msars_domain::load::{RunResult, Tally};
use msars_llp::{Point, Times};

/// p50 of three spans in a row closer than this share is stable.
const STABLE: f64 = 0.2;
/// By so much over the square root of their requests three medians of one distribution differ: the range of three, 1.7
/// standard errors of 1.25 σ/√n, of times that spread like usual work (σ 0.6). Without it no span of a low rate is stable.
const NOISE: f64 = 1.3;
/// Later than this in its 99th percentile, the driver says little about the subject.
const MOST_LAG_MS: f64 = 40.0;
/// Share of a window's p99 that the driver's lag may be where it is part of it.
const LAG_SHARE: f64 = 0.25;
/// No less lag than this is refused: on a busy node it is the wait for a core, 5 ms in its 99th percentile.
const LEAST_LAG_MS: f64 = 6.0;
/// Requests that may wait for their answer at once, at least and at most: a container may have 1024 open files.
const IN_FLIGHT: (f64, f64) = (256.0, 900.0);

/// Whether the medians of a warm-up's spans agree, as far as medians of so few requests can.
pub fn stable(result: &RunResult) -> bool {
    let spans = result.windows.iter();
    let medians = spans.filter_map(|window| Some((window.tally.sent, window.tally.latency?.p50)));
    agree(
        &medians
            .map(|(sent, p50)| (sent, p50.get()))
            .collect::<Vec<_>>(),
    )
}

/// Whether medians in ms, each of so many requests, lie within a share of the least of them.
fn agree(medians: &[(u64, f64)]) -> bool {
    let fewest = medians.iter().map(|one| one.0).min().unwrap_or(0);
    let low = medians
        .iter()
        .map(|one| one.1)
        .fold(f64::INFINITY, f64::min);
    let high = medians.iter().map(|one| one.1).fold(0.0, f64::max);
    let share = STABLE.max(NOISE / (fewest.max(1) as f64).sqrt());
    medians.len() >= 3 && high - low <= share * low.max(0.1)
}

/// Requests that may wait for their answer at once: a second of arrivals, so that a copy that waits long for its callees
/// is not taken for one that does not keep up.
pub fn in_flight(rate: f64) -> u32 {
    rate.clamp(IN_FLIGHT.0, IN_FLIGHT.1).ceil() as u32
}

/// Requests that were to be sent, and those of them that failed or were dropped. What is dropped found too many that
/// waited: left out, a copy that does not keep up would carry any rate, as late as the bound on those lets it be.
pub fn intended_and_lost(total: &Tally) -> (u64, u64) {
    (total.sent + total.dropped, total.failed + total.dropped)
}

/// What becomes of a window.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// It counts.
    Counts,
    /// The driver was late: it is driven again.
    Again,
    /// The driver was late, and there is no other try: the fit goes without it.
    Late,
}

/// How late the driver may be in its 99th percentile: its lag is in a client's times, and not in those that the copy
/// tells itself.
fn allowed_ms(times: Times, p99_ms: f64) -> f64 {
    if times == Times::Own || !p99_ms.is_finite() {
        return MOST_LAG_MS;
    }
    (LAG_SHARE * p99_ms).clamp(LEAST_LAG_MS, MOST_LAG_MS)
}

/// What becomes of a window with so much lag, where it may be driven again or not.
pub fn verdict(point: &Point, lag_ms: f64, again: bool) -> Verdict {
    // A callee in trouble ends the profile, whoever was late.
    if lag_ms <= allowed_ms(point.times, point.p99_ms) || point.callee_in_trouble {
        Verdict::Counts
    } else if again {
        Verdict::Again
    } else {
        Verdict::Late
    }
}

/// The windows for the fit: without those at these places, for which the driver was late, where one of the same size in
/// time had at least their rate. A late one errs to the slow side; without any so high, nothing would show where the copy
/// stops.
pub fn counted(points: &[Point], late: &BTreeSet<usize>) -> Vec<Point> {
    let places = || points.iter().enumerate();
    let in_time = |place: &usize| !late.contains(place);
    let shown = |point: &Point| {
        places().any(|(place, other)| {
            in_time(&place)
                && other.usable()
                && other.size == point.size
                && other.rate.get() >= point.rate.get()
        })
    };
    places()
        .filter(|(place, point)| in_time(place) || !shown(point))
        .map(|(_, point)| *point)
        .collect()
}

#[cfg(test)]
mod tests {
    use msars_domain::load::Outcomes;
    use msars_domain::{MilliCpu, Rate};

    use super::*;

    fn point(times: Times, p99_ms: f64) -> Point {
        Point {
            size: MilliCpu(2000),
            rate: Rate::new(1200.0).unwrap(),
            window_seconds: 4.0,
            requests: 4800,
            errors: 0,
            cpu_seconds: 4.8,
            times,
            waits: None,
            p50_ms: p99_ms / 4.0,
            p90_ms: p99_ms / 2.0,
            p99_ms,
            callee_in_trouble: false,
        }
    }

    #[test]
    fn medians_of_few_requests_may_differ_by_chance() {
        for (sent, medians, wanted) in [
            (400, [2.0, 2.1, 2.3], true),
            (400, [2.0, 2.1, 2.5], false),
            (10, [2.0, 2.1, 2.5], true),
            (10, [2.0, 2.6, 2.9], false),
            (1, [2.0, 3.0, 4.5], true),
        ] {
            assert_eq!(
                agree(&medians.map(|p50| (sent, p50))),
                wanted,
                "{sent} {medians:?}"
            );
        }
        assert!(!agree(&[(400, 2.0), (400, 2.0)]), "two spans say nothing");
    }

    #[test]
    fn what_was_dropped_was_to_be_sent_and_is_lost() {
        let total = Tally {
            sent: 4100,
            failed: 3,
            dropped: 700,
            outcomes: Outcomes::default(),
            latency: None,
        };
        let (requests, errors) = intended_and_lost(&total);
        assert_eq!((requests, errors), (4800, 703));
        // An event loop that is full at 1000/s, in p99 as late as the bound lets it be: within 400 ms, but it fails.
        let full = Point {
            requests,
            errors,
            ..point(Times::Client, 256.0)
        };
        assert!(full.error_share() > 0.1, "{}", full.error_share());
    }

    #[test]
    fn a_second_of_arrivals_may_wait_within_what_a_container_can_open() {
        for (rate, wanted) in [(5.0, 256), (256.5, 257), (700.0, 700), (2000.0, 900)] {
            assert_eq!(in_flight(rate), wanted, "{rate}");
        }
    }

    #[test]
    fn the_drivers_lag_is_small_beside_a_clients_times_or_the_window_does_not_count() {
        use Times::{Client, Own, Reduced};
        use Verdict::{Again, Counts, Late};
        for (times, p99_ms, lag_ms, first, then) in [
            (Client, 10.0, 5.0, Counts, Counts),
            (Client, 10.0, 7.0, Again, Late),
            (Client, 100.0, 24.0, Counts, Counts),
            (Client, 100.0, 26.0, Again, Late),
            (Reduced, 10.0, 7.0, Again, Late),
            // However slow the copy is.
            (Client, 900.0, 39.0, Counts, Counts),
            (Client, 900.0, 41.0, Again, Late),
            // Not in what the copy tells itself.
            (Own, 10.0, 39.0, Counts, Counts),
            (Own, 10.0, 41.0, Again, Late),
            // Without an answer nothing tells how late it may be.
            (Client, f64::NAN, 39.0, Counts, Counts),
        ] {
            let point = point(times, p99_ms);
            let found = [true, false].map(|again| verdict(&point, lag_ms, again));
            assert_eq!(found, [first, then], "{times:?} {p99_ms} {lag_ms}");
        }
        let strained = Point {
            callee_in_trouble: true,
            ..point(Client, 10.0)
        };
        assert_eq!(verdict(&strained, 100.0, true), Counts);
    }

    #[test]
    fn a_late_window_is_left_out_where_the_fit_can_go_without_it() {
        let at = |rate: f64, p99_ms: f64| Point {
            rate: Rate::new(rate).unwrap(),
            ..point(Times::Client, p99_ms)
        };
        let (low, high) = (at(20.0, 10.0), at(60.0, 80.0));
        let other = Point {
            size: MilliCpu(400),
            ..high
        };
        // A window without an answer.
        let nothing = at(60.0, f64::NAN);
        for (points, late, wanted) in [
            (vec![low, high], vec![], 2),
            (vec![low, high], vec![0], 1),
            // Nothing else shows what the copy does at that rate, or at that size.
            (vec![low, high], vec![1], 2),
            (vec![low, other], vec![0], 2),
            (vec![low, nothing], vec![0], 2),
            (vec![low, high], vec![0, 1], 2),
            // The same rate again, in time.
            (vec![high, high], vec![0], 1),
        ] {
            let late: BTreeSet<usize> = late.into_iter().collect();
            assert_eq!(counted(&points, &late).len(), wanted, "{points:?} {late:?}");
        }
    }
}
