//! Figures of a fleet: resizes, scales, requested CPU over time. Pure.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::fleet::{Fleet, Pod};

/// Writes to the size of serving pods, by the product.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Resizes {
    /// Accepted and not deferred.
    pub in_place: usize,
    /// Those for which the node had no room at first.
    pub deferred: usize,
    /// Restarts of containers of serving pods, whatever their reason.
    pub container_restarts: u32,
}

/// How often replicas were raised and lowered by the product.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Scales {
    /// Raised.
    pub out: usize,
    /// Lowered.
    #[serde(rename = "in")]
    pub into: usize,
}

/// One of them.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Scaled {
    /// Seconds since the start.
    pub at_s: f64,
    /// The Deployment.
    pub workload: String,
    /// Replicas before.
    pub from: u32,
    /// Replicas after.
    pub to: u32,
}

/// The fleet from an instant on.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct Step {
    /// Seconds since the start.
    pub at_s: f64,
    /// CPU requests of all serving pods, thousandths of a core.
    pub requested: u32,
    /// Serving pods of the workload that changes.
    pub pods: u32,
    /// CPU request of the largest of them, thousandths of a core.
    pub size: u32,
}

/// Resizes, deferrals and restarts.
pub fn resizes(fleet: &Fleet) -> Resizes {
    let ours = |pod: &Pod| pod.resizes.iter().filter(|resize| resize.ours).count();
    let asked: usize = fleet.serving().map(ours).sum();
    let deferred: usize = fleet.serving().map(|pod| pod.deferred.len()).sum();
    Resizes {
        in_place: asked.saturating_sub(deferred),
        deferred,
        container_restarts: fleet.serving().flat_map(|pod| pod.restarts.values()).sum(),
    }
}

/// The product's scales, counted and one by one.
pub fn scales(fleet: &Fleet, zero: Timestamp) -> (Scales, Vec<Scaled>) {
    let all: Vec<Scaled> = fleet
        .scales
        .iter()
        .filter(|scale| scale.ours)
        .map(|scale| Scaled {
            at_s: scale.at.duration_since(zero).as_secs_f64(),
            workload: scale.workload.clone(),
            from: scale.from,
            to: scale.to,
        })
        .collect();
    let out = all.iter().filter(|scaled| scaled.to > scaled.from).count();
    let counted = Scales {
        out,
        into: all.len() - out,
    };
    (counted, all)
}

/// Integral of the pods' CPU requests up to `end`, core-seconds. A pod counts from its creation until it is gone.
pub fn core_seconds<'a>(pods: impl Iterator<Item = &'a Pod>, end: Timestamp) -> f64 {
    let of = |pod: &Pod| {
        let last = pod.gone.map_or(end, |gone| gone.min(end));
        let ends = pod.sizes.iter().skip(1).map(|(at, _)| *at).chain([last]);
        let parts = pod.sizes.iter().zip(ends).map(|((from, milli), to)| {
            let seconds = to.min(last).duration_since(*from).as_secs_f64();
            seconds.max(0.0) * f64::from(*milli) / 1000.0
        });
        parts.sum::<f64>()
    };
    pods.map(of).sum()
}

/// The serving fleet whenever something of it changed until `end`, and at `end`.
pub fn steps(fleet: &Fleet, workload: &str, zero: Timestamp, end: Timestamp) -> Vec<Step> {
    let mut times: Vec<Timestamp> = fleet
        .serving()
        .flat_map(|pod| pod.sizes.iter().map(|(at, _)| *at).chain(pod.gone))
        .chain([end])
        .filter(|at| *at <= end)
        .collect();
    times.sort();
    times.dedup();
    let at = |at: &Timestamp| {
        let mut step = Step {
            at_s: at.duration_since(zero).as_secs_f64(),
            ..Step::default()
        };
        for pod in fleet.serving() {
            let Some(size) = pod.size_at(*at) else {
                continue;
            };
            step.requested += size;
            if pod.workload == workload {
                step.pods += 1;
                step.size = step.size.max(size);
            }
        }
        step
    };
    times.iter().map(at).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fleet::read;
    use crate::fleet::tests::{at, log};

    #[test]
    fn requested_cpu_is_summed_over_pods_and_time() {
        let fleet = read(&log(), "shop");
        // 30 s at 100m, 80 s at 200m, and 40 s of the second pod at 100m; the copy 10 s at 510m.
        let serving = core_seconds(fleet.serving(), at(120));
        assert!((serving - (3.0 + 16.0 + 4.0)).abs() < 1e-9, "{serving}");
        let all = core_seconds(fleet.pods.iter(), at(120));
        assert!((all - serving - 5.1).abs() < 1e-9, "{all}");
        let early = core_seconds(fleet.serving(), at(50));
        assert!((early - (3.0 + 2.0)).abs() < 1e-9, "{early}");
        assert!(core_seconds(fleet.serving(), at(1)).abs() < 1e-9);
    }

    #[test]
    fn the_fleet_is_told_at_every_change() {
        let fleet = read(&log(), "shop");
        let steps: Vec<(f64, u32, u32, u32)> = steps(&fleet, "catalogue", at(0), at(120))
            .iter()
            .map(|step| (step.at_s, step.requested, step.pods, step.size))
            .collect();
        assert_eq!(
            steps,
            [
                (10.0, 100, 1, 100),
                (40.0, 200, 1, 200),
                (60.0, 300, 2, 200),
                (100.0, 200, 1, 200),
                (120.0, 200, 1, 200)
            ]
        );
        assert_eq!(super::steps(&fleet, "other", at(0), at(120))[1].pods, 0);
    }

    #[test]
    fn scales_are_the_products_and_a_deferred_resize_is_not_in_place() {
        let mut fleet = read(&log(), "shop");
        let (counted, one_by_one) = scales(&fleet, at(0));
        assert_eq!(counted, Scales { out: 1, into: 1 });
        assert_eq!((one_by_one[1].from, one_by_one[1].to), (2, 1));
        let found = |fleet: &Fleet| {
            let found = resizes(fleet);
            (found.in_place, found.deferred, found.container_restarts)
        };
        assert_eq!(found(&fleet), (0, 1, 0));
        fleet.pods[0].deferred.clear();
        fleet.pods[2].restarts.insert("app".into(), 2);
        assert_eq!(found(&fleet), (1, 0, 2));
        fleet.pods[0].resizes[0].ours = false;
        fleet.pods[1].restarts.insert("app".into(), 9);
        assert_eq!(found(&fleet), (0, 0, 2));
        assert_eq!(
            serde_json::to_string(&counted).unwrap(),
            r#"{"out":1,"in":1}"#
        );
    }
}
