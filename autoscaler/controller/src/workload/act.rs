//! Carrying out one workload's decision: what must be remembered is stored first, then the writes, then their outcome.

use std::time::Duration;

use jiff::Timestamp;
use msars_api::crd::SloAutoscaler;
use msars_client::apply::{Applied, ApplyError};
use msars_domain::{Action, MilliCpu, ObjectKey, Observation};
use msars_plan::{Refused, Refuser, State};
use tokio::time::Instant;

use super::adopt::{self, Next};
use super::hands::{Hands, Task};
use super::reach::{self, Reach};
use super::rivals;
use super::status::{self, Said};
use crate::autoscalers;

/// No write of a workload begins later than this after its first: the others wait for it.
pub(super) const PATIENCE: Duration = Duration::from_secs(10);

/// Why replicas were not written where the Deployment was read before somebody else's write.
const FASTER: &str =
    "somebody else changed the Deployment meanwhile: decided anew at the next tick";

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
    /// A write was forbidden: the grant is missing.
    pub forbidden: bool,
    /// The writes took so long that the rest was left to the next tick.
    pub late: bool,
}

/// How the writes of a decision ended.
struct Ended {
    /// Why the write of replicas failed.
    failed: Option<String>,
    /// Replicas are as decided.
    scaled: bool,
    /// What the API server refused, in its words.
    refused: Vec<(Refused, String)>,
    /// Another replica leads by now: the rest was not written.
    left: bool,
    /// Something was changed.
    made: bool,
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
            forbidden: false,
            late: false,
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
        let keeper = rivals::keeper(&task.workload.object, task.before.wrote, task.now);
        let told = |reach| reach::told(&task.workload.key, &task.workload.settings, reach);
        let reach = told(task.reach);
        let said = Said {
            workload: &task.workload,
            decision: &task.decision,
            seen: &task.seen,
            state: &state,
            failed: None,
            refused: None,
            adoption: adoption.as_ref(),
            keeper: keeper.as_ref(),
            reach: reach.as_ref(),
            now: task.now,
        };
        let acts = !task.decision.actions.is_empty();
        let due = acts || task.old || status::news(task.autoscaler.status.as_ref(), &said);
        if due {
            out.written = self.say(&task, &said, acts).await;
        }
        if !acts {
            if out.written {
                self.tell_changes(&task, &said).await;
            }
            if out.written || !due {
                self.take_over(&task, next).await;
            }
            return out;
        }
        if !out.written {
            out.state = task.before;
            return out;
        }
        let Ended {
            failed,
            scaled,
            refused,
            left,
            made,
        } = self.write(&task, &mut out).await;
        if !scaled {
            out.state = task.decision.state_without_scale(task.now);
        }
        let granted = if out.forbidden {
            Some(false)
        } else {
            task.reach.granted
        };
        let reach = told(Reach {
            granted,
            ..task.reach
        });
        let words = refused.last().map(|(_, words)| words.clone());
        let whole = scaled && refused.is_empty() && !out.forbidden;
        if out.late {
            tracing::warn!(workload = %task.workload.key, "the API server takes long: the rest of the writes comes with the next tick");
        }
        for (refused, words) in refused {
            out.state.refuse(refused, &words);
        }
        let said = Said {
            state: &out.state,
            failed: failed.as_deref(),
            refused: words.as_deref(),
            reach: reach.as_ref(),
            ..said
        };
        // What the next leader stored since is not written over: for it, what was not written is as after a crash.
        let stands = left || (whole && made);
        if !stands {
            self.say(&task, &said, made).await;
        }
        self.tell_changes(&task, &said).await;
        out
    }

    /// The writes of a decision in their order, up to one that is forbidden or that another replica is to make. Where they
    /// take long, as when a webhook of somebody's does not answer, the rest comes with the next tick.
    async fn write(&self, task: &Task, out: &mut Outcome) -> Ended {
        let mut failed = None;
        let mut scaled = true;
        let mut refused: Vec<(Refused, String)> = Vec::new();
        let (mut left, mut made) = (false, false);
        let begun = Instant::now();
        let mut actions = task.decision.actions.iter();
        while let Some(action) = actions.next() {
            out.late = begun.elapsed() >= PATIENCE;
            let ended = if out.late {
                None
            } else {
                self.apply(action).await
            };
            let Some(ended) = ended else {
                let scales = |action: &Action| matches!(action, Action::Scale { .. });
                scaled &= !scales(action) && !actions.any(scales);
                left = !out.late;
                break;
            };
            made |= matches!(ended, Ok(Applied::Done));
            match action {
                Action::Scale { to, .. } => {
                    scaled = matches!(ended, Ok(Applied::Done));
                    failed = self.scaled(task, *to, &ended).await;
                }
                Action::Resize { uid, .. } => {
                    if matches!(ended, Ok(Applied::Done)) {
                        out.shrunk.extend(shrunk(&task.seen, uid, action));
                    }
                    if let Err(error) = &ended {
                        self.refused(&task.workload, action, error).await;
                        let more = refusal(&task.seen, action, error, task.now);
                        refused.extend(more.map(|refused| (refused, error.to_string())));
                    }
                }
                _ => {}
            }
            if let Err(error @ ApplyError::Forbidden { .. }) = &ended {
                out.forbidden = true;
                if matches!(action, Action::Resize { .. }) {
                    // The rest would be refused in the same words.
                    let rest = actions.filter_map(|a| refusal(&task.seen, a, error, task.now));
                    refused.extend(rest.map(|refused| (refused, error.to_string())));
                }
                break;
            }
        }
        Ended {
            failed,
            scaled,
            refused,
            left,
            made,
        }
    }

    /// Writes what is said; where nothing was `made` of a change, or not its replicas, the one before it stays the last.
    async fn say(&self, task: &Task, said: &Said<'_>, made: bool) -> bool {
        let before = task.autoscaler.status.as_ref();
        let last = before.and_then(|status| status.last_change.as_ref());
        let acts = !said.decision.actions.is_empty();
        let key = autoscalers::key(&task.autoscaler);
        let outcome = self
            .own
            .status::<SloAutoscaler>(&key, |autoscaler| {
                let generation = autoscaler.metadata.generation;
                let status = autoscaler.status.get_or_insert_default();
                status::write(status, generation, said);
                if acts && (!made || said.failed.is_some()) {
                    status.last_change = last.cloned();
                }
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
            Ok(Applied::Conflict) => Some(FASTER.to_owned()),
            Ok(Applied::Gone) => None,
            Err(error) => {
                let note = format!("New size: {to}; reason: {reason}; error: {error}");
                self.own
                    .tell(&task.workload, "Scale", true, "FailedRescale", note)
                    .await;
                tracing::warn!(%error, category = error.category(), "replicas were not written");
                Some(error.to_string())
            }
        }
    }
}

/// What is remembered of a resize that the API server refused; nothing of one that it may accept the next time.
pub fn refusal(
    seen: &Observation,
    action: &Action,
    error: &ApplyError,
    now: Timestamp,
) -> Option<Refused> {
    let Action::Resize {
        uid,
        request,
        limit,
        ..
    } = action
    else {
        return None;
    };
    let by = match error {
        ApplyError::Unavailable { .. } => return None,
        ApplyError::Forbidden { .. } => Refuser::Grant,
        ApplyError::Refused { .. } | ApplyError::Malformed { .. } => Refuser::Server,
    };
    let size = limit.or(*request)?;
    let pod = seen.pods.iter().find(|pod| &pod.uid == uid);
    Some(Refused {
        uid: uid.clone(),
        size,
        at: now,
        infeasible: false,
        by,
        shrink: pod.is_some_and(|pod| size < pod.asked.size()),
    })
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
