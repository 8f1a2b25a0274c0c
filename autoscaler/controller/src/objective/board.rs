//! What objectives, revisions and workloads tell each other.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};

use msars_domain::{ObjectKey, Observation, Rate};
use msars_plan::{Decision, Tick};
use tokio::sync::Notify;

use super::room::most;
use super::strain::{Health, Strain, suffers};

/// What objectives, revisions and workloads tell each other.
#[derive(Debug, Default)]
pub struct Board {
    inner: Mutex<Posted>,
    /// A profile came in: split without waiting for the next look.
    pub profiled: Notify,
    /// A release waits for decisions within new budgets: decide without waiting for the next tick.
    pub asked: Notify,
}

/// The decisions of the last tick, with what they rest on.
#[derive(Debug)]
pub struct Decided {
    /// What they rest on.
    pub tick: Arc<Tick>,
    /// In the order of the tick's observations; none where deciding failed.
    pub decisions: Vec<Option<Decision>>,
}

impl Decided {
    /// What was seen of a workload, and what was decided for it.
    pub fn of(&self, workload: &ObjectKey) -> Option<(&Observation, &Decision)> {
        let mut all = self.tick.observations.iter().zip(&self.decisions);
        let (seen, decision) = all.find(|(seen, _)| seen.signals.workload == *workload)?;
        Some((seen, decision.as_ref()?))
    }
}

#[derive(Debug, Default)]
pub(super) struct Posted {
    pub decided: Option<Arc<Decided>>,
    pub percentile: BTreeMap<ObjectKey, f64>,
    pub profiling: BTreeSet<ObjectKey>,
    /// What a workload's requests reach, and how often.
    pub callees: BTreeMap<ObjectKey, BTreeMap<ObjectKey, f64>>,
    /// Requests per second that a workload has room for on top of those it serves.
    pub room: BTreeMap<ObjectKey, f64>,
    pub observed: BTreeMap<ObjectKey, f64>,
    pub strained: BTreeMap<ObjectKey, BTreeMap<ObjectKey, Strain>>,
    /// Share of a workload's requests that failed lately.
    pub failed: BTreeMap<ObjectKey, f64>,
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

    /// Says what a tick decided.
    pub fn decide(&self, decided: Decided) {
        self.with(|posted| posted.decided = Some(Arc::new(decided)));
    }

    /// What the last tick decided, whenever that was.
    pub fn decided(&self) -> Option<Arc<Decided>> {
        self.with(|posted| posted.decided.clone())
    }

    /// The percentile of the objective that visits a workload.
    pub fn percentile(&self, workload: &ObjectKey) -> Option<f64> {
        self.with(|posted| posted.percentile.get(workload).copied())
    }

    /// Says which workloads are being profiled: nothing is learnt from their namespaces meanwhile.
    pub fn set_profiling(&self, workloads: BTreeSet<ObjectKey>) {
        self.with(|posted| posted.profiling = workloads);
    }

    /// Everything that a workload's requests reach, by the chains seen last, and how it does.
    pub fn callees(&self, workload: &ObjectKey) -> BTreeMap<ObjectKey, Health> {
        self.with(|posted| {
            let callees = posted.callees.get(workload).into_iter().flatten();
            let health = |key: &ObjectKey| Health {
                own_ms: posted.observed.get(key).copied().unwrap_or_default(),
                failed: posted.failed.get(key).copied().unwrap_or_default(),
            };
            callees.map(|(key, _)| (key.clone(), health(key))).collect()
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

    /// The first of these workloads that suffers more than before.
    pub fn suffering(&self, before: &BTreeMap<ObjectKey, Health>) -> Option<ObjectKey> {
        self.with(|posted| {
            let worse = |(key, before): &(&ObjectKey, &Health)| {
                let failed = posted.failed.get(*key).copied().unwrap_or_default();
                // A workload of several objectives has a budget in each of them.
                let near = posted.strained.values().filter_map(|all| all.get(*key));
                near.map(|strain| Some(*strain))
                    .chain([None])
                    .any(|strain| suffers(**before, strain, failed))
            };
            let found = before.iter().find(worse);
            found.map(|(key, _)| key.clone())
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
