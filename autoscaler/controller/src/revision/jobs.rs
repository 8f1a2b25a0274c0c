//! Starting jobs and taking over what they found.

use jiff::Timestamp;
use msars_gate::{HoldState, Trouble};
use tokio::task::JoinError;

use super::queue::Running;
use super::task::{Finding, JobError};
use super::{Key, LAST, Revisions, job, start, store};
use crate::metrics::ProfileOutcome;
use crate::profiles;
use crate::world::Workload;

impl Revisions {
    /// Starts a job, unless it could not end in time.
    pub(super) fn begin(
        &mut self,
        workload: &Workload,
        key: &Key,
        finish: Timestamp,
        now: Timestamp,
    ) -> bool {
        let HoldState::Ours {
            until: Some(until), ..
        } = workload.state
        else {
            return false;
        };
        if finish > until {
            return false;
        }
        let Some(node) = self.world.node() else {
            return false;
        };
        let guess = self.work_guess(workload);
        let percentile = self.board.percentile(&workload.key).unwrap_or(0.99);
        let spared = self.board.callees(&workload.key);
        let limits = start::Limits {
            percentile,
            work_guess_ms: guess,
            node,
            spared,
            most: self.board.most(&workload.key),
            until: until - LAST,
        };
        let job = match start::job(workload, limits, now) {
            Ok(job) => job,
            Err(why) => {
                tracing::warn!(workload = %workload.key, why, "a revision cannot be profiled");
                self.failed.insert(key.clone(), Trouble::Errors);
                return false;
            }
        };
        let object = profiles::object(workload, &workload.revision, &job.sizes);
        tracing::info!(workload = %workload.key, revision = workload.revision, sizes = ?job.sizes, "profiling begins");
        let (bench, own, about) = (self.bench.clone(), self.own.clone(), key.clone());
        let times = Running {
            since: now,
            until: job.until,
        };
        self.jobs
            .start(key.clone(), times, |progress, stop| async move {
                let follow = store::follow(&own, &object, &about, progress.subscribe(), bench.now);
                let run = async {
                    let outcome = job::run(&bench, &job, &progress, stop).await;
                    // Nothing more is to follow.
                    drop(progress);
                    outcome
                };
                // Its last phase is written before its end is.
                tokio::join!(run, follow).0
            });
        true
    }

    /// Mean work per request of the running revision, in ms.
    fn work_guess(&self, workload: &Workload) -> f64 {
        self.world
            .profiles()
            .iter()
            .filter(|profile| {
                profile.metadata.namespace.as_deref() == Some(&workload.key.namespace)
                    && profile.spec.workload == workload.key.name
                    && profile.spec.revision == workload.running()
            })
            .find_map(|profile| profiles::known(profile))
            .map_or(start::WORK_GUESS_MS, |known| known.work_ms)
    }

    /// Takes over what a job found.
    pub(super) async fn end(
        &mut self,
        key: Key,
        outcome: Result<Result<Finding, JobError>, JoinError>,
    ) {
        let outcome = outcome.unwrap_or_else(|error| Err(JobError::BrokenOff(error.to_string())));
        let counted = outcome
            .as_ref()
            .map_or_else(ProfileOutcome::from, |_found| ProfileOutcome::Done);
        self.bench.counts.profiled(counted);
        let now = (self.bench.now)();
        let workload = self.world.workloads().remove(&key.0);
        match outcome {
            Ok(finding) => {
                let stored = store::finding(&self.own, &key, &finding, now).await;
                if let Some(workload) = &workload {
                    let note = store::sentence(&key.1, &finding);
                    self.own
                        .event(workload, false, "RevisionProfiled", note)
                        .await;
                }
                if stored {
                    self.stored.insert(key);
                    self.board.profiled.notify_one();
                } else {
                    self.failed.insert(key, Trouble::Errors);
                }
            }
            Err(error) => {
                let Some(trouble) = error.trouble() else {
                    store::gone(&self.own, &key).await;
                    return;
                };
                tracing::warn!(workload = %key.0, revision = key.1, %error, category = error.category(), "no profile");
                store::failure(&self.own, &key, &error, now).await;
                if let Some(workload) = &workload {
                    let note = format!("Revision {} has no profile: {error}", key.1);
                    self.own.event(workload, true, "ProfileFailed", note).await;
                }
                self.failed.insert(key, trouble);
            }
        }
    }
}
