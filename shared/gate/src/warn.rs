//! What the writer is told.

use jiff::Timestamp;
use msars_api::annotations::{Gate, Mode};

use crate::judge::Case;
use crate::reason::ReleaseReason;
use crate::verdict::Verdict;

/// Most warnings about annotation values in one answer.
const MOST_WARNINGS: usize = 4;

/// The sentences for the writer.
pub(crate) fn warnings(case: &Case<'_>, verdict: &Verdict) -> Vec<String> {
    let let_through = format!(
        "let it through: kubectl rollout resume deploy/{}",
        case.request.target.name
    );
    let left = |until: &Timestamp| until.duration_since(case.now).as_secs_f64().ceil();
    let asks = case.settings.mode == Mode::Auto && case.settings.gate == Gate::Hold;
    let own = match verdict {
        Verdict::Hold { since, until, .. } => Some(format!(
            "holding this revision for up to {}s while it is profiled; {let_through}",
            until.duration_since(*since).as_secs()
        )),
        Verdict::KeepHold { until, .. } if case.before.revision != case.after.revision => {
            Some(format!(
                "holding the changed revision for up to {}s more while it is profiled; {let_through}",
                left(until)
            ))
        }
        Verdict::KeepHold { .. }
        | Verdict::Release {
            why: ReleaseReason::UserResumed | ReleaseReason::Own,
        } => None,
        Verdict::Release { why } => Some(format!("the hold ends: {}", why.sentence())),
        Verdict::Pass { why } if asks && why.worth_a_warning() => {
            Some(format!("not held: {}", why.sentence()))
        }
        Verdict::Pass { .. } => None,
    };
    let kept = (!case.kept.is_empty()).then(|| {
        "kept the msars.io annotations of the live object (an undo brings back old ones)".into()
    });
    let values = if kept.is_some() {
        &case.before.warnings
    } else {
        &case.after.warnings
    };
    let values = values.iter().take(MOST_WARNINGS).map(ToString::to_string);
    own.into_iter()
        .chain(kept)
        .chain(values)
        .map(|text| fitted(&format!("msars: {text}")))
        .collect()
}

/// The API server cuts warnings at 256 characters; cut where it can be seen.
fn fitted(text: &str) -> String {
    const LONGEST: usize = 255;
    let one_line = text.replace(char::is_control, " ");
    if one_line.chars().count() <= LONGEST {
        return one_line;
    }
    let mut cut: String = one_line.chars().take(LONGEST - 3).collect();
    cut.push_str("...");
    cut
}
