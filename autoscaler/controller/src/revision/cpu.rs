//! CPU per request from counters that are sampled when they please: what counts is the counter's own time.

use jiff::Timestamp;

/// Samples of one container's CPU counter, and when requests were sent to it.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct CpuLog {
    samples: Vec<(Timestamp, f64)>,
    sent: Vec<(Timestamp, Timestamp, u64)>,
}

impl CpuLog {
    /// Adds a sample, by its own time; one that is not newer than the last, or smaller, is no news.
    pub fn sample(&mut self, at: Timestamp, cpu_seconds: f64) {
        let news = self
            .samples
            .last()
            .is_none_or(|&(last, value)| at > last && cpu_seconds >= value);
        if news && cpu_seconds.is_finite() {
            self.samples.push((at, cpu_seconds));
        }
    }

    /// Adds a span in which requests were sent evenly.
    pub fn sent(&mut self, start: Timestamp, end: Timestamp, requests: u64) {
        if end > start {
            self.sent.push((start, end, requests));
        }
    }

    /// Share of all requests that were sent between the first and the last sample, 0 to 1.
    pub fn covered(&self) -> f64 {
        let (Some(&first), Some(&last)) = (self.samples.first(), self.samples.last()) else {
            return 0.0;
        };
        let all: f64 = self.sent.iter().map(|sent| sent.2 as f64).sum();
        self.requests(first.0, last.0) / all.max(1.0)
    }

    /// CPU seconds per request between the first and the last sample; `None` with fewer than two samples or without
    /// requests between them.
    pub fn per_request(&self) -> Option<f64> {
        let (&first, &last) = (self.samples.first()?, self.samples.last()?);
        self.over(first, last)
    }

    /// CPU seconds per request between the last sample at or before `start` and the first at or after `end`.
    pub fn per_request_between(&self, start: Timestamp, end: Timestamp) -> Option<f64> {
        let first = self.samples.iter().rev().find(|sample| sample.0 <= start)?;
        let last = self.samples.iter().find(|sample| sample.0 >= end)?;
        self.over(*first, *last)
    }

    fn requests(&self, after: Timestamp, before: Timestamp) -> f64 {
        let one = |&(start, end, requests): &(Timestamp, Timestamp, u64)| {
            let overlap = end.min(before).duration_since(start.max(after));
            let share = overlap.as_secs_f64().max(0.0) / end.duration_since(start).as_secs_f64();
            requests as f64 * share
        };
        self.sent.iter().map(one).sum()
    }

    fn over(&self, first: (Timestamp, f64), last: (Timestamp, f64)) -> Option<f64> {
        let requests = self.requests(first.0, last.0);
        (requests >= 1.0).then(|| (last.1 - first.1) / requests)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_second(1_000 + seconds).unwrap()
    }

    fn log() -> CpuLog {
        let mut log = CpuLog::default();
        log.sample(at(0), 1.0);
        log.sent(at(2), at(6), 40);
        log.sample(at(10), 1.12);
        log.sent(at(12), at(16), 80);
        log.sample(at(14), 1.24);
        log
    }

    #[test]
    fn requests_count_by_their_overlap_with_the_samples() {
        assert!((log().per_request().unwrap() - 0.24 / 80.0).abs() < 1e-12);
        let first = log().per_request_between(at(2), at(6)).unwrap();
        assert!((first - 0.12 / 40.0).abs() < 1e-12);
        assert_eq!(log().per_request_between(at(12), at(16)), None);
        assert!((log().covered() - 80.0 / 120.0).abs() < 1e-12);
    }

    #[test]
    fn stale_samples_and_counters_that_ran_backwards_are_no_news() {
        let mut log = log();
        log.sample(at(14), 9.0);
        log.sample(at(15), 0.1);
        log.sample(at(16), f64::NAN);
        assert_eq!(log, self::log());
    }

    #[test]
    fn nothing_known_is_none() {
        let mut log = CpuLog::default();
        assert_eq!(log.per_request(), None);
        assert!(log.covered().abs() < 1e-12);
        log.sample(at(0), 1.0);
        log.sample(at(9), 2.0);
        assert_eq!(log.per_request(), None);
    }
}
