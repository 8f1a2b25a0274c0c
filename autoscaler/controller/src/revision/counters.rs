//! What a copy's counters say of a window: its own times and its waits. Pure.

use jiff::Timestamp;
use msars_domain::Percentile;
use msars_llp::{Times, Waits};
use msars_observe::{Buckets, Program};

/// Counters of a copy at one moment.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Counters {
    /// CPU seconds, at the sample's own time.
    pub cpu: Option<(Timestamp, f64)>,
    /// Whether the copy itself exports its CPU, so that the figure is of this moment.
    pub own_cpu: bool,
    /// Self times so far, where the copy exports them.
    pub self_times: Option<Buckets>,
    /// Seconds waited for callees.
    pub waited: Option<f64>,
    /// Times of calls so far, where the copy has made any.
    pub call_times: Option<Buckets>,
    /// Calls that failed.
    pub failed_calls: Option<f64>,
}

impl Counters {
    /// What a copy says of itself at `at`; without CPU of its own the kubelet's is to be asked.
    pub fn of(program: Program, at: Timestamp) -> Self {
        Self {
            own_cpu: program.cpu_seconds.is_some(),
            cpu: program.cpu_seconds.map(|seconds| (at, seconds)),
            self_times: program.self_times,
            waited: program.waited,
            call_times: program.call_times,
            failed_calls: program.failed_calls,
        }
    }
}

/// p50, p90 and p99 of the self times between two readings in ms, where the copy exports them, enough were seen for a
/// median, and none of the three lies above the largest bound: the client's times have no such bound.
fn own_times(before: Option<&Counters>, after: Option<&Counters>) -> Option<[f64; 3]> {
    let before = before?.self_times.as_ref()?;
    let times = after?.self_times.as_ref()?.since(before).ok()?;
    let read = |share: f64| {
        let quantile = times.quantile(Percentile::new(share).ok()?)?;
        (!quantile.saturated).then_some(quantile.value * 1000.0)
    };
    let found = [read(0.5)?, read(0.9)?, read(0.99)?];
    (times.count() >= 20.0).then_some(found)
}

/// How long calls took between two readings, where the copy exports them as a histogram. A copy that had called nobody
/// before has no such series yet.
fn calls(before: Option<&Counters>, after: Option<&Counters>, requests: u64) -> Option<Waits> {
    let times = after?.call_times.as_ref()?;
    let times = match before?.call_times.as_ref() {
        Some(before) => times.since(before).ok()?,
        None => times.clone(),
    };
    let per_request = times.count() / requests.max(1) as f64;
    Waits::new(per_request, |share| {
        // The ends of the distribution lie in the first and last bucket that hold a call.
        let percentile = Percentile::new(share.clamp(1e-6, 1.0 - 1e-6)).ok()?;
        Some(times.quantile(percentile)?.value * 1000.0)
    })
}

/// The times of a window in ms at p50, p90 and p99, which they are, and the waits behind them: self times of the copy
/// where it exports them, else a client's `latencies_ms` with the histogram of calls; where that is missing too, less
/// the mean wait, should there be one.
pub fn times(
    before: Option<&Counters>,
    after: Option<&Counters>,
    requests: u64,
    latencies_ms: [f64; 3],
) -> (Times, Option<Waits>, [f64; 3]) {
    let waits = calls(before, after, requests);
    if let Some(own) = own_times(before, after) {
        return (Times::Own, waits, own);
    }
    let waited = Waited::between(before, after);
    if waits.is_some() || waited.seconds <= 0.0 {
        return (Times::Client, waits, latencies_ms);
    }
    let reduced = waited.self_times(requests, latencies_ms);
    (Times::Reduced, None, reduced)
}

/// What a window's requests waited for.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Waited {
    seconds: f64,
    failed: f64,
}

impl Waited {
    /// Differences of two readings; what is not known is zero: all time then counts as self time, which errs on the
    /// side of a slower service.
    pub fn between(before: Option<&Counters>, after: Option<&Counters>) -> Self {
        let difference = |pick: fn(&Counters) -> Option<f64>| {
            let before = before.and_then(pick)?;
            Some((after.and_then(pick)? - before).max(0.0))
        };
        Self {
            seconds: difference(|c| c.waited).unwrap_or(0.0),
            failed: difference(|c| c.failed_calls).unwrap_or(0.0),
        }
    }

    /// Client latencies in ms less the mean wait per request, at least a tenth of what the client saw.
    fn self_times(&self, requests: u64, latencies_ms: [f64; 3]) -> [f64; 3] {
        let mean_ms = self.seconds * 1000.0 / requests.max(1) as f64;
        latencies_ms.map(|latency| (latency - mean_ms).max(latency / 10.0))
    }

    /// Whether calls of the copy failed at more than one in a hundred requests.
    pub fn errors_rose(&self, requests: u64) -> bool {
        self.failed > 0.01 * requests as f64 && self.failed >= 2.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use msars_observe::Preset;

    #[test]
    fn self_times_come_from_the_copy_where_it_exports_them() {
        let counters = |counts: [f64; 3]| Counters {
            self_times: Buckets::new(["0.002", "0.004", "+Inf"].into_iter().zip(counts)).ok(),
            ..Counters::default()
        };
        let before = counters([10.0, 10.0, 10.0]);
        let after = counters([60.0, 110.0, 110.0]);
        let [p50, p90, p99] = own_times(Some(&before), Some(&after)).unwrap();
        assert!((p50 - 2.0).abs() < 1e-9, "{p50}");
        assert!(p90 > 3.0 && p99 > p90 && p99 < 4.0, "{p90} {p99}");
        assert_eq!(own_times(Some(&before), Some(&before)), None);
        assert_eq!(own_times(None, Some(&after)), None);
        let beyond = counters([60.0, 110.0, 112.0]);
        assert_eq!(
            own_times(Some(&before), Some(&beyond)),
            None,
            "p99 above 4 ms may be anything"
        );
    }

    #[test]
    fn a_program_of_any_preset_is_asked_for_its_own_cpu_and_calls() {
        let page = "process_cpu_seconds_total 2.5\n\
            istio_requests_total{reporter=\"source\",response_code=\"503\"} 4\n\
            istio_request_duration_milliseconds_sum{reporter=\"source\"} 400\n";
        let at = Timestamp::UNIX_EPOCH;
        let read = Counters::of(Program::read(&Preset::istio(), page), at);
        assert_eq!((read.cpu, read.own_cpu), (Some((at, 2.5)), true));
        assert_eq!((read.waited, read.failed_calls), (Some(0.4), Some(4.0)));
        // The kubelet's counter stands in for a program without one.
        let none = Counters::of(Program::read(&Preset::prometheus(), ""), at);
        assert_eq!(none, Counters::default());
    }

    #[test]
    fn waits_are_told_by_the_histogram_of_calls_and_by_their_mean_without_one() {
        let counters = |waited, calls: Option<[f64; 3]>| Counters {
            waited: Some(waited),
            call_times: calls.and_then(|calls| {
                Buckets::new(["0.001", "0.1", "+Inf"].into_iter().zip(calls)).ok()
            }),
            ..Counters::default()
        };
        let latencies = [5.0, 10.0, 80.0];
        let before = counters(1.0, Some([5.0, 5.0, 5.0]));
        let after = counters(2.0, Some([95.0, 105.0, 105.0]));
        let (kind, waits, found) = times(Some(&before), Some(&after), 100, latencies);
        assert_eq!((kind, found), (Times::Client, latencies));
        let first = counters(0.0, None);
        let same = times(
            Some(&first),
            Some(&counters(1.0, Some([90.0, 100.0, 100.0]))),
            100,
            latencies,
        );
        assert_eq!(waits, same.1, "the first call of all is within the window");
        assert!(waits.is_some());
        let (kind, waits, [p50, ..]) =
            times(Some(&first), Some(&counters(0.2, None)), 100, latencies);
        assert_eq!((kind, waits), (Times::Reduced, None));
        assert!((p50 - 3.0).abs() < 1e-9, "{p50}");
        assert_eq!(
            times(Some(&first), Some(&first), 100, latencies).0,
            Times::Client
        );
        assert_eq!(times(None, None, 100, latencies).0, Times::Client);
    }

    #[test]
    fn waits_are_taken_out_but_never_all_of_the_time() {
        let at = |waited, failed| Counters {
            waited: Some(waited),
            failed_calls: Some(failed),
            ..Counters::default()
        };
        let waits = Waited::between(Some(&at(1.0, 0.0)), Some(&at(1.4, 5.0)));
        let [p50, p90, p99] = waits.self_times(100, [5.0, 10.0, 4.1]);
        assert!(
            (p50 - 1.0).abs() < 1e-9 && (p90 - 6.0).abs() < 1e-9,
            "{p50} {p90}"
        );
        assert!((p99 - 0.41).abs() < 1e-9, "{p99}");
        assert!(waits.errors_rose(100));
        assert!(!Waited::between(None, Some(&at(9.0, 9.0))).errors_rose(100));
    }
}
