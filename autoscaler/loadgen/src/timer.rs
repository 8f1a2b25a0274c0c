//! Waiting for an instant to some tens of microseconds, where tokio's timer rounds up to the next millisecond.

use std::io;
use std::os::fd::OwnedFd;
use std::time::Instant;

use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create,
    timerfd_settime,
};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// A `timerfd` in tokio's reactor: two system calls per wait.
pub(crate) struct Timer(AsyncFd<OwnedFd>);

impl Timer {
    #[allow(
        deprecated,
        reason = "the replacement is unsafe, for descriptors that change under it; ours is owned and never replaced"
    )]
    pub(crate) fn new() -> io::Result<Self> {
        let flags = TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC;
        let fd = timerfd_create(TimerfdClockId::Monotonic, flags)?;
        AsyncFd::with_interest(fd, Interest::READABLE).map(Self)
    }

    /// Returns at `instant` or soon after; gives other tasks a turn when it has passed. May be dropped half-way.
    pub(crate) async fn until(&mut self, instant: Instant) -> io::Result<()> {
        let wait = instant.saturating_duration_since(Instant::now());
        if wait.is_zero() {
            tokio::task::yield_now().await;
            return Ok(());
        }
        let zero = Timespec {
            tv_sec: 0,
            tv_nsec: 0,
        };
        let wait = Itimerspec {
            it_interval: zero,
            it_value: Timespec {
                tv_sec: i64::try_from(wait.as_secs()).unwrap_or(i64::MAX),
                tv_nsec: wait.subsec_nanos().into(),
            },
        };
        timerfd_settime(self.0.get_ref(), TimerfdTimerFlags::empty(), &wait)?;
        loop {
            let mut ready = self.0.readable().await?;
            // Readiness may be left over from a wait that was dropped: then the read would block and we go on.
            let read = ready.try_io(|fd| {
                let mut expirations = [0_u8; 8];
                rustix::io::read(fd.get_ref(), &mut expirations).map_err(io::Error::from)
            });
            match read {
                Ok(read) => return read.map(|_| ()),
                Err(_would_block) => {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[tokio::test]
    async fn never_returns_early_even_after_a_dropped_wait() {
        let mut timer = Timer::new().unwrap();
        let start = Instant::now();
        for step in 1..20 {
            let dropped = timer.until(start + Duration::from_mins(1));
            assert!(
                tokio::time::timeout(Duration::from_micros(10), dropped)
                    .await
                    .is_err()
            );
            let wanted = start + step * Duration::from_micros(2_300);
            timer.until(wanted).await.unwrap();
            assert!(Instant::now() >= wanted);
        }
        timer.until(start).await.unwrap();
    }
}
