//! What the quotas of a namespace leave; what a pod costs is in a file of its own. Pure.

mod cost;

use std::collections::BTreeMap;
use std::sync::Arc;

use k8s_openapi::api::core::v1::{ResourceQuota, ScopedResourceSelectorRequirement};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use msars_api::annotations::cpu_millis;
use msars_domain::{Bytes, Headroom, MilliCpu, Qos};
use serde_json::Value;

use self::cost::bytes;
pub use self::cost::cost;

/// Resources whose quota bounds a fleet.
const BOUNDS: [&str; 8] = [
    "requests.cpu",
    "cpu",
    "limits.cpu",
    "requests.memory",
    "memory",
    "limits.memory",
    "pods",
    "count/pods",
];

/// The quotas of a namespace that count pods of a template.
fn binding<'a>(
    quotas: &'a [Arc<ResourceQuota>],
    namespace: &'a str,
    template: &'a Value,
    qos: Qos,
) -> impl Iterator<Item = &'a Arc<ResourceQuota>> {
    quotas
        .iter()
        .filter(move |quota| quota.metadata.namespace.as_deref() == Some(namespace))
        .filter(move |quota| applies(quota, template, qos))
}

/// The names of the quotas that bound CPU, memory or count of pods of a template.
pub fn names(
    quotas: &[Arc<ResourceQuota>],
    namespace: &str,
    template: &Value,
    qos: Qos,
) -> Vec<String> {
    binding(quotas, namespace, template, qos)
        .filter(|quota| {
            let hard = quota.spec.as_ref().and_then(|spec| spec.hard.as_ref());
            hard.is_some_and(|hard| BOUNDS.iter().any(|name| hard.contains_key(*name)))
        })
        .filter_map(|quota| quota.metadata.name.clone())
        .collect()
}

/// What the quotas of a namespace leave to pods of a template.
pub fn headroom(
    quotas: &[Arc<ResourceQuota>],
    namespace: &str,
    template: &Value,
    qos: Qos,
) -> Headroom {
    let mut left = Headroom::default();
    for quota in binding(quotas, namespace, template, qos) {
        // Until the quota controller has counted, the spec is what binds.
        let status = quota.status.as_ref();
        let hard = status
            .and_then(|status| status.hard.as_ref())
            .or_else(|| quota.spec.as_ref().and_then(|spec| spec.hard.as_ref()));
        let used = status.and_then(|status| status.used.as_ref());
        // What all of these names leave, and what was left before.
        let rest = |names: &[&str], read: fn(&str) -> Option<u64>, kept: Option<u64>| {
            let get =
                |map: Option<&BTreeMap<String, Quantity>>, name: &str| read(&map?.get(name)?.0);
            let rest = names.iter().filter_map(|name| {
                let used = get(used, name).unwrap_or(0);
                get(hard, name).map(|hard| hard.saturating_sub(used))
            });
            rest.chain(kept).min()
        };
        let small = |rest: u64| u32::try_from(rest).unwrap_or(u32::MAX);
        let cpu = |kept: Option<MilliCpu>, names: &[&str]| {
            let read = |text: &str| cpu_millis(text).map(u64::from);
            rest(names, read, kept.map(|cpu| cpu.0.into())).map(|rest| MilliCpu(small(rest)))
        };
        let memory = |kept: Option<Bytes>, names: &[&str]| {
            let read = |text: &str| bytes(text).map(|bytes| bytes.0);
            rest(names, read, kept.map(|bytes| bytes.0)).map(Bytes)
        };
        left.requests = cpu(left.requests, &["requests.cpu", "cpu"]);
        left.limits = cpu(left.limits, &["limits.cpu"]);
        left.request_memory = memory(left.request_memory, &["requests.memory", "memory"]);
        left.limit_memory = memory(left.limit_memory, &["limits.memory"]);
        let pods = rest(&["pods", "count/pods"], count, left.pods.map(u64::from));
        left.pods = pods.map(small);
    }
    left
}

/// A count such as `20` or `1k`.
fn count(text: &str) -> Option<u64> {
    if let Some(thousands) = text.strip_suffix('k') {
        return thousands.parse::<u64>().ok()?.checked_mul(1000);
    }
    text.parse().ok()
}

/// Why a Deployment's pods are not created, as its controller says it.
pub fn create_failure(deployment: &Value) -> Option<String> {
    let conditions = deployment.pointer("/status/conditions")?.as_array()?;
    let failed = conditions
        .iter()
        .find(|c| c["type"] == "ReplicaFailure" && c["status"] == "True")?;
    Some(failed["message"].as_str()?.to_owned())
}

/// Whether pods of a template may name other namespaces than their own in their affinity to pods, or against them; an
/// empty selector names all.
fn crosses(template: &Value) -> bool {
    let named = |term: &Value| {
        let listed = term["namespaces"].as_array();
        listed.is_some_and(|listed| !listed.is_empty()) || !term["namespaceSelector"].is_null()
    };
    ["podAffinity", "podAntiAffinity"].iter().any(|kind| {
        let affinity = &template["spec"]["affinity"][*kind];
        let terms = |when: &str| affinity[when].as_array().into_iter().flatten();
        terms("requiredDuringSchedulingIgnoredDuringExecution").any(named)
            || terms("preferredDuringSchedulingIgnoredDuringExecution")
                .any(|term| named(&term["podAffinityTerm"]))
    })
}

/// Whether a quota counts pods of this template. A scope that is not known counts.
fn applies(quota: &ResourceQuota, template: &Value, qos: Qos) -> bool {
    let Some(spec) = quota.spec.as_ref() else {
        return false;
    };
    let best_effort = qos == Qos::BestEffort;
    let terminates = template.pointer("/spec/activeDeadlineSeconds").is_some();
    let class = template
        .pointer("/spec/priorityClassName")
        .and_then(Value::as_str);
    let within = |scope: &str| match scope {
        "BestEffort" => best_effort,
        "NotBestEffort" => !best_effort,
        "Terminating" => terminates,
        "NotTerminating" => !terminates,
        "CrossNamespacePodAffinity" => crosses(template),
        "PriorityClass" => class.is_some(),
        _ => true,
    };
    let scopes = spec.scopes.iter().flatten().all(|scope| within(scope));
    let selected = |wanted: &ScopedResourceSelectorRequirement| {
        // Of all others the API server lets a quota say no more than that the scope exists.
        if wanted.scope_name != "PriorityClass" {
            return within(&wanted.scope_name);
        }
        let named = wanted
            .values
            .iter()
            .flatten()
            .any(|value| Some(value.as_str()) == class);
        match wanted.operator.as_str() {
            "In" => named,
            "NotIn" => !named,
            "Exists" => within("PriorityClass"),
            "DoesNotExist" => class.is_none(),
            _ => true,
        }
    };
    let selector = spec
        .scope_selector
        .as_ref()
        .and_then(|selector| selector.match_expressions.as_ref());
    scopes && selector.into_iter().flatten().all(selected)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn quota(spec: &Value, used: &Value) -> Arc<ResourceQuota> {
        let hard = spec.get("hard").cloned().unwrap_or_default();
        Arc::new(
            serde_json::from_value(json!({
                "metadata": {"namespace": "shop", "name": "q"}, "spec": spec,
                "status": {"hard": hard, "used": used},
            }))
            .unwrap(),
        )
    }

    #[test]
    fn the_tightest_quota_counts() {
        let cores = |n| Some(MilliCpu(n));
        let table = [
            (json!({}), json!({}), Headroom::default()),
            (
                json!({"requests.cpu": "2", "limits.cpu": "4", "pods": "10"}),
                json!({"requests.cpu": "1500m", "limits.cpu": "5", "pods": "9"}),
                Headroom {
                    requests: cores(500),
                    limits: cores(0),
                    pods: Some(1),
                    ..Headroom::default()
                },
            ),
            (
                json!({"cpu": "1", "requests.cpu": "3", "count/pods": "1k"}),
                json!({"cpu": "250m", "requests.cpu": "250m"}),
                Headroom {
                    requests: cores(750),
                    pods: Some(1000),
                    ..Headroom::default()
                },
            ),
            (
                json!({"memory": "1Gi", "requests.memory": "2Gi", "limits.memory": "2G"}),
                json!({"memory": "1Gi", "limits.memory": "1500M"}),
                Headroom {
                    request_memory: Some(Bytes(0)),
                    limit_memory: Some(Bytes(500_000_000)),
                    ..Headroom::default()
                },
            ),
            (
                json!({"requests.storage": "1Gi"}),
                json!({"requests.storage": "1Gi"}),
                Headroom::default(),
            ),
        ];
        for (hard, used, wanted) in table {
            let quotas = [quota(&json!({"hard": hard}), &used)];
            assert_eq!(
                headroom(&quotas, "shop", &Value::Null, Qos::Burstable),
                wanted,
                "{hard}"
            );
            assert_eq!(
                headroom(&quotas, "other", &Value::Null, Qos::Burstable),
                Headroom::default()
            );
        }
        let two = [
            quota(
                &json!({"hard": {"limits.cpu": "3"}}),
                &json!({"limits.cpu": "1"}),
            ),
            quota(
                &json!({"hard": {"limits.cpu": "2"}}),
                &json!({"limits.cpu": "1"}),
            ),
        ];
        assert_eq!(
            headroom(&two, "shop", &Value::Null, Qos::Burstable).limits,
            cores(1000)
        );
    }

    #[test]
    fn a_scope_that_is_not_the_templates_does_not_count() {
        let template = json!({"spec": {"priorityClassName": "high"}});
        let class = |operator: &str, value: &str| {
            json!({"hard": {"pods": "0"}, "scopeSelector": {"matchExpressions": [
                {"scopeName": "PriorityClass", "operator": operator, "values": [value]}]}})
        };
        let scope = |scope: &str| json!({"hard": {"pods": "0"}, "scopes": [scope]});
        let selects = |scope: &str| {
            json!({"hard": {"pods": "0"}, "scopeSelector": {"matchExpressions": [
                {"scopeName": scope, "operator": "Exists"}]}})
        };
        for (spec, counts) in [
            (scope("BestEffort"), false),
            (scope("NotBestEffort"), true),
            (scope("Terminating"), false),
            (scope("NotTerminating"), true),
            (class("In", "high"), true),
            (class("In", "low"), false),
            (class("NotIn", "low"), true),
            (class("Exists", ""), true),
            (class("DoesNotExist", ""), false),
            (scope("PriorityClass"), true),
            (scope("CrossNamespacePodAffinity"), false),
            (selects("BestEffort"), false),
            (selects("NotBestEffort"), true),
            (selects("Terminating"), false),
            (selects("NotTerminating"), true),
            (selects("PriorityClass"), true),
            (selects("CrossNamespacePodAffinity"), false),
        ] {
            let quotas = [quota(&spec, &json!({}))];
            let left = headroom(&quotas, "shop", &template, Qos::Burstable);
            assert_eq!(left.pods.is_some(), counts, "{spec}");
            let named = names(&quotas, "shop", &template, Qos::Burstable);
            assert_eq!(named, ["q"][..usize::from(counts)], "{spec}");
        }
    }

    #[test]
    fn pods_that_look_for_others_in_other_namespaces_have_a_scope_of_their_own() {
        const NOW: &str = "requiredDuringSchedulingIgnoredDuringExecution";
        const RATHER: &str = "preferredDuringSchedulingIgnoredDuringExecution";
        let weighted = |term: Value| json!({"weight": 1, "podAffinityTerm": term});
        let named = json!({"topologyKey": "zone", "namespaces": ["other"]});
        let all = json!({"topologyKey": "zone", "namespaceSelector": {}});
        let own = json!({"topologyKey": "zone", "namespaces": [], "namespaceSelector": null});
        for (affinity, counts) in [
            (json!({}), false),
            (
                json!({"nodeAffinity": {NOW: {"nodeSelectorTerms": []}}}),
                false,
            ),
            (json!({"podAffinity": {NOW: [own.clone()]}}), false),
            (
                json!({"podAffinity": {NOW: [own.clone(), named.clone()]}}),
                true,
            ),
            (
                json!({"podAffinity": {RATHER: [weighted(all.clone())]}}),
                true,
            ),
            (json!({"podAntiAffinity": {NOW: [all]}}), true),
            (
                json!({"podAntiAffinity": {RATHER: [weighted(named)]}}),
                true,
            ),
            (json!({"podAntiAffinity": {RATHER: [weighted(own)]}}), false),
        ] {
            let template = json!({"spec": {"affinity": affinity}});
            for mut spec in [
                json!({"scopes": ["CrossNamespacePodAffinity"]}),
                json!({"scopeSelector": {"matchExpressions": [
                    {"scopeName": "CrossNamespacePodAffinity", "operator": "Exists"}]}}),
            ] {
                spec["hard"] = json!({"pods": "0"});
                let quotas = [quota(&spec, &json!({}))];
                let left = headroom(&quotas, "shop", &template, Qos::Burstable);
                assert_eq!(left.pods.is_some(), counts, "{template} {spec}");
            }
        }
    }
}
