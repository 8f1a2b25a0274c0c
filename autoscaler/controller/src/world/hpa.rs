//! The HorizontalPodAutoscalers of a Deployment as they are stored, and the limits that they give it. Pure.

use std::collections::BTreeMap;
use std::sync::Arc;

use k8s_openapi::api::autoscaling::v2::HorizontalPodAutoscalerBehavior;
use kube::api::DynamicObject;
use msars_api::annotations::{Adopt, Mode, Settings};
use msars_api::crd::AdoptedAutoscaler;
use msars_domain::ObjectKey;
use serde_json::Value;

/// The Deployment that a reference in an object's spec names; KEDA's may leave group and kind out.
fn target(object: &DynamicObject, reference: &str) -> Option<ObjectKey> {
    let named = object.data.get("spec")?.get(reference)?;
    let text = |name: &str| named.get(name).and_then(Value::as_str).unwrap_or_default();
    let (group, kind) = (text("apiVersion"), text("kind"));
    let deployment = (kind.is_empty() || kind == "Deployment")
        && (group.is_empty() || group.starts_with("apps/"));
    let namespace = object.metadata.namespace.as_deref()?;
    deployment.then(|| ObjectKey::new(namespace, text("name")))
}

/// Objects by the Deployment that they name: with thousands of each, nobody looks through all of them for every one.
#[derive(Debug, Clone, Default)]
pub struct Targeted(BTreeMap<ObjectKey, Vec<Arc<DynamicObject>>>);

impl Targeted {
    /// By the reference of this name in their spec.
    pub fn by(objects: Vec<Arc<DynamicObject>>, reference: &str) -> Self {
        let mut all: BTreeMap<ObjectKey, Vec<Arc<DynamicObject>>> = BTreeMap::new();
        for object in objects {
            if let Some(key) = target(&object, reference) {
                all.entry(key).or_default().push(object);
            }
        }
        Self(all)
    }

    /// Those of a Deployment.
    pub fn at(&self, workload: &ObjectKey) -> &[Arc<DynamicObject>] {
        self.0.get(workload).map_or(&[], Vec::as_slice)
    }
}

/// A HorizontalPodAutoscaler of the workload.
#[derive(Debug, Clone, PartialEq)]
pub struct Hpa {
    /// Its namespace and name.
    pub key: ObjectKey,
    /// Its version.
    pub version: String,
    /// It is being deleted.
    pub deleting: bool,
    /// Kind and name of what makes it, and would make it again: KEDA's ScaledObject for one.
    pub maker: Option<(String, String)>,
    /// What would be stored of it, but for the time.
    pub copy: AdoptedAutoscaler,
}

impl Hpa {
    fn read(object: &DynamicObject) -> Option<Self> {
        let meta = &object.metadata;
        let part = |text: &Option<String>| text.clone().unwrap_or_default();
        let owners = meta.owner_references.clone().unwrap_or_default();
        let maker = owners
            .iter()
            .find(|owner| owner.controller == Some(true) || owner.kind == "ScaledObject");
        Some(Self {
            key: ObjectKey::new(part(&meta.namespace), part(&meta.name)),
            version: meta.resource_version.clone()?,
            deleting: meta.deletion_timestamp.is_some(),
            maker: maker.map(|owner| (owner.kind.clone(), owner.name.clone())),
            copy: AdoptedAutoscaler {
                name: part(&meta.name),
                uid: meta.uid.clone()?,
                at: String::new(),
                labels: meta.labels.clone().unwrap_or_default(),
                annotations: meta.annotations.clone().unwrap_or_default(),
                owner_references: owners,
                spec: object.data.get("spec")?.clone(),
            },
        })
    }
}

/// The HorizontalPodAutoscalers of a workload; KEDA makes one too.
pub fn found(all: &Targeted, workload: &ObjectKey) -> Vec<Hpa> {
    let all = all.at(workload).iter();
    all.filter_map(|object| Hpa::read(object)).collect()
}

/// Gives the settings of a workload that asks for it the limits of its autoscaler, or of the one that was taken over,
/// and returns its behaviour; annotations win.
pub(super) fn limit(
    settings: &mut Settings,
    found: &[Hpa],
    stored: Option<&AdoptedAutoscaler>,
) -> Option<HorizontalPodAutoscalerBehavior> {
    if settings.adopt != Adopt::Hpa || settings.mode == Mode::Off {
        return None;
    }
    let spec = match found {
        [] => &stored?.spec,
        [hpa] if hpa.maker.is_none() => &hpa.copy.spec,
        _ => return None,
    };
    let (least, most) = bounds(spec);
    let min = settings
        .min_replicas
        .unwrap_or_else(|| settings.max_replicas.map_or(least, |max| least.min(max)));
    settings.min_replicas = Some(min);
    settings.max_replicas = Some(settings.max_replicas.unwrap_or(most.max(min)));
    behavior(spec)
}

/// Fewest and most replicas; scaling to zero is not ours to do.
pub fn bounds(spec: &Value) -> (u32, u32) {
    let number = |name: &str| {
        let number = spec.get(name).and_then(Value::as_u64);
        number.map(|number| number.clamp(1, 10_000) as u32)
    };
    let least = number("minReplicas").unwrap_or(1);
    (least, number("maxReplicas").unwrap_or(least).max(least))
}

/// Metrics that are not CPU, in words: what a latency objective says nothing of.
pub fn beside_cpu(spec: &Value) -> Vec<String> {
    let metrics = spec.get("metrics").and_then(Value::as_array);
    metrics.into_iter().flatten().filter_map(beside).collect()
}

fn beside(metric: &Value) -> Option<String> {
    let kind = metric.get("type").and_then(Value::as_str)?;
    // The field is named as the type, but for its first letter.
    let mut field = kind.to_owned();
    field.get_mut(..1)?.make_ascii_lowercase();
    let source = metric.get(&field);
    let name = |pointer: &str| source.and_then(|source| source.pointer(pointer)?.as_str());
    let own = matches!(kind, "Resource" | "ContainerResource");
    let named = name(if own { "/name" } else { "/metric/name" }).unwrap_or("an unknown metric");
    if !own {
        return Some(format!("{named} ({kind})"));
    }
    (named != "cpu").then(|| named.to_owned())
}

fn behavior(spec: &Value) -> Option<HorizontalPodAutoscalerBehavior> {
    serde_json::from_value(spec.get("behavior")?.clone()).ok()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn metrics_that_a_latency_objective_says_nothing_of_are_named() {
        let cpu = json!({"type": "Resource", "resource": {"name": "cpu", "target": {"type": "Utilization"}}});
        let container = json!({"type": "ContainerResource", "containerResource": {"name": "cpu", "container": "app"}});
        let memory = json!({"type": "Resource", "resource": {"name": "memory"}});
        let queue = json!({"type": "External", "external": {"metric": {"name": "queue_length"}}});
        let pods = json!({"type": "Pods", "pods": {"metric": {"name": "connections"}}});
        let object = json!({"type": "Object", "object": {"metric": {"name": "requests"}}});
        let later = json!({"type": "OfLater", "ofLater": {}});
        for (metrics, wanted) in [
            (json!([cpu, container]), vec![]),
            (json!([]), vec![]),
            (json!([cpu, memory]), vec!["memory"]),
            (
                json!([queue, pods]),
                vec!["queue_length (External)", "connections (Pods)"],
            ),
            (
                json!([object, later]),
                vec!["requests (Object)", "an unknown metric (OfLater)"],
            ),
        ] {
            assert_eq!(beside_cpu(&json!({"metrics": metrics})), wanted);
        }
        // HPA's default is CPU.
        assert!(beside_cpu(&json!({})).is_empty());
    }
}
