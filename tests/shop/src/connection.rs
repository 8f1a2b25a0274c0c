//! When a server closes a connection. Kubernetes balances connections, not requests, so a
//! connection that lives long keeps new pods without traffic. The server says
//! `Connection: close` on the last answer: no client can send into the closing connection.

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

/// How long connections live.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lifetime {
    /// Oldest age at which an answer leaves the connection open, give or take a quarter.
    pub age: Duration,
    /// Most requests.
    pub requests: u32,
}

impl Default for Lifetime {
    fn default() -> Self {
        Self {
            age: Duration::from_secs(2),
            requests: 200,
        }
    }
}

/// One connection's life.
pub(crate) struct Life {
    end: Instant,
    left: AtomicU32,
}

impl Life {
    /// The `number`th connection; ages are spread so that they do not all end together.
    pub(crate) fn new(limit: Lifetime, number: u32, now: Instant) -> Self {
        let eighths = number % 5 + 6;
        Self {
            end: now + limit.age * eighths / 8,
            left: AtomicU32::new(limit.requests),
        }
    }

    /// Counts an answer; true when it should be the last.
    pub(crate) fn is_over(&self, now: Instant) -> bool {
        let left = self
            .left
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| {
                Some(left.saturating_sub(1))
            });
        now >= self.end || left.is_ok_and(|before| before <= 1)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{Life, Lifetime};
    use crate::clock;

    #[test]
    fn a_connection_ends_by_age_or_by_count() {
        let now = clock::now();
        let limit = Lifetime {
            age: Duration::from_secs(2),
            requests: 3,
        };
        let life = Life::new(limit, 0, now);
        assert_eq!(
            [0, 0, 0, 0].map(|_| life.is_over(now)),
            [false, false, true, true]
        );
        for number in 0..20 {
            let life = Life::new(limit, number, now);
            assert!(!life.is_over(now + Duration::from_millis(1_499)));
            assert!(life.is_over(now + Duration::from_millis(2_500)));
        }
    }
}
