//! A revision is a pod template without what does not change the program: our annotations and `restartedAt`.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use msars_api::annotations::PREFIX;
use serde_json::{Map, Value};
use sha2::{Digest, Sha256};

/// `kubectl rollout restart` stamps this; the program stays the same.
const RESTARTED_AT: &str = "kubectl.kubernetes.io/restartedAt";

/// Twenty hexadecimal digits that name a revision.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RevisionHash(String);

impl RevisionHash {
    /// The digits.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl std::fmt::Display for RevisionHash {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

/// Names the revision of a pod template (`spec.template`); the order of keys does not matter, nor do our annotations,
/// `restartedAt`, nulls and empty maps.
pub fn revision_hash(template: &Value) -> RevisionHash {
    digest(&canonical(template, false))
}

/// Like [`revision_hash`], blind to CPU requests and limits: equal shapes share a load-latency profile inside the
/// profiled range of sizes.
pub fn shape_hash(template: &Value) -> RevisionHash {
    digest(&canonical(template, true))
}

fn digest(text: &str) -> RevisionHash {
    let mut hash = String::new();
    for byte in Sha256::digest(text.as_bytes()).iter().take(10) {
        // Writing into a String cannot fail.
        let _ = write!(hash, "{byte:02x}");
    }
    RevisionHash(hash)
}

fn canonical(template: &Value, without_cpu: bool) -> String {
    let mut template = template.clone();
    if let Some(annotations) = template
        .pointer_mut("/metadata/annotations")
        .and_then(Value::as_object_mut)
    {
        annotations.retain(|key, _| key != RESTARTED_AT && !key.starts_with(PREFIX));
    }
    // The ReplicaSet controller adds this label to the same template.
    if let Some(labels) = template
        .pointer_mut("/metadata/labels")
        .and_then(Value::as_object_mut)
    {
        labels.shift_remove("pod-template-hash");
    }
    if without_cpu {
        let containers = template
            .pointer_mut("/spec/containers")
            .and_then(Value::as_array_mut);
        for container in containers.into_iter().flatten() {
            for kind in ["requests", "limits"] {
                let resources = container
                    .pointer_mut(&format!("/resources/{kind}"))
                    .and_then(Value::as_object_mut);
                if let Some(resources) = resources {
                    resources.shift_remove("cpu");
                }
            }
        }
    }
    sorted(&template).to_string()
}

/// Keys in order, without nulls and without maps that hold nothing.
fn sorted(value: &Value) -> Value {
    match value {
        Value::Object(map) => {
            let ordered: BTreeMap<&String, Value> = map
                .iter()
                .map(|(key, value)| (key, sorted(value)))
                .filter(|(_, value)| {
                    !value.is_null() && value.as_object().is_none_or(|inner| !inner.is_empty())
                })
                .collect();
            Value::Object(
                ordered
                    .into_iter()
                    .map(|(key, value)| (key.clone(), value))
                    .collect::<Map<_, _>>(),
            )
        }
        Value::Array(list) => Value::Array(list.iter().map(sorted).collect()),
        other => other.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn template(image: &str, cpu: &str) -> Value {
        json!({
            "metadata": {"labels": {"app": "catalogue"}},
            "spec": {"containers": [{"name": "app", "image": image, "resources": {"limits": {"cpu": cpu, "memory": "64Mi"}}}]},
        })
    }

    #[test]
    fn a_restart_and_our_own_annotations_are_the_same_revision() {
        let plain = template("shop/catalogue:v1", "200m");
        let mut restarted = plain.clone();
        restarted["metadata"]["annotations"] =
            json!({RESTARTED_AT: "2026-01-01T00:00:00Z", "msars.io/mode": "auto"});
        restarted["metadata"]["labels"]["pod-template-hash"] = json!("5d4f");
        restarted["metadata"]["creationTimestamp"] = Value::Null;
        assert_eq!(revision_hash(&plain), revision_hash(&restarted));
    }

    #[test]
    fn the_order_of_keys_is_no_difference() {
        let one: Value = serde_json::from_str(r#"{"a":1,"b":{"c":2,"d":3}}"#).unwrap();
        let other: Value = serde_json::from_str(r#"{"b":{"d":3,"c":2},"a":1}"#).unwrap();
        assert_eq!(revision_hash(&one), revision_hash(&other));
    }

    #[test]
    fn an_image_is_a_new_revision_and_a_size_only_a_new_revision_of_the_same_shape() {
        let base = template("shop/catalogue:v1", "200m");
        let image = template("shop/catalogue:v2", "200m");
        let size = template("shop/catalogue:v1", "400m");
        assert_ne!(revision_hash(&base), revision_hash(&image));
        assert_ne!(shape_hash(&base), shape_hash(&image));
        assert_ne!(revision_hash(&base), revision_hash(&size));
        assert_eq!(shape_hash(&base), shape_hash(&size));
    }

    #[test]
    fn a_foreign_annotation_or_memory_is_a_difference() {
        let base = template("shop/catalogue:v1", "200m");
        let mut foreign = base.clone();
        foreign["metadata"]["annotations"] = json!({"team": "shop"});
        let mut memory = base.clone();
        memory["spec"]["containers"][0]["resources"]["limits"]["memory"] = json!("128Mi");
        assert_ne!(revision_hash(&base), revision_hash(&foreign));
        assert_ne!(shape_hash(&base), shape_hash(&memory));
    }
}
