//! One profile, from two pods to a fitted mechanism: start, probe, fit, and always clean up.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use jiff::Timestamp;
use msars_api::crd::PhaseSeconds;
use msars_client::apply::Applied;
use msars_domain::{Action, ObjectKey, authority};
use msars_llp::{Done, Setting, curve, fit};
use tokio::sync::watch;

use super::again;
use super::cpu::CpuLog;
use super::driven::counted;
use super::measure::Bench;
use super::probe::Run;
use super::shadow::{Blueprint, LOAD_PORT};
use super::task::{Finding, Job, JobError, Progress};

/// The uids of the pods that a job made, where they are known.
type Made = BTreeMap<ObjectKey, String>;

/// Runs the job; the pods are gone when it returns, however it ends.
pub async fn run(
    bench: &Bench,
    job: &Job,
    progress: &watch::Sender<Progress>,
    mut stop: watch::Receiver<bool>,
) -> Result<Finding, JobError> {
    let mut made = Made::new();
    let outcome = tokio::select! {
        outcome = measure(bench, job, progress, &mut made) => outcome,
        _told = stop.wait_for(|stop| *stop) => Err(JobError::Stopped),
    };
    // A pod that goes shows as whatever it was needed for failing; why it went is what helps.
    let outcome = match outcome {
        Err(error @ (JobError::Read { .. } | JobError::NotReady { .. } | JobError::Nothing(_))) => {
            Err(bench.taken(&job.blueprint).await.unwrap_or(error))
        }
        other => other,
    };
    clean(bench, &job.blueprint, &made).await;
    outcome
}

/// Deletes both pods; what fails here is found again by the janitor.
async fn clean(bench: &Bench, blueprint: &Blueprint, made: &Made) {
    for pod in [blueprint.load_key(), blueprint.subject_key()] {
        let uid = made.get(&pod).cloned();
        let known = uid.is_some();
        let delete = Action::DeletePod { pod, uid };
        // Its own pod it deletes whoever leads; by its name alone it could be the next leader's.
        let ended = if known {
            Some(bench.perform(&delete).await)
        } else {
            bench.apply(&delete).await
        };
        if let Some(Err(error)) = ended {
            tracing::warn!(%error, "shadow pod left to the janitor");
        }
    }
}

/// Makes a pod; its uid, where that is known.
async fn create(bench: &Bench, action: &Action) -> Result<Option<String>, JobError> {
    // A left-over of the same name is a run that was cut off: its pod is of no use, and goes first.
    let deadline = tokio::time::Instant::now() + Duration::from_secs(15);
    let pod = action.target();
    loop {
        if again::apply(bench, action).await? == Applied::Done {
            return Ok(bench.uid(pod).await);
        }
        let found = Action::DeletePod {
            pod: pod.clone(),
            uid: bench.uid(pod).await,
        };
        bench.apply(&found).await.ok_or(JobError::Stopped)??;
        if tokio::time::Instant::now() > deadline {
            return Err(JobError::NotReady {
                within: 15,
                found: format!("{pod} of an earlier run does not go"),
            });
        }
        tokio::time::sleep(Duration::from_millis(300)).await;
    }
}

async fn measure(
    bench: &Bench,
    job: &Job,
    progress: &watch::Sender<Progress>,
    made: &mut Made,
) -> Result<Finding, JobError> {
    let (begun, since) = ((bench.now)(), tokio::time::Instant::now());
    let blueprint = &job.blueprint;
    for pod in [blueprint.subject(), blueprint.load(&bench.load_image)] {
        if let Some(uid) = create(bench, &pod).await? {
            made.insert(pod.target().clone(), uid);
        }
    }
    let subject = bench
        .ready(
            &job.blueprint.subject_key(),
            &job.blueprint.container,
            since,
        )
        .await?;
    let load = bench
        .ready(&job.blueprint.load_key(), "load", since)
        .await?;
    let ready = (bench.now)();
    let most = bench.hosted(&job.blueprint.workload, job.wished).await;
    let mut run = Run {
        bench,
        job,
        subject,
        load_url: format!("http://{}/run", authority(&load.ip, LOAD_PORT)),
        size: job.blueprint.size,
        most,
        log: CpuLog::default(),
        own_cpu: false,
        guessed: BTreeSet::new(),
        late: BTreeSet::new(),
        points: Vec::new(),
    };
    let done = run.probe(progress).await?;
    match done {
        Done::CalleeInTrouble => return Err(JobError::Callee(run.points.len())),
        Done::CalleesFull => {
            let full = run.most.as_ref().map(|(_, callee)| callee.name.clone());
            return Err(JobError::CalleeFull(full.unwrap_or_default()));
        }
        Done::Errors => {
            let why = "at least one in twenty requests failed, or was dropped since too many waited, at the lowest load of every size";
            return Err(JobError::Nothing(why.to_owned()));
        }
        Done::Enough | Done::TimeBudget => {}
    }
    progress.send_replace(Progress::Fitting);
    let probed = (bench.now)();
    run.settle_cpu().await;
    if let Some(why) = run.unread_cpu() {
        return Err(JobError::Nothing(why));
    }
    let measured = counted(&run.points, &run.late);
    let points = run.points;
    let setting = Setting {
        cores: job.node.cores(),
    };
    let (percentile, grid) = (job.percentile, job.grid.clone());
    let fitting = tokio::task::spawn_blocking(move || {
        let fitted = fit(&measured, &setting, SEED).map_err(|error| error.to_string())?;
        let profile = curve(&fitted, percentile, &grid, SEED).map_err(|error| error.to_string())?;
        Ok::<_, String>((fitted, profile))
    });
    let (fitted, profile) = fitting
        .await
        .map_err(|error| JobError::Nothing(error.to_string()))?
        .map_err(JobError::Nothing)?;
    let span = |from: Timestamp, to: Timestamp| to.duration_since(from).as_secs_f64();
    Ok(Finding {
        fitted,
        profile,
        percentile: job.percentile,
        points,
        done,
        seconds: PhaseSeconds {
            queued: span(job.since, begun),
            starting: span(begun, ready),
            probing: span(ready, probed),
            fitting: span(probed, (bench.now)()),
        },
    })
}

/// The same points give the same profile.
const SEED: u64 = 7;

#[cfg(test)]
mod tests;
