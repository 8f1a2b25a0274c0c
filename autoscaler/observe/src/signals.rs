//! Signals of many workloads out of a fixed number of answers.

mod assemble;
mod coverage;
mod processor;
mod queries;
mod table;
#[cfg(test)]
mod tests;

use msars_domain::{Millis, ObjectKey, Rate, Reading, Signals};

pub use assemble::assemble;
pub(crate) use assemble::reading;
pub(crate) use queries::count;
pub use queries::signal_queries;
pub(crate) use table::{bounds, buckets, key, numbers, problems, rows};

use crate::Ask;

/// What metrics say about one revision of a workload, its serving pods only. A revision whose pods are all younger
/// than the rate window has no quantile and no wait: they would measure its warm-up.
#[derive(Debug, Clone, PartialEq)]
pub struct Revision {
    /// The Deployment.
    pub workload: ObjectKey,
    /// `pod-template-hash`.
    pub revision: String,
    /// Serving pods of the scope that run it.
    pub pods: usize,
    /// Requests per second over the short window.
    pub rate: Reading<Rate>,
    /// Request time at the objective's percentile.
    pub request_quantile: Reading<Millis>,
    /// Self time at the objective's percentile.
    pub self_quantile: Reading<Millis>,
    /// Mean wait for callees per request.
    pub callee_wait: Reading<Millis>,
    /// Share of requests that failed.
    pub error_share: Reading<f64>,
    /// Cores in use.
    pub cpu_cores: Reading<f64>,
    /// Share of CFS periods throttled, mean over pods.
    pub throttled: Reading<f64>,
}

/// A query that gave no usable answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// What was asked.
    pub ask: Ask,
    /// [`crate::PromError::category`], or `PartialAnswer` for an answer with warnings.
    pub category: &'static str,
    /// The error or the warnings.
    pub message: String,
    /// Whether trying again may help.
    pub retry: bool,
}

/// One round of observation.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Observed {
    /// One for each workload of the scope, in its order.
    pub signals: Vec<Signals>,
    /// One for each revision with pods in the scope or requests in the answers, by workload and hash.
    pub revisions: Vec<Revision>,
    /// Queries without a usable answer.
    pub problems: Vec<Problem>,
}
