//! What a request costs beside its work: HTTP, wake-ups, probes. Measured from the process's
//! CPU clock and taken off the work, so that the table states what a container's CPU
//! counter shows.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// Before the first measurement, milliseconds.
const START_MS: f64 = 0.1;
/// Never more than this, milliseconds: at very low rates probes and scrapes outweigh the
/// requests they would be counted to.
const MOST_MS: f64 = 0.4;
/// Requests per measurement.
const WINDOW: u32 = 50;
/// Weight of the newest measurement.
const FRESH: f64 = 0.3;

struct State {
    estimate_ms: f64,
    since: Duration,
    burned: Duration,
    requests: u32,
}

/// Running estimate of CPU time per request outside the workers.
pub(crate) struct Overhead(Mutex<State>);

impl Overhead {
    /// Starts at the process's CPU time so far.
    pub(crate) fn new(process_cpu: Duration) -> Self {
        Self(Mutex::new(State {
            estimate_ms: START_MS,
            since: process_cpu,
            burned: Duration::ZERO,
            requests: 0,
        }))
    }

    /// The work to burn for a request of so much CPU time, both milliseconds.
    pub(crate) fn net(&self, work_ms: f64) -> Duration {
        let estimate = self
            .0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .estimate_ms;
        Duration::from_secs_f64((work_ms - estimate).max(0.0) / 1000.0)
    }

    /// Counts one request that burned so much; reads the process's CPU time once per window.
    pub(crate) fn settle(&self, burned: Duration, process_cpu: impl FnOnce() -> Duration) {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        state.requests += 1;
        state.burned += burned;
        if state.requests < WINDOW {
            return;
        }
        let now = process_cpu();
        let beside = now.saturating_sub(state.since).saturating_sub(state.burned);
        let per_request = beside.as_secs_f64() * 1000.0 / f64::from(WINDOW);
        let mixed = (1.0 - FRESH) * state.estimate_ms + FRESH * per_request;
        *state = State {
            estimate_ms: mixed.min(MOST_MS),
            since: now,
            burned: Duration::ZERO,
            requests: 0,
        };
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{Overhead, WINDOW};

    fn after(windows: u32, beside: Duration) -> Duration {
        let burned = Duration::from_millis(2);
        let mut cpu = Duration::from_secs(1);
        let overhead = Overhead::new(cpu);
        for _ in 0..windows * WINDOW {
            cpu += burned + beside;
            overhead.settle(burned, || cpu);
        }
        overhead.net(3.0)
    }

    #[test]
    fn the_estimate_finds_what_is_spent_beside_the_work() {
        let net = after(40, Duration::from_micros(200)).as_secs_f64();
        assert!((net - 0.0028).abs() < 1e-5, "{net}");
    }

    #[test]
    fn it_never_takes_more_than_its_limit_and_never_more_than_the_work() {
        let net = after(40, Duration::from_millis(50)).as_secs_f64();
        assert!((net - 0.0026).abs() < 1e-5, "{net}");
        assert_eq!(Overhead::new(Duration::ZERO).net(0.01), Duration::ZERO);
    }
}
