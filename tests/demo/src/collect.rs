//! What is left after the last step: logs, restarts, stray pods, warnings.

use std::ops::ControlFlow;

use anyhow::{Context, Result};
use jiff::Timestamp;
use serde_json::Value;

use crate::agree::Shown;
use crate::change::controller_log;
use crate::logs::{self, Judged, Whose};
use crate::report::Report;
use crate::stage::Stage;
use crate::stored::{items, name, restarts, shadow};
use crate::story::{NAMESPACE, SWEEP_LIMIT, SYSTEM};
use crate::timeline::Moment;

/// Adds to the report what nobody should have to see, and what the controllers' logs tell of the story.
///
/// # Errors
/// When kubectl fails.
pub fn collect(stage: &Stage<'_>, report: &mut Report, installed: Timestamp) -> Result<()> {
    if let Err(error) = no_shadows(stage) {
        stage.interrupt.check()?;
        report.unexpected.push(format!("{error:#}"));
    }
    for namespace in [SYSTEM, NAMESPACE] {
        let pods = stage.object_in(namespace, &["pods"])?;
        report.unexpected.extend(restarts(&pods));
        previous(stage, namespace, &pods, report, installed)?;
    }
    let ours = logs_of(stage, SYSTEM, "app.kubernetes.io/part-of=msars")?;
    let shop = logs_of(stage, NAMESPACE, "app")?;
    for (whose, log) in [(Whose::Ours, &ours), (Whose::Shop, &shop)] {
        let judged = logs::judge(whose, log, installed);
        report.unexpected.extend(judged.unexpected);
        report.benign.extend(judged.benign);
    }
    let told = warnings(&stage.object(&["events.events.k8s.io"])?);
    report.unexpected.extend(told.unexpected);
    report.benign.extend(told.benign);
    let clock = stage.timeline.clock();
    let told = logs::story(&controller_log(stage)?)
        .into_iter()
        .map(|(at, what)| Moment {
            at_s: clock.seconds_at(at),
            who: "msars".to_owned(),
            what,
        });
    report.timeline = stage.timeline.moments();
    report.timeline.extend(told);
    report.timeline.sort_by(|a, b| a.at_s.total_cmp(&b.at_s));
    std::fs::write(stage.out.join("msars.log"), ours).context("writing the product's logs")?;
    Ok(())
}

/// What kubectl and the controllers show of replicas and pods.
///
/// # Errors
/// When kubectl fails.
pub fn shown(stage: &Stage<'_>) -> Result<Shown> {
    let clock = stage.timeline.clock();
    let now = || clock.at() + clock.elapsed();
    let from = now();
    let (deployments, pods) = (stage.object(&["deployments"])?, stage.object(&["pods"])?);
    Ok(Shown {
        from,
        to: now(),
        deployments,
        pods,
        events: stage.object(&["events.events.k8s.io"])?,
        applied: logs::applied(&controller_log(stage)?, NAMESPACE),
    })
}

fn logs_of(stage: &Stage<'_>, namespace: &str, selector: &str) -> Result<String> {
    stage.cluster.ask([
        "-n",
        namespace,
        "logs",
        "-l",
        selector,
        "--prefix",
        "--tail=-1",
        "--all-containers",
        "--max-log-requests=100",
        "--ignore-errors",
    ])
}

/// The last words of containers that were started again.
fn previous(
    stage: &Stage<'_>,
    namespace: &str,
    pods: &Value,
    report: &mut Report,
    installed: Timestamp,
) -> Result<()> {
    for pod in items(pods).iter().filter(|pod| !restarts(pod).is_empty()) {
        let out = stage.cluster.kubectl([
            "-n",
            namespace,
            "logs",
            name(pod),
            "--previous",
            "--all-containers",
            "--prefix",
            "--tail=20",
        ])?;
        let judged = logs::judge(
            Whose::Shop,
            &String::from_utf8_lossy(&out.stdout),
            installed,
        );
        report.unexpected.extend(judged.unexpected);
    }
    Ok(())
}

/// Warnings that are true of the story itself: its surge asks for more than one small node has, and the product has to
/// say so.
const FULL_NODE: [&str; 2] = ["PodsUnschedulable", "ResizeDeferred"];

/// Warning events of our own. Pure.
fn warnings(events: &Value) -> Judged {
    let text = |event: &Value, field: &str| {
        let found = event.pointer(field).and_then(Value::as_str);
        found.unwrap_or_default().to_owned()
    };
    let mut judged = Judged::default();
    for event in items(events) {
        let ours = text(event, "/reportingController").starts_with("msars");
        if !ours || text(event, "/type") != "Warning" {
            continue;
        }
        let reason = text(event, "/reason");
        let whole = format!(
            "event {reason} of {} {}: {}",
            text(event, "/regarding/kind"),
            text(event, "/regarding/name"),
            text(event, "/note")
        );
        if FULL_NODE.contains(&reason.as_str()) {
            judged.benign.push(format!(
                "{whole}: the surge asks for more than the node has"
            ));
        } else {
            judged.unexpected.push(whole);
        }
    }
    judged
}

fn no_shadows(stage: &Stage<'_>) -> Result<()> {
    stage.until("no shadow pod left", SWEEP_LIMIT, || {
        let pods = stage.object(&["pods"])?;
        let left: Vec<&str> = items(&pods)
            .iter()
            .filter(|pod| shadow(pod))
            .map(name)
            .collect();
        Ok(if left.is_empty() {
            ControlFlow::Break(())
        } else {
            ControlFlow::Continue(left.join(", "))
        })
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn warnings_of_our_own_count_but_for_a_full_node() {
        let event = |controller: &str, type_: &str, reason: &str| {
            json!({
                "reportingController": controller, "type": type_, "reason": reason, "note": "why",
                "regarding": {"kind": "Deployment", "name": "carts"},
            })
        };
        let judged = warnings(&json!({"items": [
            event("msars.io/autoscaler", "Warning", "ReplicasConflict"),
            event("msars.io/autoscaler", "Warning", "PodsUnschedulable"),
            event("msars.io/autoscaler", "Normal", "SuccessfulRescale"),
            event("kubelet", "Warning", "Unhealthy"),
        ]}));
        assert_eq!(
            judged.unexpected,
            ["event ReplicasConflict of Deployment carts: why"]
        );
        assert_eq!(
            judged.benign,
            [
                "event PodsUnschedulable of Deployment carts: why: the surge asks for more than the node has"
            ]
        );
    }
}
