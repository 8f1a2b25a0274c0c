//! One request class of an application: a series-parallel tree of calls from its entry service.

use serde::{Deserialize, Serialize};

use crate::Percentile;

/// How a caller makes a call relative to its siblings.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum EdgeKind {
    /// After the call before it; an unknown edge counts as this.
    Sequential,
    /// At the same time as its parallel siblings.
    Parallel,
    /// The caller does not wait.
    Async,
}

/// A service in the tree, reached by one edge from its caller.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Call {
    /// The workload that serves the call.
    pub service: String,
    /// Mean calls per call of the parent, > 0.
    pub visits: f64,
    /// Bound on the sequential visits that one path pays for, ≥ 1.
    pub max_visits: u32,
    /// How the parent calls it; ignored at the root.
    pub kind: EdgeKind,
    /// What it calls in turn.
    pub children: Vec<Call>,
}

/// A request class with its objective.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Chain {
    /// Name of the request class.
    pub name: String,
    /// The entry service and everything below it.
    pub root: Call,
    /// The percentile of the objective.
    pub percentile: Percentile,
}

/// Why a tree is no chain.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum ChainError {
    /// A node with visits ≤ 0, NaN, or a bound of 0.
    #[error(
        "service {service} has {visits} visits bounded by {max_visits}; both must be above zero"
    )]
    Visits {
        /// The offending service.
        service: String,
        /// Its mean visits.
        visits: f64,
        /// Its bound.
        max_visits: u32,
    },
    /// A service below itself: a tree of calls cannot recurse.
    #[error("service {0} calls itself, directly or through others")]
    Recursive(String),
}

impl ChainError {
    /// A bounded label for metrics and events.
    pub fn category(&self) -> &'static str {
        match self {
            Self::Visits { .. } => "InvalidVisits",
            Self::Recursive(_) => "RecursiveChain",
        }
    }
}

impl Chain {
    /// Checks visits and that no service calls itself.
    pub fn validate(&self) -> Result<(), ChainError> {
        fn walk<'a>(call: &'a Call, above: &mut Vec<&'a str>) -> Result<(), ChainError> {
            if !(call.visits > 0.0 && call.visits.is_finite()) || call.max_visits == 0 {
                return Err(ChainError::Visits {
                    service: call.service.clone(),
                    visits: call.visits,
                    max_visits: call.max_visits,
                });
            }
            if above.contains(&call.service.as_str()) {
                return Err(ChainError::Recursive(call.service.clone()));
            }
            above.push(&call.service);
            for child in &call.children {
                walk(child, above)?;
            }
            above.pop();
            Ok(())
        }
        walk(&self.root, &mut Vec::new())
    }

    /// Every service with its mean visits per request of the chain, summed over its occurrences, in tree order.
    pub fn visits(&self) -> Vec<(&str, f64)> {
        fn walk<'a>(call: &'a Call, times: f64, out: &mut Vec<(&'a str, f64)>) {
            let times = times * call.visits;
            match out.iter_mut().find(|(name, _)| *name == call.service) {
                Some((_, sum)) => *sum += times,
                None => out.push((&call.service, times)),
            }
            for child in &call.children {
                walk(child, times, out);
            }
        }
        let mut out = Vec::new();
        walk(&self.root, 1.0, &mut out);
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn call(service: &str, visits: f64, children: Vec<Call>) -> Call {
        Call {
            service: service.into(),
            visits,
            max_visits: 1,
            kind: EdgeKind::Sequential,
            children,
        }
    }

    fn chain(root: Call) -> Chain {
        Chain {
            name: "browse".into(),
            root,
            percentile: Percentile::new(0.99).unwrap(),
        }
    }

    #[test]
    fn visits_multiply_down_the_tree_and_add_over_occurrences() {
        let tree = chain(call(
            "front-end",
            1.0,
            vec![
                call("carts", 0.5, vec![]),
                call("orders", 0.2, vec![call("carts", 2.0, vec![])]),
            ],
        ));
        assert_eq!(tree.validate(), Ok(()));
        let visits = tree.visits();
        assert_eq!(visits[0], ("front-end", 1.0));
        assert!((visits[1].1 - 0.9).abs() < 1e-12, "{visits:?}");
    }

    #[test]
    fn a_service_below_itself_is_refused() {
        let tree = chain(call(
            "a",
            1.0,
            vec![call("b", 1.0, vec![call("a", 1.0, vec![])])],
        ));
        assert_eq!(tree.validate(), Err(ChainError::Recursive("a".into())));
    }

    #[test]
    fn zero_visits_are_refused() {
        let error = chain(call("a", 0.0, vec![])).validate().unwrap_err();
        assert_eq!(error.category(), "InvalidVisits");
    }
}
