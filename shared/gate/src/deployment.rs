//! What a Deployment says about itself.

use std::collections::BTreeMap;

use msars_api::annotations::{self, HOLD, PREFIX, Settings, Warning};
use msars_domain::{CpuSize, MilliCpu, ObjectKey};
use serde_json::{Value, json};

use crate::hold::{self, HoldState};
use crate::{RevisionHash, revision_hash};

/// A Deployment, read once.
#[derive(Debug, Clone)]
pub struct Facts<'a> {
    /// The object.
    pub object: &'a Value,
    /// Settings out of its annotations.
    pub settings: Settings,
    /// Annotation values that were not understood.
    pub warnings: Vec<Warning>,
    /// The revision of its template.
    pub revision: RevisionHash,
    /// Whose pause it is in.
    pub state: HoldState,
    /// `spec.paused`.
    pub paused: bool,
    /// Whether somebody declares `spec.paused` ([`crate::pause_declared`]).
    pub pause_declared: bool,
    /// `spec.replicas`; 1 when absent.
    pub replicas: u64,
    /// Whether its condition Available is True.
    pub available: bool,
    /// Whether it is being deleted.
    pub deleting: bool,
}

impl<'a> Facts<'a> {
    /// Reads a Deployment; what is missing or of a wrong type reads as absent.
    pub fn read(object: &'a Value) -> Self {
        let (settings, warnings) = annotations::parse(&our_settings(object));
        let revision = revision_hash(template(object));
        let conditions = object
            .pointer("/status/conditions")
            .and_then(Value::as_array);
        Self {
            state: HoldState::of(object, &revision),
            paused: hold::paused(object),
            pause_declared: hold::pause_declared(object),
            replicas: object
                .pointer("/spec/replicas")
                .and_then(Value::as_u64)
                .unwrap_or(1),
            available: conditions.into_iter().flatten().any(|condition| {
                text(condition, "/type") == Some("Available")
                    && text(condition, "/status") == Some("True")
            }),
            deleting: text(object, "/metadata/deletionTimestamp").is_some(),
            object,
            settings,
            warnings,
            revision,
        }
    }

    /// Its namespace and name, empty where absent.
    pub fn key(&self) -> ObjectKey {
        let part = |path| text(self.object, path).unwrap_or_default();
        ObjectKey::new(part("/metadata/namespace"), part("/metadata/name"))
    }
}

/// The text at a JSON pointer.
pub(crate) fn text<'a>(object: &'a Value, pointer: &str) -> Option<&'a str> {
    object.pointer(pointer)?.as_str()
}

/// `spec.template`, or null.
pub(crate) fn template(deployment: &Value) -> &Value {
    deployment.pointer("/spec/template").unwrap_or(&Value::Null)
}

/// The list at a JSON pointer, empty when there is none.
pub(crate) fn list<'a>(object: &'a Value, pointer: &str) -> &'a [Value] {
    object
        .pointer(pointer)
        .and_then(Value::as_array)
        .map_or(&[], Vec::as_slice)
}

/// Our annotations but for a hold's.
pub(crate) fn our_settings(object: &Value) -> BTreeMap<String, String> {
    let map = object
        .pointer("/metadata/annotations")
        .and_then(Value::as_object);
    map.into_iter()
        .flatten()
        .filter(|(name, _)| name.starts_with(PREFIX) && !HOLD.contains(&name.as_str()))
        .filter_map(|(name, value)| Some((name.clone(), value.as_str()?.to_owned())))
        .collect()
}

/// The smallest JSON Patch that gives annotations these values, `None` removing one: empty when they have them.
pub(crate) fn annotation_patch(object: &Value, wanted: &[(&str, Option<String>)]) -> Vec<Value> {
    let map = object
        .pointer("/metadata/annotations")
        .and_then(Value::as_object);
    let mut patch = Vec::new();
    if map.is_none() && wanted.iter().any(|(_, value)| value.is_some()) {
        patch.push(json!({"op": "add", "path": "/metadata/annotations", "value": {}}));
    }
    for (name, value) in wanted {
        let found = map.and_then(|map| map.get(*name));
        match value {
            Some(value) if found.and_then(Value::as_str) != Some(value) => {
                patch.push(json!({"op": "add", "path": annotation_path(name), "value": value}));
            }
            None if found.is_some() => {
                patch.push(json!({"op": "remove", "path": annotation_path(name)}));
            }
            Some(_) | None => {}
        }
    }
    patch
}

/// The JSON pointer of an annotation.
pub(crate) fn annotation_path(name: &str) -> String {
    let escaped = name.replace('~', "~0").replace('/', "~1");
    format!("/metadata/annotations/{escaped}")
}

/// The container that serves requests, in a pod or a pod template.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Serving<'a> {
    /// Its place in `spec.containers`.
    pub index: usize,
    /// Its name.
    pub name: &'a str,
    /// Its CPU; `None` when it has neither request nor limit, or one that can't be read.
    pub cpu: Option<CpuSize>,
}

/// Proxies that injectors put beside, and sometimes before, the container that serves.
const SIDECARS: [&str; 6] = [
    "istio-proxy",
    "linkerd-proxy",
    "envoy",
    "envoy-sidecar",
    "consul-dataplane",
    "kuma-sidecar",
];

/// Finds the serving container: the one that `kubectl.kubernetes.io/default-container` names, else the first that is
/// no known sidecar.
pub fn serving(pod: &Value) -> Option<Serving<'_>> {
    let containers = list(pod, "/spec/containers");
    let named = pod
        .pointer("/metadata/annotations")
        .and_then(|map| map.get("kubectl.kubernetes.io/default-container"))
        .and_then(Value::as_str);
    let find = |wanted: &dyn Fn(&str) -> bool| {
        containers
            .iter()
            .enumerate()
            .find_map(|(index, container)| {
                let name = text(container, "/name")?;
                wanted(name).then_some((index, name, container))
            })
    };
    let (index, name, container) =
        find(&|name| Some(name) == named).or_else(|| find(&|name| !SIDECARS.contains(&name)))?;
    let quantity = |kind: &str| {
        let value = container.pointer(&format!("/resources/{kind}/cpu"))?;
        let found = match value {
            Value::String(text) => annotations::cpu_millis(text),
            Value::Number(number) => annotations::cpu_millis(&number.to_string()),
            _ => None,
        };
        Some(found.map(MilliCpu))
    };
    let cpu = match (quantity("requests"), quantity("limits")) {
        (Some(Some(request)), limit) => match limit {
            None => Some(CpuSize {
                request,
                limit: None,
            }),
            Some(limit) => limit.map(|limit| CpuSize {
                request,
                limit: Some(limit),
            }),
        },
        // The API server's default: a missing request is the limit.
        (None, Some(Some(limit))) => Some(CpuSize {
            request: limit,
            limit: Some(limit),
        }),
        _ => None,
    };
    Some(Serving { index, name, cpu })
}
