//! Two reviews, a snapshot that knows their workload, and answers as the API server reads them.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use msars_domain::{MilliCpu, ObjectKey};
use msars_gate::revision_hash;
use msars_gate::snapshot::{Grant, Snapshot, Wanted};
use msars_mutate::decide;
use serde_json::{Value, json};

pub fn set_image() -> Value {
    serde_json::from_str(include_str!("reviews/set-image.json")).unwrap()
}

pub fn pod_create() -> Value {
    serde_json::from_str(include_str!("reviews/pod-create.json")).unwrap()
}

pub fn now() -> Timestamp {
    "2026-03-01T10:00:00.4Z".parse().unwrap()
}

/// Everything that a hold needs; v2 is wanted at 600m, its ReplicaSet unknown yet.
pub fn snapshot() -> Snapshot {
    let mut snapshot = Snapshot {
        lease_renewed: Some(now()),
        synced: Some(now()),
        own_users: ["system:serviceaccount:msars:autoscaler".to_owned()].into(),
        ..Snapshot::default()
    };
    let review = set_image();
    let template = |object: &str| review["request"][object]["spec"]["template"].clone();
    let workload = snapshot.workload_mut(&ObjectKey::new("shop", "catalogue"));
    workload.has_objective = true;
    workload.know(&template("oldObject"));
    workload.wanted.insert(
        revision_hash(&template("object")).to_string(),
        Wanted {
            size: MilliCpu(600),
            pod_template_hashes: std::collections::BTreeSet::new(),
            images: [("app".to_owned(), "shop/catalogue:v2".to_owned())].into(),
        },
    );
    snapshot.namespaces.entry("shop".into()).or_default().grant = Grant::Given;
    snapshot
}

/// An answer with its patch decoded, and the object that the API server makes of it.
pub struct Answered {
    pub body: Value,
    pub outcome: String,
    pub patch: Value,
    pub object: Value,
}

/// Asks, checks what holds for every answer, and decodes it.
pub fn ask(review: &Value, snapshot: &Snapshot) -> Answered {
    let bytes = review.to_string();
    let answer = decide(bytes.as_bytes(), snapshot, now());
    assert_eq!(
        answer,
        decide(bytes.as_bytes(), snapshot, now()),
        "same bytes, same bytes"
    );
    let mut body: Value = serde_json::from_slice(&answer.body).unwrap();
    let response = body["response"].as_object_mut().unwrap();
    assert_eq!(response["allowed"], json!(true));
    let patch = response.get("patch").map_or(Value::Null, |patch| {
        let bytes = STANDARD.decode(patch.as_str().unwrap()).unwrap();
        serde_json::from_slice(&bytes).unwrap()
    });
    let mut object = review
        .pointer("/request/object")
        .cloned()
        .unwrap_or_default();
    if !patch.is_null() {
        assert_eq!(response["patchType"], "JSONPatch");
        response.insert("patch".into(), "(decoded below)".into());
        let patch: json_patch::Patch = serde_json::from_value(patch.clone()).unwrap();
        json_patch::patch(&mut object, &patch).unwrap();
    }
    Answered {
        body,
        outcome: format!("{:?} {} {}", answer.outcome, answer.verdict, answer.reason),
        patch,
        object,
    }
}
