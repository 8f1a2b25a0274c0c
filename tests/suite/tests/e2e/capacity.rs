//! How much load a size truly carries, against what a profile promises for a size and rates that it did not measure.
//!
//! A pod of the same template, outside every Service, runs at a size between the measured ones. The profile says which
//! rate keeps its self time within the partial SLO. The truth is bracketed: a fifth below that rate the budget must
//! hold, and a fifth above it must break, both by the pod's own histogram of self time.

use std::process::Stdio;

use anyhow::{Context, Result, ensure};
use msars_domain::Percentile;
use msars_observe::{Buckets, exposition};
use msars_shop::{Role, profile_request};
use serde_json::{Value, json};

use crate::bed::{Bed, until};
use crate::held::Seen;
use crate::install::programs;

/// How far the promised capacity may lie from the true one.
const ALLOWED: f64 = 0.2;
/// Load at the rate below the promised one.
const BELOW: &str = "12s";
/// Load at the rate above it: near saturation a queue takes its time to grow.
const ABOVE: &str = "30s";
/// Seconds before it, for connections and caches.
const WARM: &str = "3s";
const POD: &str = "e2e-capacity";

/// What was promised and what is true.
#[derive(Debug, Clone, Copy)]
pub struct Bracket {
    /// CPU limit, thousandths of a core: not one of those measured.
    pub size: u64,
    /// Partial SLO, ms.
    pub budget: f64,
    /// The profile's capacity, requests per second.
    pub promised: f64,
    /// p99 of self time a fifth below it, ms.
    pub below: f64,
    /// The same a fifth above it.
    pub above: f64,
}

impl Bracket {
    /// Whether the true capacity lies within a fifth of the promised one.
    pub fn holds(&self) -> bool {
        self.below <= self.budget && self.above > self.budget
    }
}

/// The largest rate whose quantile is within `budget`, linear between knots.
fn promise(curve: &Value, budget: f64) -> Option<f64> {
    let knots = curve["knots"].as_array()?.iter();
    let knots: Vec<(f64, f64)> = knots
        .filter_map(|knot| Some((knot["rate"].as_f64()?, knot["ms"].as_f64()?)))
        .collect();
    let mut best = knots.first().filter(|knot| knot.1 <= budget)?.0;
    for pair in knots.windows(2) {
        let ((rate, ms), (next, more)) = (pair[0], pair[1]);
        if more > budget {
            return Some(rate + (budget - ms) / (more - ms) * (next - rate));
        }
        best = next;
    }
    Some(best)
}

/// A size of the profile's grid between the smallest and the largest measured one, and not measured itself.
fn between(profile: &Value, measured: &[u64]) -> Option<(u64, Value)> {
    let curves = profile["status"]["curve"].as_array()?;
    let (least, most) = (*measured.first()?, *measured.last()?);
    let middle = least.midpoint(most);
    let sized = curves
        .iter()
        .filter_map(|curve| Some((curve["sizeMilli"].as_u64()?, curve.clone())));
    sized
        .filter(|(size, _)| *size > least && *size < most && !measured.contains(size))
        .min_by_key(|(size, _)| size.abs_diff(middle))
}

/// The tightest budget of a revision over all chains, ms.
fn budget(bed: &Bed, name: &str, hash: &str) -> Result<f64> {
    until(&format!("a budget of revision {hash}"), 40, || {
        let slo = bed.get(&["slo", "front-end"])?;
        let chains = slo["status"]["chains"].as_array().into_iter().flatten();
        let services = chains.filter_map(|chain| chain["services"].as_array());
        let ours = services
            .flatten()
            .filter(|entry| entry["workload"] == name && entry["revision"] == hash)
            .filter_map(|entry| entry["budgetMs"].as_f64());
        Ok(ours.reduce(f64::min).ok_or("none".to_owned()))
    })
}

/// Starts the pod; its address.
fn start(bed: &Bed, template: &Seen, size: u64) -> Result<String> {
    bed.shopped(&["delete", "pod", POD, "--ignore-not-found"])?;
    let mut spec = template.0["spec"]["template"]["spec"].clone();
    let app = &mut spec["containers"][0];
    app["resources"]["limits"]["cpu"] = json!(format!("{size}m"));
    app["resources"]["requests"]["cpu"] = json!("20m");
    let env = app["env"].as_array().cloned().unwrap_or_default();
    let mut env: Vec<Value> = env
        .into_iter()
        .filter(|entry| entry["name"] != "SHOP_SELF_TIME")
        .collect();
    env.push(json!({"name": "SHOP_SELF_TIME", "value": "true"}));
    app["env"] = json!(env);
    let metadata = json!({"name": POD, "namespace": bed.namespace, "labels": {"e2e": "capacity"}});
    bed.apply(&json!({"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec}))?;
    bed.shopped(&[
        "wait",
        "--for=condition=Ready",
        &format!("pod/{POD}"),
        "--timeout=40s",
    ])?;
    let pod = bed.get(&["pod", POD])?;
    Ok(pod["status"]["podIP"]
        .as_str()
        .context("no podIP")?
        .to_owned())
}

fn drive(bed: &Bed, ip: &str, rate: f64, time: &str) -> Result<()> {
    let out = bed
        .cluster
        .enter(programs()?.join("msars-profile"))
        .args(["run", "--target", &format!("http://{ip}:8080")])
        .args(["--requests", &profile_request(Role::Catalogue)])
        .args(["--rate", &format!("{rate:.2}"), "--duration", time])
        .stdin(Stdio::null())
        .output()
        .context("driving the pod")?;
    ensure!(
        out.status.success(),
        "expected: a load of {rate:.1}/s; found: {}",
        String::from_utf8_lossy(&out.stderr)
    );
    Ok(())
}

fn self_times(bed: &Bed) -> Result<Buckets> {
    let path = format!(
        "/api/v1/namespaces/{}/pods/{POD}:8080/proxy/metrics",
        bed.namespace
    );
    let text = bed.must(&["get", "--raw", &path])?;
    exposition::histogram(&text, "shop_self_seconds", &[])
        .map_err(|why| anyhow::anyhow!("self times of {POD}: {why:?}"))
}

/// p99 of self time at a rate, ms.
fn quantile(bed: &Bed, ip: &str, rate: f64, time: &str) -> Result<f64> {
    drive(bed, ip, rate, WARM)?;
    let before = self_times(bed)?;
    drive(bed, ip, rate, time)?;
    let seen = self_times(bed)?
        .since(&before)
        .map_err(|why| anyhow::anyhow!("self times of {POD}: {why:?}"))?;
    ensure!(
        seen.count() >= 100.0,
        "expected: at least 100 requests; found: {}",
        seen.count()
    );
    let found = seen
        .quantile(Percentile::new(0.99)?)
        .context("no quantile")?;
    Ok(found.value * 1000.0)
}

/// Brackets the true capacity of the running revision at a size that its profile did not measure.
pub fn bracket(bed: &Bed, name: &str, profile: &Value, measured: &[u64]) -> Result<Bracket> {
    let hash = profile["spec"]["revision"]
        .as_str()
        .context("no revision")?;
    let budget = budget(bed, name, hash)?;
    let (size, curve) = between(profile, measured)
        .with_context(|| format!("no size of the grid between {measured:?}"))?;
    let promised =
        promise(&curve, budget).with_context(|| format!("no rate keeps {budget} ms at {size}m"))?;
    let ip = start(bed, &bed.deployment(name)?, size)?;
    let (low, high) = (promised * (1.0 - ALLOWED), promised * (1.0 + ALLOWED));
    let found = quantile(bed, &ip, low, BELOW)
        .and_then(|below| Ok((below, quantile(bed, &ip, high, ABOVE)?)));
    bed.shopped(&["delete", "pod", POD, "--wait=false"])?;
    let (below, above) = found?;
    Ok(Bracket {
        size,
        budget,
        promised,
        below,
        above,
    })
}
