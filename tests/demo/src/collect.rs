//! What is left after the last step: logs, restarts, stray pods, warnings.

use std::ops::ControlFlow;

use anyhow::{Context, Result};
use jiff::Timestamp;
use serde_json::Value;

use crate::agree::Shown;
use crate::change::controller_log;
use crate::logs::{self, Whose};
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
    report.unexpected.extend(warnings(stage)?);
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

/// Warning events of our own.
fn warnings(stage: &Stage<'_>) -> Result<Vec<String>> {
    let events = stage.object(&["events.events.k8s.io"])?;
    let text = |event: &Value, field: &str| {
        event
            .get(field)
            .and_then(Value::as_str)
            .unwrap_or_default()
            .to_owned()
    };
    Ok(items(&events)
        .iter()
        .filter(|event| {
            text(event, "reportingController").starts_with("msars")
                && text(event, "type") == "Warning"
        })
        .map(|event| format!("event {}: {}", text(event, "reason"), text(event, "note")))
        .collect())
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
