//! What a namespace still allows: quotas and limit ranges. Pure.

use std::collections::BTreeMap;
use std::sync::Arc;

use k8s_openapi::api::core::v1::{
    LimitRange, LimitRangeItem, ResourceQuota, ScopedResourceSelectorRequirement,
};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use msars_api::annotations::cpu_millis;
use msars_domain::{CpuBounds, CpuSize, Headroom, MilliCpu, Qos};
use serde_json::Value;

/// Resources whose quota bounds a fleet.
const BOUNDS: [&str; 5] = ["requests.cpu", "cpu", "limits.cpu", "pods", "count/pods"];

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

/// The names of the quotas that bound CPU or count of pods of a template.
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
        let rest = |name: &str, read: fn(&str) -> Option<u32>| {
            let get = |map: Option<&BTreeMap<String, Quantity>>| read(&map?.get(name)?.0);
            get(hard).map(|hard| hard.saturating_sub(get(used).unwrap_or(0)))
        };
        let least = |a: Option<u32>, b: Option<u32>| match (a, b) {
            (Some(a), Some(b)) => Some(a.min(b)),
            (a, b) => a.or(b),
        };
        let cpu = |kept: Option<MilliCpu>, names: [&str; 2]| {
            names
                .into_iter()
                .map(|name| rest(name, cpu_millis))
                .fold(kept.map(|left| left.0), least)
                .map(MilliCpu)
        };
        left.requests = cpu(left.requests, ["requests.cpu", "cpu"]);
        left.limits = cpu(left.limits, ["limits.cpu", "limits.cpu"]);
        left.pods = ["pods", "count/pods"]
            .into_iter()
            .map(|name| rest(name, count))
            .fold(left.pods, least);
    }
    left
}

/// A count such as `20` or `1k`.
fn count(text: &str) -> Option<u32> {
    if let Some(thousands) = text.strip_suffix('k') {
        return thousands.parse::<u32>().ok()?.checked_mul(1000);
    }
    text.parse().ok()
}

/// Whether a quota counts pods of this template. A scope that is not known counts.
fn applies(quota: &ResourceQuota, template: &Value, qos: Qos) -> bool {
    let Some(spec) = quota.spec.as_ref() else {
        return false;
    };
    let best_effort = qos == Qos::BestEffort;
    let terminates = template.pointer("/spec/activeDeadlineSeconds").is_some();
    let scopes = spec
        .scopes
        .iter()
        .flatten()
        .all(|scope| match scope.as_str() {
            "BestEffort" => best_effort,
            "NotBestEffort" => !best_effort,
            "Terminating" => terminates,
            "NotTerminating" => !terminates,
            _ => true,
        });
    let class = template
        .pointer("/spec/priorityClassName")
        .and_then(Value::as_str);
    let selected = |wanted: &ScopedResourceSelectorRequirement| {
        if wanted.scope_name != "PriorityClass" {
            return true;
        }
        let named = wanted
            .values
            .iter()
            .flatten()
            .any(|value| Some(value.as_str()) == class);
        match wanted.operator.as_str() {
            "In" => named,
            "NotIn" => !named,
            "Exists" => class.is_some(),
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

/// Bounds of the size within the namespace's limit ranges. A range that leaves nothing gives its own maximum.
pub fn bounds(
    ranges: &[Arc<LimitRange>],
    namespace: &str,
    asked: CpuBounds,
    template: CpuSize,
    sidecars: MilliCpu,
) -> CpuBounds {
    let mut bounds = asked;
    let items = ranges
        .iter()
        .filter(|range| range.metadata.namespace.as_deref() == Some(namespace))
        .filter_map(|range| range.spec.as_ref())
        .flat_map(|spec| &spec.limits);
    for item in items {
        let (least, most) = (limit(item, Side::Min), limit(item, Side::Max));
        match item.type_.as_str() {
            "Container" => {
                if let Some(least) = least {
                    bounds.min = bounds.min.max(size_of_request(template, least));
                }
                if let Some(most) = most {
                    bounds.max = bounds.max.min(most);
                }
            }
            "Pod" => {
                if let Some(most) = most {
                    let own = MilliCpu(most.0.saturating_sub(sidecars.0).max(1));
                    bounds.max = bounds.max.min(own);
                }
            }
            _ => {}
        }
    }
    bounds.min = bounds.min.min(bounds.max);
    bounds
}

#[derive(Clone, Copy)]
enum Side {
    Min,
    Max,
}

fn limit(item: &LimitRangeItem, side: Side) -> Option<MilliCpu> {
    let map = match side {
        Side::Min => item.min.as_ref()?,
        Side::Max => item.max.as_ref()?,
    };
    cpu_millis(&map.get("cpu")?.0).map(MilliCpu)
}

/// The smallest size whose request, by the template's ratio, is at least `request`.
fn size_of_request(template: CpuSize, request: MilliCpu) -> MilliCpu {
    let Some(limit) = template.limit else {
        return request;
    };
    let exact = u64::from(request.0) * u64::from(limit.0);
    let size = exact.div_ceil(u64::from(template.request.0.max(1)));
    MilliCpu(u32::try_from(size).unwrap_or(u32::MAX))
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
                },
            ),
            (
                json!({"cpu": "1", "requests.cpu": "3", "count/pods": "1k"}),
                json!({"cpu": "250m", "requests.cpu": "250m"}),
                Headroom {
                    requests: cores(750),
                    limits: None,
                    pods: Some(1000),
                },
            ),
            (
                json!({"memory": "1Gi"}),
                json!({"memory": "1Gi"}),
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
        ] {
            let quotas = [quota(&spec, &json!({}))];
            let left = headroom(&quotas, "shop", &template, Qos::Burstable);
            assert_eq!(left.pods.is_some(), counts, "{spec}");
            let named = names(&quotas, "shop", &template, Qos::Burstable);
            assert_eq!(named, ["q"][..usize::from(counts)], "{spec}");
        }
    }

    #[test]
    fn sizes_stay_within_limit_ranges() {
        let asked = CpuBounds {
            min: MilliCpu(50),
            max: MilliCpu(1000),
            step: MilliCpu(50),
        };
        let half = CpuSize {
            request: MilliCpu(100),
            limit: Some(MilliCpu(200)),
        };
        let range = |item: &Value| {
            Arc::new(
                serde_json::from_value::<LimitRange>(json!({
                    "metadata": {"namespace": "shop", "name": "r"}, "spec": {"limits": [item]},
                }))
                .unwrap(),
            )
        };
        let table = [
            (
                json!({"type": "Container", "max": {"cpu": "800m"}, "min": {"cpu": "100m"}}),
                (200, 800),
            ),
            (json!({"type": "Pod", "max": {"cpu": "800m"}}), (50, 700)),
            (
                json!({"type": "Container", "max": {"cpu": "20m"}}),
                (20, 20),
            ),
            (
                json!({"type": "PersistentVolumeClaim", "max": {"storage": "1Gi"}}),
                (50, 1000),
            ),
        ];
        for (item, (min, max)) in table {
            let found = bounds(&[range(&item)], "shop", asked, half, MilliCpu(100));
            assert_eq!((found.min.0, found.max.0), (min, max), "{item}");
            assert_eq!(
                bounds(&[range(&item)], "x", asked, half, MilliCpu(100)),
                asked
            );
        }
    }
}
