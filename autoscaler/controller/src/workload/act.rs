//! Carrying out one workload's decision: what must be remembered is stored first, then the writes, then their outcome.

use msars_api::crd::SloAutoscaler;
use msars_client::apply::{Applied, ApplyError};
use msars_domain::{Action, MilliCpu, ObjectKey, Observation};
use msars_plan::State;

use super::adopt::{self, Next};
use super::hands::{Hands, Task};
use super::status::{self, Said};
use crate::autoscalers;

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
        let mut state = task.decision.state.clone();
        if matches!(next, Next::Store(_) | Next::Delete(_)) {
            state.took_over(task.now, task.decision.current);
            out.state = state.clone();
        }
        let stored = task.autoscaler.status.as_ref();
        let tries_again = matches!(next, Next::Delete(_) | Next::Create(_));
        let adoption = if tries_again && status::adoption_failed(stored) {
            None
        } else {
            adopt::told(&next, status::stored(&task.autoscaler))
        };
        let said = Said {
            decision: &task.decision,
            seen: &task.seen,
            state: &state,
            failed: None,
            adoption: adoption.as_ref(),
            now: task.now,
        };
        let acts = !task.decision.actions.is_empty();
        let due = acts || task.old || status::news(task.autoscaler.status.as_ref(), &said);
        if due {
            out.written = self.say(&task, &said).await;
        }
        if !acts {
            if out.written || !due {
                self.take_over(&task, next).await;
            }
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
        let key = autoscalers::key(&task.autoscaler);
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
