//! One measured window.

use msars_domain::{MilliCpu, Rate};
use msars_sim::{Mechanism, simulate};

/// What one window at one size and rate showed.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Point {
    /// CPU limit of the serving container.
    pub size: MilliCpu,
    /// Offered rate.
    pub rate: Rate,
    /// Length of the window in seconds.
    pub window_seconds: f64,
    /// Requests sent in the window, errors included.
    pub requests: u64,
    /// Requests that failed.
    pub errors: u64,
    /// CPU used by the container in the window, in seconds.
    pub cpu_seconds: f64,
    /// Median self time in ms.
    pub p50_ms: f64,
    /// p90 of self time in ms.
    pub p90_ms: f64,
    /// p99 of self time in ms.
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

    /// What the mechanism would show in such windows: the median over `repeats` windows of each of `ps`, so that
    /// a short window's bias (it starts from an empty pod) is in the prediction too.
    pub(crate) fn predict<const N: usize>(
        &self,
        mechanism: &Mechanism,
        ps: [f64; N],
        repeats: u64,
        seed: u64,
    ) -> [f64; N] {
        let mut seen: [Vec<f64>; N] = std::array::from_fn(|_| Vec::new());
        for repeat in 0..repeats {
            let seed = seed.wrapping_mul(1009).wrapping_add(repeat);
            let requests = (self.requests.clamp(1, 20_000)) as usize;
            let run = simulate(mechanism, Some(self.size), self.rate, requests, seed);
            for (list, p) in seen.iter_mut().zip(ps) {
                list.push(run.quantile(p));
            }
        }
        seen.map(|mut list| {
            list.sort_by(f64::total_cmp);
            list.get(list.len() / 2).copied().unwrap_or(0.0)
        })
    }
}
