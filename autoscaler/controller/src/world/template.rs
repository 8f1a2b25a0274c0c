//! What is read of a pod template's containers.

use msars_api::annotations::cpu_millis;
use msars_domain::{CpuSize, MilliCpu, Qos};
use msars_gate::Serving;
use serde_json::Value;

fn list<'a>(template: &'a Value, path: &str) -> impl Iterator<Item = &'a Value> {
    template
        .pointer(path)
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
}

/// CPU of the containers beside the serving one, those of a start that go on running included: the sum of their
/// requests, and of the limits of those that have one.
pub(super) fn sidecars(template: &Value, serving: Option<&str>) -> CpuSize {
    let is = |container: &Value, field: &str, value: Option<&str>| {
        container.get(field).and_then(Value::as_str) == value
    };
    let beside =
        list(template, "/spec/containers").filter(|container| !is(container, "name", serving));
    let stay = list(template, "/spec/initContainers")
        .filter(|container| is(container, "restartPolicy", Some("Always")));
    let mut sum = CpuSize {
        request: MilliCpu(0),
        limit: None,
    };
    for container in beside.chain(stay) {
        let cpu = |side: &str| {
            let value = container.pointer(&format!("/resources/{side}/cpu"))?;
            cpu_millis(value.as_str()?)
        };
        let limit = cpu("limits");
        // A missing request is the limit, as the API server defaults it.
        sum.request.0 += cpu("requests").or(limit).unwrap_or(0);
        if let Some(limit) = limit {
            sum.limit = Some(MilliCpu(sum.limit.map_or(0, |sum| sum.0) + limit));
        }
    }
    sum
}

/// Where the template says that a change of CPU restarts the serving container: a path into the Deployment.
pub(super) fn restarts(template: &Value, serving: Option<&Serving<'_>>) -> Option<String> {
    let path = format!("/spec/containers/{}/resizePolicy", serving?.index);
    let place = list(template, &path).position(|policy| {
        let is = |name: &str, value: &str| policy.get(name).and_then(Value::as_str) == Some(value);
        is("resourceName", "cpu") && is("restartPolicy", "RestartContainer")
    })?;
    Some(format!("/spec/template{path}/{place}"))
}

/// The template's class, as the API server computes it from CPU and memory of all containers.
pub fn qos(template: &Value) -> Qos {
    let (mut any, mut guaranteed) = (false, true);
    for path in ["/spec/containers", "/spec/initContainers"] {
        for container in list(template, path) {
            for kind in ["cpu", "memory"] {
                let get = |side: &str| {
                    let value = container.pointer(&format!("/resources/{side}/{kind}"));
                    value.filter(|value| !zero(value))
                };
                let (request, limit) = (get("requests"), get("limits"));
                any |= request.is_some() || limit.is_some();
                guaranteed &= limit.is_some() && request.is_none_or(|r| Some(r) == limit);
            }
        }
    }
    match (any, guaranteed) {
        (false, _) => Qos::BestEffort,
        (true, true) => Qos::Guaranteed,
        (true, false) => Qos::Burstable,
    }
}

fn zero(value: &Value) -> bool {
    match value {
        Value::String(text) => text.trim_end_matches(|c: char| c.is_alphabetic()) == "0",
        other => other.as_f64() == Some(0.0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn container(name: &str, request: Option<&str>, limit: Option<&str>) -> Value {
        let mut container = json!({"name": name, "resources": {}});
        for (side, value) in [("requests", request), ("limits", limit)] {
            if let Some(value) = value {
                container["resources"][side] = json!({"cpu": value});
            }
        }
        container
    }

    #[test]
    fn containers_beside_the_serving_one_count_by_request_and_limit() {
        let app = container("app", Some("100m"), Some("200m"));
        let proxy = container("proxy", Some("50m"), None);
        let limited = container("log", None, Some("30m"));
        let start = container("init", Some("1"), Some("1"));
        let mut stays = container("mesh", Some("10m"), Some("20m"));
        stays["restartPolicy"] = json!("Always");
        for (containers, init, request, limit) in [
            (json!([app]), json!([]), 0, None),
            (json!([app, proxy]), json!([start]), 50, None),
            (json!([proxy, app, limited]), json!([]), 80, Some(30)),
            (json!([app, limited]), json!([start, stays]), 40, Some(50)),
        ] {
            let template = json!({"spec": {"containers": containers, "initContainers": init}});
            let found = sidecars(&template, Some("app"));
            let wanted = CpuSize {
                request: MilliCpu(request),
                limit: limit.map(MilliCpu),
            };
            assert_eq!(found, wanted, "{template}");
        }
    }

    #[test]
    fn only_cpu_of_the_serving_container_tells_whether_a_resize_restarts_it() {
        let policy =
            |resource: &str, how: &str| json!({"resourceName": resource, "restartPolicy": how});
        for (policies, found) in [
            (json!(null), None),
            (json!([policy("cpu", "NotRequired")]), None),
            (json!([policy("memory", "RestartContainer")]), None),
            (
                json!([
                    policy("memory", "RestartContainer"),
                    policy("cpu", "RestartContainer")
                ]),
                Some("/spec/template/spec/containers/1/resizePolicy/1"),
            ),
        ] {
            let restarting = json!([policy("cpu", "RestartContainer")]);
            let template = json!({"spec": {"containers": [
                {"name": "envoy", "resizePolicy": restarting},
                {"name": "app", "resizePolicy": policies},
            ]}});
            let serving = msars_gate::serving(&template).filter(|found| found.name == "app");
            assert_eq!(
                restarts(&template, serving.as_ref()).as_deref(),
                found,
                "{policies}"
            );
        }
    }
}
