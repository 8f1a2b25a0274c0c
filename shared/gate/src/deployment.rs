//! Fields of a Deployment as JSON, and patches of its annotations.

use std::collections::BTreeMap;

use msars_api::annotations::{HOLD, PREFIX};
use serde_json::{Value, json};

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
