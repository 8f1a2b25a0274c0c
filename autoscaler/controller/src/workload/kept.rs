//! The spec of an autoscaler that was taken over outlives the SloAutoscaler that stores it: whoever deletes that one
//! finds the spec stored in the one that takes its place. The decision is pure.

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::Timestamp;
use msars_api::crd::{AdoptedAutoscaler, SloAutoscaler};
use msars_domain::ObjectKey;

use super::{Workloads, status};

/// What an SloAutoscaler of this uid stored, as last seen.
#[derive(Debug, Default)]
pub struct Kept(Option<(String, AdoptedAutoscaler)>);

impl Kept {
    /// Follows what is stored; what is to be stored anew, because the object that stored it is another one now.
    pub fn lost(&mut self, autoscaler: &SloAutoscaler) -> Option<AdoptedAutoscaler> {
        let uid = autoscaler.metadata.uid.clone()?;
        match (status::stored(autoscaler), &self.0) {
            (Some(copy), _) => self.0 = Some((uid, copy.clone())),
            (None, Some((before, copy))) if *before != uid => return Some(copy.clone()),
            // The same object holds it no longer: it was handed back.
            (None, _) => self.0 = None,
        }
        None
    }
}

impl Workloads {
    /// Stores anew what went with a deleted SloAutoscaler; whether there was such a one.
    pub(super) async fn restore(
        &mut self,
        autoscalers: &BTreeMap<ObjectKey, Arc<SloAutoscaler>>,
        now: Timestamp,
    ) -> bool {
        let mut any = false;
        for (workload, memory) in &mut self.memory {
            let Some(autoscaler) = autoscalers.get(workload) else {
                continue;
            };
            let Some(copy) = memory.kept.lost(autoscaler) else {
                continue;
            };
            any = true;
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
                    tracing::warn!(%error, category = error.category(), %workload, "what was taken over is not stored anew");
                }
            }
        }
        any
    }
}
