//! Workloads that opted out: pods of the template's size in sufficient number first, then nothing is remembered.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use jiff::Timestamp;
use msars_api::annotations::Adopt;
use msars_api::crd::SloAutoscaler;
use msars_client::apply::Applied;
use msars_domain::{ObjectKey, Observation, Reading, Signals, Unknown};
use msars_plan::leave;

use super::gather::{self, One};
use super::status::stored;
use super::{Workloads, rivals, status};
use crate::autoscalers::{self, ours};
use crate::pods;
use crate::world::{Workload, hpa};

/// Whether a workload that is left stays in our reach.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stays {
    /// It wants its own autoscaler back.
    Yes,
    /// It opted out.
    No,
}

impl Workloads {
    /// Leaves every workload that has a memory, or whose autoscaler was taken over, and that is no longer in our
    /// reach; and those that stay in our reach but want their autoscaler back, which are then no longer in `workloads`.
    pub(super) async fn leave(
        &mut self,
        workloads: &mut BTreeMap<ObjectKey, Workload>,
        autoscalers: &BTreeMap<ObjectKey, Arc<SloAutoscaler>>,
        now: Timestamp,
    ) {
        let keys: BTreeSet<ObjectKey> = autoscalers
            .iter()
            .filter(|(key, autoscaler)| {
                let remembers = |status: &msars_api::crd::SloAutoscalerStatus| {
                    status.memory.is_some() || status.adopted.is_some()
                };
                !workloads.contains_key(key) && autoscaler.status.as_ref().is_some_and(remembers)
            })
            .map(|(key, _)| key.clone())
            .collect();
        if !keys.is_empty() {
            for (key, workload) in self.world.left(&keys) {
                if let Some(autoscaler) = autoscalers.get(&key) {
                    self.leave_one(&workload, autoscaler, None, Stays::No, now)
                        .await;
                }
            }
        }
        for (key, autoscaler) in autoscalers {
            let wants_back = |workload: &&Workload| {
                let adopts = workload.settings.adopt == Adopt::Hpa;
                stored(autoscaler).is_some() && !(adopts && gather::acts(workload, autoscaler))
            };
            let Some(workload) = workloads.get(key).filter(wants_back).cloned() else {
                continue;
            };
            // Until its autoscaler is there, it is scaled as before.
            if self
                .leave_one(&workload, autoscaler, None, Stays::Yes, now)
                .await
            {
                workloads.remove(key);
            }
        }
    }

    /// Leaves one workload by `signals`, or the last ones known; true when nothing is remembered of it any more.
    pub(super) async fn leave_one(
        &mut self,
        workload: &Workload,
        autoscaler: &Arc<SloAutoscaler>,
        signals: Option<Signals>,
        stays: Stays,
        now: Timestamp,
    ) -> bool {
        let remembered = self.memory.remove(&workload.key);
        let state = match &remembered {
            Some(memory) if memory.uid == workload.uid => memory.state.clone(),
            _ => status::remembered(autoscaler.status.as_ref(), now),
        };
        let last = remembered.and_then(|memory| memory.last);
        let signals = signals
            .or_else(|| last.map(|last| last.seen.signals))
            .unwrap_or_else(|| blind(&workload.key));
        let Some(seen) = self.last_look(workload, autoscaler, signals) else {
            return false;
        };
        let mut whole = true;
        for action in leave(now, &seen, &state, self.engine.limits()) {
            match self.hands.apply(&action).await {
                Ok(Applied::Done) => {
                    let note = format!(
                        "{} opted out: pods of the template's size carry the load from now on",
                        workload.key
                    );
                    self.hands
                        .own
                        .tell(workload, "Scale", false, "SuccessfulRescale", note)
                        .await;
                }
                // Decided anew at the next tick, since the memory stays.
                Ok(Applied::Conflict) => return false,
                Ok(Applied::Gone) => {}
                Err(error) => {
                    tracing::warn!(%error, category = error.category(), workload = %workload.key, "a workload was not left");
                    if error.retry() {
                        return false;
                    }
                    // Trying again changes nothing: without the grant, nothing of ours can be undone.
                    whole = false;
                }
            }
        }
        if stays == Stays::No && ours(autoscaler, workload) && autoscaler.spec.mode != "off" {
            let mut off = (**autoscaler).clone();
            off.spec.mode = "off".into();
            if let Err(error) = self.hands.own.replace(&off).await {
                tracing::warn!(%error, category = error.category(), "an autoscaler was not switched off");
                return false;
            }
        }
        let found = hpa::found(&self.world.rivals(), &workload.key);
        if !self
            .hands
            .hand_back(workload, autoscaler, &found, now)
            .await
        {
            if stays == Stays::Yes {
                return false;
            }
            whole = false;
        }
        let written = self
            .hands
            .own
            .status::<SloAutoscaler>(&autoscalers::key(autoscaler), |autoscaler| {
                let generation = autoscaler.metadata.generation;
                status::leave(autoscaler.status.get_or_insert_default(), generation, now);
            })
            .await;
        if let Err(error) = &written {
            tracing::warn!(%error, category = error.category(), "a memory was not cleared");
        }
        whole && written.is_ok()
    }

    /// The workload as it is, with the last metrics known, as it was wished before it opted out.
    pub(super) fn last_look(
        &self,
        workload: &Workload,
        autoscaler: &SloAutoscaler,
        signals: Signals,
    ) -> Option<Observation> {
        let serving = pods::serving(&self.world.pods());
        let one = One {
            workload,
            autoscaler,
            percentile: gather::percentile(&self.world.objectives(), workload)?,
            serving: serving.get(&workload.key).map_or(&[][..], Vec::as_slice),
            signals,
            live: Vec::new(),
            history: Vec::new(),
        };
        let mut seen = gather::observation(&self.around(), one);
        seen.wishes.acts = autoscaler.spec.mode == "auto" || stored(autoscaler).is_some();
        seen.rival = rivals::rival(&self.world.rivals(), &workload.key);
        Some(seen)
    }
}

/// Metrics of a workload that nobody asked about.
pub fn blind(workload: &ObjectKey) -> Signals {
    fn none<T>() -> Reading<T> {
        Reading::Unknown {
            why: Unknown::Unreachable,
        }
    }
    Signals {
        workload: workload.clone(),
        rate: none(),
        peak_rate: none(),
        request_quantile: none(),
        self_quantile: none(),
        callee_wait: none(),
        error_share: none(),
        cpu_cores: none(),
        throttled: none(),
    }
}
