//! The clock, read here alone.

use std::time::{Duration, Instant};

use jiff::Timestamp;

/// The wall time.
#[allow(
    clippy::disallowed_methods,
    reason = "a test of a real cluster: deadlines of holds are wall times"
)]
pub fn now() -> Timestamp {
    Timestamp::now()
}

/// A start.
#[derive(Debug, Clone, Copy)]
pub struct Watch(Instant);

impl Watch {
    /// Starts now.
    pub fn start() -> Self {
        Self(Instant::now())
    }

    /// Since the start.
    pub fn elapsed(self) -> Duration {
        self.0.elapsed()
    }

    /// Since the start, in seconds.
    pub fn seconds(self) -> f64 {
        self.0.elapsed().as_secs_f64()
    }
}
