//! New pods are born with the wanted size, so that a rollout needs no second resize.

use msars_api::names::SHADOW_LABEL;
use msars_domain::{CpuSize, ObjectKey};
use msars_gate::{Serving, Snapshot, images, serving};
use serde_json::{Value, json};

use crate::decided::Decided;

/// Decides about a new pod. The Deployment is found by the owner's name and the pod-template-hash, since the
/// ReplicaSet may be newer than everything that is known.
pub(crate) fn at_birth(namespace: &str, pod: &Value, snapshot: &Snapshot) -> Decided {
    let labels = pod.pointer("/metadata/labels");
    let label = |name: &str| labels.and_then(|map| map.get(name));
    if label(SHADOW_LABEL).is_some() {
        return Decided::pass("ShadowPod");
    }
    let hash = label("pod-template-hash").and_then(Value::as_str);
    let Some((hash, name)) = hash.and_then(|hash| Some((hash, deployment(pod, hash)?))) else {
        return Decided::pass("NoDeployment");
    };
    let Some(workload) = snapshot.workload(&ObjectKey::new(namespace, name)) else {
        return Decided::pass("UnknownWorkload");
    };
    let Some(serving) = serving(pod) else {
        return Decided::pass("NoServingContainer");
    };
    let Some((revision, wanted)) = workload.wanted_for(hash, &images(pod)) else {
        return Decided::pass("NoWantedSize");
    };
    let Some(born) = serving.cpu else {
        return Decided::pass("NoCpuSize");
    };
    let size = born.scaled_to(wanted.size);
    let mut patch = resources(pod, &serving, size);
    patch.extend(resize_policy(pod, &serving));
    Decided {
        verdict: "Size",
        reason: if patch.is_empty() {
            "SizedAlready"
        } else {
            "SizedAtBirth"
        },
        patch,
        warnings: Vec::new(),
        audit: vec![
            ("revision", revision.to_owned()),
            ("size", wanted.size.to_string()),
        ],
    }
}

/// The name of the Deployment whose ReplicaSet controls the pod.
fn deployment<'a>(pod: &'a Value, hash: &str) -> Option<&'a str> {
    let owners = pod.pointer("/metadata/ownerReferences")?.as_array()?;
    let owner = owners.iter().find(|owner| {
        let is = |field: &str, value: &str| owner.get(field).and_then(Value::as_str) == Some(value);
        is("kind", "ReplicaSet")
            && is("apiVersion", "apps/v1")
            && owner.get("controller").and_then(Value::as_bool) == Some(true)
    })?;
    let name = owner.get("name")?.as_str()?;
    name.strip_suffix(hash)?
        .strip_suffix('-')
        .filter(|name| !name.is_empty())
}

/// Sets request and limit where they are set already; adds neither.
fn resources(pod: &Value, serving: &Serving<'_>, size: CpuSize) -> Vec<Value> {
    let kinds = [("requests", Some(size.request)), ("limits", size.limit)];
    kinds
        .into_iter()
        .filter_map(|(kind, wanted)| {
            let path = format!("/spec/containers/{}/resources/{kind}/cpu", serving.index);
            let found = pod.pointer(&path)?;
            let wanted = Value::String(wanted?.to_string());
            (*found != wanted).then(|| json!({"op": "replace", "path": path, "value": wanted}))
        })
        .collect()
}

/// Says that a resize of CPU needs no restart, unless the pod says how it is.
fn resize_policy(pod: &Value, serving: &Serving<'_>) -> Option<Value> {
    let path = format!("/spec/containers/{}/resizePolicy", serving.index);
    let entry = json!({"resourceName": "cpu", "restartPolicy": "NotRequired"});
    match pod.pointer(&path).and_then(Value::as_array) {
        None => Some(json!({"op": "add", "path": path, "value": [entry]})),
        Some(policies) => {
            let told = policies
                .iter()
                .any(|policy| policy.get("resourceName").and_then(Value::as_str) == Some("cpu"));
            (!told).then(|| json!({"op": "add", "path": format!("{path}/-"), "value": entry}))
        }
    }
}
