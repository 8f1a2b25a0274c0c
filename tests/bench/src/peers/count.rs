//! What a run cost and kept: requests of pods over time, actions in the audit log, answers within the objective. Pure.

use std::ops::Range;

use anyhow::{Context, Result};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hdrhistogram::Histogram;
use hdrhistogram::serialization::Deserializer;
use msars_domain::load::{RunResult, Window};
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// A look at the namespace's pods.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Sample {
    /// Seconds since the first request.
    pub at_s: f64,
    /// Sum of CPU requests, cores.
    pub cores: f64,
    /// Pods that hold requests.
    pub pods: u32,
}

/// Writes that changed replicas or sizes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Actions {
    /// Replicas changed.
    pub scales: u64,
    /// Pods resized in place.
    pub resizes: u64,
}

/// What users saw.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Service {
    /// Requests intended.
    pub requests: u64,
    /// Failed or never sent.
    pub failed: u64,
    /// Share of intended requests answered well within the objective's latency.
    pub attainment: f64,
    /// Minutes of windows whose percentile missed the objective, or of whose requests more than the rest failed.
    pub violation_minutes: f64,
    /// The whole run's latency at the objective's percentile, ms.
    pub tail_ms: f64,
}

/// `250m`, `1`, `0.5`: cores.
fn cores(quantity: &Value) -> f64 {
    let text = quantity.as_str().unwrap_or_default();
    let parsed = match text.strip_suffix('m') {
        Some(milli) => milli.parse::<f64>().map(|milli| milli / 1000.0),
        None => text.parse(),
    };
    parsed.unwrap_or(0.0)
}

/// Requests of every pod that has a node and has not ended. Of a pod that is resized the larger of what is wanted and
/// what it has, as the scheduler counts; copies of a new revision count as any other.
pub fn requested(pods: &Value, at_s: f64) -> Sample {
    let mut sample = Sample {
        at_s,
        cores: 0.0,
        pods: 0,
    };
    for pod in pods["items"].as_array().into_iter().flatten() {
        let phase = pod["status"]["phase"].as_str().unwrap_or_default();
        if pod["spec"]["nodeName"].is_null() || ["Succeeded", "Failed"].contains(&phase) {
            continue;
        }
        sample.pods += 1;
        let statuses = pod["status"]["containerStatuses"].as_array();
        for container in pod["spec"]["containers"].as_array().into_iter().flatten() {
            let status = statuses
                .into_iter()
                .flatten()
                .find(|status| status["name"] == container["name"]);
            let wanted = cores(&container["resources"]["requests"]["cpu"]);
            let has = status.map_or(0.0, |status| cores(&status["resources"]["requests"]["cpu"]));
            sample.cores += wanted.max(has);
        }
    }
    sample
}

/// Core-seconds up to `end_s`: each sample holds until the next.
pub fn core_seconds(samples: &[Sample], end_s: f64) -> f64 {
    let ends = samples.iter().skip(1).map(|next| next.at_s).chain([end_s]);
    let spans = samples.iter().zip(ends);
    spans
        .map(|(sample, end)| sample.cores * (end.min(end_s) - sample.at_s.max(0.0)).max(0.0))
        .sum()
}

/// Successful writes of replicas and sizes in a namespace, in this part of the audit log.
pub fn actions(audit: &str, namespace: &str) -> Actions {
    let mut actions = Actions::default();
    for line in audit.lines() {
        let Ok(event) = serde_json::from_str::<Value>(line) else {
            continue;
        };
        let what = &event["objectRef"];
        let code = event["responseStatus"]["code"].as_u64().unwrap_or(0);
        let write = ["update", "patch"].contains(&event["verb"].as_str().unwrap_or_default());
        if !write || !(200..300).contains(&code) || what["namespace"] != namespace {
            continue;
        }
        match (what["resource"].as_str(), what["subresource"].as_str()) {
            (Some("deployments"), Some("scale")) => actions.scales += 1,
            (Some("pods"), Some("resize")) => actions.resizes += 1,
            _ => {}
        }
    }
    actions
}

/// The driver's result against the objective: `percentile` (as 99) within `target_ms`.
pub fn service(run: &RunResult, percentile: f64, target_ms: f64) -> Result<Service> {
    let bytes = STANDARD
        .decode(&run.histogram)
        .context("the driver's histogram is no base64")?;
    let histogram: Histogram<u64> = Deserializer::new()
        .deserialize(&mut bytes.as_slice())
        .map_err(|error| anyhow::anyhow!("reading the driver's histogram: {error:?}"))?;
    let total = &run.total;
    let requests = total.sent + total.dropped;
    // Timed out ones are in the histogram with the time they waited, which is beyond any objective.
    let within = histogram.count_between(0, (target_ms * 1000.0) as u64);
    let bad = violated_s(run, percentile, target_ms, 0.0..f64::INFINITY);
    Ok(Service {
        requests,
        failed: total.failed + total.dropped,
        attainment: within as f64 / requests.max(1) as f64,
        violation_minutes: bad / 60.0,
        tail_ms: histogram.value_at_quantile(percentile / 100.0) as f64 / 1000.0,
    })
}

/// Seconds of windows that missed the objective, of those that begin in this span, seconds since the first request.
pub fn violated_s(run: &RunResult, percentile: f64, target_ms: f64, span: Range<f64>) -> f64 {
    let begins = |w: &&Window| span.contains(&w.start.duration_since(run.started).as_secs_f64());
    let missed = |w: &&Window| missed(w, percentile, target_ms);
    let bad = run.windows.iter().filter(begins).filter(missed);
    // The sum of nothing is -0.0.
    bad.map(seconds).sum::<f64>() + 0.0
}

fn seconds(window: &Window) -> f64 {
    window.end.duration_since(window.start).as_secs_f64()
}

fn missed(window: &Window, percentile: f64, target_ms: f64) -> bool {
    let tally = &window.tally;
    let intended = (tally.sent + tally.dropped) as f64;
    let failed = (tally.failed + tally.dropped) as f64;
    let tail = tally.latency.map(|latency| match percentile {
        p if p >= 99.0 => latency.p99.get(),
        p if p >= 95.0 => latency.p95.get(),
        p if p >= 90.0 => latency.p90.get(),
        _ => latency.p50.get(),
    });
    failed > intended * (1.0 - percentile / 100.0) || tail.is_some_and(|tail| tail > target_ms)
}

#[cfg(test)]
mod tests {
    use super::{Sample, actions, core_seconds, requested};
    use serde_json::json;

    #[test]
    fn requests_as_the_scheduler_counts() {
        let pod = |node: Option<&str>, phase: &str, wanted: &str, has: &str| {
            json!({
                "spec": {"nodeName": node, "containers": [{"name": "app", "resources": {"requests": {"cpu": wanted}}}]},
                "status": {"phase": phase, "containerStatuses": [{"name": "app", "resources": {"requests": {"cpu": has}}}]},
            })
        };
        let pods = json!({"items": [
            pod(Some("n"), "Running", "100m", "200m"), pod(Some("n"), "Running", "0.5", "300m"),
            pod(None, "Pending", "1", "0"), pod(Some("n"), "Succeeded", "1", "1"),
        ]});
        let sample = requested(&pods, 3.0);
        assert!((sample.cores - 0.7).abs() < 1e-9);
        assert_eq!(sample.pods, 2);
    }

    #[test]
    fn a_sample_holds_until_the_next() {
        let at = |at_s, cores| Sample {
            at_s,
            cores,
            pods: 1,
        };
        let samples = [at(-1.0, 1.0), at(2.0, 2.0), at(5.0, 1.0)];
        assert!((core_seconds(&samples, 6.0) - (2.0 + 6.0 + 1.0)).abs() < 1e-9);
        assert!((core_seconds(&samples, 4.0) - (2.0 + 4.0)).abs() < 1e-9);
        assert!(core_seconds(&[], 4.0).abs() < 1e-9);
    }

    #[test]
    fn writes_that_were_refused_or_are_elsewhere_do_not_count() {
        let line = |verb: &str, resource: &str, sub: &str, namespace: &str, code: u32| {
            json!({"verb": verb, "objectRef": {"resource": resource, "subresource": sub, "namespace": namespace},
                "responseStatus": {"code": code}})
            .to_string()
        };
        let log = [
            line("update", "deployments", "scale", "a", 200),
            line("patch", "pods", "resize", "a", 200),
            line("patch", "pods", "resize", "a", 422),
            line("patch", "pods", "resize", "b", 200),
            line("update", "deployments", "status", "a", 200),
            "cut sho".to_owned(),
        ];
        let found = actions(&log.join("\n"), "a");
        assert_eq!((found.scales, found.resizes), (1, 1));
    }
}
