//! What is to be profiled, how far it is, what was found, and why nothing was.

use std::collections::BTreeMap;

use jiff::Timestamp;
use msars_api::crd::PhaseSeconds;
use msars_client::apply::ApplyError;
use msars_domain::{MilliCpu, ObjectKey, Percentile, Rate, RequestMix};
use msars_gate::Trouble;
use msars_llp::{Done, Fitted, Point, Profile};

use super::shadow::Blueprint;
use crate::metrics::ProfileOutcome;
use crate::objective::Health;

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
    /// Rates to offer at every size, rising; empty leaves the choice to the plan.
    pub rates: Vec<Rate>,
    /// Sizes of the curve.
    pub grid: Vec<MilliCpu>,
    /// CPU of the largest node: its cores are what the copy's threads can use at once.
    pub node: MilliCpu,
    /// The percentile of the curve.
    pub percentile: Percentile,
    /// Mean work in ms expected before anything is measured.
    pub work_guess_ms: f64,
    /// Callees that are not to be strained, and how they did before the profile.
    pub spared: BTreeMap<ObjectKey, Health>,
    /// What callees should have room for.
    pub wished: Option<Rate>,
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
    /// The percentile of the curve.
    pub percentile: Percentile,
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
    /// Not Ready in time, or ended before.
    #[error("the copy or its load pod was not Ready within {within} s: {found}")]
    NotReady {
        /// The limit in seconds.
        within: u64,
        /// What its status said.
        found: String,
    },
    /// The copy or its load pod was taken away.
    #[error("{0}")]
    Evicted(String),
    /// A callee came into trouble: no more load is put on it.
    #[error("a callee came into trouble after {0} points")]
    Callee(usize),
    /// A callee is too full for the least load of a profile: none was put on it.
    #[error("{0} has no room for the load of a profile: it uses most of its CPU limits")]
    CalleeFull(String),
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
    /// What was found could not be written.
    #[error("the profile could not be stored: {0}")]
    Store(String),
    /// The job's task ended without an outcome: a defect.
    #[error("the profile broke off, which is a defect that the controller's log shows: {0}")]
    BrokenOff(String),
    /// The job was told to stop: the hold is over, or this replica no longer leads.
    #[error("stopped before the end")]
    Stopped,
}

impl From<&JobError> for ProfileOutcome {
    fn from(error: &JobError) -> Self {
        match error {
            JobError::Stopped => Self::Stopped,
            JobError::ImagePull(_) => Self::ImagePull,
            JobError::NotReady { .. } => Self::NotReady,
            JobError::Evicted(_) => Self::Evicted,
            JobError::Callee(_) | JobError::CalleeFull(_) => Self::Callee,
            JobError::Nothing(_) => Self::Nothing,
            JobError::Apply(_) | JobError::Store(_) => Self::Write,
            JobError::Read { .. } => Self::Read,
            JobError::BrokenOff(_) => Self::BrokenOff,
        }
    }
}

impl JobError {
    /// A bounded label for metrics and conditions.
    pub fn category(&self) -> &'static str {
        match self {
            Self::ImagePull(_) => "ImagePull",
            Self::NotReady { .. } => "NotReady",
            Self::Evicted(_) => "Evicted",
            Self::Callee(_) => "CalleeInTrouble",
            Self::CalleeFull(_) => "CalleeFull",
            Self::Nothing(_) => "NothingMeasured",
            Self::Apply(error) => error.category(),
            Self::Read { .. } => "ReadFailed",
            Self::Store(_) => "NotStored",
            Self::BrokenOff(_) => "BrokenOff",
            Self::Stopped => "Stopped",
        }
    }

    /// What it means for the hold; one that was stopped has none any more.
    pub fn trouble(&self) -> Option<Trouble> {
        Some(match self {
            Self::ImagePull(_) => Trouble::ImagePull,
            Self::NotReady { .. } => Trouble::NotReady,
            Self::Evicted(_) => Trouble::Evicted,
            Self::Callee(_) | Self::CalleeFull(_) => Trouble::Callee,
            Self::Nothing(_)
            | Self::Apply(_)
            | Self::Read { .. }
            | Self::Store(_)
            | Self::BrokenOff(_) => Trouble::Errors,
            Self::Stopped => return None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_failure_ends_the_hold_for_its_own_reason() {
        let text = || "found".to_owned();
        let not_ready = JobError::NotReady {
            within: 43,
            found: text(),
        };
        let read = JobError::Read {
            step: "reading the copy",
            message: text(),
        };
        for (error, trouble) in [
            (JobError::ImagePull(text()), Some(Trouble::ImagePull)),
            (not_ready, Some(Trouble::NotReady)),
            (JobError::Evicted(text()), Some(Trouble::Evicted)),
            (JobError::Callee(3), Some(Trouble::Callee)),
            (JobError::CalleeFull(text()), Some(Trouble::Callee)),
            (JobError::Nothing(text()), Some(Trouble::Errors)),
            (read, Some(Trouble::Errors)),
            (JobError::Store(text()), Some(Trouble::Errors)),
            (JobError::BrokenOff(text()), Some(Trouble::Errors)),
            (JobError::Stopped, None),
        ] {
            assert_eq!(error.trouble(), trouble, "{error}");
        }
    }
}
