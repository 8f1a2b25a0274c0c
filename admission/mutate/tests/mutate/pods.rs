//! The size of new pods.

use msars_domain::{MilliCpu, ObjectKey};
use msars_gate::snapshot::{Snapshot, Wanted};
use serde_json::{Value, json};

use crate::sent::{ask, pod_create, snapshot};

const SERVING: &str = "/request/object/spec/containers/1";

fn resources(review: &mut Value) -> &mut Value {
    &mut review.pointer_mut(SERVING).unwrap()["resources"]
}

fn wanted(snapshot: &mut Snapshot, revision: &str, size: u32, hashes: &[&str]) {
    let image = ("app".to_owned(), "shop/catalogue:v2".to_owned());
    let workload = snapshot.workload_mut(&ObjectKey::new("shop", "catalogue"));
    let hashes = || hashes.iter().map(|&hash| hash.to_owned());
    workload.pod_template_hashes.extend(hashes());
    workload.wanted.insert(
        revision.into(),
        Wanted {
            size: MilliCpu(size),
            pod_template_hashes: hashes().collect(),
            images: [image].into(),
        },
    );
}

type Row = (
    &'static str,
    fn(&mut Value, &mut Snapshot),
    &'static str,
    Option<(&'static str, Option<&'static str>)>,
);

#[test]
fn the_serving_container_gets_the_wanted_size_and_keeps_its_class() {
    let rows: &[Row] = &[
        (
            "the request keeps its ratio",
            |_, _| {},
            "SizedAtBirth",
            Some(("300m", Some("600m"))),
        ),
        (
            "Guaranteed stays Guaranteed",
            |r, _| resources(r)["requests"]["cpu"] = json!("400m"),
            "SizedAtBirth",
            Some(("600m", Some("600m"))),
        ),
        (
            "Burstable stays Burstable",
            |r, _| resources(r)["requests"]["cpu"] = json!("399m"),
            "SizedAtBirth",
            Some(("599m", Some("600m"))),
        ),
        (
            "without a limit only the request moves",
            |r, _| {
                resources(r)["limits"]
                    .as_object_mut()
                    .unwrap()
                    .shift_remove("cpu");
            },
            "SizedAtBirth",
            Some(("600m", None)),
        ),
        (
            "no resources at all",
            |r, _| *resources(r) = json!({}),
            "NoCpuSize",
            None,
        ),
        (
            "a quantity that can't be read",
            |r, _| resources(r)["limits"]["cpu"] = json!("much"),
            "NoCpuSize",
            Some(("200m", Some("much"))),
        ),
        (
            "by pod-template-hash, not by image",
            |_, s| wanted(s, "other", 500, &["54c4d5d5f6", "7d9c6f5b8d"]),
            "SizedAtBirth",
            Some(("250m", Some("500m"))),
        ),
        (
            "a known ReplicaSet of another revision is not guessed",
            |_, s| {
                let workload = s.workload_mut(&ObjectKey::new("shop", "catalogue"));
                workload.pod_template_hashes.insert("7d9c6f5b8d".into());
            },
            "NoWantedSize",
            Some(("200m", Some("400m"))),
        ),
        (
            "a restart's ReplicaSet that is not known yet, beside the one before it",
            |_, s| {
                let workload = s.workload_mut(&ObjectKey::new("shop", "catalogue"));
                for wanted in workload.wanted.values_mut() {
                    wanted.pod_template_hashes.insert("54c4d5d5f6".into());
                }
                workload.pod_template_hashes.insert("54c4d5d5f6".into());
            },
            "SizedAtBirth",
            Some(("300m", Some("600m"))),
        ),
        (
            "two revisions with these images are not guessed",
            |_, s| wanted(s, "other", 500, &[]),
            "NoWantedSize",
            Some(("200m", Some("400m"))),
        ),
        (
            "another image",
            |r, _| r.pointer_mut(SERVING).unwrap()["image"] = json!("shop/catalogue:v9"),
            "NoWantedSize",
            Some(("200m", Some("400m"))),
        ),
        (
            "a shadow pod",
            |r, _| {
                r["request"]["object"]["metadata"]["labels"]["msars.io/shadow"] = json!("profile")
            },
            "ShadowPod",
            Some(("200m", Some("400m"))),
        ),
        (
            "a bare pod",
            |r, _| r["request"]["object"]["metadata"]["ownerReferences"] = Value::Null,
            "NoDeployment",
            Some(("200m", Some("400m"))),
        ),
        (
            "a pod of a Job",
            |r, _| r["request"]["object"]["metadata"]["ownerReferences"][0]["kind"] = json!("Job"),
            "NoDeployment",
            Some(("200m", Some("400m"))),
        ),
        (
            "a ReplicaSet without a Deployment",
            |r, _| {
                r["request"]["object"]["metadata"]["ownerReferences"][0]["name"] =
                    json!("catalogue")
            },
            "NoDeployment",
            Some(("200m", Some("400m"))),
        ),
        (
            "another namespace",
            |r, _| r["request"]["namespace"] = json!("other"),
            "UnknownWorkload",
            Some(("200m", Some("400m"))),
        ),
        (
            "its owner names the serving container",
            |r, _| {
                r["request"]["object"]["metadata"]["annotations"] =
                    json!({"kubectl.kubernetes.io/default-container": "app"});
            },
            "SizedAtBirth",
            Some(("300m", Some("600m"))),
        ),
    ];
    for (name, edit, reason, wanted) in rows {
        let (mut review, mut snapshot) = (pod_create(), snapshot());
        edit(&mut review, &mut snapshot);
        let answered = ask(&review, &snapshot);
        assert!(
            answered.outcome.ends_with(reason),
            "{name}: {}",
            answered.outcome
        );
        let before = &review["request"]["object"]["spec"]["containers"];
        let after = &answered.object["spec"]["containers"];
        assert_eq!(after[0], before[0], "{name}: sidecars are left alone");
        let found = |kind: &str| after[1]["resources"][kind]["cpu"].as_str();
        assert_eq!(
            found("requests"),
            wanted.map(|(request, _)| request),
            "{name}"
        );
        assert_eq!(
            found("limits"),
            wanted.and_then(|(_, limit)| limit),
            "{name}"
        );
        for kind in ["requests", "limits"] {
            let memory = |c: &Value| c[1]["resources"][kind]["memory"].clone();
            assert_eq!(memory(after), memory(before), "{name}: memory is not ours");
        }
        let mut again = review.clone();
        again["request"]["object"] = answered.object.clone();
        assert_eq!(
            ask(&again, &snapshot).object,
            answered.object,
            "{name}: twice as once"
        );
    }
}

#[test]
fn a_resize_policy_is_added_only_where_none_is() {
    let policy = |review: &Value| {
        ask(review, &snapshot()).object["spec"]["containers"][1]["resizePolicy"].clone()
    };
    let cpu = |how: &str| json!({"resourceName": "cpu", "restartPolicy": how});
    let memory = json!({"resourceName": "memory", "restartPolicy": "RestartContainer"});
    let mut review = pod_create();
    assert_eq!(policy(&review), json!([cpu("NotRequired")]));
    review.pointer_mut(SERVING).unwrap()["resizePolicy"] = json!([memory]);
    assert_eq!(policy(&review), json!([memory, cpu("NotRequired")]));
    review.pointer_mut(SERVING).unwrap()["resizePolicy"] = json!([cpu("RestartContainer")]);
    assert_eq!(policy(&review), json!([cpu("RestartContainer")]));
}
