//! Serving pods, by the workload that owns them, and shadow pods. Pure.

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Pod, ResourceRequirements};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use msars_api::annotations::cpu_millis;
use msars_api::names;
use msars_domain::{CpuSize, MilliCpu, ObjectKey};

/// A serving pod: owned by a ReplicaSet of a Deployment, not a shadow pod, not being deleted.
#[derive(Debug, Clone)]
pub struct Serving {
    /// The pod.
    pub pod: Arc<Pod>,
    /// The Deployment.
    pub workload: ObjectKey,
    /// `pod-template-hash`.
    pub pod_template_hash: String,
    /// Since when it is Ready.
    pub ready_since: Option<Timestamp>,
}

/// All serving pods by workload.
pub fn serving(pods: &[Arc<Pod>]) -> BTreeMap<ObjectKey, Vec<Serving>> {
    let mut out: BTreeMap<ObjectKey, Vec<Serving>> = BTreeMap::new();
    for pod in pods {
        if let Some(serving) = read(pod) {
            out.entry(serving.workload.clone())
                .or_default()
                .push(serving);
        }
    }
    out
}

fn quantity(map: Option<&BTreeMap<String, Quantity>>) -> Option<MilliCpu> {
    cpu_millis(&map?.get("cpu")?.0).map(MilliCpu)
}

/// CPU out of a container's resources: a missing request is the limit, as the API server defaults it.
fn cpu(resources: &ResourceRequirements) -> Option<CpuSize> {
    let limit = quantity(resources.limits.as_ref());
    let request = quantity(resources.requests.as_ref()).or(limit)?;
    Some(CpuSize { request, limit })
}

/// The CPU that a container of the pod is asked to have.
pub fn asked(pod: &Pod, container: &str) -> Option<CpuSize> {
    let mut containers = pod.spec.as_ref()?.containers.iter();
    let found = containers.find(|found| found.name == container)?;
    found.resources.as_ref().and_then(cpu)
}

/// The CPU that it has; one that has not started will be started with what is asked.
pub fn actual(pod: &Pod, container: &str) -> Option<CpuSize> {
    let statuses = pod
        .status
        .as_ref()
        .and_then(|status| status.container_statuses.as_ref());
    let found = statuses
        .into_iter()
        .flatten()
        .find(|status| status.name == container);
    found
        .and_then(|status| status.resources.as_ref())
        .and_then(cpu)
        .or_else(|| asked(pod, container))
}

/// Whether it is a copy of a template under measurement, or the pod that drives one.
pub fn shadow(pod: &Pod) -> bool {
    let labels = pod.metadata.labels.as_ref();
    labels.is_some_and(|labels| labels.contains_key(names::SHADOW_LABEL))
}

/// All shadow pods that are not being deleted, each with its uid.
pub fn shadows(pods: &[Arc<Pod>]) -> Vec<(ObjectKey, Option<String>)> {
    pods.iter()
        .filter(|pod| shadow(pod) && pod.metadata.deletion_timestamp.is_none())
        .filter_map(|pod| {
            let meta = &pod.metadata;
            let key = ObjectKey::new(meta.namespace.clone()?, meta.name.clone()?);
            Some((key, meta.uid.clone()))
        })
        .collect()
}

fn read(pod: &Arc<Pod>) -> Option<Serving> {
    let meta = &pod.metadata;
    let labels = meta.labels.as_ref()?;
    if shadow(pod) || meta.deletion_timestamp.is_some() {
        return None;
    }
    let phase = pod
        .status
        .as_ref()
        .and_then(|status| status.phase.as_deref());
    if matches!(phase, Some("Failed" | "Succeeded")) {
        return None;
    }
    let hash = labels.get("pod-template-hash")?;
    let set = meta
        .owner_references
        .iter()
        .flatten()
        .find(|owner| owner.kind == "ReplicaSet" && owner.controller == Some(true))?;
    let deployment = set.name.strip_suffix(hash.as_str())?.strip_suffix('-')?;
    let ready = pod
        .status
        .as_ref()
        .and_then(|status| status.conditions.as_ref())
        .into_iter()
        .flatten()
        .find(|condition| condition.type_ == "Ready" && condition.status == "True");
    Some(Serving {
        workload: ObjectKey::new(meta.namespace.clone()?, deployment),
        pod_template_hash: hash.clone(),
        ready_since: ready
            .and_then(|condition| condition.last_transition_time.as_ref())
            .map(|time| time.0),
        pod: Arc::clone(pod),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn pod(labels: &serde_json::Value, owner: &str) -> Arc<Pod> {
        Arc::new(
            serde_json::from_value(json!({
                "metadata": {
                    "name": "p", "namespace": "shop", "labels": labels,
                    "ownerReferences": [{"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": owner, "uid": "u", "controller": true}],
                },
                "status": {"phase": "Running", "conditions": [{"type": "Ready", "status": "True", "lastTransitionTime": "2026-01-01T00:00:00Z"}]},
            }))
            .unwrap(),
        )
    }

    #[test]
    fn pods_belong_to_their_deployment_and_shadows_to_nobody() {
        let found = serving(&[
            pod(&json!({"pod-template-hash": "5d4f"}), "front-end-5d4f"),
            pod(
                &json!({"pod-template-hash": "5d4f", "msars.io/shadow": "subject"}),
                "front-end-5d4f",
            ),
            pod(&json!({"pod-template-hash": "77"}), "front-end-5d4f"),
        ]);
        assert_eq!(found.len(), 1);
        let pods = &found[&ObjectKey::new("shop", "front-end")];
        assert_eq!(pods.len(), 1);
        assert!(pods[0].ready_since.is_some());
    }
}
