//! A declared chain as a tree of calls, or why it is none. Pure.

use std::collections::BTreeSet;

use msars_api::crd::{ChainSpec, EdgeWay};
use msars_domain::{Call, Chain, EdgeKind, Percentile};

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
    /// Calls that are too many once each caller has its own.
    #[error(
        "chain {chain}: its {edges} calls make a tree of more than {most}, since what several services call is counted for each: leave some out",
        most = MOST_CALLS
    )]
    Large {
        /// The chain.
        chain: String,
        /// How many are declared.
        edges: usize,
    },
    /// A call that is declared more than once.
    #[error("chain {chain}: the call from {caller} to {callee} is declared twice")]
    Twice {
        /// The chain.
        chain: String,
        /// Who calls.
        caller: String,
        /// Whom.
        callee: String,
    },
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

/// Most calls of a tree, the entry's own included: what several services call is there for each, so that few edges could
/// make any number.
const MOST_CALLS: usize = 256;

/// The calls that `caller` makes, each with its own below it; `made` counts them all.
fn below(
    spec: &ChainSpec,
    caller: &str,
    depth: usize,
    made: &mut usize,
) -> Result<Vec<Call>, DeclaredError> {
    if depth > DEEPEST {
        return Err(DeclaredError::Circle(spec.name.clone()));
    }
    spec.calls
        .iter()
        .filter(|edge| edge.caller == caller)
        .map(|edge| {
            *made += 1;
            if *made > MOST_CALLS {
                return Err(DeclaredError::Large {
                    chain: spec.name.clone(),
                    edges: spec.calls.len(),
                });
            }
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
                children: below(spec, &edge.callee, depth + 1, made)?,
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
    let mut seen = BTreeSet::new();
    let mut edges = spec.calls.iter();
    if let Some(edge) = edges.find(|edge| !seen.insert((&edge.caller, &edge.callee))) {
        return Err(DeclaredError::Twice {
            chain: spec.name.clone(),
            caller: edge.caller.clone(),
            callee: edge.callee.clone(),
        });
    }
    let chain = Chain {
        name: spec.name.clone(),
        root: Call {
            service: entry.to_owned(),
            visits: 1.0,
            max_visits: 1,
            kind: EdgeKind::Sequential,
            children: below(spec, entry, 0, &mut 1)?,
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
    #[test]
    fn few_edges_make_no_endless_tree() {
        let p99 = Percentile::new(0.99).unwrap();
        // Two services call the next one, level by level: each level doubles the tree.
        let levels = |count: u32| {
            let level = |n: u32| {
                let (from, to) = (format!("a{n}"), format!("a{}", n + 1));
                let (left, right) = (format!("l{n}"), format!("r{n}"));
                [
                    edge(&from, &left),
                    edge(&from, &right),
                    edge(&left, &to),
                    edge(&right, &to),
                ]
            };
            spec((0..count).flat_map(level).collect())
        };
        // 1 + 4 + 8 + … + 128 calls.
        assert!(declared(&levels(6), "a0", p99).is_ok());
        for count in [7, 16] {
            let edges = 4 * count as usize;
            let large = DeclaredError::Large {
                chain: "browse".into(),
                edges,
            };
            let said = large.to_string();
            assert!(said.contains(&format!("its {edges} calls")) && said.contains("256"));
            assert_eq!(declared(&levels(count), "a0", p99), Err(large));
        }
    }

    #[test]
    fn a_call_that_is_declared_twice_is_named() {
        let p99 = Percentile::new(0.99).unwrap();
        let twice = spec(vec![edge("a", "b"), edge("b", "c"), edge("a", "b")]);
        let error = declared(&twice, "a", p99).unwrap_err();
        assert_eq!(
            error.to_string(),
            "chain browse: the call from a to b is declared twice"
        );
    }
}
