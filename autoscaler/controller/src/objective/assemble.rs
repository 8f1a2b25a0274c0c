//! From what is known to a split request, and from a split to budgets per revision. Pure.

use std::collections::BTreeMap;

use msars_api::crd::{ChainSpec, EdgeWay, ServiceBudget};
use msars_budget::{
    ChainRequest, Floor, Latency, Service, Split, SplitRequest, TailFactor, Weight,
};
use msars_domain::{Call, Chain, Curve, EdgeKind, MilliCpu, Millis, Percentile, Rate};

use crate::autoscalers;
use crate::profiles::{self, Known};
use crate::world::Workload;

/// What is known of one service for a split.
#[derive(Debug, Clone)]
pub struct Member<'a> {
    /// The workload.
    pub workload: &'a Workload,
    /// The revision that the split is for.
    pub revision: &'a str,
    /// Its profile.
    pub profile: Option<&'a Known>,
    /// Observed self time at the percentile, when there is no profile.
    pub observed: Option<Millis>,
    /// Live CPU per request over the profile's; a slower live service shrinks the curve.
    pub work_ratio: f64,
    /// The size that somebody else gave its pods.
    pub pinned: Option<MilliCpu>,
    /// Size and replicas that must stay.
    pub floor: Option<Floor>,
}

/// One request class.
#[derive(Debug, Clone)]
pub struct Class {
    /// Its calls.
    pub chain: Chain,
    /// Requests per second.
    pub rate: Rate,
    /// The objective.
    pub objective: Millis,
    /// Observed over predicted quantile.
    pub tail: TailFactor,
}

/// Services of the chains that nothing is known of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Missing(pub Vec<String>);

/// Builds the request, or says for which services nothing is known.
pub fn request(
    application: &str,
    classes: &[Class],
    members: &BTreeMap<String, Member<'_>>,
) -> Result<SplitRequest, Missing> {
    let mut services = BTreeMap::new();
    let mut missing = Vec::new();
    for class in classes {
        for (name, _) in class.chain.visits() {
            if services.contains_key(name) {
                continue;
            }
            match members
                .get(name)
                .and_then(|member| service(member, class.chain.percentile))
            {
                Some(service) => {
                    services.insert(name.to_owned(), service);
                }
                None => missing.push(name.to_owned()),
            }
        }
    }
    if !missing.is_empty() {
        missing.sort();
        missing.dedup();
        return Err(Missing(missing));
    }
    let chains = classes
        .iter()
        .map(|class| ChainRequest {
            tail: class.tail,
            alone: alone(class.tail),
            ..ChainRequest::new(class.chain.clone(), class.rate, class.objective)
        })
        .collect();
    Ok(SplitRequest {
        application: application.to_owned(),
        chains,
        services,
    })
}

/// A tail factor below one was observed while no service dominated: the slow requests of one are not those of another.
/// It says nothing of a service whose own quantile nears the objective, so that none gets more than half of it by itself,
/// or than the factor where that is more.
fn alone(tail: TailFactor) -> Option<f64> {
    (tail.get() < 1.0).then(|| tail.get().max(0.5))
}

/// The sizes that may be asked for. Pods that somebody else resized keep their size: no more is promised of them than the
/// profiled size below it can do.
fn allowed(known: &Known, member: &Member<'_>) -> Curve {
    if let Some(pinned) = member.pinned {
        let sizes = known.curve.sizes().iter().map(|table| table.size);
        let below = sizes.filter(|size| *size <= pinned).max();
        let size = below.unwrap_or(pinned);
        return known.curve.within((size, size));
    }
    let bounds = profiles::bounds(member.workload);
    bounds.map_or_else(|| known.curve.clone(), |bounds| known.curve.within(bounds))
}

fn service(member: &Member<'_>, percentile: Percentile) -> Option<Service> {
    let latency = match (member.profile, member.observed) {
        (Some(known), _) => Latency::Profiled {
            curve: allowed(known, member).slower(member.work_ratio.max(1.0)),
            percentile: known.percentile,
        },
        (None, Some(budget)) => Latency::Fixed { budget, percentile },
        (None, None) => return None,
    };
    let (min_replicas, max_replicas) = autoscalers::bounds(member.workload);
    let ratio = member.workload.serving.as_ref().map_or(1.0, |(_, cpu)| {
        cpu.limit.map_or(1.0, |limit| {
            f64::from(cpu.request.0.max(1)) / f64::from(limit.0.max(1))
        })
    });
    Some(Service {
        latency,
        min_replicas,
        max_replicas,
        weight: Weight {
            ratio,
            sidecars: member.workload.sidecars.request,
        },
        floor: member.floor,
    })
}

/// Budgets as they are stored.
pub fn budgets(
    split: &Split,
    chain: &str,
    members: &BTreeMap<String, Member<'_>>,
) -> Vec<ServiceBudget> {
    let shares = split.chain(chain).map(|chain| &chain.shares);
    split
        .services
        .iter()
        .filter(|service| shares.is_some_and(|shares| shares.contains_key(&service.service)))
        .filter_map(|service| {
            let member = members.get(&service.service)?;
            let share = shares
                .and_then(|shares| shares.get(&service.service))
                .copied()
                .unwrap_or(0.0);
            let source = match (member.profile, service.pods) {
                (Some(known), Some(_)) => match known.source {
                    msars_api::crd::ProfileSource::Shadow => "profile",
                    msars_api::crd::ProfileSource::Passive => "passive",
                    msars_api::crd::ProfileSource::Prior => "prior",
                },
                _ => "observed",
            };
            let current = member
                .workload
                .serving
                .as_ref()
                .map_or(0, |(_, cpu)| cpu.size().0);
            Some(ServiceBudget {
                workload: service.service.clone(),
                revision: member.revision.to_owned(),
                budget_ms: round(service.budget.get(), 2),
                share_percent: round(share * 100.0, 1),
                size_milli: service.pods.map_or(current, |pods| pods.size.0),
                replicas: service
                    .pods
                    .map_or(member.workload.replicas, |pods| pods.replicas),
                source: source.into(),
            })
        })
        .collect()
}

/// Rounds to so many decimals.
pub fn round(value: f64, decimals: i32) -> f64 {
    let scale = 10f64.powi(decimals);
    (value * scale).round() / scale
}

/// Why a declared chain is none.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DeclaredError {
    /// A callee that no path from the entry reaches.
    #[error("chain {chain}: {service} is not reached from the entry")]
    Unreached {
        /// The chain.
        chain: String,
        /// The service.
        service: String,
    },
    /// Calls that go round in a circle.
    #[error("chain {0} calls in a circle")]
    Circle(String),
    /// A service that nobody opted in.
    #[error(
        "chain {chain}: {service} is no workload of application {application}: annotate it with msars.io/mode and msars.io/application, or leave it out"
    )]
    Unknown {
        /// The chain.
        chain: String,
        /// The service.
        service: String,
        /// The application.
        application: String,
    },
    /// Visits that are not above zero.
    #[error("chain {chain}: visits of {service} must be above zero")]
    Visits {
        /// The chain.
        chain: String,
        /// The service.
        service: String,
    },
}

/// Deepest tree of declared calls.
const DEEPEST: usize = 32;

/// The calls that `caller` makes, each with its own below it.
fn below(spec: &ChainSpec, caller: &str, depth: usize) -> Result<Vec<Call>, DeclaredError> {
    if depth > DEEPEST {
        return Err(DeclaredError::Circle(spec.name.clone()));
    }
    spec.calls
        .iter()
        .filter(|edge| edge.caller == caller)
        .map(|edge| {
            Ok(Call {
                service: edge.callee.clone(),
                visits: edge.visits,
                max_visits: edge
                    .max_visits
                    .unwrap_or_else(|| edge.visits.ceil() as u32)
                    .max(1),
                kind: match edge.way {
                    EdgeWay::Sequential => EdgeKind::Sequential,
                    EdgeWay::Parallel => EdgeKind::Parallel,
                    EdgeWay::Async => EdgeKind::Async,
                },
                children: below(spec, &edge.callee, depth + 1)?,
            })
        })
        .collect()
}

/// A declared chain as a tree from the entry.
pub fn declared(
    spec: &ChainSpec,
    entry: &str,
    percentile: Percentile,
) -> Result<Chain, DeclaredError> {
    if let Some(bad) = spec
        .calls
        .iter()
        .find(|edge| edge.visits.is_nan() || edge.visits <= 0.0)
    {
        return Err(DeclaredError::Visits {
            chain: spec.name.clone(),
            service: bad.callee.clone(),
        });
    }
    let chain = Chain {
        name: spec.name.clone(),
        root: Call {
            service: entry.to_owned(),
            visits: 1.0,
            max_visits: 1,
            kind: EdgeKind::Sequential,
            children: below(spec, entry, 0)?,
        },
        percentile,
    };
    let reached: Vec<&str> = chain.visits().into_iter().map(|(name, _)| name).collect();
    match spec
        .calls
        .iter()
        .find(|edge| !reached.contains(&edge.callee.as_str()))
    {
        Some(edge) => Err(DeclaredError::Unreached {
            chain: spec.name.clone(),
            service: edge.callee.clone(),
        }),
        None => Ok(chain),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use msars_api::crd::EdgeSpec;

    fn edge(caller: &str, callee: &str) -> EdgeSpec {
        EdgeSpec {
            caller: caller.into(),
            callee: callee.into(),
            visits: 1.5,
            max_visits: None,
            way: EdgeWay::Sequential,
        }
    }

    fn spec(calls: Vec<EdgeSpec>) -> ChainSpec {
        ChainSpec {
            name: "browse".into(),
            share: 1.0,
            calls,
        }
    }

    #[test]
    fn declared_edges_become_a_tree_with_visits_rounded_up() {
        let p99 = Percentile::new(0.99).unwrap();
        let chain = declared(
            &spec(vec![
                edge("front-end", "catalogue"),
                edge("catalogue", "catalogue-db"),
            ]),
            "front-end",
            p99,
        )
        .unwrap();
        let catalogue = &chain.root.children[0];
        assert_eq!(
            (catalogue.service.as_str(), catalogue.max_visits),
            ("catalogue", 2)
        );
        assert_eq!(catalogue.children[0].service, "catalogue-db");
        assert_eq!(chain.validate(), Ok(()));
    }

    #[test]
    fn a_tail_factor_is_not_trusted_for_one_service_alone() {
        for (tail, wanted) in [
            (0.25, Some(0.5)),
            (0.7, Some(0.7)),
            (1.0, None),
            (2.0, None),
        ] {
            assert_eq!(alone(TailFactor::new(tail).unwrap()), wanted);
        }
    }

    #[test]
    fn circles_and_islands_are_named() {
        let p99 = Percentile::new(0.99).unwrap();
        let circle = spec(vec![edge("a", "b"), edge("b", "a")]);
        assert_eq!(
            declared(&circle, "a", p99),
            Err(DeclaredError::Circle("browse".into()))
        );
        let island = spec(vec![edge("x", "y")]);
        assert!(matches!(
            declared(&island, "a", p99),
            Err(DeclaredError::Unreached { .. })
        ));
    }
}
