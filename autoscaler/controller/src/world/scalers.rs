//! What else scales Deployments, and which SloAutoscaler of ours does.

use std::sync::Arc;

use k8s_openapi::api::core::v1::Namespace;
use kube::api::DynamicObject;
use msars_api::annotations::Adopt;
use msars_api::names;

use super::{Workload, World, hpa};
use crate::autoscalers::Targets;

/// All objects of others that scale Deployments, as they are stored.
#[derive(Debug, Clone, Default)]
pub struct Scalers {
    /// HorizontalPodAutoscalers.
    pub hpas: Vec<Arc<DynamicObject>>,
    /// VerticalPodAutoscalers, where the cluster has them.
    pub vpas: Vec<Arc<DynamicObject>>,
    /// KEDA's ScaledObjects, where the cluster has them.
    pub scaled_objects: Vec<Arc<DynamicObject>>,
}

impl World {
    /// All HorizontalPodAutoscalers.
    pub fn hpas(&self) -> Vec<Arc<DynamicObject>> {
        self.hpas.all()
    }

    /// All objects of others that scale Deployments.
    pub fn scalers(&self) -> Scalers {
        Scalers {
            hpas: self.hpas.all(),
            vpas: self.vpas.all(),
            scaled_objects: self.scaled_objects.all(),
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
    pub(super) fn limit(&self, workload: &mut Workload, targets: &Targets) {
        workload.autoscaler = targets.place(&workload.key);
        if workload.settings.adopt == Adopt::Nothing {
            return;
        }
        let found = hpa::found(&self.hpas.all(), &workload.key);
        let stored = targets
            .all(&workload.key)
            .iter()
            .find_map(|autoscaler| autoscaler.status.as_ref()?.adopted.as_ref());
        workload.limit(&found, stored);
    }
}
