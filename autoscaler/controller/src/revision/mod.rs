//! Held revisions: profile each, and end every hold, by one loop that starts from the stored annotations.

pub mod counters;
pub mod cpu;
pub mod job;
mod jobs;
pub mod measure;
mod probe;
pub mod queue;
pub mod shadow;
mod size;
mod start;
mod store;
pub mod task;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use msars_api::crd::Phase as Stored;
use msars_api::names;
use msars_client::leader::Claim;
use msars_domain::{Action, ObjectKey};
use msars_gate::{HoldState, Phase, Progress, ReleaseReason, Step, Trouble, Watcher, next};
use tokio::sync::{mpsc, watch};

use self::measure::Bench;
use self::queue::{Running, Waiting, turns};
use self::task::{Finding, Job, JobError, Progress as JobProgress};
use crate::metrics::Queue;
use crate::objective::Board;
use crate::own::Own;
use crate::pods::shadows;
use crate::world::{Workload, World};

/// Between two rounds when nothing changes: deadlines are kept to a second.
const EVERY: Duration = Duration::from_secs(1);
/// What is left of a hold for the split and the release after probing.
const LAST: SignedDuration = SignedDuration::from_secs(4);

/// A workload and one of its revisions.
type Key = (ObjectKey, String);

/// The revisions' task.
#[derive(Debug)]
pub struct Revisions {
    world: World,
    own: Own,
    bench: Bench,
    board: Arc<Board>,
    slots: usize,
    jobs: BTreeMap<Key, Handle>,
    failed: BTreeMap<Key, Trouble>,
    /// Profiles that were stored and that the watch may not show yet: they are not made a second time.
    stored: BTreeSet<Key>,
    ended: mpsc::Sender<Ended>,
    endings: mpsc::Receiver<Ended>,
    told: BTreeSet<Key>,
}

#[derive(Debug)]
struct Handle {
    since: Timestamp,
    until: Timestamp,
    progress: watch::Receiver<JobProgress>,
    stop: watch::Sender<bool>,
}

#[derive(Debug)]
struct Ended {
    key: Key,
    job: Box<Job>,
    outcome: Result<Finding, JobError>,
}

impl Revisions {
    /// Profiles at most `slots` revisions at once.
    pub fn new(world: World, own: Own, bench: Bench, board: Arc<Board>, slots: usize) -> Self {
        // One message per job: the bound is never met.
        let (ended, endings) = mpsc::channel(slots.max(1) * 2);
        Self {
            world,
            own,
            bench,
            board,
            slots: slots.max(1),
            jobs: BTreeMap::new(),
            failed: BTreeMap::new(),
            stored: BTreeSet::new(),
            ended,
            endings,
            told: BTreeSet::new(),
        }
    }

    /// Runs until `stop`; acts only while this replica leads.
    pub async fn run(mut self, claim: watch::Receiver<Claim>, stop: watch::Receiver<bool>) {
        let stopped = msars_ops::shutdown::stopped(stop);
        tokio::pin!(stopped);
        let mut ticks = tokio::time::interval(EVERY);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let changed = Arc::clone(&self.world.changed);
        loop {
            tokio::select! {
                _tick = ticks.tick() => {}
                () = changed.notified() => {}
                Some(ended) = self.endings.recv() => self.end(ended).await,
                () = &mut stopped => break,
            }
            let leads = claim.borrow().is_some_and(|end| end > (self.bench.now)());
            if !leads {
                self.stop_all();
            } else if self.world.synced() {
                self.round().await;
            }
        }
        // Jobs delete their pods before they end; what does not fit into the grace is found by the next leader.
        self.stop_all();
        while !self.jobs.is_empty() {
            match self.endings.recv().await {
                Some(ended) => {
                    self.jobs.remove(&ended.key);
                }
                None => break,
            }
        }
    }

    fn stop_all(&self) {
        for job in self.jobs.values() {
            job.stop.send_replace(true);
        }
    }

    /// One round over all workloads.
    async fn round(&mut self) {
        let now = (self.bench.now)();
        let workloads = self.world.workloads();
        self.sweep(&workloads).await;
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
            let progress = Progress {
                holds: self.world.holds(),
                runs_already: workload.owned.contains_key(&workload.revision),
                phase: phases.get(&key).copied().unwrap_or_default(),
            };
            match next(&workload.object, Watcher::Leader(&progress), now) {
                Step::Rest | Step::Wait { .. } | Step::Gone => {}
                Step::Strip { action } => {
                    self.perform(&action).await;
                }
                Step::Release { why, action } => {
                    let held = workload
                        .since
                        .map_or(0.0, |since| now.duration_since(since).as_secs_f64());
                    if self.perform(&action).await {
                        if why == ReleaseReason::Queue {
                            self.bench.counts.dropped(Queue::Profiles);
                        }
                        tracing::info!(
                            workload = %workload.key, revision = workload.revision,
                            reason = why.word(), held_s = held, "released"
                        );
                        let note = format!(
                            "Released revision {} after {held:.0} s: {}",
                            workload.revision,
                            why.sentence()
                        );
                        self.own
                            .event(workload, why.word() != "profiled", "RevisionReleased", note)
                            .await;
                        if let Some(job) = self.jobs.get(&key) {
                            job.stop.send_replace(true);
                        }
                    }
                }
            }
        }
    }

    async fn perform(&self, action: &Action) -> bool {
        match self.bench.apply(action).await {
            Ok(applied) => applied == msars_client::apply::Applied::Done,
            Err(error) => {
                tracing::warn!(%error, category = error.category(), "an action failed");
                false
            }
        }
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
            "Holding revision {} for up to {left} s while it is profiled. Let it through: kubectl rollout resume deploy/{name}; or annotate {skip}=true; or switch off by {mode}=off",
            workload.revision,
            name = workload.key.name,
            skip = msars_api::annotations::SKIP_GATE,
            mode = msars_api::annotations::MODE,
        );
        self.own.event(workload, false, "RevisionHeld", note).await;
    }

    /// How far the profile of every held revision is; starts those whose turn it is.
    fn phases(
        &mut self,
        workloads: &BTreeMap<ObjectKey, Workload>,
        now: Timestamp,
    ) -> BTreeMap<Key, Phase> {
        let done: BTreeSet<Key> = self
            .world
            .profiles()
            .iter()
            .filter(|profile| {
                profile
                    .status
                    .as_ref()
                    .is_some_and(|status| status.phase == Stored::Done)
            })
            .filter_map(|profile| {
                let namespace = profile.metadata.namespace.clone()?;
                let workload = ObjectKey::new(namespace, &profile.spec.workload);
                Some((workload, profile.spec.revision.clone()))
            })
            .collect();
        let mut phases = BTreeMap::new();
        let mut waiting = Vec::new();
        let mut held = BTreeSet::new();
        for workload in workloads.values().filter(|workload| workload.held()) {
            let key = (workload.key.clone(), workload.revision.clone());
            held.insert(key.clone());
            let phase = if done.contains(&key) || self.stored.contains(&key) {
                let prepared =
                    self.board.is_split(&key.0, &key.1) || self.board.percentile(&key.0).is_none();
                Some(Phase::Profiled { prepared })
            } else if let Some(&trouble) = self.failed.get(&key) {
                Some(Phase::Failed { trouble })
            } else if let Some(job) = self.jobs.get(&key) {
                Some(match *job.progress.borrow() {
                    JobProgress::Starting => Phase::Starting { since: job.since },
                    JobProgress::Probing(_) | JobProgress::Fitting => Phase::Measuring,
                })
            } else {
                waiting.push(Waiting {
                    workload: key.0.clone(),
                    revision: key.1.clone(),
                    since: workload.since.unwrap_or(now),
                });
                None
            };
            if let Some(phase) = phase {
                phases.insert(key, phase);
            }
        }
        self.failed.retain(|key, _| held.contains(key));
        self.stored.retain(|key| held.contains(key));
        self.told.retain(|key| held.contains(key));
        // A job whose hold is over is stopped: it must not load what now takes traffic.
        for (key, job) in &self.jobs {
            if !held.contains(key) {
                job.stop.send_replace(true);
            }
        }
        let running: Vec<Running> = self
            .jobs
            .values()
            .map(|job| Running {
                since: job.since,
                until: job.until,
            })
            .collect();
        for turn in turns(waiting, &running, self.slots, now) {
            let key = (turn.waiting.workload.clone(), turn.waiting.revision.clone());
            let begun = turn.begin
                && workloads
                    .get(&key.0)
                    .is_some_and(|workload| self.begin(workload, &key, turn.finish, now));
            let phase = if begun {
                Phase::Starting { since: now }
            } else if let Some(&trouble) = self.failed.get(&key) {
                Phase::Failed { trouble }
            } else {
                Phase::Queued {
                    finish: Some(turn.finish),
                }
            };
            phases.insert(key, phase);
        }
        let profiling = self
            .jobs
            .keys()
            .map(|(workload, _)| workload.clone())
            .collect();
        self.board.set_profiling(profiling);
        phases
    }

    /// The janitor: deletes shadow pods that belong to no job of this leader.
    async fn sweep(&self, workloads: &BTreeMap<ObjectKey, Workload>) {
        let mine: BTreeSet<ObjectKey> = self
            .jobs
            .keys()
            .flat_map(|(workload, revision)| {
                ["subject", "load"].map(|role| {
                    ObjectKey::new(
                        &workload.namespace,
                        names::shadow_name(&workload.name, revision, role),
                    )
                })
            })
            .collect();
        for pod in shadows(&self.world.pods()) {
            if !mine.contains(&pod) {
                tracing::info!(pod = %pod, known = workloads.len(), "sweeping a stray shadow pod");
                self.perform(&Action::DeletePod { pod }).await;
            }
        }
    }
}
