//! What carries decisions out, and what it is given.

use std::sync::Arc;

use jiff::Timestamp;
use kube::Client;
use msars_api::crd::SloAutoscaler;
use msars_client::apply::{Applied, ApplyError};
use msars_domain::{Action, Observation};
use msars_plan::{Decision, State};

use super::reach::Reach;
use crate::lead::Lead;
use crate::metrics::Metrics;
use crate::own::Own;
use crate::world::Workload;
use crate::world::hpa::Hpa;

/// What carries a decision out.
#[derive(Clone)]
pub struct Hands {
    /// The strict client.
    pub client: Client,
    /// The writer of our own objects.
    pub own: Own,
    /// Whether this replica leads.
    pub lead: Lead,
    /// Counts writes.
    pub metrics: Metrics,
}

impl std::fmt::Debug for Hands {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Hands")
    }
}

/// One decision with what it rests on.
#[derive(Debug)]
pub struct Task {
    /// The Deployment.
    pub workload: Workload,
    /// The autoscaler as last seen.
    pub autoscaler: Arc<SloAutoscaler>,
    /// Its HorizontalPodAutoscalers.
    pub found: Vec<Hpa>,
    /// The observation.
    pub seen: Observation,
    /// The decision.
    pub decision: Decision,
    /// What was remembered before.
    pub before: State,
    /// What is known of its namespace.
    pub reach: Reach,
    /// The status is old: it is written even if it says the same.
    pub old: bool,
    /// The time of the tick.
    pub now: Timestamp,
}

impl Hands {
    /// That write only while `lead` holds, objects of our own included.
    pub fn new(client: Client, own: Own, lead: Lead, metrics: Metrics) -> Self {
        Self {
            client,
            own: own.led(lead.clone()),
            lead,
            metrics,
        }
    }

    /// Performs one action, once, and counts it. None where this replica leads no more: nothing was written, and the
    /// rest is left to the next leader.
    pub async fn apply(&self, action: &Action) -> Option<Result<Applied, ApplyError>> {
        if !self.lead.lets(action) {
            return None;
        }
        Some(self.perform(action).await)
    }

    /// The same whoever leads, for what several may do at once.
    pub(super) async fn perform(&self, action: &Action) -> Result<Applied, ApplyError> {
        self.metrics.apply(&self.client, action).await
    }

    /// Tells why a pod was not resized.
    pub async fn refused(&self, workload: &Workload, action: &Action, error: &ApplyError) {
        tracing::warn!(%error, category = error.category(), "a pod was not resized");
        let note = format!("Pod {}: {error}", action.target().name);
        self.own
            .tell(workload, "Resize", true, "FailedResize", note)
            .await;
    }
}
