//! No room: on the node, for a resize or for new pods, and in a quota.

use anyhow::{Context, Result, ensure};
use msars_api::annotations::cpu_millis;
use msars_shop::{Version, mean_work_ms};
use serde_json::{Value, json};

use crate::bed::Bed;
use crate::clock::now;
use crate::patience::{SOON, TICK, slowly, stays};
use crate::yard::{GREEDY, Plot, QUOTED, WALLED, WAVE};
use crate::{Case, beside, strike};

pub const STRIKES: &[Case] = &[strike(
    "scaling: node CPU full: a deferred resize asks for replicas, they wait, and nothing runs away",
    full,
)];

pub const BESIDE: &[Case] = &[
    beside(
        "scaling: an infeasible size is remembered and not asked again until a lower one is",
        infeasible,
    ),
    beside(
        "scaling: a quota that is reached is named, a LimitRange bounds sizes, and nothing runs into either",
        walls,
    ),
];

/// Fills what the node has left.
const FILLER: &str = "e2e-filler";
/// What is left of the node beside it, thousandths of a core: less than any resize of the burst asks for.
const LEFT: u32 = 2;
/// So many decisions without a write are rest.
const REST: usize = 3;
/// A pod that is not ready after so long counts as lost; a tick later its loss would have been answered.
const LOST: u64 = 60 + TICK;

/// Requests per second that take half as much again as all pods of a plot have CPU for.
fn too_much(bed: &Bed, plot: &Plot) -> Result<u32> {
    let fleet = bed.fleets(plot.namespace)?[plot.name()];
    let all = fleet.replicas as f64 * f64::from(fleet.milli);
    Ok((1.5 * all / mean_work_ms(plot.role, Version::V1)) as u32)
}

fn number(value: &Value) -> u32 {
    value.as_str().and_then(cpu_millis).unwrap_or(0)
}

/// Thousandths of a core that no pod of the node requests.
fn spare(bed: &Bed) -> Result<u32> {
    let list = |args: &[&str]| -> Result<Vec<Value>> {
        let list: Value = serde_json::from_str(&bed.must(args)?)?;
        Ok(list["items"].as_array().cloned().unwrap_or_default())
    };
    let nodes = list(&["get", "nodes", "-o", "json"])?;
    let node = nodes.first().context("no node")?;
    let all = number(&node["status"]["allocatable"]["cpu"]);
    let over = |pod: &Value| {
        let phase = pod["status"]["phase"].as_str();
        matches!(phase, Some("Succeeded" | "Failed")) || pod["spec"].get("nodeName").is_none()
    };
    let pods = list(&["get", "pods", "-A", "-o", "json"])?;
    let requested: u32 = pods
        .iter()
        .filter(|pod| !over(pod))
        .flat_map(|pod| pod["spec"]["containers"].as_array().into_iter().flatten())
        .map(|container| number(&container["resources"]["requests"]["cpu"]))
        .sum();
    Ok(all.saturating_sub(requested))
}

/// Takes the node's room but for a little, and waits until it has.
fn fill(bed: &Bed) -> Result<()> {
    let room = spare(bed)?;
    ensure!(room > LEFT, "expected: room on the node; found: {room}m");
    let pod = json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": {"name": FILLER, "namespace": "default"},
        "spec": {
            "terminationGracePeriodSeconds": 0,
            "automountServiceAccountToken": false,
            "containers": [{
                "name": "pause", "image": "registry.k8s.io/pause:3.10.1", "imagePullPolicy": "Never",
                "resources": {"requests": {"cpu": format!("{}m", room - LEFT)}},
            }],
        },
    });
    bed.apply(&pod)?;
    bed.must(&[
        "wait",
        "--for=condition=Ready",
        &format!("pod/{FILLER}"),
        "--timeout=30s",
    ])
    .map(drop)
}

/// Stops, or lets go on, all but the one workload: what another gave back would be room.
fn still(bed: &Bed, pair: &str) -> Result<()> {
    for namespace in [WAVE.namespace, &bed.namespace] {
        let all = ["annotate", "--overwrite", "deployment", "--all", pair];
        let mut args = vec!["-n", namespace];
        args.extend(all);
        bed.must(&args)?;
    }
    bed.annotate(&WAVE, &["msars.io/pause-"])
}

/// Waits until the plot keeps what it has: how many pods of which size that is depends on what it learnt before.
fn at_rest(bed: &Bed) -> Result<()> {
    let from = now();
    bed.decided(&WAVE, from, 180, |found| {
        let last = found.iter().rev().take(REST);
        last.len() == REST && last.into_iter().all(|decided| decided.actions == 0)
    })?;
    bed.settled(&WAVE)
}

fn full(bed: &Bed) -> Result<()> {
    bed.yard()?;
    bed.calm(&WAVE)?;
    at_rest(bed)?;
    still(bed, "msars.io/pause=true")?;
    let burst = too_much(bed, &WAVE)?;
    let outcome = fill(bed)
        .and_then(|()| bed.visit_plot(&WAVE, burst))
        .and_then(|()| without_room(bed));
    bed.must(&["delete", "pod", FILLER, "--ignore-not-found", "--wait"])?;
    still(bed, "msars.io/pause-")?;
    outcome?;
    // The kubelet carries the deferred resize out by itself, and the pods that waited start.
    bed.until_says(&WAVE, "ResizeBlocked", false, "NotBlocked", SOON)?;
    bed.settled(&WAVE)?;
    let name = WAVE.name();
    let events = bed.events(&WAVE, &format!("{name}-"))?;
    ensure!(
        events
            .iter()
            .any(|event| event.starts_with("FailedScheduling")),
        "expected: an event of a pod that found no node; found: {events:?}"
    );
    bed.calm(&WAVE)
}

fn unscheduled(bed: &Bed) -> Result<usize> {
    let waits = |pod: &&Value| {
        let list = pod.pointer("/status/conditions").and_then(Value::as_array);
        let mut list = list.into_iter().flatten();
        list.any(|found| found["type"] == "PodScheduled" && found["status"] == "False")
    };
    Ok(bed.pods_of(&WAVE)?.iter().filter(waits).count())
}

fn without_room(bed: &Bed) -> Result<()> {
    let before = bed.replicas(&WAVE)?;
    let why = bed.until_says(&WAVE, "ResizeBlocked", true, "ResizeDeferred", 90)?;
    println!("      {why}");
    slowly("more replicas in place of the size", SOON, || {
        let now = bed.replicas(&WAVE)?;
        Ok((now > before)
            .then_some(())
            .ok_or(format!("{now} replicas")))
    })?;
    slowly("pods that wait for a node", 30, || {
        let count = unscheduled(bed)?;
        Ok((count > 0).then_some(()).ok_or("none".to_owned()))
    })?;
    // The window of the rate fills with the burst: the most that the load asks for by then is the measure. This plot has
    // next to no stabilisation, so that a noisy quantile may ask for fewer in between.
    let seen = bed.decided(&WAVE, now(), 90, |found| match found {
        [.., one, two, three] => {
            three.wanted.replicas <= one.wanted.replicas.max(two.wanted.replicas)
        }
        _ => false,
    })?;
    let why = bed.until_says(&WAVE, "ScalingLimited", true, "PodsUnschedulable", SOON)?;
    println!("      {why}");
    let asked = seen.iter().map(|decided| decided.wanted.replicas).max();
    let most = bed.replicas(&WAVE)?.max(asked.unwrap_or(0));
    stays("no pods on top of those that wait", LOST, || {
        let now = bed.replicas(&WAVE)?;
        Ok((now <= most)
            .then_some(())
            .ok_or(format!("{now} replicas, {most} before")))
    })?;
    println!(
        "      from {before} to {most} replicas, {} wait",
        unscheduled(bed)?
    );
    Ok(())
}

fn infeasible(bed: &Bed) -> Result<()> {
    bed.yard()?;
    let mark = bed.mark_audit()?;
    let asked = || -> Result<Vec<String>> {
        let all = bed.ours(mark, GREEDY.namespace, GREEDY.name())?;
        let resizes = all.iter().filter(|write| write.resource == "pods/resize");
        Ok(resizes.map(|write| write.body.to_string()).collect())
    };
    // More than the node has, as a team may ask for that knows other nodes.
    bed.annotate(&GREEDY, &["msars.io/cpu=2500m..4"])?;
    let why = bed.until_says(
        &GREEDY,
        "ResizeBlocked",
        true,
        "ResizeInfeasible",
        SOON + TICK,
    )?;
    println!("      {why}");
    let once = asked()?;
    ensure!(
        !once.is_empty() && once.len() <= 2,
        "expected: one resize, or one and its way back; found: {once:?}"
    );
    stays("an infeasible size is not asked again", 2 * TICK, || {
        let now = asked()?;
        Ok((now.len() <= 2).then_some(()).ok_or(format!("{now:?}")))
    })?;
    bed.annotate(&GREEDY, &["msars.io/cpu=50m..90m"])?;
    bed.until_says(&GREEDY, "ResizeBlocked", false, "NotBlocked", SOON)?;
    slowly("a lower size is taken", 30, || {
        let fleet = bed.fleets(GREEDY.namespace)?[GREEDY.name()];
        Ok((fleet.milli <= 90)
            .then_some(())
            .ok_or(format!("{fleet:?}")))
    })?;
    bed.annotate(&GREEDY, &["msars.io/cpu-"])
}

const QUOTA: &str = "e2e-cpu";
const RANGE: &str = "e2e-sizes";

fn walls(bed: &Bed) -> Result<()> {
    quota(bed).and_then(|()| bounded(bed))
}

/// Sizes stay within the namespace's LimitRange, replicas carry the rest.
fn bounded(bed: &Bed) -> Result<()> {
    let most = bed.fleets(WALLED)?[QUOTED.name()].milli;
    let object = json!({
        "apiVersion": "v1", "kind": "LimitRange", "metadata": {"name": RANGE, "namespace": WALLED},
        "spec": {"limits": [{"type": "Container", "max": {"cpu": format!("{most}m")}}]},
    });
    bed.apply(&object)?;
    let mark = bed.mark_audit()?;
    let before = bed.replicas(&QUOTED)?;
    let rate = too_much(bed, &QUOTED)?;
    let grown = bed.visit_plot(&QUOTED, rate).and_then(|()| {
        slowly("more replicas in place of larger pods", 3 * SOON, || {
            let now = bed.replicas(&QUOTED)?;
            Ok((now > before)
                .then_some(())
                .ok_or(format!("{now} replicas")))
        })
    });
    let written = bed.writes(mark, WALLED)?;
    let largest = bed.fleets(WALLED)?[QUOTED.name()].milli;
    bed.at(&QUOTED, &["delete", "limitrange", RANGE])?;
    bed.calm(&QUOTED)?;
    grown?;
    ensure!(
        largest <= most,
        "expected: no pod above {most}m; found: {largest}m"
    );
    let refused: Vec<String> = written
        .iter()
        .filter(|write| [403, 422].contains(&write.code))
        .map(crate::audit::Write::words)
        .collect();
    ensure!(
        refused.is_empty(),
        "expected: nothing runs into the LimitRange; found: {refused:?}"
    );
    println!("      {before} → more replicas of at most {most}m at {rate}/s");
    Ok(())
}

fn quota(bed: &Bed) -> Result<()> {
    bed.yard()?;
    let before = bed.replicas(&QUOTED)?;
    let fleet = bed.fleets(WALLED)?[QUOTED.name()];
    // No second pod fits.
    let hard = format!("{}m", fleet.milli + 10);
    let object = json!({
        "apiVersion": "v1", "kind": "ResourceQuota", "metadata": {"name": QUOTA, "namespace": WALLED},
        "spec": {"hard": {"limits.cpu": hard}},
    });
    bed.apply(&object)?;
    let outcome = walled(bed, before);
    bed.at(&QUOTED, &["delete", "resourcequota", QUOTA])?;
    outcome?;
    bed.until_replicas(&QUOTED, 3, SOON)?;
    // As an HPA says it when its minimum is more than the load needs: the quota is no longer the reason.
    bed.until_says(&QUOTED, "ScalingLimited", true, "TooFewReplicas", SOON)?;
    bed.annotate(&QUOTED, &["msars.io/min-replicas-"])
}

fn walled(bed: &Bed, before: u64) -> Result<()> {
    slowly("the quota is counted", 30, || {
        let found = bed.get_at(&QUOTED, &["resourcequota", QUOTA])?;
        let used = &found["status"]["used"]["limits.cpu"];
        Ok((number(used) > 0).then_some(()).ok_or(used.to_string()))
    })?;
    let mark = bed.mark_audit()?;
    bed.annotate(&QUOTED, &["msars.io/min-replicas=3"])?;
    let why = bed.until_says(&QUOTED, "ScalingLimited", true, "QuotaReached", SOON)?;
    println!("      {why}");
    ensure!(
        why.contains(QUOTA),
        "expected: a condition that names the quota {QUOTA}; found: {why}"
    );
    stays("nothing runs into the quota", 2 * TICK, || {
        let refused: Vec<String> = bed
            .writes(mark, WALLED)?
            .iter()
            .filter(|write| write.code == 403)
            .map(crate::audit::Write::words)
            .collect();
        let now = bed.replicas(&QUOTED)?;
        Ok((refused.is_empty() && now == before)
            .then_some(())
            .ok_or(format!("{now} replicas, refused: {refused:?}")))
    })
}
