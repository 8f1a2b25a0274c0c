//! The only place of this crate that reads the wall clock and the CPU clock.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use rustix::time::{ClockId, clock_gettime};

/// The wall clock, UTC.
#[allow(
    clippy::disallowed_methods,
    reason = "the driver stamps its windows; nothing here decides by this clock"
)]
pub(crate) fn now() -> Timestamp {
    Timestamp::now()
}

/// CPU time of the whole process so far.
pub(crate) fn cpu_time() -> Duration {
    let spent = clock_gettime(ClockId::ProcessCPUTime);
    Duration::new(
        u64::try_from(spent.tv_sec).unwrap_or(0),
        u32::try_from(spent.tv_nsec).unwrap_or(0),
    )
}

/// `start` + `seconds`; `start` itself where the sum is no time.
pub(crate) fn after(start: Timestamp, seconds: f64) -> Timestamp {
    SignedDuration::try_from_secs_f64(seconds)
        .ok()
        .and_then(|span| start.checked_add(span).ok())
        .unwrap_or(start)
}
