//! Waiting until callees have grown for what a copy sends on to them.

use std::time::Duration;

use msars_domain::{ObjectKey, Rate};
use tokio::time::{Instant, sleep};

use super::measure::Bench;

/// How long a copy that is Ready waits until its callees have grown for it: they began as it was made.
const GROWN_WITHIN: Duration = Duration::from_secs(4);
/// Between two looks at them.
const LOOK: Duration = Duration::from_millis(200);

impl Bench {
    /// The most that the copy of a workload may be offered for its callees' sake, and which of them bounds it; once there
    /// is room for what is wished, or they have grown as far as they do, [`GROWN_WITHIN`] at the longest.
    pub async fn hosted(
        &self,
        workload: &ObjectKey,
        wished: Option<Rate>,
    ) -> Option<(Rate, ObjectKey)> {
        let deadline = Instant::now() + GROWN_WITHIN;
        loop {
            let most = self.board.most(workload);
            let enough = match (&most, wished) {
                (Some((most, _)), Some(wished)) => *most >= wished,
                _ => true,
            };
            let late = Instant::now() >= deadline;
            if enough || late || self.board.grown(workload) {
                tracing::info!(%workload, ?most, ?wished, late, "what callees have room for");
                return most;
            }
            sleep(LOOK).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;
    use serde_json::Value;

    use super::super::size::tests::answers;
    use super::*;
    use crate::objective::tests::{hosted_board, key, lone, rate};

    /// A bench whose copy's only callee has pods of so much, 0.61 of 40m at most filled and 0.7 of 86m.
    fn bench(limit: u32) -> Bench {
        let mut bench = answers(vec![(200, Value::Null)]);
        bench.board = hosted_board().into();
        let profiling = [(key("catalogue"), Some(rate(20.0)))].into();
        bench.board.set_profiling(profiling, Timestamp::UNIX_EPOCH);
        grow(&bench, limit);
        bench
    }

    fn grow(bench: &Bench, limit: u32) {
        let has = |found: &ObjectKey| (*found == key("db")).then(|| lone(limit));
        bench.board.set_limits(has);
    }

    #[tokio::test(start_paused = true)]
    async fn a_copy_waits_for_its_callees_but_not_for_long() {
        let (begin, name) = (Instant::now(), key("catalogue"));
        // Enough at once, or nothing known of the callee: no wait.
        for (wished, limit, most) in [(Some(20.0), 86, 20.1), (None, 40, 2.192)] {
            let found = bench(limit).hosted(&name, wished.map(rate)).await;
            let found = found.map(|(most, _)| most.get());
            assert!(found.is_some_and(|found| (found - most).abs() < 1e-3));
        }
        assert_eq!(bench(40).hosted(&key("db"), Some(rate(9.0))).await, None);
        assert_eq!(begin.elapsed(), Duration::ZERO);
        // It grows meanwhile.
        let bench = bench(40);
        let grows = async {
            sleep(LOOK * 3).await;
            grow(&bench, 86);
        };
        let (found, ()) = tokio::join!(bench.hosted(&name, Some(rate(20.0))), grows);
        assert!(found.is_some_and(|(most, _)| most >= rate(20.0)));
        assert!(begin.elapsed() < GROWN_WITHIN);
        // It does not.
        let begin = Instant::now();
        grow(&bench, 40);
        let found = bench.hosted(&name, Some(rate(20.0))).await;
        assert!(found.is_some_and(|(most, _)| most < rate(20.0)));
        assert!(begin.elapsed() >= GROWN_WITHIN);
    }
}
