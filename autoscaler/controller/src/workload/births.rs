//! Pods of workloads that are left: born as their template says before more of them are asked for.

use msars_api::crd::SloAutoscaler;
use msars_plan::Leaving;

use super::Workloads;
use super::parting::Parting;
use crate::autoscalers::{self, KNOWN};

impl Workloads {
    /// Takes back the sizes of new pods where leaving asks for more pods: these are counted by the template's size, and
    /// born larger they might find no node. Waits until the webhook's replicas know; where a write fails, more than is
    /// needed is born.
    pub(super) async fn born_as_declared(&self, all: &[(Parting<'_>, Option<Leaving>)]) {
        let mut written = false;
        for (parting, leaving) in all {
            let more = leaving.as_ref().is_some_and(|one| one.action.is_some());
            let status = parting.autoscaler.status.as_ref();
            if !more || status.is_none_or(|status| status.sizes.is_empty()) {
                continue;
            }
            let key = autoscalers::key(parting.autoscaler);
            let cleared = self.hands.own.status::<SloAutoscaler>(&key, |autoscaler| {
                autoscaler.status.get_or_insert_default().sizes.clear();
            });
            match cleared.await {
                Ok(()) => written = true,
                Err(error) => {
                    tracing::warn!(%error, category = error.category(), workload = %parting.workload.key, "new pods are born with the size in force");
                }
            }
        }
        if written {
            tokio::time::sleep(KNOWN).await;
        }
    }
}
