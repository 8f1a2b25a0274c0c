//! What a split is asked for.

use std::collections::{BTreeMap, BTreeSet};

use msars_domain::{Chain, ChainError, Curve, EdgeKind, MilliCpu, Millis, Percentile, Rate};
use serde::{Deserialize, Serialize};

/// One application: its chains and every service that one of them waits for.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SplitRequest {
    /// The application's name, for sentences.
    pub application: String,
    /// At least one, names differ.
    pub chains: Vec<ChainRequest>,
    /// By name; entries that no chain waits for are ignored.
    pub services: BTreeMap<String, Service>,
}

/// One request class with its load and objective.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ChainRequest {
    /// The tree of calls and the objective's percentile.
    pub chain: Chain,
    /// Requests per second of the class.
    pub rate: Rate,
    /// End-to-end latency at the chain's percentile, > 0.
    pub objective: Millis,
    /// How the end-to-end quantile relates to the sum of the path's quantiles.
    pub tail: TailFactor,
    /// Most of the objective, as a share, that the visits of one service may take; none without a limit. What a service
    /// takes at its fastest is given all the same.
    #[serde(default)]
    pub alone: Option<f64>,
    /// Share of requests in which some service is visited more often than its bound, 0 where bounds are hard.
    pub beyond: f64,
    /// δ: probability that the profiles claim too little, 0 when it is not known.
    pub doubt: f64,
}

impl ChainRequest {
    /// A chain without tail factor, with hard visit bounds and undoubted profiles.
    pub fn new(chain: Chain, rate: Rate, objective: Millis) -> Self {
        Self {
            chain,
            rate,
            objective,
            tail: TailFactor::ONE,
            alone: None,
            beyond: 0.0,
            doubt: 0.0,
        }
    }

    /// What budgets of a path may add up to: objective over tail factor.
    pub fn target(&self) -> Millis {
        Millis::new(self.objective.get() / self.tail.get()).unwrap_or(self.objective)
    }
}

/// Requests per second that chains at these rates bring to every service, asynchronous calls included.
pub fn on_chains<'a>(
    chains: impl IntoIterator<Item = (&'a Chain, Rate)>,
) -> BTreeMap<&'a str, f64> {
    let mut loads = BTreeMap::new();
    for (chain, rate) in chains {
        for (service, visits) in chain.visits() {
            *loads.entry(service).or_insert(0.0) += visits * rate.get();
        }
    }
    loads
}

/// Observed end-to-end quantile over the predicted one (the longest path's sum of self-time quantiles).
///
/// Sums of quantiles overstate the quantile of a sum for independent services, so it usually is below 1.
#[derive(Debug, Clone, Copy, PartialEq, PartialOrd, Serialize, Deserialize)]
#[serde(try_from = "f64", into = "f64")]
pub struct TailFactor(f64);

impl TailFactor {
    /// Quantiles add up: the safe assumption without an observation.
    pub const ONE: Self = Self(1.0);
    /// The factors that one observation may claim; outside, the observation or the profile is broken. The lower end is
    /// what a merged chain of a dozen services reaches whose requests each visit four or five.
    pub const RANGE: (f64, f64) = (0.1, 4.0);

    /// A finite factor above zero.
    pub fn new(factor: f64) -> Result<Self, SplitError> {
        if factor.is_finite() && factor > 0.0 {
            Ok(Self(factor))
        } else {
            Err(SplitError::TailFactor(factor))
        }
    }

    /// From an observation and [`crate::path_latency`] at the same time, held within [`TailFactor::RANGE`];
    /// 1 when either is zero.
    pub fn observed(observed: Millis, predicted: Millis) -> Self {
        if observed.get() > 0.0 && predicted.get() > 0.0 {
            Self((observed.get() / predicted.get()).clamp(Self::RANGE.0, Self::RANGE.1))
        } else {
            Self::ONE
        }
    }

    /// The plain factor.
    pub fn get(self) -> f64 {
        self.0
    }
}

impl Default for TailFactor {
    fn default() -> Self {
        Self::ONE
    }
}

impl TryFrom<f64> for TailFactor {
    type Error = SplitError;
    fn try_from(factor: f64) -> Result<Self, SplitError> {
        Self::new(factor)
    }
}

impl From<TailFactor> for f64 {
    fn from(factor: TailFactor) -> f64 {
        factor.0
    }
}

/// What one service can do, what it costs and how far it may go.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Service {
    /// What is known of its self time.
    pub latency: Latency,
    /// Least pods; 0 counts as 1.
    pub min_replicas: u32,
    /// Most pods, ≥ 1 and ≥ `min_replicas`.
    pub max_replicas: u32,
    /// What a pod costs.
    pub weight: Weight,
    /// Nothing below this is chosen; it wins over `max_replicas`.
    pub floor: Option<Floor>,
    /// Requests per second that reach it on none of the request's chains: those of another objective, or of callers
    /// outside the application. They load its pods just the same.
    #[serde(default)]
    pub elsewhere: Option<Rate>,
}

/// What is known of a service's self time.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", tag = "kind")]
pub enum Latency {
    /// A load-latency profile: size and replicas are chosen, the budget follows.
    Profiled {
        /// Self-time quantile over rate per pod, per size.
        curve: Curve,
        /// The percentile of the curve's quantiles; the strictest one of the chains that call the service.
        percentile: Percentile,
    },
    /// No profile: this time is counted on every path, at no cost, and nothing is chosen.
    Fixed {
        /// The observed self-time quantile per visit.
        budget: Millis,
        /// The percentile it was observed at.
        percentile: Percentile,
    },
}

/// Requested CPU of a pod as a function of the serving container's size.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Weight {
    /// The template's request over its limit, > 0; 1 when only a request is set.
    pub ratio: f64,
    /// Requests of the pod's other containers.
    pub sidecars: MilliCpu,
}

impl Weight {
    /// Request equals limit, no other container.
    pub const LIMIT: Self = Self {
        ratio: 1.0,
        sidecars: MilliCpu(0),
    };

    /// Requested CPU of one pod, rounded to thousandths of a core.
    pub fn of(self, size: MilliCpu) -> MilliCpu {
        // A float cast saturates, and so does the sum.
        let serving = (self.ratio * f64::from(size.0)).round() as u32;
        MilliCpu(serving.saturating_add(self.sidecars.0))
    }
}

/// Size and replicas that a split must keep, as while a rollout is prepared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Floor {
    /// Smaller sizes are not chosen; above the largest profiled size, that one is.
    pub size: MilliCpu,
    /// Fewer pods are not chosen.
    pub replicas: u32,
}

/// Why a request cannot be answered at all. An objective out of reach is no error: see [`crate::Shortfall`].
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum SplitError {
    /// The tree is no chain.
    #[error("the chain cannot be split")]
    Chain(#[from] ChainError),
    /// Nothing to split.
    #[error("application {0} has no chain")]
    NoChains(String),
    /// Two chains of one name.
    #[error("chain {0} occurs twice")]
    DuplicateChain(String),
    /// An objective of no time.
    #[error("the objective of chain {0} must be above zero")]
    NoObjective(String),
    /// A share outside 0..=1.
    #[error("chain {chain}: {what} must be a share between 0 and 1, found {found}")]
    Share {
        /// The chain.
        chain: String,
        /// Which field.
        what: &'static str,
        /// The refused value.
        found: f64,
    },
    /// A tail factor that is zero, negative or not finite.
    #[error("a tail factor must be finite and above zero, found {0}")]
    TailFactor(f64),
    /// A chain waits for a service that the request does not describe.
    #[error("service {0} has neither a load-latency profile nor an observed quantile")]
    NoProfile(String),
    /// No replica count is allowed.
    #[error("service {service} allows between {min} and {max} replicas")]
    Replicas {
        /// The service.
        service: String,
        /// Its least.
        min: u32,
        /// Its most.
        max: u32,
    },
    /// A weight that is no weight.
    #[error("service {service}: request over limit must be finite and above zero, found {ratio}")]
    Weight {
        /// The service.
        service: String,
        /// The refused ratio.
        ratio: f64,
    },
}

impl SplitError {
    /// A bounded label for metrics and events.
    pub fn category(&self) -> &'static str {
        match self {
            Self::Chain(error) => error.category(),
            Self::NoChains(_) => "NoChains",
            Self::DuplicateChain(_) => "DuplicateChain",
            Self::NoObjective(_) => "NoObjective",
            Self::Share { .. } => "ShareOutOfRange",
            Self::TailFactor(_) => "InvalidTailFactor",
            Self::NoProfile(_) => "NoProfile",
            Self::Replicas { .. } => "InvalidReplicaBounds",
            Self::Weight { .. } => "InvalidWeight",
        }
    }
}

impl SplitRequest {
    /// Requests per second of every service: of all chains, asynchronous calls included, and from elsewhere.
    pub(crate) fn loads(&self) -> BTreeMap<&str, f64> {
        let chains = self.chains.iter();
        let mut loads = on_chains(chains.map(|request| (&request.chain, request.rate)));
        for (name, service) in &self.services {
            let load = loads.get_mut(name.as_str()).zip(service.elsewhere);
            if let Some((load, elsewhere)) = load {
                *load += elsewhere.get();
            }
        }
        loads
    }

    /// Checks chains, objectives, shares and every service that a chain waits for.
    pub fn validate(&self) -> Result<(), SplitError> {
        if self.chains.is_empty() {
            return Err(SplitError::NoChains(self.application.clone()));
        }
        let mut names = BTreeSet::new();
        for request in &self.chains {
            let name = &request.chain.name;
            request.chain.validate()?;
            if !names.insert(name) {
                return Err(SplitError::DuplicateChain(name.clone()));
            }
            if request.objective <= Millis::ZERO {
                return Err(SplitError::NoObjective(name.clone()));
            }
            let alone = request.alone.unwrap_or(1.0);
            for (what, found) in [
                ("beyond", request.beyond),
                ("doubt", request.doubt),
                ("alone", alone),
            ] {
                if !(0.0..=1.0).contains(&found) {
                    return Err(SplitError::Share {
                        chain: name.clone(),
                        what,
                        found,
                    });
                }
            }
            self.check(&request.chain.root)?;
        }
        Ok(())
    }

    fn check(&self, call: &msars_domain::Call) -> Result<(), SplitError> {
        let service = (self.services.get(&call.service))
            .ok_or_else(|| SplitError::NoProfile(call.service.clone()))?;
        let (min, max) = (service.min_replicas, service.max_replicas);
        if max == 0 || min > max {
            return Err(SplitError::Replicas {
                service: call.service.clone(),
                min,
                max,
            });
        }
        if !(service.weight.ratio.is_finite() && service.weight.ratio > 0.0) {
            return Err(SplitError::Weight {
                service: call.service.clone(),
                ratio: service.weight.ratio,
            });
        }
        (call.children.iter())
            .filter(|child| child.kind != EdgeKind::Async)
            .try_for_each(|child| self.check(child))
    }
}
