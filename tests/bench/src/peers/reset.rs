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

/// Until all pods are the manifests', after which they are replaced once more; they take 20 s to go.
const SETTLED: Duration = Duration::from_mins(1);

/// Takes every autoscaler away, gives the shop its replicas and fresh pods, then puts `policy` in charge.
pub fn to(bed: &Bed, shop: &Shop, policy: Policy) -> Result<()> {
    let cluster = &bed.cluster;
    let namespace = shop.namespace.as_str();
    let all = ["-n", namespace];
    cluster.ask([&all[..], &["delete", "hpa", "--all", "--ignore-not-found"]].concat())?;
    mode(bed, namespace, Policy::Fixed)?;
    fresh(bed, shop)?;
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

/// Replicas and pods of the manifests. The product may still be leaving, or bear pods of its own sizes, for some seconds
/// after the workloads are told; pods of other requests are replaced again, so that no run begins with another's.
fn fresh(bed: &Bed, shop: &Shop) -> Result<()> {
    let all = ["-n", shop.namespace.as_str()];
    let deadline = Instant::now() + FRESH;
    loop {
        for (name, wanted) in replicas(shop) {
            let wanted = format!("--replicas={wanted}");
            bed.cluster
                .ask([&all[..], &["scale", "deploy", &name, &wanted]].concat())?;
        }
        bed.cluster
            .ask([&all[..], &["delete", "pods", "--all", "--wait=false"]].concat())?;
        if settled(bed, shop, deadline.min(Instant::now() + SETTLED))? {
            return Ok(());
        }
        if Instant::now() >= deadline {
            bail!("the pods do not come back to the manifests' requests within {FRESH:?}");
        }
    }
}

/// Whether no pod is going and the requests are those of the manifests, before the deadline.
fn settled(bed: &Bed, shop: &Shop, deadline: Instant) -> Result<bool> {
    let wanted = f64::from(msars_shop::requests_milli()) / 1000.0;
    while Instant::now() < deadline {
        let pods = bed.get(&["-n", &shop.namespace, "pods"])?;
        let going = |pod: &Value| pod.pointer("/metadata/deletionTimestamp").is_some();
        let clean = !pods["items"].as_array().into_iter().flatten().any(going);
        if clean && (requested(&pods, 0.0).cores - wanted).abs() < 5e-4 {
            return Ok(true);
        }
        std::thread::sleep(Duration::from_millis(500));
    }
    Ok(false)
}
