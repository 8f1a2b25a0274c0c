//! Everything that the page and `report.json` say. Pure.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::audit::{Hold, Write};
use crate::bars::Bar;
use crate::births::Birth;
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
    /// CPU limit that the split wanted for its pods at its release, thousandths of a core.
    pub size_wanted: Option<u32>,
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
    /// Warnings, errors, panics, restarts and contradictions.
    pub unexpected: Vec<String>,
    /// Warnings that are known and harmless, with the reason.
    pub benign: Vec<String>,
    /// Seconds from the first step to the last.
    pub seconds: f64,
    /// Window by window.
    pub windows: Vec<Seen>,
    /// What happened when.
    pub timeline: Vec<Moment>,
}

/// Puts what the API server's log says of a revision's pods in place of what kubectl showed. A pod that kubectl showed
/// and that the log has no size for was born without the webhook, which no wish allows.
pub fn born_by(revision: &mut Revision, logged: Vec<Birth>) {
    let unsized_pods = revision.sizes_born.len().saturating_sub(logged.len());
    revision.births = logged;
    revision
        .births
        .extend(std::iter::repeat_n(Birth::default(), unsized_pods));
    revision.sizes_born = revision.births.iter().map(|birth| birth.size).collect();
}

/// How far two measurements of one hold may differ, seconds.
pub const AGREE_S: f64 = 2.0;

/// Compares every hold and verdict with the API server's log; what does not agree is told, and what the log knows is
/// added. `zero` is the start of the report's seconds.
pub fn reconcile(report: &mut Report, writes: &[Write], holds: &[Hold], zero: Timestamp) {
    for revision in &mut report.revisions {
        let found = holds
            .iter()
            .find(|hold| hold.workload == revision.workload && hold.revision == revision.revision);
        let told = match (revision.held, found) {
            (false, None) => None,
            (false, Some(_)) => Some("the log shows a hold that kubectl did not show".to_owned()),
            (true, None) => Some("kubectl showed a hold that the log does not show".to_owned()),
            (true, Some(hold)) => {
                revision.hold_s_audit = hold.seconds();
                disagreement(revision, hold)
            }
        };
        if let Some(told) = told {
            report
                .unexpected
                .push(format!("audit: {}: {told}", revision.image));
        }
    }
    let known: Vec<&str> = report
        .revisions
        .iter()
        .map(|r| r.revision.as_str())
        .collect();
    for hold in holds
        .iter()
        .filter(|hold| !known.contains(&hold.revision.as_str()))
    {
        let line = format!(
            "audit: {} was held at a revision that nobody set: {}",
            hold.workload, hold.revision
        );
        report.unexpected.push(line);
    }
    let Some(undo) = &report.undo else { return };
    let written = writes.iter().filter(|write| !write.ours()).find(|write| {
        write.at.duration_since(zero).as_secs_f64() >= undo.from_s && write.verdict.is_some()
    });
    let held = written.is_some_and(|write| write.holds);
    if held != undo.held {
        report.unexpected.push(format!(
            "audit: the undo was held: {held}, by kubectl: {}",
            undo.held
        ));
    }
    if written.and_then(|write| write.verdict.as_deref()) != Some("Pass") {
        report
            .unexpected
            .push("audit: no verdict Pass for the undo".to_owned());
    }
}

fn disagreement(revision: &Revision, hold: &Hold) -> Option<String> {
    let Some(seconds) = hold.seconds() else {
        return Some("the log shows no end of the hold".to_owned());
    };
    if (seconds - revision.hold_s).abs() > AGREE_S {
        return Some(format!(
            "the hold took {seconds:.1} s by the log and {:.1} s by kubectl",
            revision.hold_s
        ));
    }
    let ours = revision.released_by != "user";
    (ours != hold.ended_by_us()).then(|| {
        format!(
            "released as {} and ended by {}",
            revision.released_by, hold.by
        )
    })
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
    format!(
        "{} of {} new versions were held ({} s) while a copy of each was measured, {profiled} were released with new latency budgets, {undo}; \
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
mod tests {
    use super::*;
    use crate::audit;

    const LOG: &str = include_str!("fixtures/audit.jsonl");

    fn told() -> Report {
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

    fn check(mut report: Report) -> Vec<String> {
        let writes = audit::writes(LOG, "shop");
        reconcile(&mut report, &writes, &audit::holds(&writes), writes[0].at);
        report.unexpected
    }

    #[test]
    fn what_agrees_within_two_seconds_is_silent() {
        assert_eq!(check(told()), Vec::<String>::new());
    }

    #[test]
    fn every_contradiction_is_told() {
        let mut report = told();
        report.revisions[0].hold_s = 60.0;
        report.revisions[1].released_by = "user".into();
        let told_now = check(report);
        assert!(
            told_now[0].contains("55.9 s by the log and 60.0 s"),
            "{told_now:?}"
        );
        assert!(
            told_now[1].contains("ended by system:serviceaccount"),
            "{told_now:?}"
        );

        let mut report = told();
        report.revisions[0].held = false;
        report.revisions.pop();
        let told_now = check(report);
        assert!(
            told_now[0].contains("did not show") && told_now[1].contains("nobody set"),
            "{told_now:?}"
        );
    }

    #[test]
    fn a_pod_that_the_log_does_not_know_was_born_without_a_size() {
        let birth = Birth {
            at_s: 1.0,
            size: Some(400),
            wanted: vec![400],
        };
        let mut revision = Revision {
            sizes_born: vec![Some(200), Some(200)],
            ..Revision::default()
        };
        born_by(&mut revision, vec![birth.clone()]);
        assert_eq!(revision.births, [birth.clone(), Birth::default()]);
        assert_eq!(revision.sizes_born, [Some(400), None]);
        born_by(&mut revision, vec![birth.clone(); 3]);
        assert_eq!(revision.births, vec![birth; 3]);
    }

    #[test]
    fn the_undos_verdict_is_the_first_foreign_one_after_it_began() {
        let writes = audit::writes(LOG, "shop");
        let zero = writes[0].at;
        let passed = writes[3].at.duration_since(zero).as_secs_f64();
        for (from_s, held, lines) in [
            (passed - 0.01, false, 0),
            (passed - 0.01, true, 1),
            (1.0, false, 2),
        ] {
            let mut report = told();
            report.undo = Some(Undo {
                held,
                seconds: 3.0,
                from_s,
            });
            assert_eq!(check(report).len(), lines, "{from_s} {held}");
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
