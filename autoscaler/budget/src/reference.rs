//! The reference split.

use std::collections::BTreeMap;

use msars_domain::{Call, Chain, ChainError, Curve, EdgeKind, MilliCpu, Millis, Rate};

/// What one service can do and how far it may grow.
#[derive(Debug, Clone)]
pub struct Service {
    /// Self-time quantile over rate per pod, per size.
    pub curve: Curve,
    /// Most pods, ≥ 1.
    pub max_replicas: u32,
}

/// One chain to split.
#[derive(Debug, Clone)]
pub struct SplitRequest<'a> {
    /// The tree of calls.
    pub chain: &'a Chain,
    /// Requests per second of the chain.
    pub rate: Rate,
    /// What the budgets of each path may add up to.
    pub objective: Millis,
    /// Steps of the budget grid; at least 20 per service is advised.
    pub units: usize,
    /// Every synchronous service of the chain by name.
    pub services: &'a BTreeMap<String, Service>,
}

/// What one service gets.
#[derive(Debug, Clone, PartialEq)]
pub struct Assignment {
    /// The service.
    pub service: String,
    /// Self-time budget per visit.
    pub budget: Millis,
    /// CPU limit of its pods.
    pub size: MilliCpu,
    /// Its pods.
    pub replicas: u32,
}

/// A split and what it costs.
#[derive(Debug, Clone, PartialEq)]
pub struct Split {
    /// In tree order; services that are only called asynchronously are left out.
    pub assignments: Vec<Assignment>,
    /// CPU of all pods at their limits.
    pub cost: MilliCpu,
}

/// Why there is no split.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum SplitError {
    /// The tree is no chain.
    #[error("the chain cannot be split")]
    Chain(#[from] ChainError),
    /// A grid without steps.
    #[error("the budget grid needs at least one unit")]
    NoUnits,
    /// A service of the chain has no profile.
    #[error("service {0} has no load-latency profile")]
    NoProfile(String),
    /// A service stands more than once in the chain.
    #[error("service {0} occurs more than once in the chain, which this method does not split")]
    Recurs(String),
    /// No budget on the grid fits the objective within the replica bounds.
    #[error(
        "no split of {objective} over the chain {chain} at {rate} requests/s keeps within the replica bounds"
    )]
    Infeasible {
        /// The chain's name.
        chain: String,
        /// The objective that was to be split.
        objective: Millis,
        /// Requests per second.
        rate: f64,
    },
}

impl SplitError {
    /// A bounded label for metrics and events.
    pub fn category(&self) -> &'static str {
        match self {
            Self::Chain(error) => error.category(),
            Self::NoUnits => "NoBudgetUnits",
            Self::NoProfile(_) => "NoProfile",
            Self::Recurs(_) => "RecurringService",
            Self::Infeasible { .. } => "SplitInfeasible",
        }
    }
}

/// The cheapest way to spend a number of units on a subtree.
#[derive(Debug, Clone)]
struct Plan {
    cost: u32,
    assignments: Vec<Assignment>,
}

/// Best plan per number of units, `None` where nothing fits.
type Table = Vec<Option<Plan>>;

/// Splits the objective; exact on its grid.
pub fn split(request: &SplitRequest<'_>) -> Result<Split, SplitError> {
    request.chain.validate()?;
    if request.units == 0 {
        return Err(SplitError::NoUnits);
    }
    let mut seen = Vec::new();
    let table = subtree(request, &request.chain.root, 1.0, &mut seen)?;
    match table.into_iter().next_back().flatten() {
        Some(plan) => Ok(Split {
            assignments: plan.assignments,
            cost: MilliCpu(plan.cost),
        }),
        None => Err(SplitError::Infeasible {
            chain: request.chain.name.clone(),
            objective: request.objective,
            rate: request.rate.get(),
        }),
    }
}

fn subtree<'a>(
    request: &SplitRequest<'_>,
    call: &'a Call,
    visits: f64,
    seen: &mut Vec<&'a str>,
) -> Result<Table, SplitError> {
    if seen.contains(&call.service.as_str()) {
        return Err(SplitError::Recurs(call.service.clone()));
    }
    seen.push(&call.service);
    let service = request
        .services
        .get(&call.service)
        .ok_or_else(|| SplitError::NoProfile(call.service.clone()))?;
    let visits = visits * call.visits;
    let rate = visits * request.rate.get();
    let mut table: Table = (0..=request.units)
        .map(|units| own(request, &call.service, service, rate, units))
        .collect();
    let mut parallel: Option<Table> = None;
    for child in call
        .children
        .iter()
        .filter(|child| child.kind != EdgeKind::Async)
    {
        let below = stretched(&subtree(request, child, visits, seen)?, child.max_visits);
        if child.kind == EdgeKind::Parallel {
            // Parallel siblings all get the whole of their group's share.
            parallel = Some(match parallel {
                Some(group) => group
                    .iter()
                    .zip(&below)
                    .map(|(a, b)| both(a.as_ref(), b.as_ref()))
                    .collect(),
                None => below,
            });
        } else {
            if let Some(group) = parallel.take() {
                table = shared(&table, &group);
            }
            table = shared(&table, &below);
        }
    }
    if let Some(group) = parallel {
        table = shared(&table, &group);
    }
    Ok(table)
}

/// The service alone with a number of units: its cheapest size and replicas.
fn own(
    request: &SplitRequest<'_>,
    name: &str,
    service: &Service,
    rate: f64,
    units: usize,
) -> Option<Plan> {
    let budget = Millis::new(request.objective.get() * units as f64 / request.units as f64).ok()?;
    service
        .curve
        .sizes()
        .iter()
        .filter_map(|table| {
            let capacity = table.capacity(budget)?.get();
            let replicas = (rate / capacity).ceil().max(1.0);
            // A capacity of zero makes the quotient infinite or NaN.
            if replicas.is_nan() || replicas > f64::from(service.max_replicas) {
                return None;
            }
            let replicas = replicas as u32;
            let assignment = Assignment {
                service: name.to_owned(),
                budget,
                size: table.size,
                replicas,
            };
            Some(Plan {
                cost: table.size.0.checked_mul(replicas)?,
                assignments: vec![assignment],
            })
        })
        .min_by_key(|plan| plan.cost)
}

/// A path pays for every one of a child's sequential visits.
fn stretched(table: &Table, max_visits: u32) -> Table {
    (0..table.len())
        .map(|units| table[units / max_visits as usize].clone())
        .collect()
}

fn both(one: Option<&Plan>, other: Option<&Plan>) -> Option<Plan> {
    let (one, other) = (one?, other?);
    let assignments = one
        .assignments
        .iter()
        .chain(&other.assignments)
        .cloned()
        .collect();
    Some(Plan {
        cost: one.cost + other.cost,
        assignments,
    })
}

/// Min-plus convolution: two parts of a path share its units.
fn shared(one: &Table, other: &Table) -> Table {
    (0..one.len())
        .map(|units| {
            let best = (0..=units)
                .filter_map(|first| {
                    let cost = one[first].as_ref()?.cost + other[units - first].as_ref()?.cost;
                    Some((cost, first))
                })
                .min()?;
            both(one[best.1].as_ref(), other[units - best.1].as_ref())
        })
        .collect()
}

#[cfg(test)]
mod tests;
