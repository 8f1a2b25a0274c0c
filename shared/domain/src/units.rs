//! Units as newtypes, so that a rate is never added to a latency.

use serde::{Deserialize, Serialize};

/// A value outside a unit's range.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum UnitError {
    /// A latency or rate that is negative, infinite or NaN.
    #[error("{what} must be finite and not negative, found {found}")]
    Negative {
        /// The unit that refused.
        what: &'static str,
        /// The refused value.
        found: f64,
    },
    /// A percentile outside the open interval (0, 1).
    #[error("percentile must lie between 0 and 1, both excluded, found {0}")]
    Percentile(f64),
}

impl UnitError {
    /// A bounded label for metrics and events.
    pub fn category(&self) -> &'static str {
        match self {
            Self::Negative { .. } => "NegativeQuantity",
            Self::Percentile(_) => "PercentileOutOfRange",
        }
    }
}

fn not_negative(what: &'static str, found: f64) -> Result<f64, UnitError> {
    if found.is_finite() && found >= 0.0 {
        Ok(found)
    } else {
        Err(UnitError::Negative { what, found })
    }
}

/// A latency in milliseconds, finite and not negative.
#[derive(Debug, Clone, Copy, PartialEq, PartialOrd, Serialize, Deserialize)]
#[serde(try_from = "f64", into = "f64")]
pub struct Millis(f64);

/// Requests per second, finite and not negative.
#[derive(Debug, Clone, Copy, PartialEq, PartialOrd, Serialize, Deserialize)]
#[serde(try_from = "f64", into = "f64")]
pub struct Rate(f64);

/// A share of requests in the open interval (0, 1): 0.99 is p99.
#[derive(Debug, Clone, Copy, PartialEq, PartialOrd, Serialize, Deserialize)]
#[serde(try_from = "f64", into = "f64")]
pub struct Percentile(f64);

/// Burn rate over 5 min from which an objective burns fast: two percent of a 30-day budget in an hour (Google, The
/// Site Reliability Workbook, chapter 5).
const FAST_BURN: f64 = 14.4;

/// CPU in thousandths of a core, as Kubernetes writes `250m`.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize,
)]
pub struct MilliCpu(pub u32);

/// Memory in bytes.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize,
)]
pub struct Bytes(pub u64);

impl Millis {
    /// No time at all.
    pub const ZERO: Self = Self(0.0);
    /// Checks and wraps a number of milliseconds.
    pub fn new(ms: f64) -> Result<Self, UnitError> {
        not_negative("latency in ms", ms).map(Self)
    }
    /// The number of milliseconds.
    pub fn get(self) -> f64 {
        self.0
    }
}

impl Rate {
    /// Checks and wraps a number of requests per second.
    pub fn new(per_second: f64) -> Result<Self, UnitError> {
        not_negative("rate in requests per second", per_second).map(Self)
    }
    /// Requests per second.
    pub fn get(self) -> f64 {
        self.0
    }
}

impl Percentile {
    /// Checks and wraps a share of requests.
    pub fn new(share: f64) -> Result<Self, UnitError> {
        if share > 0.0 && share < 1.0 {
            Ok(Self(share))
        } else {
            Err(UnitError::Percentile(share))
        }
    }
    /// The share of requests at or below the quantile.
    pub fn get(self) -> f64 {
        self.0
    }
    /// The share of requests allowed above the quantile.
    pub fn miss(self) -> f64 {
        1.0 - self.0
    }
    /// How many times faster than allowed an objective's budget is used up where this share of requests (0 to 1) keeps
    /// its latency: 1 uses it up exactly.
    pub fn burn_rate(self, attainment: f64) -> f64 {
        (1.0 - attainment) / self.miss()
    }
    /// Whether an objective's budget burns fast where this share of requests (0 to 1) keeps its latency.
    pub fn burns_fast(self, attainment: f64) -> bool {
        self.burn_rate(attainment) > FAST_BURN
    }
}

impl MilliCpu {
    /// Cores as a fraction: 250m is 0.25.
    pub fn cores(self) -> f64 {
        f64::from(self.0) / 1000.0
    }
}

macro_rules! float_conversions {
    ($($unit:ident),*) => {$(
        impl TryFrom<f64> for $unit {
            type Error = UnitError;
            fn try_from(value: f64) -> Result<Self, UnitError> {
                Self::new(value)
            }
        }
        impl From<$unit> for f64 {
            fn from(unit: $unit) -> f64 {
                unit.0
            }
        }
    )*};
}
float_conversions!(Millis, Rate, Percentile);

impl std::fmt::Display for MilliCpu {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}m", self.0)
    }
}

impl std::fmt::Display for Millis {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:.1} ms", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_objective_burns_fast_from_fourteen_times_its_budget_on() {
        let p99 = Percentile::new(0.99).unwrap();
        assert!((p99.burn_rate(0.99) - 1.0).abs() < 1e-9);
        for (attainment, fast) in [(1.0, false), (0.90, false), (0.86, false), (0.85, true)] {
            assert_eq!(p99.burns_fast(attainment), fast, "{attainment}");
        }
    }

    #[test]
    fn units_refuse_what_they_cannot_mean() {
        for bad in [f64::NAN, f64::INFINITY, -0.1] {
            assert!(Millis::new(bad).is_err(), "{bad}");
            assert!(Rate::new(bad).is_err(), "{bad}");
        }
        for bad in [0.0, 1.0, -1.0, f64::NAN] {
            assert_eq!(
                Percentile::new(bad).map_err(|e| e.category()),
                Err("PercentileOutOfRange")
            );
        }
    }

    #[test]
    fn a_stored_unit_is_checked_when_it_is_read_back() {
        assert!(serde_json::from_str::<Percentile>("1.5").is_err());
        assert_eq!(serde_json::to_string(&MilliCpu(250)).unwrap(), "250");
    }
}
