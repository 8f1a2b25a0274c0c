//! One profile, from two pods to a fitted mechanism: start, probe, fit, and always clean up.

use std::collections::BTreeSet;
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

/// Longest time for a pod of an earlier run to go, and for an API server to answer.
const CREATED_WITHIN: Duration = Duration::from_secs(15);
/// Between two tries to make a pod.
const CREATE_EVERY: Duration = Duration::from_millis(300);
/// Tries to read a pod that may be the job's own.
const READS: u32 = 3;

/// Runs the job; the pods are gone when it returns, however it ends.
pub async fn run(
    bench: &Bench,
    job: &Job,
    progress: &watch::Sender<Progress>,
    mut stop: watch::Receiver<bool>,
) -> Result<Finding, JobError> {
    let begun = ((bench.now)(), tokio::time::Instant::now());
    // To be told to end breaks off no write: a pod that is made after it was looked for would stay.
    let outcome = match create_both(bench, &job.blueprint, &stop).await {
        Ok(()) => tokio::select! {
            outcome = measure(bench, job, begun, progress) => outcome,
            _told = stop.wait_for(|stop| *stop) => Err(JobError::Stopped),
        },
        Err(error) => Err(error),
    };
    // A pod that goes shows as whatever it was needed for failing; why it went is what helps.
    let outcome = match outcome {
        Err(error @ (JobError::Read { .. } | JobError::NotReady { .. } | JobError::Nothing(_))) => {
            Err(bench.taken(&job.blueprint).await.unwrap_or(error))
        }
        other => other,
    };
    clean(bench, &job.blueprint).await;
    outcome
}

/// Deletes the pods that this run made, whoever leads: one of another run may be the next leader's. What fails here is
/// found again by the janitor.
async fn clean(bench: &Bench, blueprint: &Blueprint) {
    for pod in [blueprint.load_key(), blueprint.subject_key()] {
        let Some(uid) = own(bench, blueprint, &pod).await else {
            continue;
        };
        let delete = Action::DeletePod {
            pod,
            uid: Some(uid),
        };
        if let Err(error) = bench.perform(&delete).await {
            tracing::warn!(%error, "shadow pod left to the janitor");
        }
    }
}

/// The uid of the pod of this name, if this run made it.
async fn own(bench: &Bench, blueprint: &Blueprint, pod: &ObjectKey) -> Option<String> {
    for left in (0..READS).rev() {
        match bench.made(pod).await {
            Ok(found) => {
                let own = found.filter(|made| made.run.as_ref() == Some(&blueprint.run));
                return own.map(|made| made.uid);
            }
            Err(error) if left == 0 || !again::passes(&error) => {
                tracing::warn!(%pod, %error, "shadow pod left to the janitor");
                return None;
            }
            Err(_passes) => tokio::time::sleep(again::PAUSE).await,
        }
    }
    None
}

/// Makes copy and load pod, unless it is told to end between two writes.
async fn create_both(
    bench: &Bench,
    blueprint: &Blueprint,
    stop: &watch::Receiver<bool>,
) -> Result<(), JobError> {
    for pod in [blueprint.subject(), blueprint.load(&bench.load_image)] {
        create(bench, blueprint, &pod, stop).await?;
    }
    Ok(())
}

/// Makes a pod.
async fn create(
    bench: &Bench,
    blueprint: &Blueprint,
    action: &Action,
    stop: &watch::Receiver<bool>,
) -> Result<(), JobError> {
    let deadline = tokio::time::Instant::now() + CREATED_WITHIN;
    let pod = action.target();
    loop {
        if *stop.borrow() {
            return Err(JobError::Stopped);
        }
        let late = tokio::time::Instant::now() > deadline;
        match bench.apply(action).await.ok_or(JobError::Stopped)? {
            Ok(Applied::Done) => return Ok(()),
            Err(error) if error.retry() && !late => {
                tracing::info!(%error, "an action is tried again");
            }
            Err(error) => return Err(error.into()),
            Ok(_there) if late => {
                return Err(JobError::NotReady {
                    within: CREATED_WITHIN.as_secs(),
                    found: format!("{pod} of an earlier run does not go"),
                });
            }
            Ok(_there) => match bench.made(pod).await {
                // The answer to the write before was lost.
                Ok(Some(made)) if made.run.as_ref() == Some(&blueprint.run) => return Ok(()),
                // A left-over of the same name is a run that was cut off: its pod is of no use, and goes first.
                Ok(Some(made)) => {
                    let delete = Action::DeletePod {
                        pod: pod.clone(),
                        uid: Some(made.uid),
                    };
                    bench.apply(&delete).await.ok_or(JobError::Stopped)??;
                }
                Ok(None) => {}
                Err(error) => tracing::info!(%pod, %error, "a pod in the way is read again"),
            },
        }
        tokio::time::sleep(CREATE_EVERY).await;
    }
}

async fn measure(
    bench: &Bench,
    job: &Job,
    (begun, since): (Timestamp, tokio::time::Instant),
    progress: &watch::Sender<Progress>,
) -> Result<Finding, JobError> {
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
