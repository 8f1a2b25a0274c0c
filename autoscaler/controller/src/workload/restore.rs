//! What was taken over is stored anew when the SloAutoscaler that stored it was deleted.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use jiff::Timestamp;
use msars_api::crd::SloAutoscaler;
use msars_domain::ObjectKey;

use super::{Workloads, status};

impl Workloads {
    /// Stores anew what went with a deleted SloAutoscaler. The workloads that lost something: until it is seen stored,
    /// nobody decides on them.
    pub(super) async fn restore(
        &mut self,
        autoscalers: &BTreeMap<ObjectKey, Arc<SloAutoscaler>>,
        now: Timestamp,
    ) -> BTreeSet<ObjectKey> {
        let mut lost = BTreeSet::new();
        for (workload, memory) in &mut self.memory {
            let Some(autoscaler) = autoscalers.get(workload) else {
                continue;
            };
            let Some(copy) = memory.kept.lost(autoscaler) else {
                continue;
            };
            lost.insert(workload.clone());
            if !self.hands.lead.holds() {
                continue;
            }
            let stored = self
                .hands
                .own
                .status::<SloAutoscaler>(&crate::autoscalers::key(autoscaler), |autoscaler| {
                    let generation = autoscaler.metadata.generation;
                    let status = autoscaler.status.get_or_insert_default();
                    status::store(status, &copy, generation, now);
                })
                .await;
            match stored {
                Ok(()) => {
                    tracing::warn!(%workload, autoscaler = copy.name, "stored anew: its SloAutoscaler was deleted");
                }
                Err(error) => {
                    tracing::warn!(%error, category = error.category(), %workload, "what was taken over is not stored anew; until it is, nothing is decided on this workload");
                }
            }
        }
        lost
    }
}
