//! What a pod takes of its namespace's quotas, as the API server adds it up. Pure.

use k8s_openapi::api::core::v1::{Container, PodSpec, ResourceRequirements};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use msars_api::annotations::cpu_millis;
use msars_domain::{Beside, Bytes, MilliCpu, PodCost};
use serde::Deserialize as _;
use serde_json::Value;

use crate::pods::Serving;

/// Units of memory, in bytes.
const UNITS: [(&str, f64); 14] = [
    ("", 1.0),
    ("m", 1e-3),
    ("k", 1e3),
    ("M", 1e6),
    ("G", 1e9),
    ("T", 1e12),
    ("P", 1e15),
    ("E", 1e18),
    ("Ki", 1024.0),
    ("Mi", 1_048_576.0),
    ("Gi", 1_073_741_824.0),
    ("Ti", 1_099_511_627_776.0),
    ("Pi", 1_125_899_906_842_624.0),
    ("Ei", 1_152_921_504_606_846_976.0),
];

/// Of the newest pod, since webhooks and limit ranges add to what a template says; of the template where none is there.
pub fn cost(pods: &[Serving], template: &Value, serving: &str) -> PodCost {
    let newest = pods
        .iter()
        .max_by_key(|found| found.pod.metadata.creation_timestamp.as_ref().map(|t| t.0));
    if let Some(spec) = newest.and_then(|found| found.pod.spec.as_ref()) {
        return of(spec, serving);
    }
    let spec = template.pointer("/spec").map(PodSpec::deserialize);
    spec.and_then(Result::ok)
        .map_or_else(PodCost::default, |spec| of(&spec, serving))
}

fn of(spec: &PodSpec, serving: &str) -> PodCost {
    let cpu = |side| {
        let read = |text: &str| cpu_millis(text).map(u64::from);
        let (others, least) = sums(spec, Some(serving), side, "cpu", read);
        let milli = |sum: u64| MilliCpu(u32::try_from(sum).unwrap_or(u32::MAX));
        Beside {
            others: milli(others),
            least: milli(least),
        }
    };
    let memory = |side| {
        let read = |text: &str| bytes(text).map(|bytes| bytes.0);
        let (others, least) = sums(spec, None, side, "memory", read);
        Bytes(others.max(least))
    };
    PodCost {
        requests: cpu(Side::Requests),
        limits: cpu(Side::Limits),
        request_memory: memory(Side::Requests),
        limit_memory: memory(Side::Limits),
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Side {
    Requests,
    Limits,
}

/// What all containers that run together take, but for the one of this name, and what the pod takes at least: for an
/// init container beside the sidecars that started before it, or by its own resources.
fn sums(
    spec: &PodSpec,
    but: Option<&str>,
    side: Side,
    resource: &str,
    read: impl Fn(&str) -> Option<u64>,
) -> (u64, u64) {
    let get = |all: Option<&ResourceRequirements>| {
        let of = |map: Option<&std::collections::BTreeMap<String, Quantity>>| {
            read(&map?.get(resource)?.0)
        };
        let limit = of(all?.limits.as_ref());
        match side {
            Side::Limits => limit,
            // The API server takes a missing request for the limit.
            Side::Requests => of(all?.requests.as_ref()).or(limit),
        }
    };
    let takes = |container: &Container| get(container.resources.as_ref()).unwrap_or(0);
    let (mut sidecars, mut least) = (0, 0);
    for init in spec.init_containers.iter().flatten() {
        let all = sidecars + takes(init);
        if init.restart_policy.as_deref() == Some("Always") {
            sidecars = all;
        } else {
            least = all.max(least);
        }
    }
    let run = spec.containers.iter().filter(|c| Some(&*c.name) != but);
    let mut others = sidecars + run.map(takes).sum::<u64>();
    if let Some(whole) = get(spec.resources.as_ref()) {
        (others, least) = (0, whole);
    }
    let mut all = spec.containers.iter();
    let limited =
        side == Side::Requests || all.any(|container| get(container.resources.as_ref()).is_some());
    let overhead = spec.overhead.as_ref().filter(|_| limited);
    let overhead = overhead.and_then(|map| read(&map.get(resource)?.0));
    let overhead = overhead.unwrap_or(0);
    (others + overhead, least + overhead)
}

/// A Kubernetes quantity of memory, rounded up: `64Mi`, `1.5G`, `128974848`, `1e9`.
pub fn bytes(text: &str) -> Option<Bytes> {
    let end = text.find(|c: char| !c.is_ascii_digit() && c != '.');
    let (number, unit) = text.split_at(end.unwrap_or(text.len()));
    let number: f64 = number.parse().ok()?;
    let known = UNITS.iter().find(|(name, _)| *name == unit);
    let factor = match known {
        Some((_, factor)) => *factor,
        // An exponent, such as `e9`.
        None => format!("1{unit}").parse().ok()?,
    };
    let exact = number * factor;
    exact.is_finite().then(|| Bytes(exact.ceil() as u64))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    const MI: u64 = 1 << 20;

    #[test]
    fn memory_is_read_as_the_api_server_writes_it() {
        for (text, wanted) in [
            ("0", Some(0)),
            ("128974848", Some(128_974_848)),
            ("64Mi", Some(64 * MI)),
            ("1.5Gi", Some(1536 * MI)),
            ("1G", Some(1_000_000_000)),
            ("1E", Some(1_000_000_000_000_000_000)),
            ("1e9", Some(1_000_000_000)),
            ("1E3", Some(1000)),
            ("1500m", Some(2)),
            ("", None),
            ("Mi", None),
            ("-1", None),
            ("1X", None),
            ("1e999", None),
        ] {
            assert_eq!(bytes(text).map(|bytes| bytes.0), wanted, "{text}");
        }
    }

    fn resources(cpu: [&str; 2], memory: [&str; 2]) -> Value {
        json!({"requests": {"cpu": cpu[0], "memory": memory[0]}, "limits": {"cpu": cpu[1], "memory": memory[1]}})
    }

    #[test]
    fn a_pod_costs_all_its_containers() {
        let app =
            json!({"name": "app", "resources": resources(["100m", "200m"], ["64Mi", "128Mi"])});
        let proxy =
            json!({"name": "proxy", "resources": resources(["50m", "1"], ["32Mi", "32Mi"])});
        let limit =
            json!({"name": "log", "resources": {"limits": {"cpu": "20m", "memory": "8Mi"}}});
        let init = json!({"name": "init", "resources": resources(["1", "1"], ["1Gi", "1Gi"])});
        let mut sidecar = proxy.clone();
        sidecar["restartPolicy"] = json!("Always");
        // Requests and limits of CPU beside the serving container's and at least, then of memory in Mi.
        for (spec, cpu, memory) in [
            (json!({"containers": [app]}), [0, 0, 0, 0], [64, 128]),
            (
                json!({"containers": [app, {"name": "bare"}]}),
                [0, 0, 0, 0],
                [64, 128],
            ),
            (
                json!({"containers": [app, proxy]}),
                [50, 0, 1000, 0],
                [96, 160],
            ),
            (
                json!({"containers": [app, limit]}),
                [20, 0, 20, 0],
                [72, 136],
            ),
            (
                json!({"containers": [app], "initContainers": [init, sidecar]}),
                [50, 1000, 1000, 1000],
                [1024, 1024],
            ),
            (
                json!({"containers": [app], "initContainers": [sidecar, init]}),
                [50, 1050, 1000, 2000],
                [1056, 1056],
            ),
            (
                json!({"containers": [app, proxy], "overhead": {"cpu": "10m", "memory": "1Mi"}}),
                [60, 10, 1010, 10],
                [97, 161],
            ),
            (
                json!({"containers": [app, proxy], "resources": resources(["2", "3"], ["1Gi", "2Gi"])}),
                [0, 2000, 0, 3000],
                [1024, 2048],
            ),
        ] {
            let found = cost(&[], &json!({"spec": spec}), "app");
            let (requests, limits) = (found.requests, found.limits);
            let milli = [requests.others, requests.least, limits.others, limits.least];
            assert_eq!(milli.map(|cpu| cpu.0), cpu, "{spec}");
            let bytes = [found.request_memory, found.limit_memory];
            assert_eq!(bytes.map(|memory| memory.0 / MI), memory, "{spec}");
        }
    }
}
