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

/// The rate of now stays as it is, and the highest of the recent past may come back: of the last `window_s` seconds where
/// there is a history, else of the signals' own peak window; never below the rate of now. Where the rate of now is not
/// known, the peak is the load.
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
                .filter(|s| elapsed(window.now, s.at) <= f64::from(self.window_s))
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
