//! Whole answers, to the byte.

use msars_gate::snapshot::Snapshot;
use serde_json::{Value, json};

use crate::sent::{Answered, ask, pod_create, set_image, snapshot};

fn shown(answered: &Answered) -> String {
    let pretty = |value: &Value| serde_json::to_string_pretty(value).unwrap();
    format!(
        "{}\n{}\npatch: {}",
        answered.outcome,
        pretty(&answered.body),
        pretty(&answered.patch)
    )
}

/// The set-image review while v2 is held already, from its stored object on.
fn while_held() -> Value {
    let mut review = set_image();
    let held = ask(&review, &snapshot()).object;
    review["request"]["oldObject"] = held.clone();
    review["request"]["object"] = held;
    review
}

#[test]
fn set_image_is_held() {
    insta::assert_snapshot!(shown(&ask(&set_image(), &snapshot())));
}

#[test]
fn a_rollout_resume_strips_the_hold() {
    let mut review = while_held();
    let spec = review["request"]["object"]["spec"].as_object_mut().unwrap();
    spec.shift_remove("paused");
    insta::assert_snapshot!(shown(&ask(&review, &snapshot())));
}

#[test]
fn a_revert_while_held_is_released() {
    let mut review = while_held();
    review["request"]["object"]["spec"]["template"] =
        set_image()["request"]["oldObject"]["spec"]["template"].clone();
    insta::assert_snapshot!(shown(&ask(&review, &snapshot())));
}

#[test]
fn an_undo_to_a_revision_from_before_the_opt_in_keeps_it() {
    let mut review = set_image();
    let old = review["request"]["oldObject"].take();
    let mut target = old.clone();
    target["metadata"]["annotations"] = json!({"deployment.kubernetes.io/revision": "2"});
    review["request"]["oldObject"] = review["request"]["object"].take();
    review["request"]["object"] = target;
    review["request"]["options"] = json!({"kind": "PatchOptions", "apiVersion": "meta.k8s.io/v1"});
    insta::assert_snapshot!(shown(&ask(&review, &snapshot())));
}

#[test]
fn without_any_knowledge_everything_passes() {
    insta::assert_snapshot!(shown(&ask(&set_image(), &Snapshot::default())));
}

#[test]
fn a_pod_is_born_with_the_wanted_size() {
    insta::assert_snapshot!(shown(&ask(&pod_create(), &snapshot())));
}

#[test]
fn what_is_not_ours_passes() {
    let edits: [(&str, fn(&mut Value), &str); 5] = [
        (
            "a scale",
            |r| r["request"]["subResource"] = json!("scale"),
            "SubResource",
        ),
        (
            "a StatefulSet",
            |r| r["request"]["kind"]["kind"] = json!("StatefulSet"),
            "NotOurs",
        ),
        (
            "a creation",
            |r| r["request"]["operation"] = json!("CREATE"),
            "NotAnUpdate",
        ),
        (
            "a deletion",
            |r| r["request"]["operation"] = json!("DELETE"),
            "NotAnUpdate",
        ),
        (
            "without objects",
            |r| r["request"]["object"] = Value::Null,
            "Unreadable",
        ),
    ];
    for (name, edit, reason) in edits {
        let mut review = set_image();
        edit(&mut review);
        let answered = ask(&review, &snapshot());
        assert_eq!(answered.outcome, format!("Passed Pass {reason}"), "{name}");
    }
}

#[test]
fn a_creation_is_warned_of_and_not_changed() {
    let mut review = set_image();
    review["request"]["operation"] = json!("CREATE");
    review["request"]["oldObject"] = Value::Null;
    review["request"]["object"]["metadata"]["annotations"]["msars.io/cpu"] = json!("lots");
    let answered = ask(&review, &snapshot());
    assert_eq!(answered.outcome, "Passed Pass NotAnUpdate");
    assert_eq!(answered.patch, Value::Null);
    assert_eq!(
        answered.body["response"]["warnings"],
        json!(["msars: msars.io/cpu: \"lots\" is not like 50m..1; using no bounds"])
    );
}

#[test]
fn a_dry_run_gets_the_same_answer() {
    let mut review = set_image();
    review["request"]["dryRun"] = json!(true);
    let (dry, wet) = (ask(&review, &snapshot()), ask(&set_image(), &snapshot()));
    assert_eq!(dry.body, wet.body);
    assert_eq!(dry.patch, wet.patch);
}
