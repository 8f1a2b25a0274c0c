//! What of a cluster's objects is not worth the memory of a copy: with thousands of them, most of it would hold what
//! nobody reads. Pure.

use k8s_openapi::api::core::v1::Pod;
use kube::Resource;
use kube::api::DynamicObject;
use msars_api::annotations;
use serde_json::Value;

/// Keeps everything.
pub fn whole<K>(_object: &mut K) {}

/// Drops who set which field, usually the larger half of a small object.
pub fn unmanaged<K: Resource>(object: &mut K) {
    object.meta_mut().managed_fields = None;
}

/// The same for a pod, but for who resized it.
pub fn pod(pod: &mut Pod) {
    if let Some(entries) = &mut pod.metadata.managed_fields {
        entries.retain(|entry| entry.subresource.as_deref() == Some("resize"));
        entries.shrink_to_fit();
    }
}

/// Of a Deployment without an annotation of ours only its name stays: it comes whole with the write that annotates it.
pub fn ours(deployment: &mut DynamicObject) {
    let meta = &mut deployment.metadata;
    if annotations::present(meta.annotations.as_ref()) {
        return;
    }
    meta.annotations = None;
    meta.labels = None;
    meta.managed_fields = None;
    deployment.data = Value::Null;
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn deployment(annotation: &str) -> DynamicObject {
        serde_json::from_value(json!({
            "apiVersion": "apps/v1", "kind": "Deployment",
            "metadata": {"name": "carts", "namespace": "shop", "uid": "u", "annotations": {annotation: "x"},
                "managedFields": [{"manager": "kubectl"}]},
            "spec": {"replicas": 2},
        }))
        .unwrap()
    }

    #[test]
    fn a_deployment_with_an_annotation_of_ours_stays_whole_and_another_is_a_name() {
        let mut found = deployment("msars.io/mode");
        ours(&mut found);
        assert_eq!(found, deployment("msars.io/mode"));
        let mut found = deployment("team");
        ours(&mut found);
        let left = json!({"apiVersion": "apps/v1", "kind": "Deployment",
            "metadata": {"name": "carts", "namespace": "shop", "uid": "u"}});
        let name: DynamicObject = serde_json::from_value(left).unwrap();
        assert_eq!(found.metadata, name.metadata);
        assert_eq!(found.data, Value::Null);
    }

    #[test]
    fn of_who_set_a_pods_fields_only_resizes_stay() {
        let entry = |subresource: Option<&str>| json!({"manager": "x", "subresource": subresource});
        let mut found: Pod = serde_json::from_value(json!({"metadata": {
            "managedFields": [entry(None), entry(Some("resize")), entry(Some("status"))]}}))
        .unwrap();
        pod(&mut found);
        let kept = found.metadata.managed_fields.unwrap();
        assert_eq!(kept.len(), 1);
        assert_eq!(kept[0].subresource.as_deref(), Some("resize"));
        let mut found = deployment("team");
        unmanaged(&mut found);
        assert_eq!(found.metadata.managed_fields, None);
    }
}
