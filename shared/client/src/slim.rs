//! What of a cluster's objects is not worth the memory of a copy: with thousands of them, most of it would hold what
//! nobody reads. Pure.

use k8s_openapi::api::core::v1::Pod;
use kube::Resource;
use kube::api::{DynamicObject, ObjectMeta};
use msars_api::annotations;
use serde_json::Value;

/// Keeps everything.
pub fn whole<K>(_object: &mut K) {}

/// Drops who set which field, usually the larger half of a small object.
pub fn unmanaged<K: Resource>(object: &mut K) {
    object.meta_mut().managed_fields = None;
}

/// The same for a pod, but for who resized it, and what only the kubelet and its programs read: what stays of its
/// containers is what they take.
pub fn pod(pod: &mut Pod) {
    if let Some(entries) = &mut pod.metadata.managed_fields {
        entries.retain(|entry| entry.subresource.as_deref() == Some("resize"));
        entries.shrink_to_fit();
    }
    pod.metadata.annotations = None;
    let Some(spec) = &mut pod.spec else {
        return;
    };
    spec.volumes = None;
    let starting = spec.init_containers.iter_mut().flatten();
    for container in spec.containers.iter_mut().chain(starting) {
        container.args = None;
        container.command = None;
        container.env = None;
        container.env_from = None;
        container.lifecycle = None;
        container.liveness_probe = None;
        container.readiness_probe = None;
        container.startup_probe = None;
        container.volume_mounts = None;
    }
}

/// Of a Deployment without an annotation of ours only its name stays: it comes whole with the write that annotates it.
pub fn ours(deployment: &mut DynamicObject) {
    if annotations::present(deployment.metadata.annotations.as_ref()) {
        return;
    }
    bare(&mut deployment.metadata);
    deployment.data = Value::Null;
}

/// The same where one that dropped our annotations may still be scaled, on its way out: its spec and status stay.
pub fn left(deployment: &mut DynamicObject) {
    if !annotations::present(deployment.metadata.annotations.as_ref()) {
        bare(&mut deployment.metadata);
    }
}

/// Of an object stay its name, its owners, and what is `kept` of the rest.
pub fn only(object: &mut DynamicObject, kept: impl FnOnce(&Value) -> Value) {
    bare(&mut object.metadata);
    object.data = kept(&object.data);
}

fn bare(meta: &mut ObjectMeta) {
    meta.annotations = None;
    meta.labels = None;
    meta.managed_fields = None;
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
    fn of_one_that_has_opted_out_what_scales_it_stays() {
        let mut found = deployment("msars.io/mode");
        left(&mut found);
        assert_eq!(found, deployment("msars.io/mode"));
        let mut found = deployment("team");
        left(&mut found);
        assert_eq!(found.data, deployment("team").data);
        let meta = serde_json::to_value(&found.metadata).unwrap();
        assert_eq!(
            meta,
            json!({"name": "carts", "namespace": "shop", "uid": "u"})
        );
    }

    #[test]
    fn of_a_large_object_stays_what_is_asked_for() {
        let mut found = deployment("msars.io/mode");
        let owner = json!([{"apiVersion": "v1", "kind": "K", "name": "o", "uid": "u-1"}]);
        found.metadata.owner_references = serde_json::from_value(owner.clone()).unwrap();
        only(&mut found, |rest| rest["spec"].clone());
        assert_eq!(found.data, json!({"replicas": 2}));
        let meta = serde_json::to_value(&found.metadata).unwrap();
        assert_eq!(
            meta,
            json!({"name": "carts", "namespace": "shop", "uid": "u", "ownerReferences": owner})
        );
    }

    #[test]
    fn of_a_pods_containers_stays_what_they_take() {
        let takes = json!({"name": "app", "image": "carts:v1", "restartPolicy": "Always",
            "resources": {"requests": {"cpu": "100m"}, "limits": {"cpu": "200m"}},
            "resizePolicy": [{"resourceName": "cpu", "restartPolicy": "NotRequired"}]});
        let mut runs = takes.clone();
        let probe = json!({"httpGet": {"path": "/", "port": 80}});
        for (field, value) in [
            ("args", json!(["--verbose"])),
            ("command", json!(["/carts"])),
            ("env", json!([{"name": "A", "value": "b"}])),
            ("envFrom", json!([{"configMapRef": {"name": "c"}}])),
            (
                "lifecycle",
                json!({"preStop": {"exec": {"command": ["true"]}}}),
            ),
            ("livenessProbe", probe.clone()),
            ("readinessProbe", probe.clone()),
            ("startupProbe", probe),
            (
                "volumeMounts",
                json!([{"name": "data", "mountPath": "/data"}]),
            ),
        ] {
            runs[field] = value;
        }
        let object = |container: &Value| {
            json!({
                "apiVersion": "v1", "kind": "Pod",
                "metadata": {"name": "p", "namespace": "shop", "uid": "u", "generation": 2,
                    "creationTimestamp": "2026-03-01T11:00:00Z", "labels": {"pod-template-hash": "h1"},
                    "ownerReferences": [{"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "carts-h1", "uid": "h1"}]},
                "spec": {"containers": [container], "initContainers": [container],
                    "overhead": {"cpu": "10m"}, "resources": {"limits": {"cpu": "1"}}},
                "status": {"phase": "Running", "hostIP": "10.0.0.1"},
            })
        };
        let mut whole = object(&runs);
        whole["metadata"]["annotations"] = json!({"team": "shop"});
        whole["spec"]["volumes"] = json!([{"name": "data", "emptyDir": {}}]);
        let mut found: Pod = serde_json::from_value(whole).unwrap();
        pod(&mut found);
        assert_eq!(serde_json::to_value(&found).unwrap(), object(&takes));
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
