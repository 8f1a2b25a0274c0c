//! `kubectl apply -k` of base, grant and overlay.

use anyhow::{Result, bail, ensure};
use base64::Engine as _;
use msars_api::names::{SYSTEM_NAMESPACE, WEBHOOK_CONFIGURATION};
use msars_suite::{Bed, OTHER, documents, folder};
use serde_json::{Value, json};

use crate::Check;

pub const CHECKS: &[Check] = &[
    ("the_base_installs_without_a_warning", without_warning),
    ("applying_again_keeps_the_authorities", again),
    ("the_grant_the_overlay_and_the_drain_are_accepted", grants),
    ("restricted_pods_are_admitted", admitted),
];

fn without_warning(bed: &Bed) -> Result<()> {
    let said = &bed.installed;
    ensure!(said.good, "kubectl apply -k manifests: {}", said.err);
    ensure!(
        said.err.is_empty(),
        "kubectl apply -k manifests warns: {}",
        said.err
    );
    let wanted = documents(&folder(""))?.len();
    let applied = said.out.lines().count();
    ensure!(applied == wanted, "{applied} of {wanted} objects applied");
    Ok(())
}

fn bundles(bed: &Bed) -> Result<Vec<Value>> {
    let found = bed.get(&["mutatingwebhookconfiguration", WEBHOOK_CONFIGURATION])?;
    let Some(webhooks) = found["webhooks"].as_array() else {
        bail!("no webhooks in {found}");
    };
    Ok(webhooks
        .iter()
        .map(|webhook| webhook["clientConfig"]["caBundle"].clone())
        .collect())
}

/// What the leader does, then what an admin does with the same manifests.
fn again(bed: &Bed) -> Result<()> {
    let roots = bed.get(&["-n", OTHER, "configmap", "kube-root-ca.crt"])?;
    let roots = roots["data"]["ca.crt"].as_str().unwrap_or_default();
    let bundle = base64::engine::general_purpose::STANDARD.encode(roots);
    let webhooks: Vec<Value> = ["deployments.msars.io", "pods.msars.io"]
        .map(|name| json!({"name": name, "clientConfig": {"caBundle": bundle}}))
        .into();
    let patch = json!({"webhooks": webhooks}).to_string();
    let before = bundles(bed)?;
    if before.iter().all(Value::is_null) {
        bed.must(&[
            "patch",
            "mutatingwebhookconfiguration",
            WEBHOOK_CONFIGURATION,
            "-p",
            &patch,
        ])?;
    }
    let written = bundles(bed)?;
    ensure!(written.iter().all(Value::is_string), "written: {written:?}");
    let said = bed.apply("", &[])?;
    ensure!(said.good, "applying again: {}", said.err);
    ensure!(
        !said.out.contains("created"),
        "everything is there already: {}",
        said.out
    );
    ensure!(bundles(bed)? == written, "the authorities are gone");
    Ok(())
}

fn grants(bed: &Bed) -> Result<()> {
    let dry = "--dry-run=server";
    for (name, more) in [
        ("namespace", vec!["-n", OTHER, dry]),
        ("overlays/cluster-wide", vec![dry]),
        ("overlays/openshift", vec![dry]),
        ("overlays/openshift/drain", vec![dry]),
        ("overlays/preset", vec![dry]),
        ("overlays/prometheus-tls", vec![dry]),
        ("overlays/shop", vec![dry]),
        ("drain", vec![dry]),
    ] {
        let said = bed.apply(name, &more)?;
        ensure!(
            said.good && said.err.is_empty(),
            "kubectl apply -k manifests/{name}: {}",
            said.err
        );
    }
    // kubectl warns here that a dry run can't take the fields over from its client-side apply.
    let said = bed.apply("", &["--server-side", "--force-conflicts", dry])?;
    ensure!(said.good, "server-side: {}", said.err);
    Ok(())
}

/// The namespace enforces the restricted profile: pods that appear have passed it, the priority class and the accounts.
fn admitted(bed: &Bed) -> Result<()> {
    for name in ["msars-autoscaler", "msars-admission"] {
        let selector = format!("app.kubernetes.io/name={name}");
        bed.until("both replicas' pods are made", || {
            let pods = bed.get(&["-n", SYSTEM_NAMESPACE, "pods", "-l", &selector])?;
            Ok(pods["items"].as_array().is_some_and(|pods| pods.len() == 2))
        })?;
    }
    Ok(())
}
