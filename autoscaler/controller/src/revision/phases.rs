//! How far the profile of every held revision is: those whose turn it is are started, those whose hold is over stopped.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use msars_api::crd::Phase as Stored;
use msars_domain::ObjectKey;
use msars_gate::Phase;

use super::queue::{Waiting, turns};
use super::task::Progress;
use super::{Key, Revisions};
use crate::objective::limits;
use crate::pods::serving;
use crate::world::Workload;

/// The workloads whose newest revision is held.
type Held<'a> = BTreeMap<Key, &'a Workload>;

impl Revisions {
    /// One look at all held revisions.
    pub(super) fn phases(
        &mut self,
        workloads: &BTreeMap<ObjectKey, Workload>,
        now: Timestamp,
    ) -> BTreeMap<Key, Phase> {
        let held: Held<'_> = workloads
            .values()
            .filter(|workload| workload.held())
            .map(|workload| {
                let key = (workload.key.clone(), workload.revision.clone());
                (key, workload)
            })
            .collect();
        self.forget(&held);
        let done = self.done();
        let mut phases = BTreeMap::new();
        let mut waiting = Vec::new();
        for (key, workload) in &held {
            let phase = if done.contains(key) || self.stored.contains(key) {
                let prepared = self.prepared(workload, key, workloads, now);
                Some(Phase::Profiled { prepared })
            } else {
                self.underway(key)
            };
            match phase {
                Some(phase) => {
                    phases.insert(key.clone(), phase);
                }
                None => waiting.push(Waiting {
                    workload: key.0.clone(),
                    revision: key.1.clone(),
                    since: workload.since.unwrap_or(now),
                }),
            }
        }
        self.start(waiting, &held, &mut phases, now);
        self.board.set_profiling(self.jobs.workloads(), now);
        self.post_limits(workloads);
        phases
    }

    /// What callees of those that are profiled have now: they grow for it.
    fn post_limits(&self, workloads: &BTreeMap<ObjectKey, Workload>) {
        let serving = if self.board.reached().is_empty() {
            BTreeMap::new()
        } else {
            serving(&self.world.pods())
        };
        self.board
            .set_limits(|key| limits(workloads.get(key)?, serving.get(key)?));
    }

    /// Forgets what is not held any more, and stops its jobs: they must not load what now takes traffic.
    fn forget(&mut self, held: &Held<'_>) {
        self.failed.retain(|key, _| held.contains_key(key));
        self.stored.retain(|key| held.contains_key(key));
        self.preparing.retain(|key, _| held.contains_key(key));
        self.told.retain(|key| held.contains_key(key));
        self.untold.retain(|key, _| held.contains_key(key));
        self.jobs.keep(|key| held.contains_key(key));
    }

    /// The revisions that have a profile.
    fn done(&self) -> BTreeSet<Key> {
        let profiles = self.world.profiles();
        let done = profiles.iter().filter(|profile| {
            let status = profile.status.as_ref();
            status.is_some_and(|status| status.phase == Stored::Done)
        });
        done.filter_map(|profile| {
            let namespace = profile.metadata.namespace.clone()?;
            let workload = ObjectKey::new(namespace, &profile.spec.workload);
            Some((workload, profile.spec.revision.clone()))
        })
        .collect()
    }

    /// How far a revision without a profile is; `None` while it waits for its turn.
    fn underway(&self, key: &Key) -> Option<Phase> {
        if let Some(&trouble) = self.failed.get(key) {
            return Some(Phase::Failed { trouble });
        }
        let (progress, since) = self.jobs.progress(key)?;
        Some(match progress {
            Progress::Starting => Phase::Starting { since },
            Progress::Probing(_) | Progress::Fitting => Phase::Measuring,
        })
    }

    /// Starts those whose turn it is.
    fn start(
        &mut self,
        waiting: Vec<Waiting>,
        held: &Held<'_>,
        phases: &mut BTreeMap<Key, Phase>,
        now: Timestamp,
    ) {
        for turn in turns(waiting, &self.jobs.times(), self.most, now) {
            let key = (turn.waiting.workload.clone(), turn.waiting.revision.clone());
            let begun = turn.begin
                && held
                    .get(&key)
                    .is_some_and(|workload| self.begin(workload, &key, turn.finish, now));
            let phase = if begun {
                Phase::Starting { since: now }
            } else if let Some(&trouble) = self.failed.get(&key) {
                Phase::Failed { trouble }
            } else {
                turn.phase()
            };
            phases.insert(key, phase);
        }
    }
}
