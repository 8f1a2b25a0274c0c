//! Sizes in force: what the pods have, whoever gave it to them. Pure.

use std::collections::BTreeMap;

use msars_domain::{MilliCpu, ObjectKey};

use crate::pods::Serving;
use crate::workload::gather;
use crate::world::Workload;

/// What the Ready pods of a workload have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct InForce {
    /// Their mean size.
    pub size: MilliCpu,
    /// The smallest of them where somebody else resized them all: the user's will, for these pods' life.
    pub pinned: Option<MilliCpu>,
}

/// None without a Ready pod, and while pods of several revisions serve: the mean is no size of either.
fn in_force(workload: &Workload, serving: &[Serving]) -> Option<InForce> {
    let (container, _) = workload.serving.as_ref()?;
    let mut pods = gather::pods(workload, serving, container);
    pods.retain(|pod| pod.ready);
    if pods.iter().any(|pod| pod.revision != workload.running()) {
        return None;
    }
    let sizes = pods.iter().map(|pod| pod.actual.size());
    let smallest = sizes.clone().min()?;
    let sum: f64 = sizes.map(|size| f64::from(size.0)).sum();
    Some(InForce {
        size: MilliCpu((sum / pods.len() as f64).round() as u32),
        pinned: pods.iter().all(|pod| pod.foreign).then_some(smallest),
    })
}

/// Of every workload that has such a size.
pub(super) fn sizes(
    workloads: &BTreeMap<ObjectKey, Workload>,
    serving: &BTreeMap<ObjectKey, Vec<Serving>>,
) -> BTreeMap<ObjectKey, InForce> {
    let of = |workload: &Workload| {
        let serving = serving.get(&workload.key)?;
        Some((workload.key.clone(), in_force(workload, serving)?))
    };
    workloads.values().filter_map(of).collect()
}
