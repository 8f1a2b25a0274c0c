//! Holds, verdicts and births as kubectl showed them against the API server's log. Pure.

use jiff::Timestamp;

use crate::audit::{Ending, Hold, Stored, Write};
use crate::births::Birth;
use crate::report::{Report, Revision, Undo};

/// Puts what the API server's log says of a revision's pods in place of what kubectl showed. A pod that kubectl showed
/// and that the log has no size for was born without the webhook, which no wish allows.
pub fn born_by(revision: &mut Revision, logged: Vec<Birth>) {
    // Those of the rollout itself: a later one would stand in for a pod without a size.
    let rolled = logged
        .iter()
        .filter(|birth| birth.at_s <= revision.complete_s + AGREE_S)
        .count();
    let unsized_pods = revision.sizes_born.len().saturating_sub(rolled);
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
pub fn reconcile(
    report: &mut Report,
    writes: &[Write],
    (holds, profiles): (&[Hold], &[Stored]),
    zero: Timestamp,
) {
    let mut lines = Vec::new();
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
                disagreement(revision, hold, profiles)
            }
        };
        if let Some(told) = told {
            lines.push(format!("audit: {}: {told}", revision.image));
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
        lines.push(line);
    }
    if let Some(undo) = &report.undo {
        lines.extend(undone(undo, writes, zero));
    }
    report.contradict(lines);
}

/// What the log says of the undo that kubectl did not show.
fn undone(undo: &Undo, writes: &[Write], zero: Timestamp) -> Vec<String> {
    let mut lines = Vec::new();
    let written = writes.iter().filter(|write| !write.ours()).find(|write| {
        write.at.duration_since(zero).as_secs_f64() >= undo.from_s && write.verdict.is_some()
    });
    let held = written.is_some_and(|write| write.holds);
    if held != undo.held {
        lines.push(format!(
            "audit: the undo was held: {held}, by kubectl: {}",
            undo.held
        ));
    }
    if written.and_then(|write| write.verdict.as_deref()) != Some("Pass") {
        lines.push("audit: no verdict Pass for the undo".to_owned());
    }
    lines
}

fn disagreement(revision: &Revision, hold: &Hold, profiles: &[Stored]) -> Option<String> {
    let Some(seconds) = hold.seconds() else {
        return Some("the log shows no end of the hold".to_owned());
    };
    if (seconds - revision.hold_s).abs() > AGREE_S {
        return Some(format!(
            "the hold took {seconds:.1} s by the log and {:.1} s by kubectl",
            revision.hold_s
        ));
    }
    let told = match revision.released_by.as_str() {
        "user" => Ending::User,
        "profiled" => Ending::Profiled,
        "deadline" => Ending::Deadline,
        // Every other reason ends a hold before its deadline, without a profile.
        _ => Ending::Early,
    };
    let logged = hold.ending(profiles);
    (logged != Some(told)).then(|| {
        let logged = logged.map_or_else(|| "no end".to_owned(), |end| format!("{end:?}"));
        format!(
            "released as {}; by the log: {logged}, ended by {}",
            revision.released_by, hold.by
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audit;
    use crate::report::tests::told;

    const LOG: &str = include_str!("fixtures/audit.jsonl");

    fn check(mut report: Report) -> Vec<String> {
        let writes = audit::writes(LOG, "shop");
        let found = (
            &audit::holds(&writes)[..],
            &audit::profiles(LOG, "shop")[..],
        );
        reconcile(&mut report, &writes, found, writes[0].at);
        assert_eq!(report.unexpected, report.contradictions);
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
        report.revisions[0].released_by = "deadline".into();
        report.revisions[1].released_by = "callee".into();
        let told_now = check(report);
        assert_eq!(told_now.len(), 2, "{told_now:?}");
        assert!(told_now[0].contains("by the log: Profiled"), "{told_now:?}");

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
}
