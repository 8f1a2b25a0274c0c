//! The pod: a FIFO queue before `workers`, processor sharing on `cores`, a quota per 100 ms.

use std::cmp::Ordering;
use std::collections::{BinaryHeap, VecDeque};

use msars_domain::{MilliCpu, Rate};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use rand_distr::{Distribution, Exp1, StandardNormal};

/// The CFS period in ms.
const PERIOD: f64 = 100.0;
/// Times and quota closer than this (ms) are the same moment.
const TINY: f64 = 1e-9;

/// A wait for callees in the middle of the work, lognormal.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Wait {
    /// Mean in ms.
    pub mean_ms: f64,
    /// Standard deviation of the logarithm.
    pub sigma: f64,
    /// Whether the worker stays occupied meanwhile.
    pub held: bool,
}

/// What makes a pod's latency: independent of its size and of its load.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Mechanism {
    /// Mean CPU work per request in ms of one core.
    pub work_ms: f64,
    /// Standard deviation of the work's logarithm.
    pub sigma: f64,
    /// Requests in the handler at once, ≥ 1.
    pub workers: u32,
    /// Cores that runnable threads can use at once, > 0.
    pub cores: f64,
    /// The callee wait, if any.
    pub callee: Option<Wait>,
}

/// What happened to the simulated requests.
#[derive(Debug, Clone, PartialEq)]
pub struct Run {
    /// Self times in ms, ascending: queueing, work and throttling, without the callee wait.
    pub self_ms: Vec<f64>,
    /// Latencies in ms, in order of arrival: self time and callee wait, as a client sees them.
    pub latency_ms: Vec<f64>,
    /// CPU used in seconds.
    pub cpu_seconds: f64,
    /// From the run's begin to the last completion, in seconds.
    pub seconds: f64,
}

impl Run {
    /// The self time in ms at the share `p` of requests; 0 without requests.
    pub fn quantile(&self, p: f64) -> f64 {
        at_share(&self.self_ms, p)
    }

    /// The latencies in ms at the shares `ps` of requests; 0 without requests.
    pub fn latencies<const N: usize>(&self, ps: [f64; N]) -> [f64; N] {
        let mut ascending = self.latency_ms.clone();
        ascending.sort_by(f64::total_cmp);
        ps.map(|p| at_share(&ascending, p))
    }

    /// The mean self time in ms; 0 without requests.
    pub fn mean(&self) -> f64 {
        self.self_ms.iter().sum::<f64>() / self.self_ms.len().max(1) as f64
    }
}

/// What a request asks for.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Demand {
    /// CPU work in ms of one core.
    pub work_ms: f64,
    /// Wait for callees in ms.
    pub wait_ms: f64,
}

fn at_share(ascending: &[f64], p: f64) -> f64 {
    let last = ascending.len().saturating_sub(1);
    let at = ((ascending.len() as f64 * p).ceil() as usize).saturating_sub(1);
    ascending.get(at.min(last)).copied().unwrap_or(0.0)
}

#[derive(Debug, Clone, Copy)]
struct Due {
    key: f64,
    id: usize,
}
impl PartialEq for Due {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}
impl Eq for Due {}
impl PartialOrd for Due {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}
impl Ord for Due {
    /// Reversed: the heap's top is the earliest.
    fn cmp(&self, other: &Self) -> Ordering {
        (other.key.total_cmp(&self.key)).then(other.id.cmp(&self.id))
    }
}

#[derive(Debug, Clone, Copy)]
struct Request {
    arrived: f64,
    work: f64,
    wait: f64,
    second_half: bool,
}

/// A lognormal draw with the given mean.
pub fn lognormal(rng: &mut ChaCha8Rng, mean: f64, sigma: f64) -> f64 {
    let z: f64 = StandardNormal.sample(rng);
    mean * (sigma * z - sigma * sigma / 2.0).exp()
}

struct Pod {
    mechanism: Mechanism,
    quota: Option<f64>,
    now: f64,
    virt: f64,
    left: f64,
    period_end: f64,
    free: u32,
    requests: Vec<Request>,
    queue: VecDeque<usize>,
    running: BinaryHeap<Due>,
    waiting: BinaryHeap<Due>,
    self_ms: Vec<f64>,
    latency_ms: Vec<f64>,
}

impl Pod {
    /// Cores in use at this moment.
    fn busy(&self) -> f64 {
        // After hours of simulated time, a clock of this width cannot count less than this: such a rest of the quota
        // would never be spent, and time would stand still.
        let least = TINY.max(self.now * 4.0 * f64::EPSILON);
        let throttled = self.quota.is_some() && self.left <= least;
        if throttled {
            return 0.0;
        }
        self.mechanism.cores.min(self.running.len() as f64)
    }

    fn advance(&mut self, to: f64) {
        let busy = self.busy();
        if busy > 0.0 {
            let step = to - self.now;
            self.virt += step * busy / self.running.len() as f64;
            self.left -= step * busy;
        }
        self.now = to;
        if let Some(quota) = self.quota
            && to >= self.period_end - TINY
        {
            let periods = ((to - self.period_end + TINY) / PERIOD).floor() + 1.0;
            self.period_end += periods * PERIOD;
            self.left = quota;
        }
    }

    fn run(&mut self, id: usize) {
        let request = self.requests[id];
        let share = if request.wait > 0.0 { 0.5 } else { 1.0 };
        self.running.push(Due {
            key: self.virt + request.work * share,
            id,
        });
    }

    fn free_worker(&mut self) {
        match self.queue.pop_front() {
            Some(next) => self.run(next),
            None => self.free += 1,
        }
    }

    fn arrive(&mut self, request: Request) {
        let id = self.requests.len();
        self.requests.push(request);
        if self.free > 0 {
            self.free -= 1;
            self.run(id);
        } else {
            self.queue.push_back(id);
        }
    }

    fn finish_work(&mut self, id: usize) {
        let held = self.mechanism.callee.is_none_or(|c| c.held);
        let request = self.requests[id];
        if request.wait > 0.0 && !request.second_half {
            self.requests[id].second_half = true;
            self.waiting.push(Due {
                key: self.now + request.wait,
                id,
            });
            if !held {
                self.free_worker();
            }
            return;
        }
        let latency = self.now - request.arrived;
        self.latency_ms[id] = latency;
        self.self_ms.push(latency - request.wait);
        if held || request.wait <= 0.0 {
            self.free_worker();
        }
    }

    /// When the next running thread ends its work, or the quota or the period ends.
    fn next_cpu(&self) -> (f64, f64) {
        let Some(first) = self.running.peek() else {
            return (f64::INFINITY, f64::INFINITY);
        };
        let busy = self.busy();
        let limit = if self.quota.is_none() {
            f64::INFINITY
        } else if busy > 0.0 {
            self.period_end.min(self.now + self.left / busy)
        } else {
            self.period_end
        };
        let done = if busy > 0.0 {
            self.now + (first.key - self.virt).max(0.0) * self.running.len() as f64 / busy
        } else {
            f64::INFINITY
        };
        (done, limit)
    }
}

/// Simulates `requests` Poisson arrivals from an empty pod until all are served. `size` is the CPU limit; `None` is
/// no limit. The same seed gives the same work at every rate and size, so that curves are smooth.
pub fn simulate(
    mechanism: &Mechanism,
    size: Option<MilliCpu>,
    rate: Rate,
    requests: usize,
    seed: u64,
) -> Run {
    let mut waits = stream(seed, 3);
    let mut wait = |_arrived: f64| {
        mechanism
            .callee
            .map_or(0.0, |c| lognormal(&mut waits, c.mean_ms, c.sigma))
    };
    let mut works = stream(seed, 2);
    let demand = |arrived| Demand {
        work_ms: lognormal(&mut works, mechanism.work_ms, mechanism.sigma),
        wait_ms: wait(arrived),
    };
    serve(mechanism, size, rate, requests, seed, demand)
}

/// Random numbers of their own for each purpose of a run.
pub fn stream(seed: u64, number: u64) -> ChaCha8Rng {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    rng.set_stream(number);
    rng
}

/// [`simulate`] with what each request asks for drawn by `demand` from its time of arrival in ms, instead of by the
/// mechanism's work and wait.
pub fn serve(
    mechanism: &Mechanism,
    size: Option<MilliCpu>,
    rate: Rate,
    requests: usize,
    seed: u64,
    mut demand: impl FnMut(f64) -> Demand,
) -> Run {
    let mut gaps = stream(seed, 1);
    let quota = size.map(|s| s.cores().max(0.001) * PERIOD);
    let mut pod = Pod {
        mechanism: *mechanism,
        quota,
        now: 0.0,
        virt: 0.0,
        left: quota.unwrap_or(f64::INFINITY),
        period_end: stream(seed, 4).random::<f64>() * PERIOD,
        free: mechanism.workers.max(1),
        requests: Vec::with_capacity(requests),
        queue: VecDeque::new(),
        running: BinaryHeap::new(),
        waiting: BinaryHeap::new(),
        self_ms: Vec::with_capacity(requests),
        latency_ms: vec![0.0; requests],
    };
    let gap_ms = 1000.0 / rate.get().max(1e-6);
    let mut gap = || {
        let unit: f64 = Exp1.sample(&mut gaps);
        unit * gap_ms
    };
    let mut arrival = gap();
    let mut cpu_ms = 0.0;
    while pod.self_ms.len() < requests {
        if pod.requests.len() == requests {
            arrival = f64::INFINITY;
        }
        let (done, limit) = pod.next_cpu();
        let back = pod.waiting.peek().map_or(f64::INFINITY, |d| d.key);
        let at = arrival.min(done).min(limit).min(back);
        pod.advance(at.max(pod.now));
        if done <= at {
            if let Some(due) = pod.running.pop() {
                pod.finish_work(due.id);
            }
        } else if back <= at {
            if let Some(due) = pod.waiting.pop() {
                pod.run(due.id);
            }
        } else if arrival <= at {
            let Demand { work_ms, wait_ms } = demand(at);
            cpu_ms += work_ms;
            pod.arrive(Request {
                arrived: at,
                work: work_ms,
                wait: wait_ms,
                second_half: false,
            });
            arrival = at + gap();
        }
    }
    pod.self_ms.sort_by(f64::total_cmp);
    Run {
        self_ms: pod.self_ms,
        latency_ms: pod.latency_ms,
        cpu_seconds: cpu_ms / 1000.0,
        seconds: pod.now / 1000.0,
    }
}
