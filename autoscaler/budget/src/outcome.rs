//! What a split says.

use std::collections::BTreeMap;
use std::fmt;

use msars_domain::{MilliCpu, Millis, Percentile};
use serde::{Deserialize, Serialize};

use crate::TailFactor;

/// Budgets, sizes and replicas of one application, and why.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Split {
    /// Every service that a chain waits for, in tree order; those only called asynchronously are left out.
    pub services: Vec<ServiceSplit>,
    /// In the order of the request.
    pub chains: Vec<ChainSplit>,
    /// Requested CPU of all chosen pods; services with a fixed budget add nothing.
    pub cost: MilliCpu,
    /// Share by which `cost` may exceed the cheapest possible: 0 is proved optimal; nothing is known of baselines.
    pub gap: Option<f64>,
    /// How it was found.
    pub method: Method,
    /// Whether every chain keeps its target.
    pub feasible: bool,
    /// What keeps the worst chain from its target; none when feasible.
    pub shortfall: Option<Shortfall>,
    /// The union bound of the chain that is furthest from keeping it.
    pub bound: Bound,
    /// One sentence for people.
    pub reason: String,
}

impl Split {
    /// The part of a service.
    pub fn service(&self, name: &str) -> Option<&ServiceSplit> {
        self.services.iter().find(|split| split.service == name)
    }

    /// The part of a chain.
    pub fn chain(&self, name: &str) -> Option<&ChainSplit> {
        self.chains.iter().find(|split| split.chain == name)
    }
}

/// What one service gets.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ServiceSplit {
    /// The service.
    pub service: String,
    /// Self-time budget per visit, one for all chains.
    pub budget: Millis,
    /// Self-time quantile that its profile promises with these pods at this rate; ≤ `budget`.
    pub expected: Millis,
    /// None for a service whose budget is fixed.
    pub pods: Option<Pods>,
    /// Largest share of a chain's target that the service's visits take.
    pub share: f64,
}

/// Pods of one service.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pods {
    /// CPU limit of the serving container.
    pub size: MilliCpu,
    /// How many.
    pub replicas: u32,
}

/// What one chain pays.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ChainSplit {
    /// The chain's name.
    pub chain: String,
    /// Its percentile.
    pub percentile: Percentile,
    /// Its end-to-end objective.
    pub objective: Millis,
    /// The tail factor that was used.
    pub tail: TailFactor,
    /// Objective over tail factor: what budgets may add up to.
    pub target: Millis,
    /// What the budgets of its longest path add up to.
    pub path: Millis,
    /// The least that the longest path can be brought to within all bounds.
    pub reachable: Millis,
    /// Whether `path` keeps `target` and no service is overloaded.
    pub feasible: bool,
    /// Share of the target per service: visits that a path pays for times budget over target.
    pub shares: BTreeMap<String, f64>,
    /// What holds without assuming independence.
    pub bound: Bound,
}

/// Union bound: a request is slower than the path's budgets only if some visit breaks its own, there are more visits
/// than the path pays for, or a profile is wrong.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Bound {
    /// Σ E[v](1−x) + P(visits > m) + δ over all services that the chain waits for, at most 1.
    pub miss: f64,
    /// 1−x of the objective.
    pub allowed: f64,
    /// The latency of which `miss` holds: what the budgets of the longest path add up to.
    pub latency: Millis,
    /// Whether the objective is kept whatever the dependence: `miss` ≤ `allowed` and `latency` ≤ objective.
    pub holds: bool,
}

impl Bound {
    /// Claims nothing.
    pub(crate) const NOTHING: Self = Self {
        miss: 1.0,
        allowed: 0.0,
        latency: Millis::ZERO,
        holds: false,
    };
}

/// What keeps a chain from its target.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Shortfall {
    /// The chain that is furthest from its target.
    pub chain: String,
    /// The service that cannot carry its load, else the one that takes most of the fastest longest path.
    pub bottleneck: String,
    /// Smallest sum of the longest path within the replica bounds; none when the bottleneck cannot carry its load.
    pub reachable: Option<Millis>,
    /// What was asked for.
    pub target: Millis,
}

/// How a split was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Method {
    /// No service recurs: the dynamic program alone, exact.
    Program,
    /// Recurring services enumerated to the end, exact.
    Enumerated,
    /// The enumeration was cut off: best found, improved by moves.
    Bounded,
    /// Every visit of a path gets the same.
    Equal,
    /// Every visit of a path gets time in proportion to its self time at low load.
    Proportional,
}

impl fmt::Display for Method {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Program => "reference/program",
            Self::Enumerated => "reference/enumerated",
            Self::Bounded => "reference/bounded",
            Self::Equal => "equal",
            Self::Proportional => "proportional",
        })
    }
}
