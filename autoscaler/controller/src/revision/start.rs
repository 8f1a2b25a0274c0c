//! From a held workload to a job. Pure.

use std::collections::BTreeMap;

use jiff::Timestamp;
use msars_domain::{MilliCpu, ObjectKey, Percentile, Rate, RequestMix, Token};
use msars_llp::room_wanted;
use serde_json::Value;

use super::shadow::Blueprint;
use super::task::Job;
use crate::objective::Health;
use crate::profiles;
use crate::world::Workload;

/// Mean work assumed when nothing is known, ms: that of a usual service; the first windows of one that takes five times as
/// much are full, and come again.
pub const WORK_GUESS_MS: f64 = 5.0;

/// Everything that bounds a job.
#[derive(Debug, Clone)]
pub struct Limits {
    /// The percentile of the objective, as a share.
    pub percentile: f64,
    /// Mean work expected before anything is measured, ms.
    pub work_guess_ms: f64,
    /// CPU of the largest node.
    pub node: MilliCpu,
    /// Callees that are not to be strained, and how they did before the profile.
    pub spared: BTreeMap<ObjectKey, Health>,
    /// When probing must have ended.
    pub until: Timestamp,
    /// What the load pod wants of its caller.
    pub token: Token,
    /// Tells the pods of this run from those of any other.
    pub run: String,
}

/// Builds the job, or says why there can be none.
pub fn job(workload: &Workload, limits: Limits, now: Timestamp) -> Result<Job, String> {
    let node = Some(limits.node);
    let requests = workload
        .settings
        .profile_request
        .as_deref()
        .ok_or("no requests to replay")?;
    let mix: RequestMix = requests.parse().map_err(|error| format!("{error}"))?;
    let (container, cpu) = workload
        .serving
        .clone()
        .ok_or("the serving container has no CPU request and no limit")?;
    let template = workload.template();
    let port = port(template, &container).ok_or("the serving container has no port")?;
    let sizes = profiles::probed(workload, node);
    let first = *sizes.first().ok_or("no size is allowed")?;
    let asked = workload.settings.profile_rates.iter();
    let rates = asked
        .map(|rate| Rate::new(*rate).map_err(|error| error.to_string()))
        .collect::<Result<Vec<Rate>, String>>()?;
    let request_share = cpu.limit.map_or(1.0, |limit| {
        f64::from(cpu.request.0) / f64::from(limit.0.max(1))
    });
    let wished = room_wanted(&sizes, &rates, limits.work_guess_ms);
    Ok(Job {
        blueprint: Blueprint {
            workload: workload.key.clone(),
            owner_uid: workload.uid.clone(),
            revision: workload.revision.clone(),
            template: template.clone(),
            container,
            size: first,
            request_share,
            token: limits.token,
            run: limits.run,
        },
        mix,
        port,
        metrics: metrics(template, port),
        grid: widened(profiles::grid(workload, node), &sizes),
        node: limits.node,
        sizes,
        rates,
        percentile: Percentile::new(limits.percentile).map_err(|error| error.to_string())?,
        work_guess_ms: limits.work_guess_ms,
        spared: limits.spared,
        wished,
        until: limits.until,
        since: workload.since.unwrap_or(now),
    })
}

/// The curve covers what was probed, too.
fn widened(mut grid: Vec<MilliCpu>, sizes: &[MilliCpu]) -> Vec<MilliCpu> {
    grid.extend(sizes);
    grid.sort();
    grid.dedup();
    grid
}

fn port(template: &Value, container: &str) -> Option<u16> {
    let containers = template.pointer("/spec/containers")?.as_array()?;
    let serving = containers
        .iter()
        .find(|found| found.get("name").and_then(Value::as_str) == Some(container))?;
    let ports = serving.get("ports")?.as_array()?;
    let named = ports.iter().find(|port| {
        matches!(
            port.get("name").and_then(Value::as_str),
            Some("http" | "web")
        )
    });
    let port = named
        .or_else(|| ports.first())?
        .get("containerPort")?
        .as_u64()?;
    u16::try_from(port).ok()
}

/// Where the template says that its metrics are.
fn metrics(template: &Value, port: u16) -> Option<(u16, String)> {
    let annotations = template.pointer("/metadata/annotations")?;
    let text = |name: &str| annotations.get(name).and_then(Value::as_str);
    if text("prometheus.io/scrape") != Some("true") {
        return None;
    }
    let port = text("prometheus.io/port").map_or(Some(port), |port| port.parse().ok())?;
    let path = text("prometheus.io/path").unwrap_or("/metrics");
    Some((port, path.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn port_and_metrics_come_from_the_template() {
        let template = json!({
            "metadata": {"annotations": {"prometheus.io/scrape": "true", "prometheus.io/port": "9100"}},
            "spec": {"containers": [
                {"name": "sidecar", "ports": [{"containerPort": 1}]},
                {"name": "app", "ports": [{"containerPort": 2}, {"name": "http", "containerPort": 8080}]},
            ]},
        });
        assert_eq!(port(&template, "app"), Some(8080));
        assert_eq!(port(&template, "none"), None);
        assert_eq!(metrics(&template, 8080), Some((9100, "/metrics".into())));
        assert_eq!(metrics(&json!({}), 8080), None);
    }
}
