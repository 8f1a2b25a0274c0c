//! Carrying out one workload's decision: what must be remembered is stored first, then the writes, then their outcome.

use std::sync::Arc;

use jiff::Timestamp;
use kube::Client;
use msars_api::crd::SloAutoscaler;
use msars_client::apply::{Applied, ApplyError};
use msars_domain::{Action, MilliCpu, ObjectKey, Observation};
use msars_plan::{Decision, State};

use super::adopt::{self, Hpa, Next};
use super::status::{self, Said};
use super::takeover;
use crate::metrics::Metrics;
use crate::own::Own;
use crate::world::Workload;

/// What carries a decision out.
#[derive(Clone)]
pub struct Hands {
    /// The strict client.
    pub client: Client,
    /// The writer of our own objects.
    pub own: Own,
    /// The clock.
    pub now: fn() -> Timestamp,
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
    /// The status is old: it is written even if it says the same.
    pub old: bool,
    /// The time of the tick.
    pub now: Timestamp,
}

/// How it ended.
#[derive(Debug)]
pub struct Outcome {
    /// The Deployment.
    pub workload: ObjectKey,
    /// What to remember.
    pub state: State,
    /// The observation.
    pub seen: Observation,
    /// Whether the status was written.
    pub written: bool,
    /// Pods that were shrunk, by uid, with the size they had.
    pub shrunk: Vec<(String, MilliCpu)>,
}

impl Hands {
    /// Performs one action, once, and counts it.
    pub async fn apply(&self, action: &Action) -> Result<Applied, ApplyError> {
        self.metrics.apply(&self.client, action).await
    }

    /// Carries one decision out. Without its memory stored, nothing is written and the old memory stays.
    pub async fn carry(&self, task: Task) -> Outcome {
        let mut out = Outcome {
            workload: task.workload.key.clone(),
            state: task.decision.state.clone(),
            seen: task.seen.clone(),
            written: false,
            shrunk: Vec::new(),
        };
        let next = adopt::next(&task.case());
        let stored = task.autoscaler.status.as_ref();
        let tries_again = matches!(next, Next::Delete(_) | Next::Create(_));
        let adoption = if tries_again && status::adoption_failed(stored) {
            None
        } else {
            adopt::told(&next, takeover::stored(&task.autoscaler))
        };
        let said = Said {
            decision: &task.decision,
            seen: &task.seen,
            state: &task.decision.state,
            failed: None,
            adoption: adoption.as_ref(),
            now: task.now,
        };
        let acts = !task.decision.actions.is_empty();
        if acts || task.old || status::news(task.autoscaler.status.as_ref(), &said) {
            out.written = self.say(&task, &said).await;
        }
        if !acts {
            self.take_over(&task, next).await;
            return out;
        }
        if !out.written {
            out.state = task.before;
            return out;
        }
        let mut failed = None;
        let mut scaled = true;
        for action in &task.decision.actions {
            let ended = self.apply(action).await;
            match action {
                Action::Scale { to, .. } => {
                    scaled = matches!(ended, Ok(Applied::Done));
                    failed = self.scaled(&task, *to, &ended).await;
                }
                Action::Resize { uid, .. } => {
                    if matches!(ended, Ok(Applied::Done)) {
                        out.shrunk.extend(shrunk(&task.seen, uid, action));
                    }
                    if let Err(error) = &ended {
                        self.refused(&task.workload, action, error).await;
                    }
                }
                _ => {}
            }
            if matches!(ended, Err(ApplyError::Forbidden { .. })) {
                break;
            }
        }
        if !scaled {
            out.state = task.decision.state_without_scale(task.now);
            let said = Said {
                state: &out.state,
                failed: failed.as_deref(),
                ..said
            };
            self.say(&task, &said).await;
        }
        out
    }

    async fn say(&self, task: &Task, said: &Said<'_>) -> bool {
        let key = key(&task.autoscaler);
        let outcome = self
            .own
            .status::<SloAutoscaler>(&key, |autoscaler| {
                let generation = autoscaler.metadata.generation;
                status::write(autoscaler.status.get_or_insert_default(), generation, said);
            })
            .await;
        if let Err(error) = &outcome {
            tracing::warn!(%error, category = error.category(), "a decision was not stored, so it is not carried out");
        }
        outcome.is_ok()
    }

    /// Tells how the write of replicas ended, in HPA's words; the error's text when it failed.
    async fn scaled(
        &self,
        task: &Task,
        to: u32,
        ended: &Result<Applied, ApplyError>,
    ) -> Option<String> {
        let reason = &task.decision.reason;
        match ended {
            Ok(Applied::Done) => {
                tracing::info!(workload = %task.workload.key, to, %reason, "scaled");
                let note = format!("New size: {to}; reason: {reason}");
                self.own
                    .tell(&task.workload, "Scale", false, "SuccessfulRescale", note)
                    .await;
                None
            }
            // Somebody was faster: decided anew at the next tick.
            Ok(Applied::Conflict | Applied::Gone) => None,
            Err(error) => {
                let note = format!("New size: {to}; reason: {reason}; error: {error}");
                self.own
                    .tell(&task.workload, "Scale", true, "FailedUpdateScale", note)
                    .await;
                tracing::warn!(%error, category = error.category(), "replicas were not written");
                Some(error.to_string())
            }
        }
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

/// Namespace and name of an autoscaler: a team's own may be named otherwise than its Deployment.
pub fn key(autoscaler: &SloAutoscaler) -> ObjectKey {
    let part = |text: &Option<String>| text.clone().unwrap_or_default();
    let meta = &autoscaler.metadata;
    ObjectKey::new(part(&meta.namespace), part(&meta.name))
}

/// The pod that an action shrank, with the size it had.
fn shrunk(seen: &Observation, uid: &str, action: &Action) -> Option<(String, MilliCpu)> {
    let Action::Resize { request, limit, .. } = action else {
        return None;
    };
    let pod = seen.pods.iter().find(|pod| pod.uid == uid)?;
    let to = limit.or(*request)?;
    (to < pod.actual.size()).then(|| (uid.to_owned(), pod.actual.size()))
}
