//! The reference split.

use std::collections::BTreeMap;

use msars_domain::{Call, Chain, Curve, EdgeKind, MilliCpu, Millis, Rate};

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
    /// Requested CPU of all pods.
    pub cost: MilliCpu,
}

/// Why there is no split.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum SplitError {
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
mod tests {
    use super::*;
    use msars_domain::{Knot, Percentile, SizeCurve};

    /// Tail `base · (1 + rate/knee)` at 100m, half of it per doubling of the size.
    fn service(base: f64, knee: f64) -> Service {
        let table = |size: u32, factor: f64| SizeCurve {
            size: MilliCpu(size),
            knots: (1..=40)
                .map(|step| {
                    let rate = f64::from(step);
                    Knot {
                        rate: Rate::new(rate).unwrap(),
                        quantile: Millis::new(base * factor * (1.0 + (rate / knee).powi(2)))
                            .unwrap(),
                    }
                })
                .collect(),
        };
        Service {
            curve: Curve::new(vec![table(100, 1.0), table(200, 0.6)]).unwrap(),
            max_replicas: 50,
        }
    }

    fn call(name: &str, kind: EdgeKind, max_visits: u32, children: Vec<Call>) -> Call {
        Call {
            service: name.into(),
            visits: 1.0,
            max_visits,
            kind,
            children,
        }
    }

    fn tree(kind: EdgeKind) -> Chain {
        let leaves = vec![call("b", kind, 1, vec![]), call("c", kind, 2, vec![])];
        Chain {
            name: "test".into(),
            root: call("a", EdgeKind::Sequential, 1, leaves),
            percentile: Percentile::new(0.99).unwrap(),
        }
    }

    fn services(scale: f64) -> BTreeMap<String, Service> {
        [("a", 4.0, 8.0), ("b", 9.0 * scale, 5.0), ("c", 3.0, 12.0)]
            .into_iter()
            .map(|(name, base, knee)| (name.to_owned(), service(base, knee)))
            .collect()
    }

    fn run(
        chain: &Chain,
        services: &BTreeMap<String, Service>,
        units: usize,
    ) -> Result<Split, SplitError> {
        let objective = Millis::new(90.0).unwrap();
        split(&SplitRequest {
            chain,
            rate: Rate::new(30.0).unwrap(),
            objective,
            units,
            services,
        })
    }

    /// Every way to give units to a, b and c, by the definition of a path and not by the program.
    fn brute(kind: EdgeKind, services: &BTreeMap<String, Service>, units: usize) -> Option<u32> {
        let chain = tree(kind);
        let request = SplitRequest {
            chain: &chain,
            rate: Rate::new(30.0).unwrap(),
            objective: Millis::new(90.0).unwrap(),
            units,
            services,
        };
        let cost = |name: &str, units| {
            own(&request, name, &services[name], 30.0, units).map(|plan| plan.cost)
        };
        let mut best = None;
        for a in 0..=units {
            for b in 0..=units {
                for c in 0..=units {
                    let below = if kind == EdgeKind::Parallel {
                        b.max(2 * c)
                    } else {
                        b + 2 * c
                    };
                    if a + below > units {
                        continue;
                    }
                    if let (Some(a), Some(b), Some(c)) = (cost("a", a), cost("b", b), cost("c", c))
                    {
                        best = Some(best.map_or(a + b + c, |best: u32| best.min(a + b + c)));
                    }
                }
            }
        }
        best
    }

    #[test]
    fn the_split_equals_brute_force_on_its_grid() {
        for kind in [EdgeKind::Sequential, EdgeKind::Parallel] {
            for scale in [0.5, 1.0, 2.0, 3.0] {
                for units in [9, 20, 33] {
                    let services = services(scale);
                    let found = run(&tree(kind), &services, units)
                        .ok()
                        .map(|split| split.cost.0);
                    assert_eq!(
                        found,
                        brute(kind, &services, units),
                        "{kind:?} {scale} {units}"
                    );
                }
            }
        }
    }

    #[test]
    fn budgets_of_a_path_never_add_up_to_more_than_the_objective() {
        let split = run(&tree(EdgeKind::Sequential), &services(1.0), 60).unwrap();
        let budget = |name: &str| {
            split
                .assignments
                .iter()
                .find(|a| a.service == name)
                .unwrap()
                .budget
                .get()
        };
        assert!(budget("a") + budget("b") + 2.0 * budget("c") <= 90.0 + 1e-9);
    }

    #[test]
    fn a_slower_version_gets_more_of_the_objective() {
        let budget = |scale| {
            let split = run(&tree(EdgeKind::Sequential), &services(scale), 90).unwrap();
            split
                .assignments
                .iter()
                .find(|a| a.service == "b")
                .unwrap()
                .budget
                .get()
        };
        assert!(
            budget(3.0) > budget(1.0),
            "{} against {}",
            budget(3.0),
            budget(1.0)
        );
    }

    #[test]
    fn an_asynchronous_callee_takes_no_budget() {
        let split = run(&tree(EdgeKind::Async), &services(1.0), 30).unwrap();
        assert_eq!(split.assignments.len(), 1);
    }

    #[test]
    fn refusals_name_their_reason() {
        let mut few = services(1.0);
        few.remove("c");
        assert_eq!(
            run(&tree(EdgeKind::Sequential), &few, 30)
                .unwrap_err()
                .category(),
            "NoProfile"
        );
        assert_eq!(
            run(&tree(EdgeKind::Sequential), &services(50.0), 30)
                .unwrap_err()
                .category(),
            "SplitInfeasible"
        );
        let mut twice = tree(EdgeKind::Sequential);
        twice.root.children[1].service = "b".into();
        assert_eq!(
            run(&twice, &services(1.0), 30).unwrap_err().category(),
            "RecurringService"
        );
    }
}
