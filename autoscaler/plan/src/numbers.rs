//! The figures behind a decision.

use std::fmt::Write as _;

use msars_domain::Millis;
use serde::{Deserialize, Serialize};

/// The figures of a decision; rates in requests per second.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Numbers {
    /// The load that growth is for.
    pub load: Option<f64>,
    /// The same with headroom (and more when saturated).
    pub asks: Option<f64>,
    /// The recent peak, below which nothing shrinks.
    pub peak: Option<f64>,
    /// The same with headroom (and more when saturated).
    pub need: Option<f64>,
    /// The budget planned for.
    pub budget: Option<Millis>,
    /// What the fleet found carries: replicas without a node or without a pod for long carry nothing.
    pub carries_now: Option<f64>,
    /// What the fleet wanted carries.
    pub carries_then: Option<f64>,
    /// What one serving pod of the fleet found carries.
    #[serde(default)]
    pub each_now: Option<f64>,
    /// What one serving pod of the fleet wanted carries.
    #[serde(default)]
    pub each_then: Option<f64>,
    /// Requested milli-cores of the fleet found and wanted.
    pub requested: Option<(f64, f64)>,
}

impl Numbers {
    /// The figures as half a sentence; `None` when there is no plan.
    pub fn sentence(&self) -> Option<String> {
        let (peak, need, budget) = (self.peak?, self.need?, self.budget?);
        let (now, then) = (self.carries_now?, self.carries_then?);
        let mut text = match (self.load, self.asks) {
            (Some(load), Some(asks)) if peak - load > 0.05 => format!(
                "{load:.1} requests/s need {asks:.1} with headroom, the recent peak of {peak:.1} needs {need:.1}"
            ),
            _ => format!("the recent peak of {peak:.1} requests/s needs {need:.1} with headroom"),
        };
        let _ = write!(text, ", and within {budget} it carries {now:.1}");
        if (now - then).abs() > 0.05 {
            let _ = write!(text, ", then {then:.1}");
        }
        Some(text)
    }
}
