//! Which templates are never copied.

use msars_gate::snapshot::PodSelector;
use serde_json::{Value, json};

use crate::world::{End, World, check, set_image};

fn claim(w: &mut World, read_only_mount: bool) {
    w.pod_spec(
        "volumes",
        &json!([{"name": "data", "persistentVolumeClaim": {"claimName": "catalogue-data"}}]),
    );
    for object in [&mut w.old, &mut w.new] {
        object["spec"]["template"]["spec"]["containers"][0]["volumeMounts"] =
            json!([{"name": "data", "mountPath": "/data", "readOnly": read_only_mount}]);
    }
}

fn policy(w: &mut World, selector: &Value) {
    let selector = PodSelector::of_network_policy(&json!({"spec": {"podSelector": selector}}));
    w.namespace().policies.push(selector);
}

#[test]
fn a_copy_that_is_not_safe_to_start_is_observed() {
    check(
        set_image,
        &[
            (
                "Recreate",
                |w| w.new["spec"]["strategy"]["type"] = json!("Recreate"),
                "Pass Recreate",
                End::Unchanged,
            ),
            (
                "hostNetwork",
                |w| w.pod_spec("hostNetwork", &json!(true)),
                "Pass HostNetwork",
                End::Unchanged,
            ),
            (
                "hostNetwork false",
                |w| w.pod_spec("hostNetwork", &json!(false)),
                "Hold NewRevision",
                End::Held,
            ),
            (
                "hostPath",
                |w| {
                    w.pod_spec(
                        "volumes",
                        &json!([{"name": "d", "hostPath": {"path": "/data"}}]),
                    )
                },
                "Pass HostPath",
                End::Unchanged,
            ),
            (
                "hostPort",
                |w| {
                    w.new["spec"]["template"]["spec"]["containers"][0]["ports"] =
                        json!([{"containerPort": 80, "hostPort": 80}]);
                },
                "Pass HostPort",
                End::Unchanged,
            ),
            (
                "hostPort of an init container",
                |w| {
                    w.pod_spec(
                        "initContainers",
                        &json!([{"name": "i", "ports": [{"hostPort": 81}]}]),
                    );
                },
                "Pass HostPort",
                End::Unchanged,
            ),
            (
                "a container port",
                |w| {
                    w.new["spec"]["template"]["spec"]["containers"][0]["ports"] =
                        json!([{"containerPort": 80}]);
                },
                "Hold NewRevision",
                End::Held,
            ),
            (
                "a claim",
                |w| claim(w, false),
                "Pass WritableClaim",
                End::Unchanged,
            ),
            (
                "a claim mounted read-only",
                |w| claim(w, true),
                "Hold NewRevision",
                End::Held,
            ),
            (
                "a claim whose modes only read",
                |w| {
                    claim(w, false);
                    w.namespace()
                        .writable_claims
                        .insert("catalogue-data".into(), false);
                },
                "Hold NewRevision",
                End::Held,
            ),
            (
                "a claim as a block device",
                |w| {
                    claim(w, true);
                    w.new["spec"]["template"]["spec"]["containers"][0]["volumeDevices"] =
                        json!([{"name": "data", "devicePath": "/dev/d"}]);
                },
                "Pass WritableClaim",
                End::Unchanged,
            ),
            (
                "a claim as a read-only volume",
                |w| {
                    w.pod_spec("volumes", &json!([{"name": "d", "persistentVolumeClaim": {"claimName": "c", "readOnly": true}}]));
                },
                "Hold NewRevision",
                End::Held,
            ),
            (
                "emptyDir and configMap",
                |w| {
                    w.pod_spec("volumes", &json!([{"name": "d", "emptyDir": {}}, {"name": "c", "configMap": {"name": "c"}}]));
                },
                "Hold NewRevision",
                End::Held,
            ),
            (
                "a NetworkPolicy of its labels",
                |w| policy(w, &json!({"matchLabels": {"app": "catalogue"}})),
                "Pass NetworkPolicy",
                End::Unchanged,
            ),
            (
                "a NetworkPolicy of all pods",
                |w| policy(w, &json!({})),
                "Pass NetworkPolicy",
                End::Unchanged,
            ),
            (
                "a NetworkPolicy by expression",
                |w| {
                    policy(
                        w,
                        &json!({"matchExpressions": [{"key": "app", "operator": "In", "values": ["cart", "catalogue"]}]}),
                    );
                },
                "Pass NetworkPolicy",
                End::Unchanged,
            ),
            (
                "a NetworkPolicy of others",
                |w| policy(w, &json!({"matchLabels": {"app": "cart"}})),
                "Hold NewRevision",
                End::Held,
            ),
        ],
    );
}
