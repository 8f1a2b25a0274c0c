//! Observations for tests: a plain one to change by hand, and random ones from a seed.
#![allow(
    dead_code,
    unused_imports,
    reason = "each test target uses its own part"
)]

mod dice;
pub mod fluid;
mod run;

pub use dice::Dice;
pub use run::{Run, sizes};

use jiff::{SignedDuration, Timestamp};
use msars_domain::{
    Action, Behavior, CpuBounds, CpuSize, Curve, Headroom, Knot, MilliCpu, Millis, ObjectKey,
    Observation, Percentile, PodCost, PodState, Qos, Rate, Reading, Resize, RevisionState, Signals,
    SizeCurve, Wishes,
};
use msars_plan::{Analytic, Decision, Engines, LastPeak, Limits, State, Tick, decide};

pub fn start() -> Timestamp {
    "2026-03-01T12:00:00Z".parse().unwrap()
}

pub fn after(at: Timestamp, seconds: i64) -> Timestamp {
    at.checked_add(SignedDuration::from_secs(seconds)).unwrap()
}

pub fn rate(value: f64, at: Timestamp) -> Reading<Rate> {
    Reading::Known {
        value: Rate::new(value).unwrap(),
        at,
    }
}

pub fn ms(value: f64) -> Millis {
    Millis::new(value).unwrap()
}

pub fn engines() -> Engines {
    Engines {
        forecaster: Box::new(LastPeak::default()),
        policy: Box::new(Analytic::default()),
    }
}

/// A pod of 200m carries 40 requests/s within 50 ms, of 400m 100, of 800m 220; unloaded 10 ms.
pub fn curve() -> Curve {
    let table = |size, knee: f64| SizeCurve {
        size: MilliCpu(size),
        knots: [
            (1.0, 10.0),
            (knee * 0.5, 20.0),
            (knee, 50.0),
            (knee * 1.2, 400.0),
        ]
        .map(|(r, q)| Knot {
            rate: Rate::new(r).unwrap(),
            quantile: ms(q),
        })
        .to_vec(),
    };
    Curve::new(vec![
        table(100, 15.0),
        table(200, 40.0),
        table(400, 100.0),
        table(800, 220.0),
    ])
    .unwrap()
}

pub fn pod(index: usize, size: CpuSize, born: Timestamp) -> PodState {
    PodState {
        name: format!("catalogue-{index}"),
        uid: format!("uid-{index}"),
        revision: "r1".into(),
        ready: true,
        born,
        asked: size,
        actual: size,
        resize: Resize::None,
        foreign: false,
        starting: false,
        unschedulable: false,
    }
}

pub fn cpu(request: u32, limit: u32) -> CpuSize {
    CpuSize {
        request: MilliCpu(request),
        limit: Some(MilliCpu(limit)),
    }
}

/// `replicas` pods of 200m (request 100m) with a budget of 50 ms under `load` requests/s, and nothing special.
pub fn plain(now: Timestamp, replicas: u32, load: f64) -> Observation {
    let template = cpu(100, 200);
    Observation {
        signals: Signals {
            workload: ObjectKey::new("shop", "catalogue"),
            rate: rate(load, now),
            peak_rate: rate(load, now),
            rate_at_least: None,
            request_quantile: Reading::Known {
                value: ms(20.0),
                at: now,
            },
            self_quantile: Reading::Known {
                value: ms(20.0),
                at: now,
            },
            callee_wait: Reading::Known {
                value: ms(0.0),
                at: now,
            },
            error_share: Reading::Known {
                value: 0.0,
                at: now,
            },
            cpu_cores: Reading::Known {
                value: 0.0,
                at: now,
            },
            throttled: Reading::Known {
                value: 0.0,
                at: now,
            },
        },
        history: Vec::new(),
        container: "app".into(),
        wishes: Wishes {
            acts: true,
            ..Wishes::default()
        },
        pods: (0..replicas as usize)
            .map(|i| pod(i, template, after(now, -3600)))
            .collect(),
        replicas,
        uncreated: 0,
        create_failure: None,
        min_replicas: 1,
        max_replicas: 20,
        cpu: CpuBounds {
            min: MilliCpu(100),
            max: MilliCpu(800),
            step: MilliCpu(50),
        },
        template,
        qos: Qos::Burstable,
        resizable: Some(true),
        restarts: None,
        revisions: vec![RevisionState {
            hash: "r1".into(),
            current: true,
            budget: Some(ms(50.0)),
            percentile: Percentile::new(0.99).unwrap(),
            curve: Some(curve()),
            work_ratio: None,
        }],
        rolling: false,
        lasting: false,
        promoted: false,
        behavior: Behavior::default(),
        headroom: Headroom::default(),
        cost: PodCost::default(),
        quotas: Vec::new(),
        rival: None,
        declared_by: None,
        guests: None,
    }
}

/// One decision on one observation.
pub fn single(now: Timestamp, seen: &Observation, state: &State) -> Decision {
    let tick = Tick {
        now,
        seed: 1,
        observations: vec![seen.clone()],
        states: vec![state.clone()],
    };
    decide(&tick, &mut engines(), &Limits::default())
        .pop()
        .unwrap()
}

/// What the cluster would do: applies the actions; resizes act at once unless `refuse` says otherwise.
pub fn apply(
    now: Timestamp,
    seen: &mut Observation,
    decision: &Decision,
    refuse: impl Fn(&str) -> Option<Resize>,
) {
    for action in &decision.actions {
        match action {
            Action::Scale { from, to, .. } => {
                assert_eq!(*from, seen.replicas);
                seen.replicas = *to;
                seen.pods.truncate(*to as usize);
                while seen.pods.len() < *to as usize {
                    let index = seen.pods.len() + (now.as_second() as usize % 100_000) * 1000;
                    seen.pods.push(pod(index, seen.template, now));
                }
            }
            Action::Resize {
                uid,
                request,
                limit,
                ..
            } => {
                let Some(pod) = seen.pods.iter_mut().find(|p| p.uid == *uid) else {
                    continue;
                };
                pod.asked = CpuSize {
                    request: request.unwrap_or(pod.asked.request),
                    limit: limit.or(pod.asked.limit),
                };
                match refuse(uid) {
                    Some(state) if pod.asked.size() > pod.actual.size() => pod.resize = state,
                    _ => {
                        pod.actual = pod.asked;
                        pod.resize = Resize::None;
                    }
                }
            }
            other => panic!("not an action of this crate: {other:?}"),
        }
    }
}
