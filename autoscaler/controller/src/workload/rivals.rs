//! Who else moves a workload's replicas: a second autoscaler, or a tool that keeps declaring them. Pure.

use std::sync::Arc;

use kube::api::DynamicObject;
use msars_domain::{ObjectKey, Rival};
use serde_json::Value;

use crate::world::hpa;

/// The first HorizontalPodAutoscaler of a Deployment.
pub fn rival(all: &[Arc<DynamicObject>], workload: &ObjectKey) -> Option<Rival> {
    hpa::of(all, workload).next().map(|hpa| Rival {
        kind: "HorizontalPodAutoscaler".into(),
        name: hpa.metadata.name.clone().unwrap_or_default(),
    })
}

/// Tools that write a Deployment again and again by plain updates.
const KEEPERS: [&str; 5] = [
    "argocd",
    "kustomize-controller",
    "helm-controller",
    "fleet",
    "kapp-controller",
];

/// The field manager that keeps declaring `spec.replicas`: one that applies it by the server, or a GitOps tool. A
/// person at a terminal (`kubectl`), the first creation by an update, and our own scale are none.
pub fn declared_by(deployment: &Value) -> Option<String> {
    let entries = deployment.pointer("/metadata/managedFields")?.as_array()?;
    entries.iter().find_map(|entry| {
        let text = |name: &str| entry.get(name).and_then(Value::as_str).unwrap_or_default();
        let manager = text("manager");
        entry.pointer("/fieldsV1/f:spec/f:replicas")?;
        let ours = manager == msars_api::names::FIELD_MANAGER;
        let person = manager.starts_with("kubectl");
        let keeps = text("operation") == "Apply"
            || KEEPERS.iter().any(|keeper| manager.starts_with(keeper));
        (keeps && !ours && !person && text("subresource").is_empty()).then(|| manager.to_owned())
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn an_hpa_on_the_same_deployment_is_a_rival() {
        let hpa = |namespace: &str, api: &str, kind: &str, name: &str| {
            let hpa = json!({"apiVersion": "autoscaling/v2", "kind": "HorizontalPodAutoscaler", "metadata": {"namespace": namespace, "name": "h"}, "spec": {"maxReplicas": 3,
                "scaleTargetRef": {"apiVersion": api, "kind": kind, "name": name}}});
            [Arc::new(serde_json::from_value(hpa).unwrap())]
        };
        let key = ObjectKey::new("shop", "carts");
        for (found, wanted) in [
            (hpa("shop", "apps/v1", "Deployment", "carts"), true),
            (hpa("other", "apps/v1", "Deployment", "carts"), false),
            (hpa("shop", "apps/v1", "StatefulSet", "carts"), false),
            (hpa("shop", "example.io/v1", "Deployment", "carts"), false),
            (hpa("shop", "apps/v1", "Deployment", "orders"), false),
        ] {
            assert_eq!(rival(&found, &key).is_some(), wanted);
        }
    }

    #[test]
    fn a_tool_that_declares_replicas_is_named() {
        for (manager, operation, subresource, wanted) in [
            ("kustomize-controller", "Apply", "", true),
            ("argocd-controller", "Update", "", true),
            ("terraform", "Apply", "", true),
            ("kubectl", "Apply", "", false),
            ("kubectl-client-side-apply", "Update", "", false),
            ("helm", "Update", "", false),
            ("msars", "Update", "scale", false),
            ("kube-controller-manager", "Update", "scale", false),
        ] {
            let entry = json!({"manager": manager, "operation": operation, "subresource": subresource,
                "fieldsV1": {"f:spec": {"f:replicas": {}}}});
            let found = declared_by(&json!({"metadata": {"managedFields": [entry]}}));
            assert_eq!(found.is_some(), wanted, "{manager} {operation}");
        }
        let other = json!({"manager": "flux", "operation": "Apply", "fieldsV1": {"f:spec": {"f:template": {}}}});
        assert_eq!(
            declared_by(&json!({"metadata": {"managedFields": [other]}})),
            None
        );
    }
}
