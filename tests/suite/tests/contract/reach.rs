//! Which writes reach the webhooks: our rules, selectors and match conditions in a configuration whose webhook refuses
//! every connection and may not be ignored, so that a write that is asked about fails and every other passes.

use anyhow::{Result, ensure};
use msars_api::names::WEBHOOK_CONFIGURATION;
use msars_suite::{Bed, OTHER, REACHED, documents, folder};
use serde_json::{Value, json};

use crate::Check;

pub const CHECKS: &[Check] = &[("the_webhooks_hear_of_what_they_need_and_no_more", reach)];

const PROBE: &str = "msars-contract-probe";

fn configuration() -> Result<Value> {
    let mut found = documents(&folder(""))?
        .into_iter()
        .find(|document| {
            document["metadata"]["name"] == WEBHOOK_CONFIGURATION && document["webhooks"].is_array()
        })
        .unwrap_or_default();
    found["metadata"]["name"] = json!(PROBE);
    for webhook in found["webhooks"].as_array_mut().into_iter().flatten() {
        let name = webhook["name"].as_str().unwrap_or_default().to_owned();
        webhook["name"] = json!(format!("probe.{name}"));
        webhook["clientConfig"] = json!({"url": "https://127.0.0.1:1/mutate"});
        webhook["failurePolicy"] = json!("Fail");
        // No other namespace of a cluster that was up may suffer.
        webhook["namespaceSelector"]["matchExpressions"] = json!([
            {"key": "kubernetes.io/metadata.name", "operator": "In", "values": [REACHED, OTHER]},
        ]);
    }
    Ok(found)
}

fn deployment(namespace: &str, name: &str, annotations: &Value, paused: bool) -> Value {
    json!({
        "apiVersion": "apps/v1", "kind": "Deployment",
        "metadata": {"namespace": namespace, "name": name, "annotations": annotations},
        "spec": {
            "replicas": 0, "paused": paused,
            "selector": {"matchLabels": {"app": name}},
            "template": {
                "metadata": {"labels": {"app": name}},
                "spec": {"containers": [{"name": "main", "image": "none:v1"}]},
            },
        },
    })
}

fn pod(name: &str, labels: &Value, owner: Option<&str>) -> Value {
    let owners: Vec<Value> = owner
        .into_iter()
        .map(|kind| json!({"apiVersion": "apps/v1", "kind": kind, "name": "x", "uid": "u", "controller": true}))
        .collect();
    json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {"namespace": REACHED, "name": name, "labels": labels, "ownerReferences": owners},
        "spec": {"containers": [{"name": "main", "image": "none:v1"}]},
    })
}

/// Whether the write was asked about; a write that fails for another reason is an error.
fn asked(bed: &Bed, input: &str, args: &[&str], webhook: &str) -> Result<bool> {
    let said = bed.kubectl_with(input, args)?;
    let asked = said
        .err
        .contains(&format!("failed calling webhook \"probe.{webhook}\""));
    ensure!(
        said.good != asked,
        "kubectl {}: {}",
        args.join(" "),
        said.err
    );
    Ok(asked)
}

fn patched(bed: &Bed, namespace: &str, name: &str, patch: &str, more: &[&str]) -> Result<bool> {
    let mut args = vec![
        "-n",
        namespace,
        "patch",
        "deployment",
        name,
        "--type",
        "merge",
        "-p",
        patch,
        "--dry-run=server",
    ];
    args.extend(more);
    asked(bed, "", &args, "deployments.msars.io")
}

#[rustfmt::skip]
const WRITES: &[(&str, &str, &str, &str, bool)] = &[
    ("a new template", REACHED, "in", TEMPLATE, true),
    ("a new template of one that did not opt in", REACHED, "out", TEMPLATE, false),
    ("a new template without the namespace's label", OTHER, "in", TEMPLATE, false),
    ("an undo to a revision before the opt-in", REACHED, "in",
     r#"{"metadata":{"annotations":{"msars.io/mode":null}},"spec":{"template":{"metadata":{"labels":{"v":"0"}}}}}"#, true),
    ("an opt-in", REACHED, "out", r#"{"metadata":{"annotations":{"msars.io/mode":"auto"}}}"#, true),
    ("an opt-out", REACHED, "in", r#"{"metadata":{"annotations":{"msars.io/mode":null}}}"#, true),
    ("a changed setting", REACHED, "in", r#"{"metadata":{"annotations":{"msars.io/cpu":"lots"}}}"#, true),
    ("another's annotation", REACHED, "in", r#"{"metadata":{"annotations":{"deployment.kubernetes.io/revision":"9"}}}"#, false),
    ("a label of the Deployment", REACHED, "in", r#"{"metadata":{"labels":{"team":"a"}}}"#, false),
    ("replicas", REACHED, "in", r#"{"spec":{"replicas":3}}"#, false),
    ("a pause by the user", REACHED, "in", r#"{"spec":{"paused":true}}"#, false),
    ("a resume", REACHED, "paused", r#"{"spec":{"paused":false}}"#, true),
    ("anything of a paused one", REACHED, "paused", r#"{"spec":{"replicas":3}}"#, true),
    ("anything of a held one", REACHED, "held", r#"{"metadata":{"labels":{"team":"a"}}}"#, true),
    ("a paused one that did not opt in", REACHED, "paused-out", r#"{"spec":{"paused":false}}"#, false),
];
const TEMPLATE: &str = r#"{"spec":{"template":{"metadata":{"labels":{"v":"2"}}}}}"#;

fn rows(bed: &Bed) -> Result<()> {
    let mut wrong = Vec::new();
    for (what, namespace, name, patch, wanted) in WRITES {
        if patched(bed, namespace, name, patch, &[])? != *wanted {
            let found = bed.get(&["-n", namespace, "deployment", name])?;
            let configurations = bed.must(&["get", "mutatingwebhookconfigurations"])?;
            wrong.push(format!(
                "{what}: asked = {}, of {}, with {configurations}",
                !wanted, found["metadata"]
            ));
        }
    }
    let status = r#"{"status":{"observedGeneration":1}}"#;
    if patched(bed, REACHED, "in", status, &["--subresource=status"])? {
        wrong.push("a status".into());
    }
    let scale = r#"{"spec":{"replicas":2}}"#;
    if patched(bed, REACHED, "in", scale, &["--subresource=scale"])? {
        wrong.push("/scale".into());
    }
    let mode = json!({"msars.io/mode": "auto"});
    for (what, deployment, wanted) in [
        (
            "a new Deployment",
            deployment(REACHED, "new", &mode, false),
            true,
        ),
        (
            "a new Deployment that did not opt in",
            deployment(REACHED, "new", &json!({}), false),
            false,
        ),
        (
            "a new Deployment without the namespace's label",
            deployment(OTHER, "new", &mode, false),
            false,
        ),
    ] {
        let args = ["create", "--dry-run=server", "-f", "-"];
        if asked(bed, &deployment.to_string(), &args, "deployments.msars.io")? != wanted {
            wrong.push(format!("{what}: asked = {}", !wanted));
        }
    }
    let hash = json!({"pod-template-hash": "abc"});
    let shadow = json!({"pod-template-hash": "abc", "msars.io/shadow": "subject"});
    for (what, pod, wanted) in [
        (
            "a ReplicaSet's pod",
            pod("a", &hash, Some("ReplicaSet")),
            true,
        ),
        (
            "a pod of a StatefulSet",
            pod("b", &hash, Some("StatefulSet")),
            false,
        ),
        ("a pod of nobody", pod("c", &hash, None), false),
        (
            "a ReplicaSet's pod without a template's hash",
            pod("d", &json!({}), Some("ReplicaSet")),
            false,
        ),
        ("a shadow pod", pod("e", &shadow, Some("ReplicaSet")), false),
    ] {
        let args = ["create", "--dry-run=server", "-f", "-"];
        if asked(bed, &pod.to_string(), &args, "pods.msars.io")? != wanted {
            wrong.push(format!("{what}: asked = {}", !wanted));
        }
    }
    ensure!(wrong.is_empty(), "{wrong:#?}");
    Ok(())
}

fn reach(bed: &Bed) -> Result<()> {
    let mode = json!({"msars.io/mode": "auto"});
    let held = json!({"msars.io/mode": "auto", "msars.io/hold-hash": "0123456789abcdef0123"});
    let objects = [
        deployment(REACHED, "in", &mode, false),
        deployment(REACHED, "out", &json!({}), false),
        deployment(REACHED, "paused", &mode, true),
        deployment(REACHED, "paused-out", &json!({}), true),
        deployment(REACHED, "held", &held, false),
        deployment(OTHER, "in", &mode, false),
    ];
    for object in objects {
        bed.must_with(&object.to_string(), &["apply", "-f", "-"])?;
    }
    bed.must_with(&configuration()?.to_string(), &["apply", "-f", "-"])?;
    let active = bed.until("the configuration is in force", || {
        patched(bed, REACHED, "in", TEMPLATE, &[])
    });
    let found = active.and_then(|()| rows(bed));
    bed.must(&["delete", "mutatingwebhookconfiguration", PROBE])?;
    found
}
