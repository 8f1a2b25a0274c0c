//! Who is left, why, and how it went.

use std::sync::Arc;

use jiff::Timestamp;
use msars_api::crd::SloAutoscaler;
use msars_plan::Short;

use crate::world::Workload;

/// Why a workload is left.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Why {
    /// It wants its own autoscaler back, and stays in our reach.
    Returns,
    /// It only asks for recommendations from now on, and stays in our reach: new pods get the template's size again.
    StepsBack,
    /// It opted out.
    OptedOut,
    /// The product goes. Where not everything could be done, all is remembered for whoever drains again.
    Drains,
}

impl Why {
    /// What the status says from then on; `short` says why the pods are too few.
    pub(super) fn told(self, short: Option<&Short>) -> String {
        let why = match self {
            Self::Returns => "its own autoscaler scales the workload again",
            Self::StepsBack => "the workload only asks for recommendations from now on",
            Self::OptedOut => "the workload opted out",
            Self::Drains => "MSARS is drained",
        };
        match short {
            None => format!("{why}; pods of the template's size carry the load"),
            Some(short) => format!("{why}; {short}"),
        }
    }
}

/// A workload that is to be left.
#[derive(Debug, Clone, Copy)]
pub(super) struct Parting<'a> {
    /// The Deployment.
    pub workload: &'a Workload,
    /// Its autoscaler.
    pub autoscaler: &'a Arc<SloAutoscaler>,
    /// Why.
    pub why: Why,
    /// When.
    pub now: Timestamp,
}

/// How a workload was left.
#[derive(Debug, Default)]
pub(super) struct Left {
    /// Nothing is remembered of it any more.
    pub over: bool,
    /// Its replicas were written.
    pub scaled: bool,
    /// What could not be done or will not be enough, one sentence each.
    pub wrong: Vec<String>,
}
