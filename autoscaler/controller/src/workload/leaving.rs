//! Workloads that opted out: pods of the template's size in sufficient number first, then nothing is remembered.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use jiff::Timestamp;
use msars_api::annotations::Adopt;
use msars_api::crd::{SloAutoscaler, SloAutoscalerStatus};
use msars_client::apply::Applied;
use msars_domain::{Action, ObjectKey, Observation, Reading, Signals, Unknown};
use msars_plan::{Fleet, Leaving, Short, State, leave};

use super::gather::{self, One, Percentiles};
use super::parting::{Left, Parting, Why};
use super::status::stored;
use super::{Workloads, rivals, status};
use crate::autoscalers::{self, ours};
use crate::pods;
use crate::world::{Workload, hpa};

/// Why a write was not made by a replica that led when it began.
pub(super) const FOLLOWS: &str = "another replica leads by now: kubectl -n msars-system scale deploy/msars-autoscaler --replicas=0, then drain again";

impl Workloads {
    /// Leaves every workload that has a memory, or whose autoscaler was taken over, and that is no longer in our
    /// reach; and those that stay in our reach but want their autoscaler back, or act no more, which are then no longer in
    /// `workloads`.
    pub(super) async fn leave(
        &mut self,
        workloads: &mut BTreeMap<ObjectKey, Workload>,
        autoscalers: &BTreeMap<ObjectKey, Arc<SloAutoscaler>>,
        now: Timestamp,
    ) {
        let keys: BTreeSet<ObjectKey> = autoscalers
            .iter()
            .filter(|(key, autoscaler)| {
                let remembers = |status: &SloAutoscalerStatus| {
                    status.memory.is_some() || status.adopted.is_some()
                };
                !workloads.contains_key(key) && autoscaler.status.as_ref().is_some_and(remembers)
            })
            .map(|(key, _)| key.clone())
            .collect();
        let mut parted: Vec<(Workload, Why)> = Vec::new();
        if !keys.is_empty() {
            let left = self.world.left(&keys).into_values();
            parted.extend(left.map(|workload| (workload, Why::OptedOut)));
        }
        parted.extend(autoscalers.iter().filter_map(|(key, autoscaler)| {
            let workload = workloads.get(key)?;
            Some((workload.clone(), self.parts(workload, autoscaler, now)?))
        }));
        let partings = parted.iter().filter_map(|(workload, why)| {
            Some(Parting {
                workload,
                autoscaler: autoscalers.get(&workload.key)?,
                why: *why,
                now,
            })
        });
        let partings: Vec<Parting<'_>> = partings.collect();
        let ended = self.leave_all(&partings, &BTreeMap::new()).await;
        for (parting, left) in partings.iter().zip(ended) {
            // Until its autoscaler is there, it is scaled as before.
            if left.over {
                workloads.remove(&parting.workload.key);
            }
        }
    }

    /// Leaves workloads by `signals`, or the last ones known, one after the other.
    pub(super) async fn leave_all(
        &mut self,
        partings: &[Parting<'_>],
        signals: &BTreeMap<ObjectKey, Signals>,
    ) -> Vec<Left> {
        let mut all = Vec::new();
        for parting in partings {
            let signals = signals.get(&parting.workload.key).cloned();
            all.push((*parting, self.leaving(*parting, signals)));
        }
        self.born_as_declared(&all).await;
        let mut out = Vec::new();
        for (parting, leaving) in all {
            out.push(self.leave_one(parting, leaving).await);
        }
        out
    }

    /// Why a workload in our reach is to be left, if it is.
    fn parts(
        &self,
        workload: &Workload,
        autoscaler: &SloAutoscaler,
        now: Timestamp,
    ) -> Option<Why> {
        let acts = gather::acts(workload, autoscaler);
        if stored(autoscaler).is_some() {
            let adopts = workload.settings.adopt == Adopt::Hpa;
            return (!(adopts && acts)).then_some(Why::Returns);
        }
        let sized = || match self.memory.get(&workload.key) {
            Some(memory) => memory.state.size.is_some(),
            None => status::remembered(autoscaler.status.as_ref(), now)
                .size
                .is_some(),
        };
        (!acts && sized()).then_some(Why::StepsBack)
    }

    /// Leaves one workload. Every write is made only while this replica leads.
    async fn leave_one(&mut self, parting: Parting<'_>, leaving: Option<Leaving>) -> Left {
        let mut left = Left::default();
        let ended = match leaving {
            Some(leaving) => {
                let ended = self.part(parting, &leaving, &mut left).await;
                if parting.why == Why::Returns && ended != Ok(true) {
                    self.wait(parting, &leaving, left.scaled);
                }
                ended
            }
            None => Err(format!("{} has no percentile", parting.workload.key)),
        };
        match ended {
            Ok(whole) => left.over = whole,
            Err(sentence) => left.wrong.push(sentence),
        }
        left
    }

    /// What leaving takes, by what is remembered, which is then forgotten here. Of whom nothing is remembered anywhere was
    /// left before, and only its autoscaler is owed.
    fn leaving(&mut self, parting: Parting<'_>, signals: Option<Signals>) -> Option<Leaving> {
        let Parting {
            workload,
            autoscaler,
            why,
            now,
        } = parting;
        let remembered = self.memory.remove(&workload.key);
        let status = autoscaler.status.as_ref();
        if remembered.is_none() && status.is_some_and(|status| status.memory.is_none()) {
            return Some(Leaving::default());
        }
        let state = match &remembered {
            Some(memory) if memory.uid == workload.uid => memory.state.clone(),
            _ => status::remembered(autoscaler.status.as_ref(), now),
        };
        let last = remembered.and_then(|memory| memory.last);
        let signals = signals
            .or_else(|| last.map(|last| last.seen.signals))
            .unwrap_or_else(|| blind(&workload.key));
        let mut seen = self.last_look(workload, autoscaler, signals)?;
        // It was sized by us, whatever its autoscaler says by now.
        seen.wishes.acts |= why == Why::StepsBack;
        Some(leave(now, &seen, &state, self.engine.limits()))
    }

    /// Until its autoscaler is there, what was raised is what is in force: pods of the template's size, as many as it takes.
    /// By the next tick they would be too many for their present size, and at the one after it too few.
    fn wait(&mut self, parting: Parting<'_>, leaving: &Leaving, raised: bool) {
        let Parting {
            workload,
            autoscaler,
            now,
            ..
        } = parting;
        let raise = leaving.action.as_ref().filter(|_| raised);
        let template = workload.serving.as_ref().map(|(_, cpu)| cpu.size());
        let memory = self.recall(workload, autoscaler, now);
        let mut fleet = Fleet {
            replicas: workload.replicas,
            size: memory.state.size.or(template).unwrap_or_default(),
        };
        if let (Some(Action::Scale { to, .. }), Some(template)) = (raise, template) {
            fleet = Fleet {
                replicas: *to,
                size: template,
            };
            memory.state.replicas = Some(*to);
            memory.state.size = memory.state.size.map(|_| template);
        }
        memory.state.took_over(now, fleet);
    }

    /// All writes in their order; whether nothing is owed any more, or why it ended before.
    async fn part(
        &self,
        parting: Parting<'_>,
        leaving: &Leaving,
        left: &mut Left,
    ) -> Result<bool, String> {
        let Parting {
            workload,
            autoscaler,
            why,
            now,
        } = parting;
        let led = || {
            let holds = self.hands.lead.holds();
            holds.then_some(()).ok_or_else(|| FOLLOWS.to_owned())
        };
        let mut whole = true;
        if let Some(action) = &leaving.action {
            led()?;
            whole = self.raise(workload, action, left).await?;
        }
        if let Some(short) = &leaving.short {
            led()?;
            self.hands
                .own
                .tell(workload, "Scale", true, "TooFewReplicas", short.to_string())
                .await;
            left.wrong.push(short.to_string());
        }
        let stays = |left: &Left| why == Why::Drains && !left.wrong.is_empty();
        if !matches!(why, Why::Returns | Why::StepsBack) && !stays(left) {
            led()?;
            self.switch_off(workload, autoscaler).await?;
        }
        led()?;
        let found = hpa::found(&self.world.hpas(), &workload.key);
        if !self
            .hands
            .hand_back(workload, autoscaler, &found, now)
            .await
        {
            left.wrong.push(owed(&workload.key, autoscaler));
            whole = false;
        }
        if stays(left) || (why == Why::Returns && !whole) {
            return Ok(false);
        }
        led()?;
        self.forget(parting, leaving.short.as_ref()).await?;
        Ok(whole)
    }

    /// Sets the replicas; whether it is done, or why it is to be tried again.
    async fn raise(
        &self,
        workload: &Workload,
        action: &Action,
        left: &mut Left,
    ) -> Result<bool, String> {
        let Some(ended) = self.hands.apply(action).await else {
            return Err(FOLLOWS.to_owned());
        };
        match ended {
            Ok(Applied::Done) => {
                left.scaled = true;
                let note = format!(
                    "{} is left: replicas are set for pods of the template's size",
                    workload.key
                );
                self.hands
                    .own
                    .tell(workload, "Scale", false, "SuccessfulRescale", note)
                    .await;
                Ok(true)
            }
            // Decided anew at the next tick, since the memory stays.
            Ok(Applied::Conflict) => Err(format!(
                "the replicas of {} changed meanwhile",
                workload.key
            )),
            Ok(Applied::Gone) => Ok(true),
            Err(error) => {
                tracing::warn!(%error, category = error.category(), workload = %workload.key, "a workload was not left");
                if error.retry() {
                    return Err(error.to_string());
                }
                // Trying again changes nothing: without the grant, nothing of ours can be undone.
                left.wrong.push(error.to_string());
                Ok(false)
            }
        }
    }

    /// Its autoscaler, where it was made here, says that nothing is scaled.
    async fn switch_off(
        &self,
        workload: &Workload,
        autoscaler: &SloAutoscaler,
    ) -> Result<(), String> {
        if !ours(autoscaler, workload) || autoscaler.spec.mode == "off" {
            return Ok(());
        }
        let mut off = autoscaler.clone();
        off.spec.mode = "off".into();
        self.hands.own.replace(&off).await.map_err(|error| {
            tracing::warn!(%error, category = error.category(), "an autoscaler was not switched off");
            error.to_string()
        })
    }

    async fn forget(&self, parting: Parting<'_>, short: Option<&Short>) -> Result<(), String> {
        let Parting {
            autoscaler,
            why,
            now,
            ..
        } = parting;
        let written = self
            .hands
            .own
            .status::<SloAutoscaler>(&autoscalers::key(autoscaler), |autoscaler| {
                let generation = autoscaler.metadata.generation;
                let status = autoscaler.status.get_or_insert_default();
                status::leave(status, &why.told(short), generation, now);
            })
            .await;
        written.map_err(|error| {
            tracing::warn!(%error, category = error.category(), "a memory was not cleared");
            error.to_string()
        })
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
            percentile: Percentiles::of(&self.world.objectives()).at(workload)?,
            serving: serving.get(&workload.key).map_or(&[][..], Vec::as_slice),
            signals,
            live: Vec::new(),
            history: Vec::new(),
            guests: None,
            state: &State::default(),
        };
        // Whoever leaves only grows, whatever else rolls.
        let around = self.around(&BTreeMap::new());
        let mut seen = gather::observation(&around, one);
        seen.wishes.acts = autoscaler.spec.mode == "auto" || stored(autoscaler).is_some();
        seen.rival = rivals::rival(&self.world.scalers(), &workload.key);
        Some(seen)
    }
}

/// What is lost with our kinds unless it is saved.
fn owed(workload: &ObjectKey, autoscaler: &SloAutoscaler) -> String {
    let ObjectKey { namespace, name } = autoscalers::key(autoscaler);
    format!(
        "the autoscaler that was taken over from {workload} is not there again; its whole spec is in .status.adopted: kubectl -n {namespace} get sloautoscaler {name} -o yaml"
    )
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
        rate_at_least: None,
        request_quantile: none(),
        self_quantile: none(),
        callee_wait: none(),
        error_share: none(),
        cpu_cores: none(),
        throttled: none(),
    }
}
