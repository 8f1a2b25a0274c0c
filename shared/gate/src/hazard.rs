//! Whether a copy of a template can be started beside the living pods.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::deployment::{list, template, text};
use crate::reason::Hazard;
use crate::snapshot::Namespace;

const CONTAINER_LISTS: [&str; 3] = [
    "/spec/containers",
    "/spec/initContainers",
    "/spec/ephemeralContainers",
];

/// The first hazard found, in a fixed order.
pub(crate) fn hazard(deployment: &Value, namespace: Option<&Namespace>) -> Option<Hazard> {
    let template = template(deployment);
    if text(deployment, "/spec/strategy/type") == Some("Recreate") {
        return Some(Hazard::Recreate);
    }
    let host_network = template
        .pointer("/spec/hostNetwork")
        .and_then(Value::as_bool);
    if host_network == Some(true) {
        return Some(Hazard::HostNetwork);
    }
    let takes_host_port = containers(template).any(|container| {
        list(container, "/ports")
            .iter()
            .any(|port| port.get("hostPort").and_then(Value::as_u64).unwrap_or(0) > 0)
    });
    if takes_host_port {
        return Some(Hazard::HostPort);
    }
    for volume in list(template, "/spec/volumes") {
        if volume.get("hostPath").is_some_and(|path| !path.is_null()) {
            return Some(Hazard::HostPath);
        }
        if let Some(claim) = writable_claim(template, volume, namespace) {
            return Some(Hazard::WritableClaim { claim });
        }
    }
    let labels: BTreeMap<&str, &str> = template
        .pointer("/metadata/labels")
        .and_then(Value::as_object)
        .into_iter()
        .flatten()
        .filter_map(|(key, value)| Some((key.as_str(), value.as_str()?)))
        .collect();
    let selected = namespace.is_some_and(|known| known.policies.iter().any(|p| p.selects(&labels)));
    selected.then_some(Hazard::NetworkPolicy)
}

fn containers(template: &Value) -> impl Iterator<Item = &Value> {
    CONTAINER_LISTS
        .into_iter()
        .flat_map(|pointer| list(template, pointer))
}

/// The claim's name, if the pod could write to it: not read-only by volume, nor by every mount, nor by access mode.
fn writable_claim(
    template: &Value,
    volume: &Value,
    namespace: Option<&Namespace>,
) -> Option<String> {
    let source = volume.get("persistentVolumeClaim")?;
    let claim = text(source, "/claimName")?;
    if source.get("readOnly").and_then(Value::as_bool) == Some(true) {
        return None;
    }
    if namespace.and_then(|known| known.writable_claims.get(claim)) == Some(&false) {
        return None;
    }
    let name = text(volume, "/name");
    let of_volume = |entry: &&Value| text(entry, "/name") == name;
    let as_device =
        containers(template).any(|c| list(c, "/volumeDevices").iter().any(|d| of_volume(&d)));
    let mut mounts = containers(template)
        .flat_map(|container| list(container, "/volumeMounts"))
        .filter(of_volume)
        .peekable();
    let only_read = mounts.peek().is_some()
        && mounts.all(|mount| mount.get("readOnly").and_then(Value::as_bool) == Some(true));
    (as_device || !only_read).then(|| claim.to_owned())
}
