//! What objectives, revisions and workloads tell each other.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};

use jiff::Timestamp;
use msars_domain::{ObjectKey, Observation, Rate};
use msars_plan::{Decision, Tick};
use tokio::sync::Notify;

use super::room::{self, Quotas, Served, guests, most};
use super::strain::{Health, Strain, suffers};

/// What objectives, revisions and workloads tell each other.
#[derive(Debug, Default)]
pub struct Board {
    inner: Mutex<Posted>,
    /// A profile came in: split without waiting for the next look.
    pub profiled: Notify,
    /// A release waits for decisions within new budgets, or a profile for room: decide without waiting for the next tick.
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

/// A workload whose copy is being profiled.
#[derive(Debug, Clone, Copy)]
pub(super) struct Copied {
    /// The most that the copy is to be offered.
    pub wished: Option<Rate>,
    /// Since when others are told.
    pub since: Timestamp,
}

#[derive(Debug, Default)]
pub(super) struct Posted {
    pub decided: Option<Arc<Decided>>,
    pub percentile: BTreeMap<ObjectKey, f64>,
    pub profiling: BTreeMap<ObjectKey, Copied>,
    /// What a workload's requests reach, and how often.
    pub callees: BTreeMap<ObjectKey, BTreeMap<ObjectKey, f64>>,
    /// What workloads serve.
    pub served: BTreeMap<ObjectKey, Served>,
    /// CPU limits of the Ready pods of a workload that a profile reaches.
    pub limits: BTreeMap<ObjectKey, Quotas>,
    pub observed: BTreeMap<ObjectKey, f64>,
    pub strained: BTreeMap<ObjectKey, BTreeMap<ObjectKey, Strain>>,
    /// Share of a workload's requests that failed lately.
    pub failed: BTreeMap<ObjectKey, f64>,
}

impl Posted {
    /// What was seen replaces what was known; what is not seen any more is not known.
    pub(super) fn serve(&mut self, seen: impl Iterator<Item = (ObjectKey, Option<Served>)>) {
        for (key, served) in seen {
            match served {
                Some(served) => self.served.insert(key, served),
                None => self.served.remove(&key),
            };
        }
    }

    /// Everything that the requests of workloads that are being profiled reach.
    fn reached(&self) -> BTreeSet<ObjectKey> {
        let profiled = self.profiling.keys();
        let reached = profiled.filter_map(|key| self.callees.get(key));
        reached.flat_map(BTreeMap::keys).cloned().collect()
    }

    /// Whether a callee has what was decided for it since, or nothing is decided that would be carried out.
    fn grown(&self, callee: &ObjectKey, since: Timestamp) -> bool {
        let Some(decided) = self.decided.as_ref() else {
            return false;
        };
        let Some((seen, decision)) = decided.of(callee) else {
            return true;
        };
        let ready = seen.pods.iter().filter(|pod| pod.ready).count() as u32;
        let wanted = decision.wanted.size.0.saturating_mul(ready);
        let has = |limits: &Quotas| limits.total.0 >= wanted;
        !seen.wishes.acts || (decided.tick.now > since && self.limits.get(callee).is_none_or(has))
    }
}

impl Board {
    pub(super) fn with<T>(&self, f: impl FnOnce(&mut Posted) -> T) -> T {
        f(&mut self.inner.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Says which workloads the objectives that live visit, at which percentile. What was said of others goes: it would
    /// end profiles for ever.
    pub(super) fn cover(
        &self,
        lives: impl Fn(&ObjectKey) -> bool,
        percentile: BTreeMap<ObjectKey, f64>,
    ) {
        self.with(|posted| {
            let covered = |key: &ObjectKey| percentile.contains_key(key);
            posted.strained.retain(|key, _| lives(key));
            posted.observed.retain(|key, _| covered(key));
            posted.failed.retain(|key, _| covered(key));
            posted.callees.retain(|key, _| covered(key));
            posted.percentile = percentile;
        });
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

    /// Says which workloads are being profiled, and the most that the copy of each is to be offered: nothing is learnt
    /// from their namespaces meanwhile, and those whom a new one calls are to grow for it.
    pub fn set_profiling(&self, workloads: BTreeMap<ObjectKey, Option<Rate>>, now: Timestamp) {
        let new = self.with(|posted| {
            let before = std::mem::take(&mut posted.profiling);
            let since = |key: &ObjectKey| before.get(key).map_or(now, |copied| copied.since);
            let new = workloads.keys().any(|key| !before.contains_key(key));
            let copied = workloads.into_iter().map(|(key, wished)| {
                let since = since(&key);
                (key, Copied { wished, since })
            });
            posted.profiling = copied.collect();
            new
        });
        if new {
            self.asked.notify_one();
        }
    }

    /// Says what the Ready pods of workloads that a profile reaches have.
    pub fn set_limits(&self, limits: impl Fn(&ObjectKey) -> Option<Quotas>) {
        self.with(|posted| {
            let reached = posted.reached().into_iter();
            let has = |key: ObjectKey| limits(&key).map(|limits| (key, limits));
            posted.limits = reached.filter_map(has).collect();
        });
    }

    /// What the pods of a workload must carry on top of its rate, so that they have room for what profiles bring.
    pub fn guests(&self, workload: &ObjectKey, rate: f64) -> Option<Rate> {
        let (brought, pods): (f64, u32) = self.with(|posted| {
            let brings = |(key, copied): (&ObjectKey, &Copied)| {
                let visits = posted.callees.get(key)?.get(workload)?;
                Some(copied.wished?.get() * visits)
            };
            let brought = posted.profiling.iter().filter_map(brings).sum();
            let pods = posted.limits.get(workload).map_or(1, |has| has.pods);
            (brought, pods)
        });
        let guests = (brought > 0.0).then(|| guests(brought, rate, pods))?;
        Rate::new(guests).ok()
    }

    /// Whether all that a profiled workload's requests reach have grown for it as far as they do.
    pub fn grown(&self, workload: &ObjectKey) -> bool {
        self.with(|posted| {
            let Some(copied) = posted.profiling.get(workload) else {
                return true;
            };
            let mut callees = posted.callees.get(workload).into_iter().flatten();
            callees.all(|(key, _)| posted.grown(key, copied.since))
        })
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

    /// Whether the chains seen last say that a workload calls nobody; not where no chain visits it.
    pub fn calls_nobody(&self, workload: &ObjectKey) -> bool {
        self.with(|posted| posted.callees.get(workload).is_some_and(BTreeMap::is_empty))
    }

    /// The most that a copy of a workload may be offered before one of its callees fills up, and which; none when no
    /// callee's room is known. Copies that run at once share a callee's room by what they wish of it.
    pub fn most(&self, workload: &ObjectKey) -> Option<(Rate, ObjectKey)> {
        self.with(|posted| {
            let brings = |from: &ObjectKey, to: &ObjectKey| {
                let wished = posted.profiling.get(from)?.wished?.get();
                let visits = posted.callees.get(from)?.get(to)?;
                Some(wished * visits).filter(|rate| *rate > 0.0)
            };
            let share = |key: &ObjectKey| {
                let all = posted.profiling.keys();
                let all: f64 = all.filter_map(|from| brings(from, key)).sum();
                brings(workload, key).map_or(1.0, |own| own / all)
            };
            let room = |key: &ObjectKey| {
                let served = posted.served.get(key)?;
                let whole = room::room(*served, *posted.limits.get(key)?);
                Some(whole * share(key))
            };
            most(posted.callees.get(workload)?, room)
        })
    }

    /// Everything that the requests of workloads that are being profiled reach.
    pub fn reached(&self) -> BTreeSet<ObjectKey> {
        self.with(|posted| posted.reached())
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
            let mut profiled = posted.profiling.keys();
            profiled.any(|key| key.namespace == namespace)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_an_objective_that_is_gone_said_ends_no_profile() {
        let key = |name: &str| ObjectKey::new("shop", name);
        let strain = Strain {
            now_ms: 200.0,
            felt_ms: 20.0,
        };
        let before = BTreeMap::from([(key("db"), Health::default())]);
        for (objectives, covered, suffers) in [
            (&["front", "back"][..], &["db"][..], true),
            (&["back"], &["db"], true),
            // Another objective visits it, and says nothing of it.
            (&["front"], &["db"], false),
            (&[], &[], false),
        ] {
            let board = Board::default();
            board.with(|posted| {
                let strained = BTreeMap::from([(key("db"), strain)]);
                posted.strained.insert(key("back"), strained);
                posted.failed.insert(key("db"), 0.0);
                posted.observed.insert(key("db"), 200.0);
            });
            assert_eq!(board.suffering(&before), Some(key("db")));
            let percentiles = covered.iter().map(|name| (key(name), 0.99)).collect();
            board.cover(
                |objective| objectives.contains(&objective.name.as_str()),
                percentiles,
            );
            let found = board.suffering(&before);
            assert_eq!(found.is_some(), suffers, "{objectives:?} {covered:?}");
            let known = board.with(|posted| posted.observed.len());
            assert_eq!(known, covered.len(), "{objectives:?} {covered:?}");
        }
    }
}
