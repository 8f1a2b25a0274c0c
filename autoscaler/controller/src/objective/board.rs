//! What objectives and revisions tell each other.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, PoisonError};

use msars_domain::{ObjectKey, Rate};
use tokio::sync::Notify;

use super::room::most;

/// What objectives and revisions tell each other.
#[derive(Debug, Default)]
pub struct Board {
    inner: Mutex<Posted>,
    /// A profile came in: split without waiting for the next look.
    pub profiled: Notify,
}

#[derive(Debug, Default)]
pub(super) struct Posted {
    pub split: BTreeSet<(ObjectKey, String)>,
    pub percentile: BTreeMap<ObjectKey, f64>,
    pub profiling: BTreeSet<ObjectKey>,
    /// What a workload's requests reach, and how often.
    pub callees: BTreeMap<ObjectKey, BTreeMap<ObjectKey, f64>>,
    /// Requests per second that a workload has room for on top of those it serves.
    pub room: BTreeMap<ObjectKey, f64>,
    pub observed: BTreeMap<ObjectKey, f64>,
    pub strained: BTreeMap<ObjectKey, BTreeMap<ObjectKey, Strain>>,
}

impl Posted {
    /// What was seen replaces what was known; what is not seen any more is not known.
    pub(super) fn make_room(&mut self, seen: impl Iterator<Item = (ObjectKey, Option<f64>)>) {
        for (key, room) in seen {
            match room {
                Some(room) => self.room.insert(key, room),
                None => self.room.remove(&key),
            };
        }
    }
}

impl Board {
    pub(super) fn with<T>(&self, f: impl FnOnce(&mut Posted) -> T) -> T {
        f(&mut self.inner.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Whether a split counts with this revision.
    pub fn is_split(&self, workload: &ObjectKey, revision: &str) -> bool {
        let key = (workload.clone(), revision.to_owned());
        self.with(|posted| posted.split.contains(&key))
    }

    /// The percentile of the objective that visits a workload.
    pub fn percentile(&self, workload: &ObjectKey) -> Option<f64> {
        self.with(|posted| posted.percentile.get(workload).copied())
    }

    /// Says which workloads are being profiled: nothing is learnt from their namespaces meanwhile.
    pub fn set_profiling(&self, workloads: BTreeSet<ObjectKey>) {
        self.with(|posted| posted.profiling = workloads);
    }

    /// Everything that a workload's requests reach, by the chains seen last, with its self time in ms; a callee whose
    /// time is not known counts with none, so that any strain is seen.
    pub fn callees(&self, workload: &ObjectKey) -> BTreeMap<ObjectKey, f64> {
        self.with(|posted| {
            let callees = posted.callees.get(workload).into_iter().flatten();
            callees
                .map(|(key, _)| {
                    let before = posted.observed.get(key).copied().unwrap_or(0.0);
                    (key.clone(), before)
                })
                .collect()
        })
    }

    /// The most that a copy of a workload may be offered before one of its callees fills up, and which; none when no
    /// callee's room is known.
    pub fn most(&self, workload: &ObjectKey) -> Option<(Rate, ObjectKey)> {
        self.with(|posted| most(posted.callees.get(workload)?, &posted.room))
    }

    /// Everything that the requests of workloads that are being profiled reach.
    pub fn reached(&self) -> BTreeSet<ObjectKey> {
        self.with(|posted| {
            let profiled = posted.profiling.iter();
            let reached = profiled.filter_map(|key| posted.callees.get(key));
            reached.flat_map(BTreeMap::keys).cloned().collect()
        })
    }

    /// Workloads whose self time passes four fifths of their budget.
    pub fn strained(&self) -> BTreeMap<ObjectKey, Strain> {
        self.with(|posted| {
            let all = posted.strained.values().flatten();
            all.map(|(key, strain)| (key.clone(), *strain)).collect()
        })
    }

    /// Whether anything in a namespace is being profiled.
    pub(super) fn profiling_in(&self, namespace: &str) -> bool {
        self.with(|posted| {
            posted
                .profiling
                .iter()
                .any(|key| key.namespace == namespace)
        })
    }
}

/// A callee whose self time passes this share of its budget is in trouble while a caller is profiled.
pub(super) const STRAIN: f64 = 0.8;

/// A longer self time is felt from this share of the objective on.
pub(super) const FELT: f64 = 0.05;

/// A self time near or above its budget.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Strain {
    /// The self time at the objective's percentile, ms.
    pub now_ms: f64,
    /// How much longer than before it must be to be felt by the objective, ms.
    pub felt_ms: f64,
}
