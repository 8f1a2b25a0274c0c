//! What load to prepare for: the seam, and the last peak.

use jiff::Timestamp;
use msars_domain::{Rate, RateSample, Reading, Signals, Unknown};
use serde::{Deserialize, Serialize};

use crate::state::elapsed;

/// One workload's recent past.
#[derive(Debug, Clone, Copy)]
pub struct Window<'a> {
    /// The time of the forecast.
    pub now: Timestamp,
    /// Metrics of now.
    pub signals: &'a Signals,
    /// Rates, oldest first; may be empty.
    pub history: &'a [RateSample],
    /// Seconds of `behavior`'s stabilization window downward: for no longer does its user want what was to count.
    pub hold_s: u32,
}

/// The load to prepare for.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Forecast {
    /// The highest rate until an action takes effect, requests per second into the workload: a fleet that does not
    /// carry it grows.
    pub load: Reading<Rate>,
    /// A rate that may come back: nothing shrinks below what carries it. It asks for no growth, or a fleet that could not
    /// grow in time would go on growing after the load has fallen.
    pub peak: Reading<Rate>,
}

/// Forecasts for all workloads at once; one per window, in order.
pub trait Forecaster {
    /// See the trait.
    fn forecast(&mut self, windows: &[Window<'_>]) -> Vec<Forecast>;
}

/// The rate of now stays as it is, and the highest of the recent past may come back: of the last `window_s` seconds (less
/// where `behavior`'s window downward is shorter) where there is a history, else of the signals' own peak window; never
/// below the rate of now. Where the rate of now is not known, the peak is the load.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LastPeak {
    /// Seconds of history that count.
    pub window_s: u32,
}

impl Default for LastPeak {
    /// Two minutes: the shield's stabilisation window adds its own memory.
    fn default() -> Self {
        Self { window_s: 120 }
    }
}

impl Forecaster for LastPeak {
    fn forecast(&mut self, windows: &[Window<'_>]) -> Vec<Forecast> {
        let one = |window: &Window<'_>| {
            let recent = window
                .history
                .iter()
                .filter(|s| {
                    elapsed(window.now, s.at) <= f64::from(self.window_s.min(window.hold_s))
                })
                .map(|s| (s.rate, s.at))
                .reduce(|a, b| if b.0 > a.0 { b } else { a });
            let known = |reading: &Reading<Rate>| match reading {
                Reading::Known { value, at } => Some((*value, *at)),
                Reading::Unknown { .. } => None,
            };
            let past = recent.or_else(|| known(&window.signals.peak_rate));
            let now = known(&window.signals.rate);
            let best = match (past, now) {
                (Some(a), Some(b)) => Some(if b.0 > a.0 { b } else { a }),
                (a, b) => a.or(b),
            };
            let reading = |found: Option<(Rate, Timestamp)>| match (found, &window.signals.rate) {
                (Some((value, at)), _) => Reading::Known { value, at },
                (None, Reading::Unknown { why }) => Reading::Unknown { why: *why },
                (None, Reading::Known { .. }) => Reading::Unknown {
                    why: Unknown::NoSeries,
                },
            };
            Forecast {
                load: reading(now.or(best)),
                peak: reading(best),
            }
        };
        windows.iter().map(one).collect()
    }
}

#[cfg(test)]
mod tests {
    use jiff::SignedDuration;
    use msars_domain::{Millis, ObjectKey};

    use super::*;

    fn known(rate: f64) -> Reading<Rate> {
        Reading::Known {
            value: Rate::new(rate).unwrap(),
            at: Timestamp::UNIX_EPOCH,
        }
    }

    #[test]
    fn growth_is_for_the_load_and_the_peak_is_remembered_as_long_as_its_user_wants() {
        let none: Reading<f64> = Reading::Unknown {
            why: Unknown::NoSeries,
        };
        let time: Reading<Millis> = Reading::Unknown {
            why: Unknown::NoSeries,
        };
        let at = |second: i64| Timestamp::UNIX_EPOCH + SignedDuration::from_secs(second);
        let history = [(0, 90.0), (60, 70.0), (105, 50.0)].map(|(second, rate)| RateSample {
            at: at(second),
            rate: Rate::new(rate).unwrap(),
        });
        let lost = Reading::Unknown {
            why: Unknown::Stale,
        };
        // The rate of now, seconds that the peak holds; the load, the peak.
        for (rate, hold_s, wanted) in [
            (known(20.0), 300, (Some(20.0), Some(90.0))),
            (known(20.0), 60, (Some(20.0), Some(70.0))),
            (known(20.0), 15, (Some(20.0), Some(50.0))),
            (known(200.0), 300, (Some(200.0), Some(200.0))),
            (lost, 60, (Some(70.0), Some(70.0))),
        ] {
            let signals = Signals {
                workload: ObjectKey::new("shop", "carts"),
                peak_rate: rate.clone(),
                rate,
                rate_at_least: None,
                request_quantile: time.clone(),
                self_quantile: time.clone(),
                callee_wait: time.clone(),
                error_share: none.clone(),
                cpu_cores: none.clone(),
                throttled: none.clone(),
            };
            let window = Window {
                now: at(120),
                signals: &signals,
                history: &history,
                hold_s,
            };
            let found = LastPeak::default().forecast(&[window]).remove(0);
            let plain = |reading: &Reading<Rate>| reading.value().map(|rate| rate.get());
            assert_eq!((plain(&found.load), plain(&found.peak)), wanted, "{hold_s}");
        }
    }
}
