//! What is read of a pod template's containers.

use msars_domain::MilliCpu;
use serde_json::Value;

fn containers(template: &Value) -> impl Iterator<Item = &Value> {
    template
        .pointer("/spec/containers")
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
}

pub(super) fn sidecars(template: &Value, serving: Option<&str>) -> MilliCpu {
    let sum = containers(template)
        .filter(|container| container.get("name").and_then(Value::as_str) != serving)
        .filter_map(|container| container.pointer("/resources/requests/cpu")?.as_str())
        .filter_map(msars_api::annotations::cpu_millis)
        .sum();
    MilliCpu(sum)
}
