//! podinfo, an HTTP program that others wrote, with the names of metrics that Prometheus' client libraries use:
//! annotated, profiled, held, released, scaled.

use std::process::Command;

use anyhow::{Context, Result, bail, ensure};
use msars_cluster::Image;
use msars_domain::{ObjectKey, Percentile};
use msars_observe::{Ask, Preset, Scope, signal_queries};
use msars_suite::folder;
use serde_json::{Value, json};

use crate::bed::{Bed, SYSTEM, until};
use crate::clock::Watch;
use crate::install::programs;
use crate::patience::slowly;
use crate::{Case, strike};

pub const STRIKES: &[Case] = &[strike(
    "podinfo by the prometheus preset: learnt, held, profiled, released, scaled under a burst",
    podinfo,
)];

const SPACE: &str = "e2e-podinfo";
const NAME: &str = "podinfo";
const TARGET: &str = "deployment/podinfo";
const IMAGE: &str = "e2e/podinfo:local";
const LOAD: &str = "load-podinfo";
/// Requests per second, first and in the burst.
const USUAL: u32 = 20;
const BURST: u32 = 600;

fn at(bed: &Bed, args: &[&str]) -> Result<String> {
    let mut all = vec!["-n", SPACE];
    all.extend(args);
    bed.must(&all)
}

fn get(bed: &Bed, args: &[&str]) -> Result<Value> {
    let mut all = vec!["get", "-o", "json"];
    all.extend(args);
    Ok(serde_json::from_str(&at(bed, &all)?)?)
}

fn objects() -> Value {
    let labels = json!({"app": NAME});
    let container = json!({
        "name": "podinfod", "image": IMAGE, "imagePullPolicy": "Never",
        "args": ["--port=9898", "--level=error"],
        "ports": [{"name": "http", "containerPort": 9898}],
        "readinessProbe": {"httpGet": {"path": "/readyz", "port": "http"}, "periodSeconds": 1},
        "resources": {"requests": {"cpu": "40m", "memory": "32Mi"}, "limits": {"cpu": "80m", "memory": "96Mi"}},
        "securityContext": {"allowPrivilegeEscalation": false, "readOnlyRootFilesystem": true, "capabilities": {"drop": ["ALL"]}},
    });
    let scraped = json!({"prometheus.io/scrape": "true", "prometheus.io/port": "9898", "prometheus.io/path": "/metrics"});
    let deployment = json!({
        "apiVersion": "apps/v1", "kind": "Deployment",
        "metadata": {"name": NAME, "namespace": SPACE, "annotations": {
            "msars.io/mode": "auto", "msars.io/gate": "hold", "msars.io/application": NAME,
            "msars.io/slo": "p99<200ms", "msars.io/profile-request": "GET /api/info",
            "msars.io/max-replicas": "4",
        }},
        "spec": {
            "replicas": 1,
            "selector": {"matchLabels": labels},
            "template": {
                "metadata": {"labels": labels, "annotations": scraped},
                "spec": {
                    "automountServiceAccountToken": false,
                    "enableServiceLinks": false,
                    "terminationGracePeriodSeconds": 5,
                    "securityContext": {"runAsNonRoot": true, "runAsUser": 65532, "seccompProfile": {"type": "RuntimeDefault"}},
                    "containers": [container],
                },
            },
        },
    });
    let service = json!({
        "apiVersion": "v1", "kind": "Service", "metadata": {"name": NAME, "namespace": SPACE},
        "spec": {"selector": labels, "ports": [{"name": "http", "port": 80, "targetPort": "http"}]},
    });
    let options = msars_shop::Options {
        namespace: SPACE.into(),
        ..msars_shop::Options::default()
    };
    json!({"apiVersion": "v1", "kind": "List", "items": [msars_shop::namespace(&options), service, deployment]})
}

fn visit(bed: &Bed, rate: u32) -> Result<()> {
    let service = get(bed, &["service", NAME])?;
    let address = service["spec"]["clusterIP"].as_str();
    let address = address.context("no clusterIP")?;
    let mut command = Command::new(programs()?.join("msars-profile"));
    command
        .args(["run", "--target", &format!("http://{address}")])
        .args(["--requests", "GET /api/info"])
        .args(["--rate", &rate.to_string()])
        .args(["--duration", "3600s", "--window", "10s"]);
    bed.cluster.stop(LOAD)?;
    bed.cluster.spawn(LOAD, &command).map(drop)
}

fn podinfo(bed: &Bed) -> Result<()> {
    let program = bed.cluster.podinfo(&|line| println!("      {line}"))?;
    bed.cluster
        .load_images(&[Image::of_program(IMAGE, &program)?])?;
    bed.apply(&objects())?;
    let grant = folder("namespace").display().to_string();
    at(bed, &["apply", "-k", &grant])?;
    bed.rolled_in(SPACE, NAME)?;
    visit(bed, USUAL)?;
    let outcome = named(bed).and_then(|()| {
        preset(bed, "MSARS_PRESET=prometheus")?;
        story(bed)
    });
    bed.cluster.stop(LOAD)?;
    at(bed, &["delete", "namespace", SPACE, "--wait=false"])?;
    let back = preset(bed, "MSARS_PRESET-");
    outcome?;
    back
}

/// Starts the product anew with other names of metrics.
fn preset(bed: &Bed, variable: &str) -> Result<()> {
    let target = "deployment/msars-autoscaler";
    bed.must(&["-n", SYSTEM, "set", "env", target, variable])?;
    bed.rolled_in(SYSTEM, "msars-autoscaler")
}

/// That podinfo exports what the preset asks for.
fn named(bed: &Bed) -> Result<()> {
    let preset = Preset::prometheus();
    let pods = get(bed, &["pods", "-l", "app=podinfo"])?;
    let address = pods
        .pointer("/items/0/status/podIP")
        .and_then(Value::as_str);
    let address = address.context("no pod")?;
    let metric = format!("{}_bucket{{", preset.requests.metric);
    let wanted = [
        "le=\"",
        "status=\"200\"",
        "path=\"api_info\"",
        "path=\"readyz\"",
        // The first look is counted once it is answered.
        "path=\"metrics\"",
    ];
    let text = until("podinfo has counted what it is asked", 20, || {
        let text = bed.cluster.get(&format!("http://{address}:9898/metrics"))?;
        let has = |wanted: &&str| {
            let mut lines = text.lines();
            lines.any(|line| line.starts_with(&metric) && line.contains(wanted))
        };
        let missing = wanted.iter().find(|wanted| !has(wanted));
        Ok(match missing {
            None => Ok(text),
            Some(missing) => Err(format!("no {metric} with {missing}")),
        })
    })?;
    ensure!(
        text.contains("process_cpu_seconds_total"),
        "expected: process_cpu_seconds_total, by which a copy's work is found"
    );
    answered(bed, &preset)
}

/// That every question of the preset has an answer about podinfo.
fn answered(bed: &Bed, preset: &Preset) -> Result<()> {
    let mut scope = Scope::default();
    scope
        .workloads
        .insert(ObjectKey::new(SPACE, NAME), Percentile::new(0.99)?);
    for (ask, promql) in signal_queries(preset, &scope) {
        // It has not failed yet.
        if ask == Ask::Errors {
            continue;
        }
        slowly(&format!("an answer to {promql}"), 60, || {
            Ok(match bed.series(&promql) {
                Ok(series) if !series.is_empty() => Ok(()),
                other => Err(format!("{other:?}")),
            })
        })?;
    }
    Ok(())
}

fn deployment(bed: &Bed) -> Result<crate::held::Seen> {
    Ok(crate::held::Seen(get(bed, &["deployment", NAME])?))
}

fn story(bed: &Bed) -> Result<()> {
    let watch = Watch::start();
    slowly("podinfo is learnt and its objective split", 120, || {
        let said = bed.kubectl(&["-n", SPACE, "get", "slo", NAME, "-o", "json"])?;
        let slo: Value = serde_json::from_str(&said.out).unwrap_or_default();
        let services = slo.pointer("/status/chains/0/services");
        let split = services.and_then(Value::as_array).map_or(0, Vec::len);
        let llps = get(bed, &["llp"])?["items"].as_array().map_or(0, Vec::len);
        Ok((split == 1 && llps >= 1).then_some(()).ok_or(format!(
            "{llps} profiles, {}",
            slo["status"]["conditions"][0]["message"]
        )))
    })?;
    println!("      learnt and split after {:.0} s", watch.seconds());
    let hash = held(bed)?;
    let watch = Watch::start();
    until("the hold ends", 130, || {
        let seen = deployment(bed)?;
        Ok(seen.free().then_some(()).ok_or(seen.words()))
    })?;
    let told = until("an event of the release", 20, || {
        let list = get(
            bed,
            &["events", "--field-selector", "reason=RevisionReleased"],
        )?;
        let items = list["items"].as_array().cloned().unwrap_or_default();
        let notes: Vec<String> = items
            .iter()
            .filter_map(|event| Some(event["message"].as_str()?.to_owned()))
            .collect();
        let found = notes.iter().find(|note| note.contains(&hash)).cloned();
        Ok(found.ok_or(format!("{notes:?}")))
    })?;
    ensure!(
        told.contains("the revision is profiled"),
        "expected: released as profiled; found: {told}"
    );
    println!("      held {:.0} s: {told}", watch.seconds());
    bed.rolled_in(SPACE, NAME)?;
    scaled(bed)
}

/// Changes the template until it is held: the webhook sees the split a moment after it is written.
fn held(bed: &Bed) -> Result<String> {
    for _ in 0..5 {
        let pair = format!("E2E_MARK={}", bed.mark());
        let said = bed.must_with(
            "",
            &["-n", SPACE, "set", "env", TARGET, "-c", "podinfod", &pair],
        )?;
        let seen = deployment(bed)?;
        if seen.held() {
            return seen.hash();
        }
        println!("      {}", said.err.trim());
        bed.rolled_in(SPACE, NAME)?;
    }
    bail!("expected: an update of podinfo held; found: five that were not");
}

fn scaled(bed: &Bed) -> Result<()> {
    slowly("podinfo is scaled by its profile", 60, || {
        let object = get(bed, &["sloautoscaler", NAME])?;
        let list = object.pointer("/status/conditions");
        let mut list = list.and_then(Value::as_array).into_iter().flatten();
        let active = list.find(|found| found["type"] == "ScalingActive");
        Ok(match active {
            Some(found) if found["status"] == "True" => Ok(()),
            other => Err(format!("{other:?}")),
        })
    })?;
    let mark = bed.mark_audit()?;
    let watch = Watch::start();
    visit(bed, BURST)?;
    let write = until("one resize or scale under the burst", 60, || {
        let all = bed.ours(mark, SPACE, NAME)?;
        let mut acts = all.iter().filter(|write| {
            write.accepted()
                && ["deployments/scale", "pods/resize"].contains(&write.resource.as_str())
        });
        Ok(acts
            .next()
            .cloned()
            .ok_or(format!("{} other writes", all.len())))
    })?;
    println!(
        "      {:.0} s after the burst began: {} {}",
        watch.seconds(),
        write.words(),
        write.body
    );
    let pods = get(bed, &["pods", "-l", "app=podinfo"])?;
    let items = pods["items"].as_array().into_iter().flatten();
    let restarts: u64 = items
        .filter_map(|pod| pod["status"]["containerStatuses"][0]["restartCount"].as_u64())
        .sum();
    ensure!(
        restarts == 0,
        "expected: no container restarted; found: {restarts}"
    );
    Ok(())
}
