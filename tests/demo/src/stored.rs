//! Objects as kubectl prints them, read for the report. Pure.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// Annotation of a hold: the hash of the held template.
const HOLD_HASH: &str = "/metadata/annotations/msars.io~1hold-hash";
/// Label of shadow pods.
const SHADOW: &str = "/metadata/labels/msars.io~1shadow";

fn text<'a>(object: &'a Value, pointer: &str) -> Option<&'a str> {
    object.pointer(pointer)?.as_str()
}

fn whole(object: &Value, pointer: &str) -> i64 {
    object
        .pointer(pointer)
        .and_then(Value::as_i64)
        .unwrap_or_default()
}

/// The items of a list, or the object itself.
pub fn items(list: &Value) -> &[Value] {
    match list.get("items").and_then(Value::as_array) {
        Some(items) => items,
        None => std::slice::from_ref(list),
    }
}

/// The name of an object.
pub fn name(object: &Value) -> &str {
    text(object, "/metadata/name").unwrap_or_default()
}

/// The revision that a Deployment holds, when it does.
pub fn held(deployment: &Value) -> Option<String> {
    let paused = deployment.pointer("/spec/paused") == Some(&Value::Bool(true));
    let hash = text(deployment, HOLD_HASH)?;
    paused.then(|| hash.to_owned())
}

/// How far a rollout is; none when it is complete.
pub fn rolling(deployment: &Value) -> Option<String> {
    if deployment.pointer("/spec/paused") == Some(&Value::Bool(true)) {
        return Some("paused".to_owned());
    }
    let wanted = whole(deployment, "/spec/replicas");
    let [seen, all, updated, available] = [
        "/status/observedGeneration",
        "/status/replicas",
        "/status/updatedReplicas",
        "/status/availableReplicas",
    ]
    .map(|pointer| whole(deployment, pointer));
    let done = seen >= whole(deployment, "/metadata/generation")
        && all == wanted
        && updated == wanted
        && available == wanted;
    (!done).then(|| format!("{updated} of {wanted} updated, {available} available, {all} in all"))
}

/// A condition's status, reason and message.
pub fn condition(object: &Value, type_: &str) -> Option<(String, String, String)> {
    let list = object.pointer("/status/conditions")?.as_array()?;
    let found = list.iter().find(|c| text(c, "/type") == Some(type_))?;
    let part = |pointer| text(found, pointer).unwrap_or_default().to_owned();
    Some((part("/status"), part("/reason"), part("/message")))
}

/// One entry of an objective's split.
#[derive(Debug, Clone, PartialEq)]
pub struct Budget {
    /// The Deployment.
    pub workload: String,
    /// The revision's hash.
    pub revision: String,
    /// Self time per visit, ms.
    pub ms: f64,
    /// CPU limit that the split wants for its pods, thousandths of a core; none without a profile.
    pub size_milli: Option<u32>,
}

/// Every entry of an objective's split, chain by chain.
pub fn budgets(slo: &Value) -> Vec<Budget> {
    let entry = |service: &Value| {
        Some(Budget {
            workload: text(service, "/workload")?.to_owned(),
            revision: text(service, "/revision")?.to_owned(),
            ms: service.get("budgetMs")?.as_f64()?,
            size_milli: service
                .get("sizeMilli")
                .and_then(Value::as_u64)
                .and_then(|size| u32::try_from(size).ok()),
        })
    };
    let chains = slo.pointer("/status/chains").and_then(Value::as_array);
    chains
        .into_iter()
        .flatten()
        .filter_map(|chain| chain.get("services")?.as_array())
        .flatten()
        .filter_map(entry)
        .collect()
}

/// The revisions of a workload that the split speaks of.
pub fn revisions(budgets: &[Budget], workload: &str) -> Vec<String> {
    let mut found: Vec<String> = budgets
        .iter()
        .filter(|budget| budget.workload == workload)
        .map(|budget| budget.revision.clone())
        .collect();
    found.sort();
    found.dedup();
    found
}

/// Service → ms, the tightest of all chains; of `workload` only what concerns `revision`.
pub fn by_service(budgets: &[Budget], workload: &str, revision: &str) -> BTreeMap<String, f64> {
    let mut map = BTreeMap::new();
    for budget in budgets {
        if budget.workload == workload && budget.revision != revision {
            continue;
        }
        let ms = map.entry(budget.workload.clone()).or_insert(budget.ms);
        *ms = budget.ms.min(*ms);
    }
    map
}

/// The largest size that any chain's split wants for a revision, thousandths of a core.
pub fn split_size(budgets: &[Budget], workload: &str, revision: &str) -> Option<u32> {
    budgets
        .iter()
        .filter(|budget| budget.workload == workload && budget.revision == revision)
        .filter_map(|budget| budget.size_milli)
        .max()
}

/// A measured window of a profile.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Point {
    /// CPU limit, thousandths of a core.
    #[serde(alias = "sizeMilli")]
    pub size_milli: u32,
    /// Requests per second.
    pub rate: f64,
    /// Median, ms.
    #[serde(alias = "p50Ms")]
    pub p50_ms: f64,
    /// 90th percentile, ms.
    #[serde(alias = "p90Ms")]
    pub p90_ms: f64,
    /// 99th percentile, ms.
    #[serde(alias = "p99Ms")]
    pub p99_ms: f64,
}

/// A knot of a curve.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Knot {
    /// Requests per second and pod.
    pub rate: f64,
    /// Self time at the percentile, ms.
    pub ms: f64,
}

/// The curve of one size.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SizeCurve {
    /// CPU limit, thousandths of a core.
    #[serde(alias = "sizeMilli")]
    pub size_milli: u32,
    /// By rising rate.
    pub knots: Vec<Knot>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Mechanism {
    work_ms: f64,
}

/// A finished profile.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Profile {
    /// `Shadow`, `Passive` or `Prior`.
    pub source: String,
    /// Mean CPU work per request, ms.
    pub work_ms: f64,
    /// The percentile of the curve, percent.
    pub percentile: f64,
    /// Half the width of the 95 % band, as a share.
    pub half_width: f64,
    /// Measured windows.
    pub points: Vec<Point>,
    /// Rate → quantile, per size.
    pub curve: Vec<SizeCurve>,
}

impl Profile {
    /// Sizes with measured points, rising.
    pub fn sizes(&self) -> Vec<u32> {
        let mut sizes: Vec<u32> = self.points.iter().map(|point| point.size_milli).collect();
        sizes.sort_unstable();
        sizes.dedup();
        sizes
    }
}

/// A stored profile, when it is done and readable.
pub fn profile(llp: &Value) -> Option<Profile> {
    let status = llp.get("status")?;
    if text(status, "/phase") != Some("Done") {
        return None;
    }
    let part = |name: &str| {
        status
            .get(name)
            .cloned()
            .unwrap_or(Value::Array(Vec::new()))
    };
    let mechanism: Mechanism = serde_json::from_value(part("mechanism")).ok()?;
    Some(Profile {
        source: text(status, "/source")?.to_owned(),
        work_ms: mechanism.work_ms,
        percentile: status.get("percentile")?.as_f64()?,
        half_width: status
            .get("halfWidth")
            .and_then(Value::as_f64)
            .unwrap_or_default(),
        points: serde_json::from_value(part("points")).ok()?,
        curve: serde_json::from_value(part("curve")).ok()?,
    })
}

/// The size that an autoscaler wants for a revision, thousandths of a core.
pub fn wanted_size(autoscaler: &Value, revision: &str) -> Option<u32> {
    let sizes = autoscaler.pointer("/status/sizes")?.as_array()?;
    let found = sizes
        .iter()
        .find(|s| text(s, "/revision") == Some(revision))?;
    found.get("sizeMilli")?.as_u64()?.try_into().ok()
}

/// A CPU quantity in thousandths of a core.
pub fn milli(quantity: &str) -> Option<u32> {
    if let Some(milli) = quantity.strip_suffix('m') {
        return milli.parse().ok();
    }
    let cores: f64 = quantity.parse().ok()?;
    (cores >= 0.0).then(|| (cores * 1000.0).round() as u32)
}

/// Name and CPU limit of a container of every living pod that runs `image` in it; shadow pods left out.
pub fn limits(pods: &Value, container: &str, image: &str) -> Vec<(String, Option<u32>)> {
    let limit = |pod: &Value| {
        let containers = pod.pointer("/spec/containers")?.as_array()?;
        let found = containers
            .iter()
            .find(|c| text(c, "/name") == Some(container) && text(c, "/image") == Some(image))?;
        Some((
            name(pod).to_owned(),
            text(found, "/resources/limits/cpu").and_then(milli),
        ))
    };
    items(pods)
        .iter()
        .filter(|pod| !shadow(pod) && pod.pointer("/metadata/deletionTimestamp").is_none())
        .filter_map(limit)
        .collect()
}

/// Whether a pod is a copy made for profiling, or drives one.
pub fn shadow(pod: &Value) -> bool {
    pod.pointer(SHADOW).is_some()
}

/// `pod/container restarted N times` for every container that did.
pub fn restarts(pods: &Value) -> Vec<String> {
    let mut found = Vec::new();
    for pod in items(pods) {
        let statuses = pod
            .pointer("/status/containerStatuses")
            .and_then(Value::as_array);
        for status in statuses.into_iter().flatten() {
            let count = whole(status, "/restartCount");
            if count > 0 {
                let container = text(status, "/name").unwrap_or_default();
                let why = text(status, "/lastState/terminated/reason").unwrap_or("unknown");
                found.push(format!(
                    "{}/{container} restarted {count} times: {why}",
                    name(pod)
                ));
            }
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_hold_needs_the_pause_and_the_hash() {
        let mut deployment = json!({"metadata": {"annotations": {"msars.io/hold-hash": "ab"}}, "spec": {"paused": true}});
        assert_eq!(held(&deployment), Some("ab".into()));
        deployment["spec"]["paused"] = json!(false);
        assert_eq!(held(&deployment), None);
    }

    #[test]
    fn a_rollout_is_complete_when_every_pod_is_new() {
        let mut deployment = json!({
            "metadata": {"generation": 3}, "spec": {"replicas": 2},
            "status": {"observedGeneration": 3, "replicas": 2, "updatedReplicas": 2, "availableReplicas": 2},
        });
        assert_eq!(rolling(&deployment), None);
        deployment["status"]["replicas"] = json!(3);
        assert_eq!(
            rolling(&deployment).unwrap(),
            "2 of 2 updated, 2 available, 3 in all"
        );
    }

    #[test]
    fn the_tightest_budget_of_a_revision_counts() {
        let entry = |workload, revision, ms, size: Option<u32>| json!({"workload": workload, "revision": revision, "budgetMs": ms, "sizeMilli": size});
        let (small, large) = (Some(200), Some(300));
        let slo = json!({"status": {"chains": [
            {"services": [entry("a", "1", 40.0, small), entry("a", "2", 90.0, small), entry("b", "1", 9.0, large)]},
            {"services": [entry("b", "1", 7.0, small), entry("b", "2", 7.0, None)]},
        ]}});
        let budgets = budgets(&slo);
        assert_eq!(revisions(&budgets, "a"), ["1", "2"]);
        let map = by_service(&budgets, "a", "2");
        assert_eq!(map, [("a".to_owned(), 90.0), ("b".to_owned(), 7.0)].into());
        assert_eq!(split_size(&budgets, "b", "1"), large);
        assert_eq!(split_size(&budgets, "b", "2"), None);
    }

    #[test]
    fn a_profile_reads_as_it_is_stored() {
        let stored = json!({"status": {
            "phase": "Done", "source": "Shadow", "percentile": 99, "halfWidth": 0.45,
            "mechanism": {"workMs": 7.5, "sigma": 0.9},
            "points": [{"sizeMilli": 400, "rate": 10, "p50Ms": 1, "p90Ms": 2, "p99Ms": 3, "errors": 0},
                       {"sizeMilli": 200, "rate": 10, "p50Ms": 1, "p90Ms": 2, "p99Ms": 3}],
            "curve": [{"sizeMilli": 200, "knots": [{"rate": 1, "ms": 3.5}]}],
        }});
        let read = profile(&stored).unwrap();
        assert_eq!((read.sizes(), read.work_ms), (vec![200, 400], 7.5));
        assert!(profile(&json!({"status": {"phase": "Probing"}})).is_none());
    }

    #[test]
    fn limits_are_those_of_living_pods_of_that_image() {
        let pod = |name: &str, image: &str, cpu: &str| {
            json!({
                "metadata": {"name": name},
                "spec": {"containers": [{"name": "app", "image": image, "resources": {"limits": {"cpu": cpu}}}]},
            })
        };
        let mut copy = pod("copy", "i:2", "100m");
        copy["metadata"]["labels"] = json!({"msars.io/shadow": "subject"});
        let pods = json!({"items": [pod("old", "i:1", "200m"), pod("new", "i:2", "0.4"), copy]});
        assert_eq!(limits(&pods, "app", "i:2"), [("new".to_owned(), Some(400))]);
        let wanted = json!({"status": {"sizes": [{"revision": "r", "sizeMilli": 400}]}});
        assert_eq!(wanted_size(&wanted, "r"), Some(400));
        assert_eq!(milli("x"), None);
    }
}
