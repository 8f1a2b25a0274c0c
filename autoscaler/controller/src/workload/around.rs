//! What a tick rests on and what it leaves: copies of the cluster's objects, memory, the decision log.

use std::sync::Arc;

use jiff::Timestamp;
use msars_api::annotations::Adopt;
use msars_api::crd::SloAutoscaler;
use msars_domain::ObjectKey;
use msars_plan::Tick;

use super::gather::{self, Around};
use super::history::History;
use super::kept::Kept;
use super::record::Line;
use super::spared::Before;
use super::{DISCOVERED_S, Memory, Workloads, status};
use crate::profiles;
use crate::world::Workload;
use crate::world::hpa::{self, Hpa};

impl Workloads {
    /// Autoscalers that may be adopted.
    pub(super) fn found(&self, workload: &Workload) -> Vec<Hpa> {
        if workload.settings.adopt == Adopt::Nothing {
            return Vec::new();
        }
        hpa::found(&self.world.rivals(), &workload.key)
    }

    /// Writes a tick to the decision log.
    pub(super) fn log(&self, tick: &Arc<Tick>, decisions: &[Option<msars_plan::Decision>]) {
        let Some(log) = self.means.log.clone() else {
            return;
        };
        // One that failed cannot be replayed.
        let Some(decisions) = decisions.iter().cloned().collect() else {
            return;
        };
        let line = Line {
            tick: (**tick).clone(),
            limits: self.engine.limits().clone(),
            decisions,
        };
        // Nothing waits for the disk; lines are written one after the other by the log's own lock.
        drop(tokio::task::spawn_blocking(move || {
            if let Err(error) = log.write(&line) {
                tracing::warn!(%error, "decisions were not logged");
            }
        }));
    }

    /// The memory of a workload, from its status when this leader has none.
    pub(super) fn recall(
        &mut self,
        workload: &Workload,
        autoscaler: &SloAutoscaler,
        now: Timestamp,
    ) -> &mut Memory {
        let fresh = || Memory {
            uid: workload.uid.clone(),
            state: status::remembered(autoscaler.status.as_ref(), now),
            written: now,
            history: History::default(),
            before: Before::default(),
            kept: Kept::default(),
            last: None,
        };
        let memory = self
            .memory
            .entry(workload.key.clone())
            .or_insert_with(fresh);
        // A Deployment of the same name is another workload.
        if memory.uid != workload.uid {
            *memory = fresh();
        }
        memory
    }

    /// What every decision of a tick rests on beside its own workload.
    pub(super) fn around(&self) -> Around {
        Around {
            budgets: gather::budgets(&self.world.objectives()),
            known: self
                .world
                .profiles()
                .iter()
                .filter_map(|profile| {
                    let namespace = profile.metadata.namespace.clone()?;
                    let key = ObjectKey::new(namespace, &profile.spec.workload);
                    let known = profiles::known(profile)?;
                    let found = (profile.spec.shape.clone(), known);
                    Some(((key, profile.spec.revision.clone()), found))
                })
                .collect(),
            rivals: self.world.rivals(),
            quotas: self.world.quotas(),
            ranges: self.world.limit_ranges(),
            profiling: gather::profiling(&self.world.pods()),
            resizable: self.resizable.is_some_and(|(found, _)| found),
            cores: self.means.cores,
        }
    }

    /// Asks now and then whether the API server offers `pods/resize`; without an answer the last one holds.
    pub(super) async fn discover(&mut self) {
        let now = (self.means.now)();
        let fresh = |at: Timestamp| now.duration_since(at).as_secs_f64() < DISCOVERED_S;
        if self.resizable.is_some_and(|(_, at)| fresh(at)) {
            return;
        }
        match self.hands.client.list_core_api_resources("v1").await {
            Ok(list) => {
                let found = list.resources.iter().any(|r| r.name == "pods/resize");
                self.resizable = Some((found, now));
            }
            Err(error) => tracing::warn!(%error, "whether pods can be resized is not known"),
        }
    }
}
