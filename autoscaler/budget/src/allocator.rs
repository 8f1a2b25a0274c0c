//! The seam, and its three analytic implementations.

use crate::baseline::{self, Rule};
use crate::outcome::{Method, Split};
use crate::problem::Problem;
use crate::request::{SplitError, SplitRequest};
use crate::search::{self, Effort};
use crate::{report, slack};

/// Splits objectives, many applications at a time.
pub trait Allocator {
    /// One answer per request, in their order. An objective out of reach is an answer with a shortfall.
    fn allocate(&mut self, requests: &[SplitRequest]) -> Vec<Result<Split, SplitError>>;
}

/// The reference split: the least requested CPU, proved or with a proved gap.
#[derive(Debug, Clone, Copy)]
pub struct Reference {
    /// Choices of recurring services that are looked at before the best found stands.
    pub steps: usize,
    /// Pairs of budgets that the dynamic program joins before the best found stands.
    pub pairs: usize,
}

impl Default for Reference {
    fn default() -> Self {
        Self {
            steps: 200_000,
            pairs: 20_000_000,
        }
    }
}

/// Every visit of a path gets the same time.
#[derive(Debug, Clone, Copy, Default)]
pub struct Equal;

/// Every visit of a path gets time in proportion to its self time at low load.
#[derive(Debug, Clone, Copy, Default)]
pub struct Proportional;

impl Allocator for Reference {
    fn allocate(&mut self, requests: &[SplitRequest]) -> Vec<Result<Split, SplitError>> {
        requests.iter().map(|request| self.split(request)).collect()
    }
}

impl Allocator for Equal {
    fn allocate(&mut self, requests: &[SplitRequest]) -> Vec<Result<Split, SplitError>> {
        by_rule(requests, Rule::Equal, Method::Equal)
    }
}

impl Allocator for Proportional {
    fn allocate(&mut self, requests: &[SplitRequest]) -> Vec<Result<Split, SplitError>> {
        by_rule(requests, Rule::Proportional, Method::Proportional)
    }
}

impl Reference {
    /// Splits one application.
    pub fn split(&self, request: &SplitRequest) -> Result<Split, SplitError> {
        let problem = Problem::new(request)?;
        let effort = Effort {
            steps: self.steps,
            pairs: self.pairs,
        };
        let found = search::solve(&problem, effort);
        let method = match (found.lower == found.cost, found.recurring) {
            (false, _) => Method::Bounded,
            (true, true) => Method::Enumerated,
            (true, false) => Method::Program,
        };
        let gap = if found.cost == found.lower {
            0.0
        } else {
            found.cost as f64 / (found.lower as f64).max(1.0) - 1.0
        };
        let mut budgets = problem.budgets(&found.picks);
        slack::raise(&problem, &mut budgets);
        Ok(report::split(
            request,
            &problem,
            &found.picks,
            &budgets,
            method,
            Some(gap),
        ))
    }
}

fn by_rule(
    requests: &[SplitRequest],
    rule: Rule,
    method: Method,
) -> Vec<Result<Split, SplitError>> {
    (requests.iter())
        .map(|request| {
            let problem = Problem::new(request)?;
            let (picks, budgets) = baseline::split(&problem, rule);
            Ok(report::split(
                request, &problem, &picks, &budgets, method, None,
            ))
        })
        .collect()
}
