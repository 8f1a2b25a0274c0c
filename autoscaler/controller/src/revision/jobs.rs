//! Starting jobs and taking over what they found.

use std::time::Duration;

use jiff::Timestamp;
use msars_api::crd::LoadLatencyProfile;
use msars_gate::{HoldState, Trouble};
use tokio::sync::watch;
use tokio::task::JoinError;

use super::measure::Bench;
use super::queue::Running;
use super::task::{Finding, Job, JobError, Progress};
use super::{Key, LAST, Revisions, job, start, store};
use crate::metrics::ProfileOutcome;
use crate::own::Own;
use crate::plain::random_token;
use crate::profiles;
use crate::world::Workload;

/// How long the last phase of a job may take to be written: a write that hangs must not keep its slot.
const GRACE: Duration = Duration::from_secs(5);

/// A job with all that its task needs.
struct Attempt {
    bench: Bench,
    own: Own,
    job: Job,
    /// The object of its profile.
    object: LoadLatencyProfile,
    about: Key,
    /// The hold's deadline.
    until: Timestamp,
}

impl Attempt {
    /// From the first pod to the stored profile.
    async fn run(
        self,
        progress: watch::Sender<Progress>,
        mut stop: watch::Receiver<bool>,
    ) -> Result<Finding, JobError> {
        let Self {
            bench,
            own,
            job,
            object,
            about,
            until,
        } = self;
        let follow = store::follow(&own, &object, &about, progress.subscribe(), bench.now);
        let told = stop.clone();
        let run = async {
            let outcome = job::run(&bench, &job, &progress, told).await;
            // Nothing more is to follow.
            drop(progress);
            outcome
        };
        // Its last phase is written before its end is.
        let finding = led(Box::pin(run), Box::pin(follow), GRACE).await?;
        let stored = tokio::select! {
            biased;
            stored = store::finding(&own, &object, &about, &finding, (bench.now, until)) => stored,
            _told = stop.wait_for(|stop| *stop) => Err(JobError::Stopped),
        };
        stored.map(|()| finding)
    }
}

/// Runs both until the first has ended, and the second for a grace after it.
async fn led<T>(
    mut leads: impl Future<Output = T> + Unpin,
    mut follows: impl Future<Output = ()> + Unpin,
    grace: Duration,
) -> T {
    let ended = tokio::select! {
        outcome = &mut leads => Some(outcome),
        () = &mut follows => None,
    };
    let Some(outcome) = ended else {
        return leads.await;
    };
    if tokio::time::timeout(grace, follows).await.is_err() {
        tracing::warn!("a profile's phase was not stored in time");
    }
    outcome
}

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
        // One token for the whole job: a load pod that is created again knows the same.
        let job = random_token().and_then(|token| {
            // No secret: another random text, which the pods show.
            let run = random_token()?.reveal().to_owned();
            let limits = start::Limits {
                percentile,
                work_guess_ms: guess,
                node,
                spared,
                until: until - LAST,
                token,
                run,
            };
            start::job(workload, limits, now)
        });
        let job = match job {
            Ok(job) => job,
            Err(why) => {
                tracing::warn!(workload = %workload.key, why, "a revision cannot be profiled");
                self.failed.insert(key.clone(), Trouble::Errors);
                self.untold.insert(key.clone(), why);
                return false;
            }
        };
        let object = profiles::object(workload, &workload.revision, &job.sizes);
        tracing::info!(workload = %workload.key, revision = workload.revision, sizes = ?job.sizes, "profiling begins");
        let times = Running {
            since: now,
            until: job.until,
        };
        let wished = job.wished;
        let attempt = Attempt {
            bench: self.bench.clone(),
            own: self.own.clone(),
            job,
            object,
            about: key.clone(),
            until,
        };
        self.jobs
            .start(key.clone(), (times, wished), |progress, stop| {
                attempt.run(progress, stop)
            });
        true
    }

    /// Tells why a revision has no profile.
    pub(super) async fn tell_failed(&self, workload: &Workload, revision: &str, why: &str) {
        let note = format!("Revision {revision} has no profile: {why}");
        self.own.event(workload, true, "ProfileFailed", note).await;
    }

    /// Mean work per request in ms, the most of all profiled revisions: a guess that is too high makes the first windows
    /// low, one that is too low fills them, and they show nothing of the tail.
    fn work_guess(&self, workload: &Workload) -> f64 {
        self.world
            .profiles()
            .iter()
            .filter(|profile| {
                profile.metadata.namespace.as_deref() == Some(&workload.key.namespace)
                    && profile.spec.workload == workload.key.name
            })
            .filter_map(|profile| profiles::known(profile))
            .map(|known| known.work_ms)
            .reduce(f64::max)
            .unwrap_or(start::WORK_GUESS_MS)
    }

    /// Takes over what a job found.
    pub(super) async fn end(
        &mut self,
        key: Key,
        outcome: Result<Result<Finding, JobError>, JoinError>,
    ) {
        let outcome = outcome.unwrap_or_else(|error| Err(JobError::BrokenOff(error.to_string())));
        // Whatever broke: the next leader may have taken its pods, and begins anew.
        let leads = self.bench.lead.holds();
        let outcome = outcome.map_err(|error| if leads { error } else { JobError::Stopped });
        let counted = outcome
            .as_ref()
            .map_or_else(ProfileOutcome::from, |_found| ProfileOutcome::Done);
        self.bench.counts.profiled(counted);
        let workload = self.world.workloads().remove(&key.0);
        match outcome {
            Ok(finding) => {
                if let Some(workload) = &workload {
                    let note = store::sentence(&key.1, &finding);
                    self.own
                        .event(workload, false, "RevisionProfiled", note)
                        .await;
                }
                self.stored.insert(key);
                self.board.profiled.notify_one();
            }
            Err(error) => {
                let Some(trouble) = error.trouble() else {
                    store::gone(&self.own, &key).await;
                    return;
                };
                tracing::warn!(workload = %key.0, revision = key.1, %error, category = error.category(), "no profile");
                store::failure(&self.own, &key, &error, (self.bench.now)()).await;
                if let Some(workload) = &workload {
                    self.tell_failed(workload, &key.1, &error.to_string()).await;
                }
                self.failed.insert(key, trouble);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, Ordering};

    use super::*;

    #[tokio::test]
    async fn what_follows_a_job_does_not_outlive_it_for_long() {
        let short = Duration::from_millis(5);
        let hangs = std::future::pending::<()>();
        assert_eq!(led(Box::pin(async { 1 }), hangs, short).await, 1);
        let job = async {
            tokio::time::sleep(short).await;
            2
        };
        assert_eq!(led(Box::pin(job), std::future::ready(()), short).await, 2);
        let written = AtomicBool::new(false);
        let last = async {
            tokio::time::sleep(short).await;
            written.store(true, Ordering::Relaxed);
        };
        let job = std::future::ready(3);
        assert_eq!(led(job, Box::pin(last), GRACE).await, 3);
        assert!(written.load(Ordering::Relaxed), "within the grace");
    }
}
