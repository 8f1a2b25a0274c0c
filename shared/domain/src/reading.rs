//! A measurement is known or it is not; there is no zero that means "no data".

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::Millis;

/// Why a measurement is missing (research on metric outages: prometheus#6645, keda-docs#1812).
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub enum Unknown {
    /// The source did not answer in time.
    Unreachable,
    /// The source answered, but nothing matches.
    NoSeries,
    /// The newest sample is older than its limit.
    Stale,
    /// NaN, infinite, or counters that ran backwards.
    NotANumber,
    /// Too few requests for the quantile asked.
    TooFewSamples,
    /// The quantile lies above the largest bound of its histogram: nobody knows by how much.
    Saturated {
        /// That bound.
        least: Millis,
    },
}

/// A measurement with its age, or the reason why there is none. Nothing shrinks on `Unknown`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum Reading<T> {
    /// Measured.
    Known {
        /// The value.
        value: T,
        /// When it was true at its source.
        at: Timestamp,
    },
    /// Not measured.
    Unknown {
        /// Why not.
        why: Unknown,
    },
}

impl<T> Reading<T> {
    /// The value, unless it is unknown.
    pub fn value(&self) -> Option<&T> {
        match self {
            Self::Known { value, .. } => Some(value),
            Self::Unknown { .. } => None,
        }
    }

    /// Turns a value older than `limit` at `now` into `Unknown::Stale`.
    #[must_use]
    pub fn fresh(self, now: Timestamp, limit: std::time::Duration) -> Self {
        match self {
            Self::Known { at, .. }
                if now.duration_since(at).as_secs_f64() > limit.as_secs_f64() =>
            {
                Self::Unknown {
                    why: Unknown::Stale,
                }
            }
            other => other,
        }
    }
}

impl Reading<Millis> {
    /// What the latency is at least: its value, or the bound that it lies above.
    pub fn least(&self) -> Option<Millis> {
        match self {
            Self::Known { value, .. } => Some(*value),
            Self::Unknown {
                why: Unknown::Saturated { least },
            } => Some(*least),
            Self::Unknown { .. } => None,
        }
    }

    /// Whether it lies above the largest bound of its histogram.
    pub fn saturated(&self) -> bool {
        matches!(
            self,
            Self::Unknown {
                why: Unknown::Saturated { .. }
            }
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn a_reading_past_its_limit_is_unknown_and_not_zero() {
        let at: Timestamp = "2026-01-01T00:00:00Z".parse().unwrap();
        let reading = Reading::Known { value: 3.0, at };
        let later = at + Duration::from_secs(31);
        assert_eq!(
            reading.clone().fresh(at, Duration::from_secs(30)).value(),
            Some(&3.0)
        );
        assert_eq!(
            reading.fresh(later, Duration::from_secs(30)),
            Reading::Unknown {
                why: Unknown::Stale
            }
        );
    }

    #[test]
    fn a_latency_above_the_largest_bound_has_no_value_but_a_least_one() {
        let bound = Millis::new(10.0).unwrap();
        let why = Unknown::Saturated { least: bound };
        let above = Reading::<Millis>::Unknown { why };
        assert_eq!((above.value(), above.least()), (None, Some(bound)));
        assert!(above.saturated());
        let stale = Reading::<Millis>::Unknown {
            why: Unknown::Stale,
        };
        assert_eq!((stale.least(), stale.saturated()), (None, false));
    }
}
