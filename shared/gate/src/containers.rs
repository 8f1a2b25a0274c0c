//! Containers of a pod or a pod template: which one serves, with which CPU, and their images.

use std::collections::BTreeMap;

use msars_api::annotations;
use msars_domain::{CpuSize, MilliCpu};
use serde_json::Value;

use crate::deployment::{list, text};

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

/// Image by container name.
pub fn images(pod: &Value) -> BTreeMap<String, String> {
    list(pod, "/spec/containers")
        .iter()
        .filter_map(|container| {
            let owned = |pointer| text(container, pointer).map(str::to_owned);
            Some((owned("/name")?, owned("/image")?))
        })
        .collect()
}
