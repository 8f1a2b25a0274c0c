//! A service as it truly is, and what a profile of it sees: short windows, a client's latencies, counters.

use msars_domain::{MilliCpu, Rate};
use msars_llp::{Next, Plan, Point, Times, next_probe};
use msars_sim::{Demand, Mechanism, serve};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use rand_distr::{Distribution, Exp1, StandardNormal};

/// The CFS period in ms.
const PERIOD: f64 = 100.0;
/// Shortest length of a window in seconds, as a job measures it.
const WINDOW: f64 = 4.0;
/// Sizes that are profiled.
pub const SIZES: [MilliCpu; 2] = [MilliCpu(200), MilliCpu(400)];
/// The size that is judged: not profiled.
pub const BETWEEN: MilliCpu = MilliCpu(300);
/// The share judged.
pub const P: f64 = 0.99;

/// Request classes of a role that calls one other: share of requests, mean work in ms; and the spread of the work.
/// The figures are the shop's catalogue, user and carts.
const ROLES: [(&[(f64, f64)], f64); 3] = [
    (&[(0.762, 3.0), (0.143, 1.5), (0.095, 2.0)], 0.6),
    (&[(0.1, 1.5), (0.4, 0.8), (0.25, 0.7), (0.25, 0.7)], 0.6),
    (&[(0.4, 1.0), (0.4, 1.2), (0.2, 1.0)], 0.7),
];
/// Work of the shop's versions over that of the first.
const VERSIONS: [f64; 3] = [1.0, 3.0, 0.5];
/// Requests in work at once.
const WORKERS: u32 = 8;

/// One service with its callee and its node.
#[derive(Debug, Clone)]
pub struct World {
    classes: Vec<(f64, f64)>,
    sigma: f64,
    /// Cores that are free beside the node's other pods.
    cores: f64,
    /// Median of an undisturbed call in ms, and its spread.
    call: (f64, f64),
    /// Calls per request.
    visits: f64,
    /// Share of the callee's periods in which its quota ends early, without load and at full load of the caller.
    throttled: (f64, f64),
    /// Time on the wire and in the driver in ms, which the service does not see.
    wire: f64,
    /// Share of requests that wait for a core behind another pod, and that wait's mean in ms.
    stall: (f64, f64),
    /// Error of the CPU counter, as a share.
    counter: f64,
    /// Partial SLO in ms.
    pub budget: f64,
}

/// What happened to requests, in order of arrival.
pub struct Seen {
    /// As the client sees it, ms.
    pub latency: Vec<f64>,
    /// Without the waits, as the service would see it, ms.
    pub own: Vec<f64>,
    /// Each call, ms.
    pub calls: Vec<f64>,
}

/// The value at a share of a sample.
pub fn quantile(sample: &[f64], p: f64) -> f64 {
    let mut sample = sample.to_vec();
    sample.sort_by(f64::total_cmp);
    let at = ((sample.len() as f64 * p).ceil() as usize).saturating_sub(1);
    sample.get(at).copied().unwrap_or(f64::NAN)
}

fn normal(rng: &mut ChaCha8Rng) -> f64 {
    StandardNormal.sample(rng)
}

impl World {
    /// A service drawn from the shop's roles and versions, with waits and disturbances as they were seen on a node.
    pub fn draw(seed: u64) -> Self {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let (classes, sigma) = ROLES[rng.random_range(0..5_usize).saturating_sub(2)];
        let factor = VERSIONS[rng.random_range(0..VERSIONS.len())];
        let strain: f64 = rng.random();
        Self {
            classes: classes
                .iter()
                .map(|(share, work)| (*share, work * factor))
                .collect(),
            sigma,
            cores: rng.random_range(1.2..2.0),
            call: (rng.random_range(0.6..2.5), rng.random_range(0.3..0.7)),
            visits: [1.0, 1.0, 1.4][rng.random_range(0..3)],
            throttled: (0.2 * strain * strain, 0.6 * strain),
            wire: rng.random_range(0.2..0.7),
            stall: (rng.random_range(0.0..0.1), rng.random_range(1.0..8.0)),
            counter: 0.02 * normal(&mut rng),
            budget: [100.0, 150.0, 200.0][rng.random_range(0..3)],
        }
    }

    /// Mean work per request in ms.
    pub fn work(&self) -> f64 {
        self.classes.iter().map(|(share, work)| share * work).sum()
    }

    /// Requests of a pod at a rate.
    pub fn run(&self, size: MilliCpu, rate: f64, requests: usize, seed: u64) -> Seen {
        let pod = Mechanism {
            work_ms: self.work(),
            sigma: self.sigma,
            workers: WORKERS,
            cores: self.cores,
            callee: None,
        };
        let mut rng = ChaCha8Rng::seed_from_u64(seed ^ 0x5eed);
        let (mut calls, mut waits) = (Vec::new(), Vec::new());
        let load = rate * self.work() / 1000.0 / size.cores();
        let chance = self.throttled.0 + self.throttled.1 * load.min(1.0);
        let mut periods: Vec<f64> = Vec::new();
        let rate = Rate::new(rate).unwrap();
        let run = serve(&pod, Some(size), rate, requests, seed, |arrived| {
            let period = (arrived / PERIOD) as usize;
            while periods.len() <= period {
                // A callee without quota left answers when the next period begins.
                let ends = rng.random_range(30.0..PERIOD);
                periods.push(if rng.random_bool(chance) {
                    ends
                } else {
                    PERIOD
                });
            }
            let phase = arrived - PERIOD * period as f64;
            let count = self.visits as usize + usize::from(rng.random_bool(self.visits.fract()));
            let mut wait = 0.0;
            for number in 0..count {
                let throttled = phase >= periods[period] && number == 0;
                let rest = if throttled { PERIOD - phase } else { 0.0 };
                let call = rest + self.call.0 * (self.call.1 * normal(&mut rng)).exp();
                calls.push(call);
                wait += call;
            }
            let unit: f64 = Exp1.sample(&mut rng);
            let stalled = rng.random_bool(self.stall.0);
            let stall = if stalled { unit * self.stall.1 } else { 0.0 };
            waits.push(wait);
            let mut pick = rng.random::<f64>();
            let class = self.classes.iter().find(|(share, _)| {
                pick -= share;
                pick <= 0.0
            });
            let mean = class.map_or(self.classes[0].1, |(_, work)| *work);
            let z = normal(&mut rng);
            Demand {
                work_ms: mean * (self.sigma * z - self.sigma * self.sigma / 2.0).exp(),
                wait_ms: wait + stall,
            }
        });
        let own = run
            .latency_ms
            .iter()
            .zip(&waits)
            .map(|(all, wait)| all - wait);
        Seen {
            own: own.collect(),
            latency: run.latency_ms.iter().map(|all| all + self.wire).collect(),
            calls,
        }
    }

    fn window(&self, size: MilliCpu, rate: f64, seconds: f64, seed: u64, see: See) -> Point {
        let requests = (rate * seconds).round().max(1.0) as usize;
        let seen = self.run(size, rate, requests, seed);
        let cpu_seconds = self.work() / 1000.0 * requests as f64 * (1.0 + self.counter);
        see(
            &seen,
            Point {
                size,
                rate: Rate::new(rate).unwrap(),
                window_seconds: seconds,
                requests: requests as u64,
                errors: 0,
                cpu_seconds,
                times: Times::Own,
                waits: None,
                p50_ms: f64::NAN,
                p90_ms: f64::NAN,
                p99_ms: f64::NAN,
                callee_in_trouble: false,
            },
        )
    }

    /// The windows of a profile.
    pub fn profile(&self, seed: u64, see: See) -> Vec<Point> {
        let plan = Plan {
            sizes: SIZES.to_vec(),
            rates: Vec::new(),
            most: None,
            work_guess_ms: self.work(),
            window_seconds: WINDOW,
            settle_seconds: 3.4,
            budget_seconds: 100.0,
        };
        let mut points = Vec::new();
        while let Next::Probe {
            size,
            rate,
            seconds,
        } = next_probe(&plan, &points)
        {
            let seed = seed * 100 + points.len() as u64;
            points.push(self.window(size, rate.get(), seconds, seed, see));
        }
        points
    }

    /// The largest rate at [`BETWEEN`] that keeps the true quantile within the budget, by bisection on long runs.
    pub fn capacity(&self) -> f64 {
        let full = 1000.0 * BETWEEN.cores() / self.work();
        let (mut low, mut high) = (0.0, full);
        for _ in 0..8 {
            let middle = f64::midpoint(low, high);
            let quantiles =
                [1, 2, 3].map(|seed| quantile(&self.run(BETWEEN, middle, 15_000, seed).own, P));
            if quantile(&quantiles, 0.5) <= self.budget {
                low = middle;
            } else {
                high = middle;
            }
        }
        low
    }
}

/// What a controller makes of a window.
pub type See = fn(&Seen, Point) -> Point;
