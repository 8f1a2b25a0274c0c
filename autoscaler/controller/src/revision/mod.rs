//! Held revisions: profile each, and end every hold, by one loop that starts from the stored annotations.

mod again;
mod answers;
pub mod counters;
pub mod cpu;
mod driven;
pub mod growth;
mod hosting;
pub mod job;
mod jobs;
pub mod measure;
mod phases;
mod prepare;
mod probe;
pub mod queue;
pub mod readiness;
pub mod shadow;
mod size;
mod slots;
mod start;
mod store;
pub mod task;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use msars_domain::{Action, ObjectKey};
use msars_gate::{HoldState, Progress, ReleaseReason, Step, Trouble, Watcher, next};
use tokio::sync::{Notify, watch};
use tokio::time::Instant;

use self::again::Failures;
use self::measure::Bench;
use self::prepare::Preparing;
use self::slots::Slots;
use self::task::{Finding, JobError};
use crate::metrics::Queue;
use crate::objective::Board;
use crate::own::Own;
use crate::pods::shadows;
use crate::world::{Workload, World};

/// Between two rounds when nothing changes: deadlines are kept to a second.
const EVERY: Duration = Duration::from_secs(1);
/// From the end of a round to one for a change of the copies: a burst of events makes one round.
const PAUSE: Duration = Duration::from_millis(200);
/// What is left of a hold for the split and the release after probing.
const LAST: SignedDuration = SignedDuration::from_secs(4);

/// A change of the copies, told no sooner than at `next`; a lone one at once.
async fn news(changed: &Notify, next: Instant) {
    changed.notified().await;
    tokio::time::sleep_until(next).await;
}

/// A workload and one of its revisions.
type Key = (ObjectKey, String);

/// The revisions' task.
#[derive(Debug)]
pub struct Revisions {
    world: World,
    own: Own,
    bench: Bench,
    board: Arc<Board>,
    /// Jobs at once.
    most: usize,
    jobs: Slots<Result<Finding, JobError>>,
    failed: BTreeMap<Key, Trouble>,
    /// Profiles that were stored and that the watch may not show yet: they are not made a second time.
    stored: BTreeSet<Key>,
    preparing: BTreeMap<Key, Preparing>,
    told: BTreeSet<Key>,
    /// Why revisions could not be profiled at all, until their users are told.
    untold: BTreeMap<Key, String>,
    failures: Failures,
}

impl Revisions {
    /// Profiles at most `most` revisions at once; writes only while the bench's lead holds.
    pub fn new(world: World, own: Own, bench: Bench, board: Arc<Board>, most: usize) -> Self {
        Self {
            world,
            own: own.led(bench.lead.clone()),
            bench,
            board,
            most: most.max(1),
            jobs: Slots::default(),
            failed: BTreeMap::new(),
            stored: BTreeSet::new(),
            preparing: BTreeMap::new(),
            told: BTreeSet::new(),
            untold: BTreeMap::new(),
            failures: Failures::default(),
        }
    }

    /// Runs until `stop`; acts only while this replica leads.
    pub async fn run(mut self, stop: watch::Receiver<bool>) {
        let stopped = msars_ops::shutdown::stopped(stop);
        tokio::pin!(stopped);
        let mut ticks = tokio::time::interval(EVERY);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let changed = Arc::clone(&self.world.changed);
        let mut next = Instant::now();
        loop {
            tokio::select! {
                _tick = ticks.tick() => {}
                () = news(&changed, next) => {}
                Some((key, outcome)) = self.jobs.ended() => self.end(key, outcome).await,
                () = &mut stopped => break,
            }
            self.turn().await;
            next = Instant::now() + PAUSE;
        }
        // Jobs delete their pods before they end; what does not fit into the grace is found by the next leader.
        self.jobs.keep(|_key| false);
        while self.jobs.ended().await.is_some() {}
    }

    /// A round where this replica leads; where it does not, or no more, its jobs are told to end.
    async fn turn(&mut self) {
        let mut leads = self.bench.lead.holds();
        if leads && self.world.synced() {
            leads = self.round().await.is_some();
        }
        if !leads {
            self.jobs.keep(|_key| false);
        }
    }

    /// One round over all workloads; none where the rest of it is left to the next leader.
    async fn round(&mut self) -> Option<()> {
        let now = (self.bench.now)();
        let workloads = self.world.workloads();
        self.sweep(&workloads, now).await?;
        let holds = workloads
            .values()
            .filter(|workload| workload.held())
            .count();
        self.bench.counts.held(holds);
        let phases = self.phases(&workloads, now);
        for workload in workloads.values() {
            let key = (workload.key.clone(), workload.revision.clone());
            if matches!(workload.state, HoldState::Free | HoldState::Users) {
                continue;
            }
            self.tell_held(workload, &key, now).await;
            if let Some(why) = self.untold.remove(&key) {
                self.tell_failed(workload, &key.1, &why).await;
            }
            let progress = Progress {
                holds: self.world.holds(),
                known: workload.owned.contains_key(&workload.revision),
                phase: phases.get(&key).copied().unwrap_or_default(),
            };
            match next(&workload.object, Watcher::Leader(&progress), now) {
                Step::Rest | Step::Wait { .. } | Step::Gone => {}
                Step::Strip { action } => {
                    self.perform(&action, now).await?;
                }
                Step::Release { why, action } => {
                    if self.perform(&action, now).await? {
                        self.released(workload, &key, &why, now).await;
                    }
                }
            }
        }
        Some(())
    }

    /// Tells of a release, and ends what was still running for the revision.
    async fn released(&self, workload: &Workload, key: &Key, why: &ReleaseReason, now: Timestamp) {
        let held = workload
            .since
            .map_or(0.0, |since| now.duration_since(since).as_secs_f64());
        if *why == ReleaseReason::Queue {
            self.bench.counts.dropped(Queue::Profiles);
        }
        tracing::info!(
            workload = %workload.key, revision = workload.revision,
            reason = why.word(), held_s = held, "released"
        );
        let note = format!(
            "Released revision {} after {held:.0} s: {}{}",
            workload.revision,
            why.sentence(),
            self.prepared_for(key, why)
        );
        self.own
            .event(workload, why.word() != "profiled", "RevisionReleased", note)
            .await;
        self.jobs.keep(|running| running != key);
    }

    /// Performs an action that did not fail just now; true when it is done, none where it is left to the next leader.
    async fn perform(&mut self, action: &Action, now: Timestamp) -> Option<bool> {
        if self.failures.wait(action, now) {
            return Some(false);
        }
        Some(match self.bench.apply(action).await? {
            Ok(applied) => {
                self.failures.answered(action);
                applied == msars_client::apply::Applied::Done
            }
            Err(error) => {
                self.failures.failed(action, error.retry(), now);
                tracing::warn!(%error, category = error.category(), "an action failed");
                false
            }
        })
    }

    async fn tell_held(&mut self, workload: &Workload, key: &Key, now: Timestamp) {
        let HoldState::Ours {
            until: Some(until), ..
        } = workload.state
        else {
            return;
        };
        if !self.told.insert(key.clone()) {
            return;
        }
        let left = until.duration_since(now).as_secs().max(0);
        let note = format!(
            "Holding revision {} for up to {left} s while it is profiled. Let it through: kubectl rollout resume deploy/{name} -n {namespace}; or annotate {skip}=true; or switch off by {mode}=off",
            workload.revision,
            namespace = workload.key.namespace,
            name = workload.key.name,
            skip = msars_api::annotations::SKIP_GATE,
            mode = msars_api::annotations::MODE,
        );
        self.own.event(workload, false, "RevisionHeld", note).await;
    }

    /// The janitor: deletes shadow pods that belong to no job of this leader; none where the rest is left to the next.
    async fn sweep(
        &mut self,
        workloads: &BTreeMap<ObjectKey, Workload>,
        now: Timestamp,
    ) -> Option<()> {
        let mine = self.jobs.pods();
        let mut stray = shadows(&self.world.pods());
        stray.retain(|(pod, _uid)| !mine.contains(pod));
        // What else fails here is about holds.
        let holds = |key: &ObjectKey| {
            let state = workloads.get(key).map(|workload| &workload.state);
            state.is_some_and(|state| !matches!(state, HoldState::Free | HoldState::Users))
        };
        let strays = |key: &ObjectKey| stray.iter().any(|(pod, _uid)| pod == key);
        self.failures.keep(|object| strays(object) || holds(object));
        for (pod, uid) in stray {
            let action = Action::DeletePod { pod, uid };
            if !self.failures.wait(&action, now) {
                tracing::info!(pod = %action.target(), known = workloads.len(), "sweeping a stray shadow pod");
                self.perform(&action, now).await?;
            }
        }
        Some(())
    }
}

#[cfg(test)]
mod tests;
