//! Starting jobs and taking over what they found.

use jiff::Timestamp;
use msars_gate::{HoldState, Trouble};
use tokio::sync::watch;

use super::job;
use super::task::{JobError, Progress as JobProgress};
use super::{Ended, Handle, Key, LAST, Revisions, start, store};
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
        let guess = self.work_guess(workload);
        let percentile = self.board.percentile(&workload.key).unwrap_or(0.99);
        let spared = self.board.callees(&workload.key);
        let limits = start::Limits {
            percentile,
            work_guess_ms: guess,
            cores: self.bench.cores,
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
        let (progress, progress_seen) = watch::channel(JobProgress::Starting);
        let (stop, stop_seen) = watch::channel(false);
        self.jobs.insert(
            key.clone(),
            Handle {
                since: now,
                until: job.until,
                progress: progress_seen,
                stop,
            },
        );
        tracing::info!(workload = %workload.key, revision = workload.revision, sizes = ?job.sizes, "profiling begins");
        let (bench, own, ended, key) = (
            self.bench.clone(),
            self.own.clone(),
            self.ended.clone(),
            key.clone(),
        );
        tokio::spawn(async move {
            if let Err(error) = own.create(&object).await {
                tracing::warn!(%error, "a profile object was not made");
            }
            let outcome = job::run(&bench, &job, &progress, stop_seen).await;
            let job = Box::new(job);
            // The receiver lives as long as the task that started this one.
            drop(ended.send(Ended { key, job, outcome }).await);
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
    pub(super) async fn end(&mut self, ended: Ended) {
        let Ended { key, job, outcome } = ended;
        self.jobs.remove(&key);
        let counted = outcome
            .as_ref()
            .map_or_else(ProfileOutcome::from, |_found| ProfileOutcome::Done);
        self.bench.counts.profiled(counted);
        let now = (self.bench.now)();
        let workload = self.world.workloads().remove(&key.0);
        match outcome {
            Ok(finding) => {
                let stored = store::finding(&self.own, &key, &job, &finding, now).await;
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
            Err(JobError::Stopped) => {
                store::gone(&self.own, &key).await;
            }
            Err(error) => {
                tracing::warn!(workload = %key.0, revision = key.1, %error, category = error.category(), "no profile");
                let trouble = match error {
                    JobError::ImagePull(_) => Trouble::ImagePull,
                    JobError::Evicted(_) => Trouble::Evicted,
                    JobError::Callee(_) | JobError::CalleeFull(_) => Trouble::Callee,
                    _ => Trouble::Errors,
                };
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
