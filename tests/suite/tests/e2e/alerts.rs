//! The alerts' expressions, as the cluster's Prometheus answers them.

use anyhow::{Context, Result, ensure};
use msars_suite::alerts;
use serde_json::Value;

use crate::bed::Bed;
use crate::patience::slowly;
use crate::{Case, case};

pub const CASES: &[Case] = &[case(
    "alerts: Prometheus answers every expression, and nothing that a healthy product meets fires",
    healthy,
)];

/// From a change of the product to a scrape that shows it, in seconds, with room for a busy node.
const SCRAPED: u64 = 40;

/// What speaks of the product alone and of now: nothing of it may be true while all goes well. Others count what happened in
/// the minutes before, by whatever ran then.
const CALM: [&str; 6] = [
    "MsarsAutoscalerDown",
    "MsarsAdmissionDown",
    "MsarsAdmissionSlow",
    "MsarsNoLeader",
    "MsarsLeaderIdle",
    "MsarsObjectsUnreadable",
];

fn expression(rule: &Value) -> Result<&str> {
    rule["expr"].as_str().context("a rule has an expression")
}

fn encoded(text: &str) -> String {
    text.bytes()
        .map(|byte| match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' => char::from(byte).to_string(),
            _ => format!("%{byte:02X}"),
        })
        .collect()
}

impl Bed {
    /// The series that Prometheus answers now.
    pub fn series(&self, promql: &str) -> Result<Vec<Value>> {
        let url = format!(
            "{}/api/v1/query?query={}",
            self.cluster.prometheus(),
            encoded(promql)
        );
        let answer: Value = serde_json::from_str(&self.cluster.get(&url)?)?;
        let series = answer.pointer("/data/result").and_then(Value::as_array);
        let series = series.filter(|_| answer["status"] == "success");
        let series = series.with_context(|| format!("{promql}: {answer}"))?;
        Ok(series.clone())
    }

    /// Waits until an alert's expression is true, or is not.
    pub fn alert(&self, name: &str, wanted: bool) -> Result<()> {
        let all = alerts()?;
        let rule = all.get(name).with_context(|| format!("no alert {name}"))?;
        let word = if wanted { "true" } else { "not true" };
        slowly(&format!("alert {name} is {word}"), SCRAPED, || {
            let series = self.series(expression(rule)?)?;
            Ok(if series.is_empty() == wanted {
                Err(Value::from(series).to_string())
            } else {
                Ok(())
            })
        })
    }
}

fn healthy(bed: &Bed) -> Result<()> {
    for name in CALM {
        bed.alert(name, false)?;
    }
    let all = alerts()?;
    let mut others = Vec::new();
    for (name, rule) in &all {
        let series = bed.series(expression(rule)?)?.len();
        if series > 0 {
            others.push(format!("{name} ({series})"));
        }
    }
    println!(
        "      {} expressions answered; true now: {others:?}",
        all.len()
    );
    // An expression over series that are not there would be calm for ever.
    for promql in [
        "up{namespace=\"msars-system\", pod=~\"msars-autoscaler-.*\"}",
        "msars_admission_ready",
        "msars_admission_decision_seconds_bucket",
        "msars_leader",
        "msars_ticks_total",
        "msars_unreadable_objects",
        "msars_prometheus_queries_total",
        "msars_api_writes_total",
        "msars_workloads",
    ] {
        let found = bed.series(promql)?;
        ensure!(
            !found.is_empty(),
            "expected: series of {promql}; found: none"
        );
    }
    Ok(())
}
