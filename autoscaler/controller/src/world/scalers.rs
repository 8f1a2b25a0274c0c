//! What else scales Deployments, and which SloAutoscaler of ours does.

use std::sync::Arc;

use k8s_openapi::api::core::v1::Namespace;
use msars_api::annotations::Adopt;
use msars_api::names;

use super::hpa::Targeted;
use super::{Workload, World, hpa};
use crate::autoscalers::Targets;

/// All objects of others that scale Deployments, as they are stored.
#[derive(Debug, Clone, Default)]
pub struct Scalers {
    /// HorizontalPodAutoscalers.
    pub hpas: Targeted,
    /// VerticalPodAutoscalers, where the cluster has them.
    pub vpas: Targeted,
    /// KEDA's ScaledObjects, where the cluster has them.
    pub scaled_objects: Targeted,
}

impl World {
    /// All HorizontalPodAutoscalers.
    pub fn hpas(&self) -> Targeted {
        Targeted::by(self.hpas.all(), "scaleTargetRef")
    }

    /// All objects of others that scale Deployments.
    pub fn scalers(&self) -> Scalers {
        Scalers {
            hpas: self.hpas(),
            vpas: Targeted::by(self.vpas.all(), "targetRef"),
            scaled_objects: Targeted::by(self.scaled_objects.all(), "scaleTargetRef"),
        }
    }

    /// Whether the webhooks see a namespace; `None` while it is not known.
    pub fn labelled(&self, namespace: &str) -> Option<bool> {
        let all = self.namespaces.all();
        let named = |found: &&Arc<Namespace>| found.metadata.name.as_deref() == Some(namespace);
        let labels = all.iter().find(named)?.metadata.labels.as_ref();
        Some(labels.is_some_and(|labels| {
            labels.get(names::ENABLED_LABEL).map(String::as_str) == Some("true")
        }))
    }

    /// Names a workload's SloAutoscaler; one that takes over its HorizontalPodAutoscaler has that one's limits.
    pub(super) fn limit(workload: &mut Workload, targets: &Targets, hpas: &Targeted) {
        workload.autoscaler = targets.place(&workload.key);
        if workload.settings.adopt == Adopt::Nothing {
            return;
        }
        let found = hpa::found(hpas, &workload.key);
        let stored = targets
            .all(&workload.key)
            .iter()
            .find_map(|autoscaler| autoscaler.status.as_ref()?.adopted.as_ref());
        workload.limit(&found, stored);
    }
}
