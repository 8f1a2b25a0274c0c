//! Carrying an adoption out: the whole spec is stored before the other autoscaler is deleted, and dropped only when it
//! is there again.

use std::sync::Arc;

use jiff::Timestamp;
use msars_api::annotations::Adopt;
use msars_api::crd::{AdoptedAutoscaler, SloAutoscaler};
use msars_client::apply::{Applied, ApplyError};
use msars_domain::Action;

use super::adopt::{self, Case, Hold, Next, Told};
use super::gather::{self, Around, One};
use super::hands::{Hands, Task};
use super::{rivals, status};
use crate::autoscalers;
use crate::world::Workload;
use crate::world::hpa::{self, Hpa};

impl Task {
    /// What is known of the workload's adoption after this decision.
    pub(super) fn case(&self) -> Case<'_> {
        Case {
            workload: &self.workload.key,
            adopt: self.workload.settings.adopt,
            acts: gather::acts(&self.workload, &self.autoscaler),
            found: &self.found,
            stored: status::stored(&self.autoscaler),
            good: adopt::good(&self.seen, &self.decision) && self.reach.granted != Some(false),
            teams: teams(&self.workload, &self.autoscaler),
        }
    }
}

/// A team's own SloAutoscaler, with its bounds.
fn teams<'a>(workload: &Workload, autoscaler: &'a SloAutoscaler) -> Option<(&'a str, (u32, u32))> {
    let own = !autoscalers::ours(autoscaler, workload);
    let name = autoscaler.metadata.name.as_deref().filter(|_| own)?;
    Some((name, gather::replicas(workload, autoscaler)))
}

/// Whether nothing but a good decision is missing to take over the workload's autoscaler.
pub(super) fn rehearses(around: &Around, one: &One<'_>) -> bool {
    let adopt = one.workload.settings.adopt;
    // Beside a third one nobody would scale once it is gone.
    if adopt == Adopt::Nothing || rivals::beside(&around.rivals, &one.workload.key).is_some() {
        return false;
    }
    let status = one.autoscaler.status.as_ref();
    let case = Case {
        workload: &one.workload.key,
        adopt,
        acts: true,
        found: &hpa::found(&around.rivals.hpas, &one.workload.key),
        stored: status.and_then(|status| status.adopted.as_ref()),
        good: false,
        teams: teams(one.workload, one.autoscaler),
    };
    matches!(adopt::next(&case), Next::Hold(Hold::Waits(_)))
}

impl Hands {
    /// Takes the workload's autoscaler over as far as `next` allows.
    pub(super) async fn take_over(&self, task: &Task, mut next: Next) {
        let workload = &task.workload;
        let kept;
        if let Next::Store(copy) = &next {
            if !self.store(task, copy).await {
                return;
            }
            kept = copy.clone();
            next = adopt::next(&Case {
                stored: Some(&kept),
                ..task.case()
            });
        }
        let Next::Delete(action) = next else {
            return;
        };
        let name = &action.target().name;
        let Some(ended) = self.apply(&action).await else {
            return;
        };
        match ended {
            Ok(Applied::Done | Applied::Gone) => {
                let note = format!(
                    "HorizontalPodAutoscaler {name} was deleted and MSARS scales from now on; its whole spec is in .status.adopted of sloautoscaler {}. Hand back with: kubectl annotate deploy/{} msars.io/adopt-",
                    autoscalers::key(&task.autoscaler).name,
                    workload.key.name
                );
                self.adoption(workload, false, "AutoscalerAdopted", note)
                    .await;
            }
            // It changed since: what it is now is stored at the next tick.
            Ok(Applied::Conflict) => {}
            Err(error) => {
                let told = self.failed(workload, &error).await;
                self.say_adoption(&task.autoscaler, told, false, task.now)
                    .await;
            }
        }
    }

    async fn store(&self, task: &Task, copy: &AdoptedAutoscaler) -> bool {
        let key = autoscalers::key(&task.autoscaler);
        let written = self
            .own
            .status::<SloAutoscaler>(&key, |autoscaler| {
                let generation = autoscaler.metadata.generation;
                let status = autoscaler.status.get_or_insert_default();
                status::store(status, copy, generation, task.now);
            })
            .await;
        if let Err(error) = written {
            tracing::warn!(%error, category = error.category(), workload = %task.workload.key, "an autoscaler was not stored, so it is not taken over");
            return false;
        }
        let (_, _, text) = adopt::stored_told(&copy.name);
        let note = format!("SloAutoscaler {}: {text}", key.name);
        self.adoption(&task.workload, false, "AutoscalerStored", note)
            .await;
        true
    }

    /// Creates the autoscaler again that was taken over; true when nothing is stored any more.
    pub(super) async fn hand_back(
        &self,
        workload: &Workload,
        autoscaler: &Arc<SloAutoscaler>,
        found: &[Hpa],
        now: Timestamp,
    ) -> bool {
        let next = adopt::next(&Case {
            workload: &workload.key,
            adopt: workload.settings.adopt,
            acts: false,
            found,
            stored: status::stored(autoscaler),
            good: false,
            teams: None,
        });
        match &next {
            Next::Create(action) => match self.create(workload, action).await {
                Some(Ok(told)) => self.say_adoption(autoscaler, told, true, now).await,
                Some(Err(told)) => {
                    self.say_adoption(autoscaler, told, false, now).await;
                    false
                }
                None => false,
            },
            Next::Hold(_) => {
                if let Some(told) = adopt::told(&next, status::stored(autoscaler)) {
                    self.say_adoption(autoscaler, told, false, now).await;
                }
                status::stored(autoscaler).is_none()
            }
            _ => true,
        }
    }

    /// What is to be said of it, as an error when no autoscaler of that name is there; nothing where it is left to the
    /// next leader.
    async fn create(&self, workload: &Workload, action: &Action) -> Option<Result<Told, Told>> {
        let name = &action.target().name;
        let (reason, note) = match self.apply(action).await? {
            Ok(Applied::Done) => (
                "HandedBack",
                format!("HorizontalPodAutoscaler {name} was created again and scales from now on"),
            ),
            Ok(Applied::Conflict) => (
                "AutoscalerKept",
                format!("HorizontalPodAutoscaler {name} is there and stays as it is"),
            ),
            Ok(Applied::Gone) => {
                let note = format!(
                    "HorizontalPodAutoscaler {name} was not created again: its namespace is gone"
                );
                tracing::warn!(workload = %workload.key, note, "an autoscaler was not handed back");
                return Some(Err((false, adopt::FAILED, note)));
            }
            Err(error) => return Some(Err(self.failed(workload, &error).await)),
        };
        self.adoption(workload, false, reason, note.clone()).await;
        Some(Ok((false, reason, note)))
    }

    async fn say_adoption(
        &self,
        autoscaler: &SloAutoscaler,
        told: Told,
        drops: bool,
        now: Timestamp,
    ) -> bool {
        let written = self
            .own
            .status::<SloAutoscaler>(&autoscalers::key(autoscaler), |autoscaler| {
                let generation = autoscaler.metadata.generation;
                let status = autoscaler.status.get_or_insert_default();
                status::adoption(status, told.clone(), drops, generation, now);
            })
            .await;
        if let Err(error) = &written {
            tracing::warn!(%error, category = error.category(), drops, "how an adoption stands was not written");
        }
        written.is_ok()
    }

    async fn failed(&self, workload: &Workload, error: &ApplyError) -> Told {
        tracing::warn!(%error, category = error.category(), workload = %workload.key, "an autoscaler was neither taken over nor handed back");
        let note = error.to_string();
        self.adoption(workload, true, adopt::FAILED, note.clone())
            .await;
        (false, adopt::FAILED, note)
    }

    async fn adoption(&self, workload: &Workload, warning: bool, reason: &str, note: String) {
        self.own
            .tell(workload, "Adopt", warning, reason, note)
            .await;
    }
}
