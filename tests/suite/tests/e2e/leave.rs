//! The product goes, as `manifests/drain` says, and leaves nothing behind but workloads that carry their load.

use std::collections::BTreeMap;

use anyhow::{Context, Result, ensure};
use msars_api::annotations::cpu_millis;
use msars_api::names::{SHADOW_LABEL, WEBHOOK_CONFIGURATION};
use msars_shop::{Version, mean_work_ms};
use msars_suite::folder;
use serde_json::Value;

use crate::bed::{Bed, SYSTEM, until};
use crate::held::Seen;
use crate::patience::slowly;
use crate::strikes::scale;
use crate::yard::{WAVE, YARD};
use crate::{Case, strike};

pub const STRIKES: &[Case] = &[strike(
    "leave: drained and deleted, nothing stays paused or registered, and pods of the template's size carry the load",
    gone,
)];

/// Twice and more of what the template gives: fewer pods than the template's size needs.
const LARGE: &str = "100m..200m";
/// The smallest of these sizes, thousandths of a core.
const LEAST: u32 = 100;
/// The Deployment that is held as the product goes.
const HELD: &str = "session-db";

fn gone(bed: &Bed) -> Result<()> {
    bed.yard()?;
    bed.settled(&WAVE)?;
    let cpu = format!("msars.io/cpu={LARGE}");
    bed.annotate(&WAVE, &[&cpu, "msars.io/max-replicas=12"])?;
    slowly("a size above the template's in force", 90, || {
        let fleet = bed.fleets(YARD)?[WAVE.name()];
        Ok((fleet.milli >= LEAST)
            .then_some(())
            .ok_or(format!("{fleet:?}")))
    })?;
    let template = template(bed)?;
    bed.settle(HELD)?;
    bed.hold(HELD)?;
    let before = bed.replicas(&WAVE)?;
    let old = ours(bed)?;
    let said = drain(bed)?;
    let after = bed.replicas(&WAVE)?;
    println!("      {} from {before} to {after} replicas", WAVE.name());
    born_as_declared(bed, &old)?;
    for line in [
        format!("released {}/{HELD}", bed.namespace),
        format!("left {YARD}/{}", WAVE.name()),
    ] {
        ensure!(
            said.lines().any(|found| found == line),
            "expected: `{line}`; found: {said}"
        );
    }
    deleted(bed)?;
    nothing_stays(bed)?;
    carries(bed, template)
}

/// The template's CPU limit, thousandths of a core.
fn template(bed: &Bed) -> Result<u32> {
    let object = bed.get_at(&WAVE, &["deployment", WAVE.name()])?;
    limit(&object["spec"]["template"]["spec"])
}

fn limit(pod: &Value) -> Result<u32> {
    pod.pointer("/containers/0/resources/limits/cpu")
        .and_then(Value::as_str)
        .and_then(cpu_millis)
        .context("no limit")
}

/// Pods of the workloads that the product scales, but for that of the revision that the drain releases.
fn ours(bed: &Bed) -> Result<BTreeMap<String, Value>> {
    let mut all = BTreeMap::new();
    for namespace in [YARD, &*bed.namespace] {
        for pod in bed.pods_in(namespace)? {
            let app = pod["metadata"]["labels"]["app"].as_str();
            let uid = pod["metadata"]["uid"]
                .as_str()
                .unwrap_or_default()
                .to_owned();
            if app.is_some_and(|app| app != HELD) {
                all.insert(uid, pod);
            }
        }
    }
    Ok(all)
}

/// Whoever was left got new pods of the template's size, by which they are counted.
fn born_as_declared(bed: &Bed, old: &BTreeMap<String, Value>) -> Result<()> {
    let mut count = 0;
    for (uid, pod) in ours(bed)? {
        if old.contains_key(&uid) {
            continue;
        }
        let part = |path: &str| {
            pod.pointer(path)
                .and_then(Value::as_str)
                .unwrap_or_default()
        };
        let (namespace, app) = (part("/metadata/namespace"), part("/metadata/labels/app"));
        let deployment = ["-n", namespace, "get", "deployment", app, "-o", "json"];
        let deployment: Value = serde_json::from_str(&bed.must(&deployment)?)?;
        let declared = limit(&deployment["spec"]["template"]["spec"])?;
        let born = limit(&pod["spec"])?;
        ensure!(
            born == declared,
            "expected: new pods of {app} of its template's {declared}m; found: {born}m"
        );
        count += 1;
    }
    println!("      {count} new pods, all of their template's size");
    Ok(())
}

/// As `manifests/drain` says; what the Job said.
fn drain(bed: &Bed) -> Result<String> {
    scale(bed, "msars-autoscaler", 0)?;
    let job = folder("drain").display().to_string();
    bed.must(&["apply", "-k", &job])?;
    let good = slowly("the drain ends", 400, || {
        let status = bed.own(&["job", "msars-drain"])?["status"].take();
        let count = |name: &str| status[name].as_u64().unwrap_or(0);
        Ok(match (count("succeeded"), count("failed")) {
            (0, 0) => Err(status.to_string()),
            (succeeded, _) => Ok(succeeded > 0),
        })
    })?;
    let said = bed.must(&["-n", SYSTEM, "logs", "job/msars-drain"])?;
    ensure!(good, "expected: drained; found: {said}");
    Ok(said)
}

fn deleted(bed: &Bed) -> Result<()> {
    let base = folder("").display().to_string();
    bed.must(&["delete", "-k", &base, "--wait=false"])?;
    slowly("the product's namespace is gone", 120, || {
        let said = bed.kubectl(&["get", "namespace", SYSTEM, "--ignore-not-found"])?;
        let gone = said.good && said.out.trim().is_empty();
        Ok(gone.then_some(()).ok_or(said.out))
    })
}

/// Objects of a kind in all namespaces.
fn all(bed: &Bed, kind: &str) -> Result<Vec<Value>> {
    let list: Value = serde_json::from_str(&bed.must(&["get", kind, "-A", "-o", "json"])?)?;
    Ok(list["items"].as_array().cloned().unwrap_or_default())
}

fn nothing_stays(bed: &Bed) -> Result<()> {
    let text = |object: &Value, path: &str| -> String {
        let found = object.pointer(path).and_then(Value::as_str);
        found.unwrap_or_default().to_owned()
    };
    let name = |object: &Value| {
        let part = |path: &str| text(object, path);
        format!("{}/{}", part("/metadata/namespace"), part("/metadata/name"))
    };
    let deployments = all(bed, "deployments")?;
    let held: Vec<String> = deployments
        .iter()
        .filter(|object| !Seen((*object).clone()).free())
        .map(name)
        .collect();
    ensure!(
        held.is_empty(),
        "expected: no Deployment paused or with a hold's annotations; found: {held:?}"
    );
    let pods = all(bed, "pods")?;
    let finalized: Vec<String> = deployments
        .iter()
        .chain(&pods)
        .filter(|object| object["metadata"].get("finalizers").is_some())
        .map(name)
        .collect();
    ensure!(
        finalized.is_empty(),
        "expected: no finalizer; found: {finalized:?}"
    );
    let shadows: Vec<String> = pods
        .iter()
        .filter(|pod| pod["metadata"]["labels"].get(SHADOW_LABEL).is_some())
        .map(name)
        .collect();
    ensure!(
        shadows.is_empty(),
        "expected: no shadow pod; found: {shadows:?}"
    );
    let webhooks = all(bed, "mutatingwebhookconfigurations")?;
    ensure!(
        !webhooks
            .iter()
            .any(|found| text(found, "/metadata/name") == WEBHOOK_CONFIGURATION),
        "expected: no {WEBHOOK_CONFIGURATION}; found it"
    );
    until("our kinds are gone", 60, || {
        let kinds = all(bed, "customresourcedefinitions")?;
        let mut kinds = kinds.iter().map(|kind| text(kind, "/metadata/name"));
        let left = kinds.find(|kind| kind.ends_with(".msars.io"));
        Ok(left.map_or(Ok(()), Err))
    })
}

/// With every pod born anew, the CPU of the template's pods is more than the load uses.
fn carries(bed: &Bed, template: u32) -> Result<()> {
    let target = format!("deployment/{}", WAVE.name());
    bed.at(&WAVE, &["rollout", "restart", &target])?;
    bed.rolled_in(YARD, WAVE.name())?;
    let fleet = until("only pods of the template's size", 60, || {
        let pods = bed.pods_of(&WAVE)?.len() as u64;
        let fleet = bed.fleets(YARD)?[WAVE.name()];
        let born = fleet.milli == template && pods == fleet.replicas;
        Ok(born
            .then_some(fleet)
            .ok_or(format!("{pods} pods, {fleet:?}")))
    })?;
    let given = fleet.replicas as f64 * f64::from(fleet.milli) / 1000.0;
    let used = f64::from(WAVE.rate()) * mean_work_ms(WAVE.role, Version::V1) / 1000.0;
    println!("      {given:.3} cores for {used:.3} that the load uses");
    ensure!(
        given > used,
        "expected: pods of {template}m with more than {used:.3} cores; found: {fleet:?}"
    );
    Ok(())
}
