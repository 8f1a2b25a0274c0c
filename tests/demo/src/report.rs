//! Everything that the page and `report.json` say. Pure.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::births::Birth;
use crate::scaling::{Resizes, Scaled, Scales, Step};
use crate::stored::Profile;
use crate::timeline::Moment;

/// What one change of version led to.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Revision {
    /// The Deployment.
    pub workload: String,
    /// The image that was set.
    pub image: String,
    /// The revision's hash; empty when it was not held.
    pub revision: String,
    /// Whether it was held.
    pub held: bool,
    /// Seconds of the hold, as kubectl showed it.
    pub hold_s: f64,
    /// The same from the API server's log.
    pub hold_s_audit: Option<f64>,
    /// `profiled`, `deadline`, `user`, `queue`, `callee`, ...; empty when it was not held.
    pub released_by: String,
    /// Measured points.
    pub points: usize,
    /// Sizes measured at, thousandths of a core.
    pub sizes: Vec<u32>,
    /// Service → ms before.
    pub budgets_before: BTreeMap<String, f64>,
    /// Service → ms for the new revision.
    pub budgets_after: BTreeMap<String, f64>,
    /// True mean CPU work per request of the version before, ms.
    pub work_before_ms: f64,
    /// True mean CPU work per request, ms.
    pub work_true_ms: f64,
    /// What the profile found, ms.
    pub work_found_ms: Option<f64>,
    /// What kubectl warned of.
    pub warning: String,
    /// CPU limit that the split found cheapest for its pods, thousandths of a core.
    pub size_split: Option<u32>,
    /// CPU limit that was wanted for its new pods at its release, thousandths of a core: the split's, or that of the pods
    /// that run where it is more.
    pub size_wanted: Option<u32>,
    /// CPU limit in force for the revision before it at that moment, thousandths of a core.
    pub size_running: Option<u32>,
    /// CPU limits that its pods were born with, thousandths of a core.
    pub sizes_born: Vec<Option<u32>>,
    /// The same by the API server's log, with what was wanted at that moment.
    pub births: Vec<Birth>,
    /// Seconds since the start: the change, its release, its completion.
    pub from_s: f64,
    /// See `from_s`.
    pub released_s: f64,
    /// See `from_s`.
    pub complete_s: f64,
    /// The profile of the revision before.
    pub profile_before: Option<Profile>,
    /// The profile of the new revision.
    pub profile: Option<Profile>,
}

/// The way back.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Undo {
    /// Whether it was held.
    pub held: bool,
    /// Seconds until the rollout was complete.
    pub seconds: f64,
    /// When it began, seconds since the start.
    pub from_s: f64,
}

/// Requests of the live load.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct Requests {
    /// Sent.
    pub sent: u64,
    /// Of those, failed.
    pub failed: u64,
    /// Never sent, since too many were under way.
    pub dropped: u64,
}

/// The objective and how it was met.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct Slo {
    /// Latency, ms.
    pub target_ms: f64,
    /// Percentile, percent.
    pub percentile: f64,
    /// Share of all intended requests answered within the latency.
    pub attainment: f64,
    /// The quantile over the whole run, ms.
    pub found_ms: f64,
}

/// A sudden load and what followed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct Surge {
    /// Requests per second before and after it.
    pub rate_low: f64,
    /// Requests per second of it.
    pub rate_high: f64,
    /// Seconds since the start: the load begins to rise.
    pub from_s: f64,
    /// It begins to fall.
    pub falls_s: f64,
    /// It is as low as before.
    pub over_s: f64,
    /// Replicas before, the most, and those at the end.
    pub replicas: (u32, u32, u32),
}

/// A team's own HorizontalPodAutoscaler that is recommended beside, taken over, and handed back.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Adoption {
    /// The Deployment; its autoscaler has the same name.
    pub workload: String,
    /// Replicas that were recommended beside it; none when nothing was.
    pub recommended_replicas: Option<u32>,
    /// The product's writes to the workload and its pods meanwhile, by the API server's log; none when not known.
    pub recommended_written: Option<usize>,
    /// Seconds from the wish until it was gone; none when it stayed.
    pub adopted_s: Option<f64>,
    /// Its whole spec was stored before it was deleted, by the API server's log.
    pub stored_before_delete: bool,
    /// Seconds from the wish until it was there again; none when it did not come.
    pub returned_s: Option<f64>,
    /// Spec, labels and annotations are as before.
    pub returned_identical: bool,
    /// Its spec before, as kubectl showed it.
    pub spec: Value,
    /// Seconds since the start: the first step, and the end of the last.
    pub from_s: f64,
    /// See `from_s`.
    pub to_s: f64,
}

/// A window of the live load.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Seen {
    /// Its middle, seconds since the start.
    pub at_s: f64,
    /// Requests per second.
    pub rate: f64,
    /// p99, ms; none without an answer.
    pub p99_ms: Option<f64>,
    /// Failed requests.
    pub failed: u64,
    /// Requests that were to be sent.
    #[serde(default)]
    pub asked: u64,
    /// Of those, failed or never sent.
    #[serde(default)]
    pub lost: u64,
}

/// One demand and what was found.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Bar {
    /// What is demanded.
    pub wanted: String,
    /// What was found.
    pub found: String,
    /// Whether that is enough.
    pub met: bool,
}

/// The whole report.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Report {
    /// One sentence.
    pub summary: String,
    /// What was wanted, what was found.
    pub bars: Vec<Bar>,
    /// Change by change.
    pub revisions: Vec<Revision>,
    /// The way back.
    pub undo: Option<Undo>,
    /// Live load.
    pub requests: Requests,
    /// The objective.
    pub slo: Slo,
    /// The sudden load.
    pub surge: Option<Surge>,
    /// The takeover of an autoscaler.
    pub adoption: Option<Adoption>,
    /// Writes to the size of serving pods.
    pub resizes: Resizes,
    /// The autoscaler's writes of replicas.
    pub scales: Scales,
    /// The same, one by one.
    pub scaled: Vec<Scaled>,
    /// Integral of the CPU requests of all pods in the shop's namespace, from the start to the end of the load.
    pub cpu_core_seconds: f64,
    /// Of those, of the pods that profile.
    pub cpu_core_seconds_profiling: f64,
    /// Share of the load's windows whose p99 is over the objective, or that have no answer at all.
    pub violation_rate: f64,
    /// The fleet over time.
    pub fleet: Vec<Step>,
    /// Warnings, errors, panics, restarts and contradictions.
    pub unexpected: Vec<String>,
    /// Of those, what the API server's log contradicts.
    pub contradictions: Vec<String>,
    /// Warnings that are known and harmless, with the reason.
    pub benign: Vec<String>,
    /// Seconds from the first step to the last.
    pub seconds: f64,
    /// Window by window.
    pub windows: Vec<Seen>,
    /// What happened when.
    pub timeline: Vec<Moment>,
}

impl Report {
    /// Notes what the API server's log contradicts.
    pub fn contradict(&mut self, lines: Vec<String>) {
        self.unexpected.extend(lines.iter().cloned());
        self.contradictions.extend(lines);
    }
}

/// The sentence at the top.
pub fn summary(report: &Report) -> String {
    let held: Vec<&Revision> = report
        .revisions
        .iter()
        .filter(|revision| revision.held)
        .collect();
    let lengths: Vec<String> = held.iter().map(|r| format!("{:.0}", r.hold_s)).collect();
    let profiled = held.iter().filter(|r| r.released_by == "profiled").count();
    let undo = match &report.undo {
        Some(undo) if !undo.held => format!("the undo took {:.0} s and was not held", undo.seconds),
        Some(_) => "the undo was held, which it never should be".to_owned(),
        None => "nothing was undone".to_owned(),
    };
    let surge = report.surge.map_or(String::new(), |surge| {
        let (before, most, after) = surge.replicas;
        format!(
            "; under a surge from {:.0} to {:.0} requests per second replicas went from {before} to {most} and then to {after}, and over the whole run \
             {} resizes were made in place, with {} containers restarted",
            surge.rate_low, surge.rate_high, report.resizes.in_place, report.resizes.container_restarts
        )
    });
    format!(
        "{} of {} new versions were held ({} s) while a copy of each was measured, {profiled} were released with new latency budgets, {undo}{surge}; \
         meanwhile {} of {} requests failed and {:.2} % were answered within {:.0} ms.",
        held.len(),
        report.revisions.len(),
        lengths.join(" s and "),
        report.requests.failed,
        report.requests.sent,
        report.slo.attainment * 100.0,
        report.slo.target_ms,
    )
}

#[cfg(test)]
pub mod tests {
    use super::*;

    /// Two revisions that were held.
    pub fn told() -> Report {
        let revision = |image: &str, hash: &str, hold_s| Revision {
            workload: "catalogue".into(),
            image: image.into(),
            revision: hash.into(),
            held: true,
            hold_s,
            released_by: "profiled".into(),
            ..Revision::default()
        };
        Report {
            revisions: vec![
                revision("v2", "4d7b253259ccc01a5871", 56.5),
                revision("v3", "88a5a6fcf8d6529edb0f", 53.0),
            ],
            ..Report::default()
        }
    }

    #[test]
    fn the_summary_names_the_figures() {
        let mut report = told();
        report.undo = Some(Undo {
            held: false,
            seconds: 9.4,
            from_s: 0.0,
        });
        report.requests = Requests {
            sent: 5000,
            failed: 0,
            dropped: 0,
        };
        report.slo = Slo {
            target_ms: 400.0,
            percentile: 99.0,
            attainment: 0.9985,
            found_ms: 210.0,
        };
        let text = summary(&report);
        assert!(
            text.starts_with("2 of 2 new versions were held (56 s and 53 s)"),
            "{text}"
        );
        assert!(
            text.contains("0 of 5000 requests failed and 99.85 %"),
            "{text}"
        );
    }
}
