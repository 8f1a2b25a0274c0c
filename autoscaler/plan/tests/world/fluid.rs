//! A fluid model of one service under a trace, scaled by `decide` or by HPA's rule.
//!
//! Within its budget a pod of 200m carries 40 requests/s, of 400m 100, of 800m 220; a request costs 3 ms of CPU. Pods
//! take 20 s to start, resizes act at once, rates are means of 30 s, 5 s old. A second in which pods get more than they
//! carry counts all its requests as missed. The reflex is not modelled.

use std::collections::VecDeque;

use msars_domain::{Behavior, MilliCpu, Observation, RateSample, Reading};
use msars_plan::{Decision, Profile, State, pace, stabilize, windows, within_tolerance};

use super::{after, apply, cpu, ms, plain, rate, single, start};

/// CPU seconds per request.
const WORK: f64 = 0.003;
/// Seconds a pod takes to serve.
const STARTUP: i64 = 20;

pub struct Score {
    requests: f64,
    missed: f64,
    pub core_seconds: f64,
    pub writes: usize,
}

impl Score {
    /// Share of requests in seconds that kept the budget.
    pub fn attained(&self) -> f64 {
        1.0 - self.missed / self.requests
    }
}

/// What a scaler sees and may change.
struct World {
    seen: Observation,
    /// Offered rates of the last 600 s, newest last.
    past: VecDeque<f64>,
}

impl World {
    fn mean(&self, from: usize) -> f64 {
        let newest = self.past.len().saturating_sub(5 + from);
        let oldest = newest.saturating_sub(30);
        let span = self.past.range(oldest..newest);
        span.clone().sum::<f64>() / span.len().max(1) as f64
    }
}

fn run(
    trace: &[f64],
    per_line: usize,
    mut tick: impl FnMut(&mut World, jiff::Timestamp) -> usize,
) -> Score {
    let mut now = start();
    let mut seen = plain(now, 4, trace[0]);
    seen.template = cpu(200, 200);
    for pod in &mut seen.pods {
        pod.asked = seen.template;
        pod.actual = seen.template;
    }
    seen.max_replicas = 60;
    seen.min_replicas = 2;
    let mut world = World {
        seen,
        past: VecDeque::from(vec![trace[0]; 60]),
    };
    let mut score = Score {
        requests: 0.0,
        missed: 0.0,
        core_seconds: 0.0,
        writes: 0,
    };
    let mut worst = VecDeque::from(vec![20.0; 30]);
    for second in 0..trace.len() * per_line {
        let (at, next) = (
            second / per_line,
            (second / per_line + 1).min(trace.len() - 1),
        );
        let share = (second % per_line) as f64 / per_line as f64;
        let offered = trace[at] * (1.0 - share) + trace[next] * share;
        now = after(now, 1);
        for pod in &mut world.seen.pods {
            pod.ready = now.duration_since(pod.born).as_secs() >= STARTUP;
        }
        let profile = Profile::of(&world.seen).unwrap();
        let ready = world.seen.pods.iter().filter(|p| p.ready);
        let each = offered / ready.clone().count().max(1) as f64;
        let load = ready
            .map(|p| each / profile.capacity(p.actual.size()).unwrap_or(0.001))
            .fold(0.0, f64::max);
        score.requests += offered;
        if load > 1.0 {
            score.missed += offered;
        }
        score.core_seconds += world
            .seen
            .pods
            .iter()
            .map(|p| p.asked.request.cores())
            .sum::<f64>();
        worst.pop_front();
        worst.push_back(if load <= 1.0 {
            10.0 + 40.0 * load
        } else {
            400.0
        });
        world.past.push_back(offered);
        if world.past.len() > 600 {
            world.past.pop_front();
        }
        if second % 15 == 14 {
            let mean = world.mean(0);
            let peak = (0..world.past.len().saturating_sub(35))
                .step_by(15)
                .map(|k| world.mean(k))
                .fold(mean, f64::max);
            world.seen.signals = plain(now, 1, mean).signals;
            world.seen.signals.peak_rate = rate(peak, now);
            world.seen.signals.self_quantile = Reading::Known {
                value: ms(worst.iter().sum::<f64>() / 30.0),
                at: now,
            };
            let limits: f64 = world
                .seen
                .pods
                .iter()
                .filter(|p| p.ready)
                .filter_map(|p| p.actual.limit)
                .map(MilliCpu::cores)
                .sum();
            world.seen.signals.cpu_cores = Reading::Known {
                value: (mean * WORK).min(limits),
                at: now,
            };
            world.seen.history.push(RateSample {
                at: now,
                rate: msars_domain::Rate::new(mean).unwrap(),
            });
            if world.seen.history.len() > 40 {
                world.seen.history.remove(0);
            }
            score.writes += tick(&mut world, now);
        }
    }
    score
}

/// Scaled by `decide`, every decision told.
pub fn ours(trace: &[f64], per_line: usize, down: u32, mut told: impl FnMut(&Decision)) -> Score {
    let mut state = State::default();
    run(trace, per_line, |world, now| {
        world.seen.behavior.scale_down.stabilization_window_seconds = down;
        let made = single(now, &world.seen, &state);
        told(&made);
        apply(now, &mut world.seen, &made, |_| None);
        state = made.state;
        made.actions.len()
    })
}

/// Scaled by HPA's rule at a target of CPU use.
pub fn hpa(trace: &[f64], per_line: usize, target: f64, down: u32) -> Score {
    let mut behavior = Behavior::default();
    behavior.scale_down.stabilization_window_seconds = down;
    let (mut history, mut events) = (Vec::new(), Vec::new());
    run(trace, per_line, move |world, now| {
        let replicas = world.seen.replicas;
        let ready = world.seen.pods.iter().filter(|p| p.ready).count().max(1);
        let used = world.mean(10) * WORK / (ready as f64 * 0.2);
        let ratio = used.min(1.0) / target;
        let wanted = if within_tolerance(ratio, &behavior) {
            replicas
        } else {
            (ready as f64 * ratio).ceil() as u32
        };
        let wanted = wanted.clamp(2, 60);
        let stable = stabilize(
            now,
            replicas,
            wanted,
            history.iter().copied(),
            windows(&behavior),
        );
        history.push((now, wanted));
        let to = pace(now, replicas, stable, (2, 60), &events, &behavior).replicas;
        if to == replicas {
            return 0;
        }
        events.push(msars_plan::ScaleEvent {
            at: now,
            change: i64::from(to) - i64::from(replicas),
        });
        let mut made = single(now, &world.seen, &State::default());
        made.actions = vec![msars_domain::Action::Scale {
            target: world.seen.signals.workload.clone(),
            from: replicas,
            to,
        }];
        apply(now, &mut world.seen, &made, |_| None);
        1
    })
}
