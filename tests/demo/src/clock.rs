//! The clock, read here alone.

use std::time::{Duration, Instant};

use jiff::Timestamp;

/// A start, on both clocks.
#[derive(Debug, Clone, Copy)]
pub struct Clock {
    began: Instant,
    at: Timestamp,
}

impl Clock {
    /// Starts now.
    #[allow(
        clippy::disallowed_methods,
        reason = "a tool: its report needs the wall time of its start"
    )]
    pub fn start() -> Self {
        Self {
            began: Instant::now(),
            at: Timestamp::now(),
        }
    }

    /// Since the start.
    pub fn elapsed(&self) -> Duration {
        self.began.elapsed()
    }

    /// The wall time of the start.
    pub fn at(&self) -> Timestamp {
        self.at
    }

    /// Seconds from the start to a wall time.
    pub fn seconds_at(&self, at: Timestamp) -> f64 {
        at.duration_since(self.at).as_secs_f64()
    }
}
