//! Whether a workload suffers while a caller of it is profiled. Pure.

use std::time::Duration;

use msars_domain::{Millis, Signals};

/// A self time that passes this share of its budget is near it.
const NEAR: f64 = 0.8;
/// A longer self time is felt from this share of the objective on.
const FELT: f64 = 0.05;
/// So much more of all requests failing is felt: one percentage point.
const ROSE: f64 = 0.01;
/// Fewer failed requests are chance.
const FEW: f64 = 2.0;

/// How a workload does.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Health {
    /// Self time at the objective's percentile, ms; none where it is not known, so that any strain is seen.
    pub own_ms: f64,
    /// Share of its requests that failed, 0 to 1; none where it is not known.
    pub failed: f64,
}

/// A self time near or above its budget.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Strain {
    /// The self time at the objective's percentile, ms.
    pub now_ms: f64,
    /// How much longer than before it must be to be felt by the objective, ms.
    pub felt_ms: f64,
}

/// The strain of a workload, if it is near its budget.
pub fn strain(now_ms: f64, budget: Millis, objective: Millis) -> Option<Strain> {
    (now_ms > NEAR * budget.get()).then_some(Strain {
        now_ms,
        felt_ms: FELT * objective.get(),
    })
}

/// Share of requests that failed over `window`; none while it is not known or too few did.
pub fn failed(signals: &Signals, window: Duration) -> f64 {
    let share = signals.error_share.value().copied().unwrap_or(0.0);
    let rate = signals.rate.value().map_or(0.0, |rate| rate.get());
    if share * rate * window.as_secs_f64() < FEW {
        return 0.0;
    }
    share
}

/// Whether a workload does so much worse than before a profile that the objective feels it: near its budget and longer
/// than before, since what was tight already is not the profile's doing and noise passes a budget of few milliseconds;
/// or more of its requests fail, whatever its budget.
pub fn suffers(before: Health, strain: Option<Strain>, failed: f64) -> bool {
    strain.is_some_and(|strain| strain.now_ms - before.own_ms > strain.felt_ms)
        || failed - before.failed >= ROSE
}

#[cfg(test)]
mod tests {
    use msars_domain::{ObjectKey, Rate, Reading, Unknown};

    use super::*;

    fn ms(value: f64) -> Millis {
        Millis::new(value).unwrap()
    }

    #[test]
    fn a_callee_suffers_by_its_time_or_by_its_errors() {
        // Budget 30 ms of an objective of 400 ms: near from 24 ms on, felt from 20 ms more.
        let table = [
            // (own before, own now, failed before, failed now, suffers)
            (3.0, 25.0, 0.0, 0.0, true),
            (3.0, 22.9, 0.0, 0.0, false),
            (10.0, 25.0, 0.0, 0.0, false),
            (0.0, 25.0, 0.0, 0.0, true),
            (3.0, 4.0, 0.0, 0.011, true),
            (3.0, 4.0, 0.0, 0.009, false),
            (3.0, 4.0, 0.05, 0.055, false),
            (3.0, 4.0, 0.05, 0.061, true),
            (3.0, 4.0, 0.05, 0.0, false),
            // A callee without a split has no budget, but errors all the same.
            (3.0, 0.0, 0.0, 0.02, true),
        ];
        for (own_ms, now_ms, before, now, wanted) in table {
            let health = Health {
                own_ms,
                failed: before,
            };
            let near = strain(now_ms, ms(30.0), ms(400.0));
            let found = suffers(health, near, now);
            assert_eq!(found, wanted, "{own_ms} {now_ms} {before} {now}");
        }
        assert!(!suffers(Health::default(), None, 0.0));
    }

    #[test]
    fn one_failed_request_is_chance_and_what_is_not_known_is_none() {
        let window = Duration::from_secs(40);
        let at = jiff::Timestamp::UNIX_EPOCH;
        let why = Unknown::NoSeries;
        let mut signals = Signals {
            workload: ObjectKey::new("shop", "db"),
            rate: Reading::Unknown { why },
            peak_rate: Reading::Unknown { why },
            rate_at_least: None,
            request_quantile: Reading::Unknown { why },
            self_quantile: Reading::Unknown { why },
            callee_wait: Reading::Unknown { why },
            error_share: Reading::Unknown { why },
            cpu_cores: Reading::Unknown { why },
            throttled: Reading::Unknown { why },
        };
        let told = |signals: &Signals, wanted: f64| {
            let found = failed(signals, window);
            assert!((found - wanted).abs() < 1e-12, "{found}");
        };
        told(&signals, 0.0);
        signals.error_share = Reading::Known { value: 0.1, at };
        told(&signals, 0.0);
        for (rate, wanted) in [(0.25, 0.0), (0.5, 0.1), (50.0, 0.1)] {
            let value = Rate::new(rate).unwrap();
            signals.rate = Reading::Known { value, at };
            told(&signals, wanted);
        }
    }
}
