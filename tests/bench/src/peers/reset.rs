//! Every run begins alike: replicas of the manifests, fresh pods of the manifests' sizes, one policy in charge.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use msars_shop::Options as Shop;
use serde_json::Value;

use super::count::requested;
use super::policy::{Policy, replicas};
use crate::bed::Bed;

/// Until the shop is Available with fresh pods.
const FRESH: Duration = Duration::from_mins(4);

/// Takes every autoscaler away, gives the shop its replicas and fresh pods, then puts `policy` in charge.
pub fn to(bed: &Bed, shop: &Shop, policy: Policy) -> Result<()> {
    let cluster = &bed.cluster;
    let namespace = shop.namespace.as_str();
    let all = ["-n", namespace];
    cluster.ask([&all[..], &["delete", "hpa", "--all", "--ignore-not-found"]].concat())?;
    mode(bed, namespace, Policy::Fixed)?;
    for (name, wanted) in replicas(shop) {
        let wanted = format!("--replicas={wanted}");
        cluster.ask([&all[..], &["scale", "deploy", &name, &wanted]].concat())?;
    }
    cluster.ask([&all[..], &["delete", "pods", "--all", "--wait=false"]].concat())?;
    settled(bed, shop)?;
    bed.available(namespace, FRESH)?;
    mode(bed, namespace, policy)?;
    let autoscalers = policy.autoscalers(namespace);
    if autoscalers["items"]
        .as_array()
        .is_some_and(|items| !items.is_empty())
    {
        cluster.apply(&autoscalers.to_string())?;
    }
    Ok(())
}

fn mode(bed: &Bed, namespace: &str, policy: Policy) -> Result<()> {
    let mode = format!("msars.io/mode={}", policy.mode());
    bed.cluster
        .ask([
            "-n",
            namespace,
            "annotate",
            "deploy",
            "--all",
            "--overwrite",
            &mode,
        ])
        .context("telling the workloads their mode")?;
    Ok(())
}

/// Waits until no pod is going and the requests are those of the manifests: no run begins with another's sizes.
fn settled(bed: &Bed, shop: &Shop) -> Result<()> {
    let wanted = f64::from(msars_shop::requests_milli()) / 1000.0;
    let deadline = Instant::now() + FRESH;
    loop {
        let pods = bed.get(&["-n", &shop.namespace, "pods"])?;
        let going = |pod: &Value| pod.pointer("/metadata/deletionTimestamp").is_some();
        let list = pods["items"].as_array();
        let clean = !list.into_iter().flatten().any(going);
        let found = requested(&pods, 0.0).cores;
        if clean && (found - wanted).abs() < 5e-4 {
            return Ok(());
        }
        if Instant::now() >= deadline {
            bail!(
                "pods request {found:.3} cores and not the manifests' {wanted:.3} after {FRESH:?}"
            );
        }
        std::thread::sleep(Duration::from_millis(500));
    }
}
