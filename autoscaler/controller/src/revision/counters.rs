//! What a copy's counters say of a window: its own times and its waits. Pure.

use jiff::Timestamp;
use msars_domain::Percentile;
use msars_observe::Buckets;

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
    /// Calls that failed.
    pub failed_calls: Option<f64>,
}

/// p50, p90 and p99 of the self times between two readings in ms, where the copy exports them and enough were seen
/// for a median.
pub fn own_times(before: Option<&Counters>, after: Option<&Counters>) -> Option<[f64; 3]> {
    let before = before?.self_times.as_ref()?;
    let times = after?.self_times.as_ref()?.since(before).ok()?;
    let read = |share: f64| {
        let percentile = Percentile::new(share).ok()?;
        Some(times.quantile(percentile)?.value * 1000.0)
    };
    let found = [read(0.5)?, read(0.9)?, read(0.99)?];
    (times.count() >= 20.0).then_some(found)
}

/// What a window's requests waited for.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Waits {
    seconds: f64,
    failed: f64,
}

impl Waits {
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
    pub fn self_times(&self, requests: u64, latencies_ms: [f64; 3]) -> [f64; 3] {
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
    }

    #[test]
    fn waits_are_taken_out_but_never_all_of_the_time() {
        let at = |waited, failed| Counters {
            waited: Some(waited),
            failed_calls: Some(failed),
            ..Counters::default()
        };
        let waits = Waits::between(Some(&at(1.0, 0.0)), Some(&at(1.4, 5.0)));
        let [p50, p90, p99] = waits.self_times(100, [5.0, 10.0, 4.1]);
        assert!(
            (p50 - 1.0).abs() < 1e-9 && (p90 - 6.0).abs() < 1e-9,
            "{p50} {p90}"
        );
        assert!((p99 - 0.41).abs() < 1e-9, "{p99}");
        assert!(waits.errors_rose(100));
        assert!(!Waits::between(None, Some(&at(9.0, 9.0))).errors_rose(100));
    }
}
