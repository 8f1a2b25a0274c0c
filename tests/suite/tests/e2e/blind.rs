//! Prometheus stops, is slow, or misses some pods, under load: nothing shrinks by what is not measured.

use std::process::Command;

use anyhow::{Result, ensure};
use msars_cluster::NODE_ADDRESS;
use serde_json::json;

use crate::bed::{Bed, until};
use crate::clock::{Watch, now};
use crate::late;
use crate::patience::{SOON, TICK, slowly, stays};
use crate::states::{Decided, Fleets, shrunk};
use crate::strikes::Struck;
use crate::yard::{WAVE, YARD};
use crate::{Case, beside, strike};

pub const STRIKES: &[Case] = &[
    strike(
        "scaling: Prometheus stopped for two minutes under load: nothing shrinks, the condition says why, it comes back",
        stopped,
    ),
    strike("scaling: a slow Prometheus gives the same demand", slow),
];

pub const BESIDE: &[Case] = &[beside(
    "scaling: one pod's samples missing: the rest is not taken for all",
    partial,
)];

/// How long Prometheus is away.
const AWAY: u64 = 120;
/// How late its answers are, ms: well within the product's patience of 10 s.
const LATE_MS: &str = "4000";
/// Where the relay listens.
const RELAY: u16 = 9191;
/// Its name among the cluster's programs.
const NAME: &str = "late-prometheus";
/// Share by which the peak of a Poisson load may differ between two windows of half a minute.
const NOISE: f64 = 0.25;

fn everywhere(bed: &Bed) -> Result<[Fleets; 2]> {
    Ok([bed.fleets(YARD)?, bed.fleets(&bed.namespace)?])
}

fn none_shrank(bed: &Bed, before: &[Fleets; 2]) -> Result<Result<(), String>> {
    let now = everywhere(bed)?;
    let less: Vec<String> = before
        .iter()
        .zip(&now)
        .flat_map(|(before, now)| shrunk(before, now))
        .collect();
    Ok(if less.is_empty() {
        Ok(())
    } else {
        Err(less.join("; "))
    })
}

/// Without its load, it would have less: else that nothing shrinks shows nothing.
fn has_to_lose(bed: &Bed) -> Result<()> {
    let fleet = bed.fleets(YARD)?[WAVE.name()];
    ensure!(
        fleet.replicas > 2 || fleet.milli > 25,
        "expected: more than the smallest fleet under load; found: {fleet:?}"
    );
    println!("      {} × {}m under load", fleet.replicas, fleet.milli);
    Ok(())
}

fn stopped(bed: &Bed) -> Result<()> {
    bed.yard()?;
    has_to_lose(bed)?;
    let struck = Struck::down(bed, "prometheus")?;
    let outcome = unseen(bed, Watch::start());
    struck.back(bed)?;
    outcome?;
    let back = Watch::start();
    until("Prometheus is ready", 40, || {
        let answer = bed
            .cluster
            .get(&format!("{}/-/ready", bed.cluster.prometheus()));
        Ok(answer.map(drop).map_err(|error| error.to_string()))
    })?;
    bed.until_says(&WAVE, "ScalingActive", true, "ValidMetricFound", 90)?;
    println!(
        "      scaling again {:.0} s after its return",
        back.seconds()
    );
    bed.settled(&WAVE)
}

fn unseen(bed: &Bed, away: Watch) -> Result<()> {
    let before = everywhere(bed)?;
    let why = bed.until_says(&WAVE, "ScalingActive", false, "FailedGetPodsMetric", 45)?;
    ensure!(
        why.contains("metrics") && why.contains("did not answer"),
        "expected: a condition that says that the source did not answer; found: {why}"
    );
    let left = AWAY.saturating_sub(away.elapsed().as_secs());
    stays("nothing shrinks", left, || none_shrank(bed, &before))?;
    let fleet = bed.fleets(YARD)?[WAVE.name()];
    println!("      {} × {}m at the end", fleet.replicas, fleet.milli);
    Ok(())
}

/// Lets the Service lead to another port of the node, and breaks the connections that lead to the last one.
fn lead_to(bed: &Bed, port: u16) -> Result<()> {
    let ports = json!({"ports": [{"name": "http", "port": port, "protocol": "TCP"}]}).to_string();
    bed.must(&[
        "-n",
        "monitoring",
        "patch",
        "endpointslice",
        "prometheus",
        "--type=merge",
        "-p",
        &ports,
    ])?;
    Ok(())
}

/// Connections through the Service begin anew: the kernel forgets where they led.
fn cut(bed: &Bed) -> Result<()> {
    let out = bed
        .cluster
        .enter("/usr/sbin/conntrack")
        .args(["-D", "-p", "tcp", "--dport", "9090"])
        .output()?;
    let said = String::from_utf8_lossy(&out.stderr);
    ensure!(
        said.contains("flow entries have been deleted"),
        "expected: conntrack says how many flows it deleted; found: {said}"
    );
    Ok(())
}

fn slow(bed: &Bed) -> Result<()> {
    bed.yard()?;
    has_to_lose(bed)?;
    let known = |found: &[Decided]| found.iter().any(|decided| decided.known);
    // The decision on fast answers that the slow ones are compared with.
    let fast = bed.decided(
        &WAVE,
        now() - jiff::SignedDuration::from_secs(30),
        60,
        known,
    )?;
    let fast = fast.into_iter().rfind(|decided| decided.known);
    let mut command = Command::new(std::env::current_exe()?);
    command.args([
        late::FLAG,
        &format!("{NODE_ADDRESS}:{RELAY}"),
        &format!("{NODE_ADDRESS}:9090"),
        LATE_MS,
    ]);
    bed.cluster.spawn(NAME, &command)?;
    let outcome = lead_to(bed, RELAY).and_then(|()| through(bed));
    let back = lead_to(bed, 9090).and_then(|()| {
        bed.cluster.stop(NAME)?;
        cut(bed)
    });
    let late = outcome?;
    back?;
    let fast = fast.and_then(|decided| decided.peak).unwrap_or_default();
    for decided in &late {
        let peak = decided.peak.unwrap_or_default();
        println!(
            "      peak {peak:.1}/s, {fast:.1}/s before; {:?}",
            decided.wanted
        );
        ensure!(
            (peak / fast - 1.0).abs() <= NOISE,
            "expected: a peak of about {fast:.1}/s; found: {decided:?}"
        );
    }
    bed.until_says(&WAVE, "ScalingActive", true, "ValidMetricFound", 60)
        .map(drop)
}

/// Waits for two decisions on late answers. A fleet that is larger than its load needs may shrink by them: they are known
/// readings, and what they must show is the same load.
fn through(bed: &Bed) -> Result<Vec<Decided>> {
    let log = bed.cluster.log(NAME);
    let held =
        || -> Result<usize> { Ok(std::fs::read_to_string(&log)?.matches(late::HELD).count()) };
    let before = held()?;
    slowly("queries take the relay", 60, || {
        cut(bed)?;
        let count = held()?;
        Ok((count > before)
            .then_some(())
            .ok_or(format!("{count} late answers")))
    })?;
    let since = now();
    let late = bed.decided(&WAVE, since, 90, |found| {
        found.iter().filter(|decided| decided.known).count() >= 2
    })?;
    println!("      {} answers held back", held()? - before);
    Ok(late.into_iter().filter(|decided| decided.known).collect())
}

fn partial(bed: &Bed) -> Result<()> {
    bed.yard()?;
    bed.settled(&WAVE)?;
    let pods = bed.pods_of(&WAVE)?;
    let one = pods.first().map(|pod| pod["metadata"]["name"].to_string());
    let one = one.unwrap_or_default().trim_matches('"').to_owned();
    let scrape = |value: &str| {
        let pair = format!("prometheus.io/scrape={value}");
        bed.at(&WAVE, &["annotate", "--overwrite", "pod", &one, &pair])
    };
    scrape("false")?;
    let outcome = half(bed);
    scrape("true")?;
    outcome?;
    bed.until_says(&WAVE, "ScalingActive", true, "ValidMetricFound", 60)
        .map(drop)
}

/// Waits until the product says that it does not see all, and shows that it keeps what there is.
fn half(bed: &Bed) -> Result<()> {
    let why = bed.until_says(&WAVE, "ScalingActive", false, "FailedGetPodsMetric", SOON)?;
    println!("      {why}");
    let before = bed.fleets(YARD)?;
    stays("it does not shrink", TICK, || {
        let now = bed.fleets(YARD)?[WAVE.name()];
        let was = before[WAVE.name()];
        let whole = now.replicas >= was.replicas && now.milli >= was.milli;
        Ok(whole
            .then_some(())
            .ok_or(format!("{now:?}, {was:?} before")))
    })
}
