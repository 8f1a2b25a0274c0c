//! Admission reviews as the API server would send them, made of what is stored. Pure.

use anyhow::{Context, Result, bail};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

/// Stands for the review's own uid.
const UID: &str = "@review-uid@";
/// Stands for what makes the image, and so the revision, new.
const TAG: &str = "@review-tag@";

/// What a review is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// A Deployment whose image changes.
    Deployment,
    /// A pod that its ReplicaSet creates.
    Pod,
}

impl Kind {
    /// Where the API server posts it.
    pub fn path(self) -> &'static str {
        match self {
            Self::Deployment => "/mutate/deployments",
            Self::Pod => "/mutate/pods",
        }
    }
}

/// The bytes of reviews that differ in uid and image alone.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Template {
    /// What they are about.
    pub kind: Kind,
    text: String,
}

impl Template {
    fn new(kind: Kind, review: &Value) -> Self {
        Self {
            kind,
            text: review.to_string(),
        }
    }

    /// The `n`th review, with this uid.
    pub fn review(&self, uid: &str, n: u64) -> Vec<u8> {
        let text = self.text.replace(UID, uid);
        text.replace(TAG, &format!("bench-{n}")).into_bytes()
    }
}

/// The uid of the `n`th review.
pub fn uid(n: u64) -> String {
    format!("6d736172-0000-4000-8000-{n:012x}")
}

fn meta(group: &str, kind: &str, resource: &str) -> Value {
    let of = |what: &str, name: &str| json!({"group": group, "version": "v1", what: name});
    json!({
        "uid": UID,
        "kind": of("kind", kind),
        "resource": of("resource", resource),
        "requestKind": of("kind", kind),
        "requestResource": of("resource", resource),
        "dryRun": false,
    })
}

fn review(mut request: Value, rest: Value) -> Value {
    if let (Some(request), Value::Object(rest)) = (request.as_object_mut(), rest) {
        request.extend(rest);
    }
    json!({"kind": "AdmissionReview", "apiVersion": "admission.k8s.io/v1", "request": request})
}

/// `kubectl set image` of a container to an image that nobody has seen.
pub fn set_image(stored: &Value, container: &str) -> Result<Template> {
    let mut new = stored.clone();
    let containers = new
        .pointer_mut("/spec/template/spec/containers")
        .and_then(Value::as_array_mut);
    let found = containers
        .into_iter()
        .flatten()
        .find(|one| one["name"] == container)
        .with_context(|| format!("the workload has no container {container}"))?;
    let image = found["image"]
        .as_str()
        .context("the container has no image")?;
    let name = image.rsplit_once(':').map_or(image, |(name, _)| name);
    found["image"] = json!(format!("{name}:{TAG}"));
    if let Some(generation) = stored
        .pointer("/metadata/generation")
        .and_then(Value::as_u64)
    {
        new["metadata"]["generation"] = json!(generation + 1);
    }
    let rest = json!({
        "name": stored["metadata"]["name"],
        "namespace": stored["metadata"]["namespace"],
        "operation": "UPDATE",
        "userInfo": {"username": "developer", "groups": ["shop:developers", "system:authenticated"]},
        "object": new,
        "oldObject": stored,
        "options": {"kind": "PatchOptions", "apiVersion": "meta.k8s.io/v1", "fieldManager": "kubectl-set"},
    });
    Ok(Template::new(
        Kind::Deployment,
        &review(meta("apps", "Deployment", "deployments"), rest),
    ))
}

/// The pod that a ReplicaSet creates next: its template, named by the API server, owned by the ReplicaSet.
pub fn birth(set: &Value) -> Result<Template> {
    let template = &set["spec"]["template"];
    let name = set["metadata"]["name"]
        .as_str()
        .context("a ReplicaSet has a name")?;
    if !template["metadata"]["labels"]["pod-template-hash"].is_string() {
        bail!("{name} is no ReplicaSet of a Deployment");
    }
    let namespace = &set["metadata"]["namespace"];
    let pod = json!({
        "kind": "Pod",
        "apiVersion": "v1",
        "metadata": {
            "generateName": format!("{name}-"),
            "namespace": namespace,
            "labels": template["metadata"]["labels"],
            "annotations": template["metadata"]["annotations"],
            "ownerReferences": [{
                "apiVersion": "apps/v1", "kind": "ReplicaSet", "name": name, "uid": set["metadata"]["uid"],
                "controller": true, "blockOwnerDeletion": true,
            }],
        },
        "spec": template["spec"],
        "status": {},
    });
    let rest = json!({
        "namespace": namespace,
        "operation": "CREATE",
        "userInfo": {
            "username": "system:serviceaccount:kube-system:replicaset-controller",
            "groups": ["system:serviceaccounts", "system:serviceaccounts:kube-system", "system:authenticated"],
        },
        "object": pod,
        "oldObject": null,
        "options": {"kind": "CreateOptions", "apiVersion": "meta.k8s.io/v1"},
    });
    Ok(Template::new(
        Kind::Pod,
        &review(meta("", "Pod", "pods"), rest),
    ))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::{birth, set_image, uid};

    #[test]
    fn every_review_is_a_new_revision_with_its_own_uid() {
        let stored = json!({
            "metadata": {"name": "a", "namespace": "n", "generation": 3},
            "spec": {"template": {"spec": {"containers": [{"name": "app", "image": "r:5000/i:v1"}]}}},
        });
        let template = set_image(&stored, "app").unwrap();
        let read = |n| serde_json::from_slice::<Value>(&template.review(&uid(n), n)).unwrap();
        let one = read(1);
        assert_eq!(one["request"]["uid"], uid(1));
        let image = "/request/object/spec/template/spec/containers/0/image";
        assert_eq!(one.pointer(image), Some(&json!("r:5000/i:bench-1")));
        assert_eq!(one["request"]["oldObject"], stored);
        assert_eq!(one["request"]["object"]["metadata"]["generation"], 4);
        assert_ne!(one.pointer(image), read(2).pointer(image));
        assert!(set_image(&stored, "other").is_err());
    }

    #[test]
    fn a_pod_is_born_of_its_replica_set() {
        let set = json!({
            "metadata": {"name": "a-5f", "namespace": "n", "uid": "u"},
            "spec": {"template": {"metadata": {"labels": {"pod-template-hash": "5f"}}, "spec": {"containers": []}}},
        });
        let review: Value = serde_json::from_slice(&birth(&set).unwrap().review("x", 0)).unwrap();
        assert_eq!(
            review["request"]["object"]["metadata"]["ownerReferences"][0]["name"],
            "a-5f"
        );
        assert_eq!(review["request"]["operation"], "CREATE");
        assert!(birth(&json!({"metadata": {"name": "b"}})).is_err());
    }
}
