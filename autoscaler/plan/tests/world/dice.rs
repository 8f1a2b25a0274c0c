//! Random observations from a seed.

use jiff::Timestamp;
use msars_domain::{
    Behavior, Beside, Bytes, CpuBounds, CpuSize, Curve, Headroom, Knot, MilliCpu, ObjectKey,
    Observation, Percentile, PodCost, PodState, PolicyType, Qos, Rate, Reading, Resize,
    RevisionState, Rival, ScalingPolicy, ScalingRules, SelectPolicy, Signals, SizeCurve, Unknown,
    Wishes,
};

use super::{after, cpu, ms, pod};

/// SplitMix64: small, seeded, the same everywhere.
pub struct Dice(pub u64);

impl Dice {
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    pub fn below(&mut self, n: u64) -> u64 {
        self.next() % n.max(1)
    }

    pub fn one_in(&mut self, n: u64) -> bool {
        self.below(n) == 0
    }

    pub fn unit(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1u64 << 53) as f64
    }

    fn unknown(&mut self) -> Unknown {
        [
            Unknown::Unreachable,
            Unknown::NoSeries,
            Unknown::Stale,
            Unknown::NotANumber,
            Unknown::TooFewSamples,
            Unknown::Saturated { least: ms(30.0) },
        ][self.below(6) as usize]
    }

    fn reading<T>(&mut self, value: T, now: Timestamp) -> Reading<T> {
        match self.below(12) {
            0 => Reading::Unknown {
                why: self.unknown(),
            },
            1 => Reading::Known {
                value,
                at: after(now, -90),
            },
            _ => Reading::Known {
                value,
                at: after(now, -self.below(30).cast_signed()),
            },
        }
    }

    fn rules(&mut self, window: u32) -> ScalingRules {
        let count = self.below(3);
        ScalingRules {
            stabilization_window_seconds: [0, 0, 15, 60, 300, window][self.below(6) as usize],
            select_policy: [
                SelectPolicy::Max,
                SelectPolicy::Max,
                SelectPolicy::Min,
                SelectPolicy::Disabled,
            ][self.below(4) as usize],
            policies: (0..count)
                .map(|_| ScalingPolicy {
                    kind: if self.one_in(2) {
                        PolicyType::Pods
                    } else {
                        PolicyType::Percent
                    },
                    value: 1 + self.below(150) as u32,
                    period_seconds: 1 + self.below(120) as u32,
                })
                .collect(),
            tolerance: [0.0, 0.1, 0.1, 0.3][self.below(4) as usize],
        }
    }

    fn curve(&mut self) -> Curve {
        let scale = 0.2 + 3.0 * self.unit();
        let tables = 1 + self.below(4);
        let sizes = (0..tables).map(|k| {
            let size = 50 * (1 << k) + self.below(40) as u32;
            let knee = f64::from(size) / 5.0 * scale;
            let unloaded = 2.0 + 30.0 * self.unit();
            let knots = [0.1, 0.4, 0.7, 0.9, 1.1].map(|load| Knot {
                rate: Rate::new(load * knee).unwrap(),
                quantile: ms(unloaded / (1.2 - load)),
            });
            SizeCurve {
                size: MilliCpu(size),
                knots: knots.to_vec(),
            }
        });
        Curve::new(sizes.collect()).unwrap()
    }

    fn revision(&mut self, index: u64) -> RevisionState {
        RevisionState {
            hash: format!("r{index}"),
            current: index == 0,
            budget: (!self.one_in(20)).then(|| ms(5.0 + 200.0 * self.unit())),
            percentile: Percentile::new(0.99).unwrap(),
            curve: (!self.one_in(15)).then(|| self.curve()),
            work_ratio: [None, None, Some(0.5), Some(1.3), Some(f64::NAN)][self.below(5) as usize],
        }
    }

    fn pod(&mut self, index: usize, template: CpuSize, now: Timestamp) -> PodState {
        let mut pod = pod(index, template, after(now, -self.below(400).cast_signed()));
        // The newest, so that it may be one of a rollout.
        pod.revision = "r0".into();
        pod.ready = !self.one_in(6);
        pod.foreign = self.one_in(20);
        pod.unschedulable = !pod.ready && pod.uid.ends_with('3');
        pod.starting = !pod.ready && pod.uid.ends_with('5');
        if template.size().0 > 0 && self.one_in(3) {
            pod.asked = template.scaled_to(MilliCpu(20 + self.below(900) as u32));
            pod.actual = pod.asked;
        }
        if template.size().0 > 0 && self.one_in(6) {
            pod.asked = template.scaled_to(MilliCpu(pod.actual.size().0 + self.below(500) as u32));
            pod.resize = match self.below(4) {
                0 => Resize::InProgress,
                1 => Resize::Deferred {
                    since: after(now, -self.below(600).cast_signed()),
                },
                2 => Resize::Infeasible {
                    size: pod.asked.size(),
                },
                _ => Resize::Error,
            };
        }
        pod
    }

    /// Signals of another instant; the load walks.
    pub fn signals(&mut self, now: Timestamp, load: f64) -> Signals {
        let (r, m) = (Rate::new(load).unwrap(), |v: f64| ms(v));
        let peak = Rate::new(load * (1.0 + self.unit())).unwrap();
        let quantile = 5.0 + 120.0 * self.unit();
        Signals {
            workload: ObjectKey::new("shop", "catalogue"),
            rate: self.reading(r, now),
            peak_rate: self.reading(peak, now),
            rate_at_least: None,
            request_quantile: self.reading(m(quantile), now),
            self_quantile: self.reading(m(quantile * 0.6), now),
            callee_wait: self.reading(m(quantile * 0.3), now),
            error_share: self.reading(0.0, now),
            cpu_cores: {
                let u = self.unit();
                self.reading(u * 3.0, now)
            },
            throttled: {
                let u = self.unit();
                self.reading(u * 0.4, now)
            },
        }
    }

    /// Any observation at all.
    pub fn observation(&mut self, now: Timestamp) -> Observation {
        let (template, qos) = match self.below(6) {
            0 => (cpu(200, 200), Qos::Guaranteed),
            1 => (
                CpuSize {
                    request: MilliCpu(150),
                    limit: None,
                },
                Qos::Burstable,
            ),
            2 => (
                CpuSize {
                    request: MilliCpu(0),
                    limit: None,
                },
                Qos::BestEffort,
            ),
            3 => (cpu(300, 300), Qos::Burstable),
            _ => (cpu(50 + self.below(100) as u32, 200), Qos::Burstable),
        };
        let replicas = if self.one_in(30) {
            0
        } else {
            1 + self.below(12) as u32
        };
        let pods = (u64::from(replicas) + self.below(3)).saturating_sub(self.below(2));
        let min = 1 + self.below(4) as u32;
        let least = 10 + self.below(150) as u32;
        let load = if self.one_in(8) {
            0.0
        } else {
            600.0 * self.unit() * self.unit()
        };
        let other = 1 + self.below(2);
        let mut seen = Observation {
            signals: self.signals(now, load),
            history: Vec::new(),
            container: "app".into(),
            wishes: Wishes {
                acts: !self.one_in(8),
                pause: self.one_in(25),
                pause_scale_down: self.one_in(15),
                emergency: self.one_in(25),
            },
            pods: (0..pods as usize)
                .map(|i| self.pod(i, template, now))
                .collect(),
            replicas,
            uncreated: 0,
            create_failure: None,
            min_replicas: min,
            max_replicas: min + self.below(20) as u32,
            cpu: CpuBounds {
                min: MilliCpu(least),
                max: MilliCpu(least + self.below(900) as u32),
                step: MilliCpu(self.below(60) as u32),
            },
            template,
            qos,
            resizable: Some(!self.one_in(10)),
            restarts: None,
            revisions: (0..other).map(|i| self.revision(i)).collect(),
            rolling: self.one_in(10),
            lasting: self.one_in(4),
            promoted: self.one_in(10),
            behavior: if self.one_in(2) {
                Behavior::default()
            } else {
                Behavior {
                    scale_up: self.rules(0),
                    scale_down: self.rules(600),
                }
            },
            quotas: Vec::new(),
            cost: PodCost::default(),
            headroom: Headroom {
                requests: self.one_in(5).then(|| MilliCpu(self.below(1500) as u32)),
                limits: self.one_in(5).then(|| MilliCpu(self.below(3000) as u32)),
                pods: self.one_in(6).then(|| self.below(5) as u32),
                ..Headroom::default()
            },
            rival: self.one_in(25).then(|| Rival {
                kind: "HorizontalPodAutoscaler".into(),
                name: "old".into(),
            }),
            declared_by: self.one_in(25).then(|| "argocd-controller".into()),
            guests: self
                .one_in(8)
                .then(|| Rate::new(300.0 * self.unit()).unwrap()),
        };
        self.whole_pods(&mut seen);
        seen
    }

    /// What pods cost beside their serving container, memory quotas, and pods that are not created.
    fn whole_pods(&mut self, seen: &mut Observation) {
        let mut beside = || Beside {
            others: MilliCpu(self.below(3) as u32 * 60),
            least: MilliCpu(self.below(2) as u32 * 400),
        };
        (seen.cost.requests, seen.cost.limits) = (beside(), beside());
        seen.cost.request_memory = Bytes(self.below(3) * 64);
        seen.cost.limit_memory = Bytes(self.below(3) * 128);
        seen.headroom.request_memory = self.one_in(6).then(|| Bytes(self.below(300)));
        seen.headroom.limit_memory = self.one_in(6).then(|| Bytes(self.below(600)));
        if self.one_in(6) {
            seen.uncreated = self.below(u64::from(seen.replicas) + 1) as u32;
        }
    }
}
