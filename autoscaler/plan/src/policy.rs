//! The seam of policies, and the analytic one.

use jiff::Timestamp;
use msars_domain::{Millis, Observation, Reading};
use serde::{Deserialize, Serialize};

use crate::{Fleet, Forecast, Limits, State, facts::Facts, search::Demand};

/// What a policy would like; the shield disposes.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
pub struct Proposal {
    /// The fleet; `None` when the policy has no opinion.
    pub fleet: Option<Fleet>,
    /// Upper bound of the self-time quantile of that fleet at the measured rate. A promoted policy may go below the
    /// profile's floor only while this lies within the budget.
    pub bound: Option<Millis>,
}

/// Proposes for all workloads at once; one per observation, in order.
pub trait Policy {
    /// See the trait.
    fn propose(&mut self, seen: &[Observation], forecasts: &[Forecast]) -> Vec<Proposal>;
}

/// The inverse of the load-latency profile at the forecast peak with headroom: the cheapest replicas × size, vertical
/// before horizontal when the load rises, with hysteresis when it falls.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Analytic {
    /// Headroom and hysteresis.
    pub limits: Limits,
}

impl Policy for Analytic {
    fn propose(&mut self, seen: &[Observation], forecasts: &[Forecast]) -> Vec<Proposal> {
        let fresh = State::default();
        let propose = |(seen, forecast): (&Observation, &Forecast)| {
            let fleet = match &forecast.peak {
                Reading::Known { value, at } => {
                    let peak = value.get();
                    let load = forecast.load.value().map_or(peak, |load| load.get());
                    self.fleet(seen, &fresh, Demand::of(load, peak), *at)
                }
                Reading::Unknown { .. } => None,
            };
            Proposal { fleet, bound: None }
        };
        seen.iter().zip(forecasts).map(propose).collect()
    }
}

impl Analytic {
    fn fleet(
        &self,
        seen: &Observation,
        state: &State,
        demand: Demand,
        at: Timestamp,
    ) -> Option<Fleet> {
        let facts = Facts::new(at, seen, state, &self.limits).ok()?;
        Some(facts.plan(demand, true).fleet)
    }
}
