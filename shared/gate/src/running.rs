//! What is read of a ReplicaSet. Its template is hashed once, when the set is seen: with thousands of them, templates
//! would fill the memory of a copy, and hashing them the time of every look.

use serde_json::{Value, json};

use crate::deployment::text;
use crate::revision_hash;

/// A ReplicaSet, read out of what [`Running::kept`] left of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Running<'a> {
    /// The revision of its template.
    pub revision: &'a str,
    /// The `pod-template-hash` of its pods.
    pub pod_template_hash: Option<&'a str>,
    /// Its replicas, as its status has them.
    pub replicas: u64,
}

impl<'a> Running<'a> {
    /// What to keep of a ReplicaSet as the API server sends it; null where it has no template.
    pub fn kept(set: &Value) -> Value {
        let Some(template) = set.pointer("/spec/template") else {
            return Value::Null;
        };
        json!({
            "revision": revision_hash(template).as_str(),
            "podTemplateHash": text(template, "/metadata/labels/pod-template-hash"),
            "replicas": set.pointer("/status/replicas").and_then(Value::as_u64).unwrap_or(0),
        })
    }

    /// Reads what was kept; none of one without a template.
    pub fn read(kept: &'a Value) -> Option<Self> {
        Some(Self {
            revision: text(kept, "/revision")?,
            pod_template_hash: text(kept, "/podTemplateHash"),
            replicas: kept
                .pointer("/replicas")
                .and_then(Value::as_u64)
                .unwrap_or(0),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_a_replica_set_its_revision_hash_and_replicas_stay() {
        let template = json!({"metadata": {"labels": {"app": "carts", "pod-template-hash": "5d4f"}},
            "spec": {"containers": [{"name": "app", "image": "carts:v1"}]}});
        let revision = revision_hash(&template);
        let mut unlabelled = template.clone();
        unlabelled["metadata"]["labels"] = json!({"app": "carts"});
        let running = |pod_template_hash, replicas| Running {
            revision: revision.as_str(),
            pod_template_hash,
            replicas,
        };
        for (set, wanted) in [
            (
                json!({"spec": {"replicas": 3, "template": template}, "status": {"replicas": 2}}),
                Some(running(Some("5d4f"), 2)),
            ),
            (
                json!({"spec": {"template": template}}),
                Some(running(Some("5d4f"), 0)),
            ),
            (
                json!({"spec": {"template": unlabelled}, "status": {"replicas": 1}}),
                Some(running(None, 1)),
            ),
            (json!({"status": {"replicas": 2}}), None),
            (Value::Null, None),
        ] {
            let kept = Running::kept(&set);
            assert_eq!(Running::read(&kept), wanted, "{set}");
            assert!(!kept.to_string().contains("image"), "{kept}");
        }
    }
}
