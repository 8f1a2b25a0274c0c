//! One measured window.

use msars_domain::{MilliCpu, Rate};
use msars_sim::{Demand, Mechanism, Run, lognormal, serve, stream};

use crate::Waits;

/// Share of errors from which a window tells of failing, not of the work, and ends its size.
pub(crate) const ERRORS: f64 = 0.05;

/// Requests simulated per point and candidate, about.
const SIMULATED: u64 = 2_500;
/// Windows simulated per point and candidate: at least, at most. A long window varies less.
const REPEATS: (u64, u64) = (7, 19);
/// Requests of a simulated window at most: what a longer one would vary less is below the model's own error.
const MOST: u64 = 5_000;

/// Which times a point's quantiles are of.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Times {
    /// Self times, from the service's own histogram.
    Own,
    /// A client's latencies, waits included.
    Client,
    /// Without the mean wait only, so that the waits' spread is still in them, or with a p99 out of few requests: p50
    /// and p90 count.
    Reduced,
}

/// What one window at one size and rate showed.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Point {
    /// CPU limit of the serving container.
    pub size: MilliCpu,
    /// Offered rate.
    pub rate: Rate,
    /// Length of the window in seconds.
    pub window_seconds: f64,
    /// Requests that were to be sent in the window, errors included.
    pub requests: u64,
    /// Requests that failed, or were not sent since too many waited for their answer.
    pub errors: u64,
    /// CPU that the container uses for so many requests, in seconds.
    pub cpu_seconds: f64,
    /// Which times the quantiles are of.
    pub times: Times,
    /// What is known of the waits for callees.
    pub waits: Option<Waits>,
    /// Their median in ms.
    pub p50_ms: f64,
    /// Their p90 in ms.
    pub p90_ms: f64,
    /// Their p99 in ms.
    pub p99_ms: f64,
    /// Whether a callee missed its own objective or had no headroom meanwhile.
    pub callee_in_trouble: bool,
}

impl Point {
    /// Share of the quota used, from the offered rate and the mean work in ms.
    pub fn load(&self, work_ms: f64) -> f64 {
        self.rate.get() * work_ms / 1000.0 / self.size.cores().max(0.001)
    }

    /// Share of requests that failed; 0 without requests.
    pub fn error_share(&self) -> f64 {
        self.errors as f64 / self.requests.max(1) as f64
    }

    /// Whether it says anything: requests, and finite positive figures.
    pub fn usable(&self) -> bool {
        let figures = [self.cpu_seconds, self.p50_ms, self.p90_ms, self.p99_ms];
        self.requests > self.errors && figures.iter().all(|f| f.is_finite() && *f > 0.0)
    }

    /// The measured self time at `p`, log-linear over the logit of `p` between p50, p90 and p99, never beyond p99.
    pub fn quantile(&self, p: f64) -> f64 {
        let score = |p: f64| (p / (1.0 - p)).ln();
        let known = [(0.5, self.p50_ms), (0.9, self.p90_ms), (0.99, self.p99_ms)];
        let p = p.clamp(0.5, 0.99);
        let (low, high) = if p <= 0.9 {
            (known[0], known[1])
        } else {
            (known[1], known[2])
        };
        let share = (score(p) - score(low.0)) / (score(high.0) - score(low.0));
        (low.1.ln() + share * (high.1.ln() - low.1.ln())).exp()
    }

    /// What of `wire_ms`, a client's time beside the service, is in the times.
    pub(crate) fn wire_ms(&self, wire_ms: f64) -> f64 {
        if self.times == Times::Own {
            0.0
        } else {
            wire_ms
        }
    }

    /// What the mechanism would show in such windows: per repeat the times in ms at `ps`. Each starts from an empty
    /// pod, so that a short window's bias is in the prediction too.
    pub(crate) fn predict<const N: usize>(
        &self,
        mechanism: &Mechanism,
        ps: [f64; N],
        seed: u64,
    ) -> Vec<[f64; N]> {
        let requests = self.requests.clamp(1, MOST);
        let repeats = (SIMULATED / requests).clamp(REPEATS.0, REPEATS.1);
        let one = |repeat| {
            let seed = seed.wrapping_mul(1009).wrapping_add(repeat);
            let run = run(
                mechanism,
                self.waits,
                self.size,
                self.rate,
                requests as usize,
                seed,
            );
            match self.times {
                Times::Client => run.latencies(ps),
                Times::Own | Times::Reduced => ps.map(|p| run.quantile(p)),
            }
        };
        (0..repeats).map(one).collect()
    }
}

/// A mechanism with its workers held while a request waits.
pub(crate) fn run(
    mechanism: &Mechanism,
    waits: Option<Waits>,
    size: MilliCpu,
    rate: Rate,
    requests: usize,
    seed: u64,
) -> Run {
    let mut works = stream(seed, 2);
    let mut draws = stream(seed, 3);
    let demand = |_arrived| Demand {
        work_ms: lognormal(&mut works, mechanism.work_ms, mechanism.sigma),
        wait_ms: waits.map_or(0.0, |waits| waits.draw(&mut draws)),
    };
    serve(mechanism, Some(size), rate, requests, seed, demand)
}
