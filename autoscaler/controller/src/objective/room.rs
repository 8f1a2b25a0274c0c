//! How much more load services have room for: what a profile's copy may send on to them. Pure.

use std::collections::BTreeMap;

use msars_domain::{Call, MilliCpu, ObjectKey, Rate, Signals};

use super::assemble::Class;
use crate::pods::{self, Serving};
use crate::work::BUSY;
use crate::world::Workload;

/// Share of its CPU limits that a service may use while a copy of a caller is measured. Above it the quota of a small
/// pod makes requests wait for whole periods.
const FILLED: f64 = 0.7;

/// The CFS period in seconds: a pod's quota is for one.
const PERIOD_S: f64 = 0.1;

/// What is left of an older figure after a look: a fresh pod's CPU is seen later than its requests.
const KEPT: f64 = 0.9;

/// CPU seconds per request of a service, the largest seen lately: what this look shows, or what is left of `last`.
pub fn work(signals: &Signals, last: Option<f64>) -> Option<f64> {
    let rate = signals.rate.value().map(|rate| rate.get());
    let rate = rate.filter(|rate| *rate >= BUSY);
    let seen = signals.cpu_cores.value().zip(rate);
    let now = seen.map(|(cores, rate)| cores / rate);
    match (now, last) {
        (Some(now), Some(last)) => Some(now.max(KEPT * last)),
        (now, last) => now.or(last),
    }
    .filter(|work| *work > 0.0)
}

/// What a service serves.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Served {
    /// Requests per second.
    pub rate: f64,
    /// CPU seconds per request, of [`work`].
    pub work: f64,
}

/// CPU limits of the Ready pods of a service.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Quotas {
    /// All of them together.
    pub total: MilliCpu,
    /// How many pods share them; none count as one.
    pub pods: u32,
}

/// Requests per second that a service can take on top of those it serves, spread evenly over its pods, while each uses
/// at most [`FILLED`] of its limit, and while a period in which one standard deviation more than usual arrive (Poisson)
/// stays within its quota: of a quota that holds four requests 0.61.
pub fn room(served: Served, quotas: Quotas) -> f64 {
    let pods = f64::from(quotas.pods.max(1));
    let held = quotas.total.cores() * PERIOD_S / served.work / pods;
    // m + √m = held.
    let root = ((1.0 + 4.0 * held).sqrt() - 1.0) / 2.0;
    let most = (root * root).min(FILLED * held);
    (most * pods / PERIOD_S - served.rate).max(0.0)
}

/// What so many pods must carry on top of `rate`, so that there is [`room`] for what guests bring, in requests per
/// second: how full a fleet is that just carries its load depends on its budget, and it is at most full.
pub fn guests(brought: f64, rate: f64, pods: u32) -> f64 {
    let pods = f64::from(pods.max(1));
    let usual = (rate + brought) * PERIOD_S / pods;
    let held = (usual + usual.sqrt()).max(usual / FILLED);
    held * pods / PERIOD_S - rate
}

/// The limits of the Ready pods of a workload; none where a pod has no limit: nothing is held against a profile then.
pub fn limits(workload: &Workload, serving: &[Serving]) -> Option<Quotas> {
    let (container, _) = workload.serving.as_ref()?;
    let ready = serving.iter().filter(|pod| pod.ready_since.is_some());
    let limits = ready.map(|found| pods::actual(&found.pod, container)?.limit);
    let limits = limits.collect::<Option<Vec<MilliCpu>>>()?;
    Some(Quotas {
        total: MilliCpu(limits.iter().map(|limit| limit.0).sum()),
        pods: u32::try_from(limits.len()).unwrap_or(u32::MAX),
    })
}

/// Every workload of the chains with all that its requests reach, and how often for each of them.
pub fn reached(
    namespace: &str,
    classes: &[Class],
) -> BTreeMap<ObjectKey, BTreeMap<ObjectKey, f64>> {
    fn walk(
        namespace: &str,
        call: &Call,
        out: &mut BTreeMap<ObjectKey, BTreeMap<ObjectKey, f64>>,
    ) -> BTreeMap<ObjectKey, f64> {
        let mut below: BTreeMap<ObjectKey, f64> = BTreeMap::new();
        for child in &call.children {
            *below
                .entry(ObjectKey::new(namespace, &child.service))
                .or_default() += child.visits;
            for (key, visits) in walk(namespace, child, out) {
                *below.entry(key).or_default() += child.visits * visits;
            }
        }
        // Where a service stands in several places, the most that a request of it asks counts.
        let known = out
            .entry(ObjectKey::new(namespace, &call.service))
            .or_default();
        for (key, visits) in &below {
            let most = known.entry(key.clone()).or_default();
            *most = most.max(*visits);
        }
        below
    }
    let mut out = BTreeMap::new();
    for class in classes {
        walk(namespace, &class.chain.root, &mut out);
    }
    out
}

/// The most that a copy may be offered, and the service that bounds it.
pub fn most(
    callees: &BTreeMap<ObjectKey, f64>,
    room: impl Fn(&ObjectKey) -> Option<f64>,
) -> Option<(Rate, ObjectKey)> {
    callees
        .iter()
        .filter(|(_, visits)| **visits > 0.0)
        .filter_map(|(key, visits)| Some((room(key)? / visits, key)))
        .min_by(|one, other| one.0.total_cmp(&other.0))
        .and_then(|(rate, key)| Some((Rate::new(rate).ok()?, key.clone())))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use msars_domain::{Chain, EdgeKind, Millis, Percentile, Reading, Unknown};

    use super::*;

    fn key(name: &str) -> ObjectKey {
        ObjectKey::new("shop", name)
    }

    fn call(service: &str, visits: f64, children: Vec<Call>) -> Call {
        Call {
            service: service.into(),
            visits,
            max_visits: 1,
            kind: EdgeKind::Sequential,
            children,
        }
    }

    #[test]
    fn a_service_near_its_limit_bounds_what_its_callers_copy_gets() {
        let at = jiff::Timestamp::UNIX_EPOCH;
        let none = Unknown::NoSeries;
        let mut signals = Signals {
            workload: key("db"),
            rate: Reading::Unknown { why: none },
            peak_rate: Reading::Unknown { why: none },
            rate_at_least: None,
            request_quantile: Reading::Unknown { why: none },
            self_quantile: Reading::Unknown { why: none },
            callee_wait: Reading::Unknown { why: none },
            error_share: Reading::Unknown { why: none },
            cpu_cores: Reading::Unknown { why: none },
            throttled: Reading::Unknown { why: none },
        };
        assert_eq!(work(&signals, None), None);
        // 0.5 ms of work at 20/s: 10m.
        signals.rate = Reading::Known {
            value: Rate::new(20.0).unwrap(),
            at,
        };
        signals.cpu_cores = Reading::Known { value: 0.01, at };
        let seen = work(&signals, Some(1e-4));
        assert!(
            seen.is_some_and(|seen| (seen - 5e-4).abs() < 1e-12),
            "{seen:?}"
        );
        for (limit, pods, wanted) in [
            (100, 1, 120.0),
            (24, 1, 10.527_8),
            (14, 1, 0.0),
            // Four of 25m have less room than one of 100m.
            (100, 4, 108.348),
        ] {
            let served = Served {
                rate: 20.0,
                work: seen.unwrap(),
            };
            let quotas = Quotas {
                total: MilliCpu(limit),
                pods,
            };
            let found = room(served, quotas);
            assert!((found - wanted).abs() < 1e-3, "{pods} of {limit}m: {found}");
        }
        // Pods that carry 20/s and what so much more takes, filled to the brim, have room for it.
        for (brought, pods) in [(2.0, 1), (10.0, 1), (40.0, 3), (400.0, 5)] {
            let served = Served {
                rate: 20.0,
                work: 1e-3,
            };
            let quotas = Quotas {
                total: MilliCpu(20 + guests(brought, served.rate, pods).ceil() as u32),
                pods,
            };
            assert!(
                room(served, quotas) > brought - 1e-9,
                "{brought}/s: {quotas:?}"
            );
        }
        // Fresh pods: their requests are seen before their CPU.
        signals.cpu_cores = Reading::Known { value: 0.001, at };
        assert!(work(&signals, seen).is_some_and(|left| (left - 4.5e-4).abs() < 1e-12));
    }

    #[test]
    fn visits_multiply_along_the_path_and_the_tightest_callee_decides() {
        let chain = Chain {
            name: "c".into(),
            root: call(
                "front",
                1.0,
                vec![
                    call("catalogue", 2.0, vec![call("db", 1.5, vec![])]),
                    call("db", 1.0, vec![]),
                ],
            ),
            percentile: Percentile::new(0.99).unwrap(),
        };
        let class = Class {
            chain,
            rate: Rate::new(10.0).unwrap(),
            objective: Millis::new(400.0).unwrap(),
            tail: msars_budget::TailFactor::ONE,
        };
        let reached = reached("shop", &[class]);
        let visits = |from: &str, to: &str| reached[&key(from)].get(&key(to)).copied();
        assert_eq!(visits("front", "db"), Some(4.0));
        assert_eq!(visits("catalogue", "db"), Some(1.5));
        assert_eq!(visits("db", "front"), None);
        let room = BTreeMap::from([(key("db"), 30.0), (key("catalogue"), 20.0)]);
        let (rate, by) = most(&reached[&key("front")], |key| room.get(key).copied()).unwrap();
        assert_eq!((rate.get(), by), (7.5, key("db")));
        assert_eq!(most(&reached[&key("front")], |_| None), None);
    }
}
