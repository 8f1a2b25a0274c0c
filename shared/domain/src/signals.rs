//! What metrics say about one workload at one instant.

use serde::{Deserialize, Serialize};

use crate::{Millis, ObjectKey, Rate, RateSample, Reading};

/// Metrics of one workload, its serving pods only: shadow pods never count. Every figure is a [`Reading`], so that
/// "no data" is never zero.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Signals {
    /// The Deployment.
    pub workload: ObjectKey,
    /// Requests per second into the workload, all pods, over the short window (30 s unless configured).
    pub rate: Reading<Rate>,
    /// What the pods that were measured answer, where others were not and the rate is unknown: it is at least that.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rate_at_least: Option<RateSample>,
    /// Highest short-window rate over the recent past (10 min unless configured).
    pub peak_rate: Reading<Rate>,
    /// Request time at the objective's percentile, callee waits included.
    pub request_quantile: Reading<Millis>,
    /// Self time at the objective's percentile, where the workload exports self time.
    pub self_quantile: Reading<Millis>,
    /// Mean wait for callees per request.
    pub callee_wait: Reading<Millis>,
    /// Share of requests that failed, 0 to 1.
    pub error_share: Reading<f64>,
    /// Cores in use, all serving pods.
    pub cpu_cores: Reading<f64>,
    /// Share of CFS periods throttled, 0 to 1, mean over serving pods.
    pub throttled: Reading<f64>,
}
