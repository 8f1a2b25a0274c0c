//! One profile, from two pods to a fitted mechanism: start, probe, fit, and always clean up.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::Timestamp;
use msars_api::crd::PhaseSeconds;
use msars_client::apply::{Applied, ApplyError};
use msars_domain::{Action, MilliCpu, ObjectKey, Percentile, RequestMix};
use msars_llp::{Done, Fitted, Point, Profile, Setting, curve, fit};
use tokio::sync::watch;

use super::cpu::CpuLog;
use super::measure::Bench;
use super::probe::Run;
use super::shadow::{Blueprint, LOAD_PORT};

/// How long the copy may take to be Ready.
const READY_WITHIN: Duration = Duration::from_secs(45);

/// What is to be profiled.
#[derive(Debug, Clone)]
pub struct Job {
    /// The pods.
    pub blueprint: Blueprint,
    /// What to replay.
    pub mix: RequestMix,
    /// The port that serves the requests.
    pub port: u16,
    /// Port and path of the copy's own metrics, when the template names them.
    pub metrics: Option<(u16, String)>,
    /// Sizes to visit, two or more.
    pub sizes: Vec<MilliCpu>,
    /// Sizes of the curve.
    pub grid: Vec<MilliCpu>,
    /// The percentile of the curve.
    pub percentile: Percentile,
    /// Mean work in ms expected before anything is measured.
    pub work_guess_ms: f64,
    /// Callees that are not to be strained, with their self time in ms before the profile.
    pub spared: BTreeMap<ObjectKey, f64>,
    /// When probing must have ended.
    pub until: Timestamp,
    /// Since when the revision waits.
    pub since: Timestamp,
}

/// How far a job is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Progress {
    /// The pods are on their way to Ready.
    Starting,
    /// So many points are measured.
    Probing(u32),
    /// Fit and curve.
    Fitting,
}

/// What a job found.
#[derive(Debug, Clone)]
pub struct Finding {
    /// Points, mechanism.
    pub fitted: Fitted,
    /// The curve.
    pub profile: Profile,
    /// Every measured window.
    pub points: Vec<Point>,
    /// Why probing ended.
    pub done: Done,
    /// How long each step took.
    pub seconds: PhaseSeconds,
}

/// Why there is no profile.
#[derive(Debug, thiserror::Error)]
pub enum JobError {
    /// The image cannot be had.
    #[error("the image of the copy cannot be pulled: {0}")]
    ImagePull(String),
    /// Not Ready in time, or ended.
    #[error("the copy was not Ready within {within} s: {found}")]
    NotReady {
        /// The limit in seconds.
        within: u64,
        /// What its status said.
        found: String,
    },
    /// A callee came into trouble: no more load is put on it.
    #[error("a callee came into trouble after {0} points")]
    Callee(usize),
    /// Nothing usable was measured.
    #[error("nothing usable was measured: {0}")]
    Nothing(String),
    /// A write was refused.
    #[error(transparent)]
    Apply(#[from] ApplyError),
    /// A read failed.
    #[error("{step}: {message}")]
    Read {
        /// What was tried.
        step: &'static str,
        /// What happened.
        message: String,
    },
    /// The job was told to stop: the hold is over, or this replica no longer leads.
    #[error("stopped before the end")]
    Stopped,
}

impl JobError {
    /// A bounded label for metrics and conditions.
    pub fn category(&self) -> &'static str {
        match self {
            Self::ImagePull(_) => "ImagePull",
            Self::NotReady { .. } => "NotReady",
            Self::Callee(_) => "CalleeInTrouble",
            Self::Nothing(_) => "NothingMeasured",
            Self::Apply(error) => error.category(),
            Self::Read { .. } => "ReadFailed",
            Self::Stopped => "Stopped",
        }
    }
}

/// Runs the job; the pods are gone when it returns, however it ends.
pub async fn run(
    bench: &Bench,
    job: &Job,
    progress: &watch::Sender<Progress>,
    mut stop: watch::Receiver<bool>,
) -> Result<Finding, JobError> {
    let outcome = tokio::select! {
        outcome = measure(bench, job, progress) => outcome,
        _told = stop.wait_for(|stop| *stop) => Err(JobError::Stopped),
    };
    clean(bench, &job.blueprint).await;
    outcome
}

/// Deletes both pods; what fails here is found again by the janitor.
pub async fn clean(bench: &Bench, blueprint: &Blueprint) {
    for pod in [blueprint.load_key(), blueprint.subject_key()] {
        if let Err(error) = bench.apply(&Action::DeletePod { pod }).await {
            tracing::warn!(%error, "shadow pod left to the janitor");
        }
    }
}

async fn create(bench: &Bench, action: &Action) -> Result<(), JobError> {
    // A left-over of the same name is a run that was cut off: its pod is of no use, and goes first.
    let deadline = tokio::time::Instant::now() + Duration::from_secs(15);
    loop {
        if bench.apply(action).await? == Applied::Done {
            return Ok(());
        }
        let pod = action.target().clone();
        bench.apply(&Action::DeletePod { pod }).await?;
        if tokio::time::Instant::now() > deadline {
            return Err(JobError::NotReady {
                within: 15,
                found: format!("{} of an earlier run does not go", action.target()),
            });
        }
        tokio::time::sleep(Duration::from_millis(300)).await;
    }
}

async fn measure(
    bench: &Bench,
    job: &Job,
    progress: &watch::Sender<Progress>,
) -> Result<Finding, JobError> {
    let begun = (bench.now)();
    progress.send_replace(Progress::Starting);
    create(bench, &job.blueprint.subject()).await?;
    create(bench, &job.blueprint.load(&bench.load_image)).await?;
    let subject = bench
        .ready(
            &job.blueprint.subject_key(),
            &job.blueprint.container,
            READY_WITHIN,
        )
        .await?;
    let load = bench
        .ready(&job.blueprint.load_key(), "load", READY_WITHIN)
        .await?;
    let ready = (bench.now)();
    let mut run = Run {
        bench,
        job,
        subject,
        load_url: format!("http://{}:{LOAD_PORT}/run", load.ip),
        size: job.blueprint.size,
        log: CpuLog::default(),
        own_cpu: false,
        points: Vec::new(),
    };
    let done = run.probe(progress).await?;
    if done == Done::CalleeInTrouble {
        return Err(JobError::Callee(run.points.len()));
    }
    progress.send_replace(Progress::Fitting);
    let probed = (bench.now)();
    run.settle_cpu().await;
    let points = run.points;
    let setting = Setting {
        cores: bench.cores,
        callee: None,
    };
    let (percentile, grid) = (job.percentile, job.grid.clone());
    let measured = points.clone();
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
