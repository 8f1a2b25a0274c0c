//! What the writer is told.

use jiff::Timestamp;
use msars_api::annotations::{Gate, Mode, PROFILE_USUAL_S, Warning};

use crate::judge::Case;
use crate::reason::ReleaseReason;
use crate::verdict::Verdict;

/// Most warnings about annotation values in one answer.
const MOST_WARNINGS: usize = 4;

/// The sentences for the writer.
pub(crate) fn warnings(case: &Case<'_>, verdict: &Verdict) -> Vec<String> {
    let target = &case.request.target;
    let let_through = format!(
        "let it through: kubectl rollout resume deploy/{} -n {}",
        target.name, target.namespace
    );
    let asks = case.settings.mode == Mode::Auto && case.settings.gate == Gate::Hold;
    let own = match verdict {
        Verdict::Hold { since, until, .. } => Some(format!(
            "holding this revision for up to {}; {let_through}",
            spent(*since, *until, "")
        )),
        Verdict::KeepHold { until, .. } if case.before.revision != case.after.revision => {
            Some(format!(
                "holding the changed revision for up to {}; {let_through}",
                spent(case.now, *until, " more")
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
    own.into_iter()
        .chain(kept)
        .map(|text| fitted(&text))
        .chain(of_values(values))
        .collect()
}

/// The sentences about annotation values.
pub(crate) fn of_values(values: &[Warning]) -> impl Iterator<Item = String> {
    let values = values.iter().take(MOST_WARNINGS);
    values.map(|value| fitted(&value.to_string()))
}

/// How long a hold lasts at most, and what for.
fn spent(from: Timestamp, until: Timestamp, more: &str) -> String {
    let seconds = until.duration_since(from).as_secs_f64().ceil();
    if seconds > f64::from(PROFILE_USUAL_S) {
        format!("{seconds}s{more} while it is profiled")
    } else {
        format!(
            "{seconds}s{more}, too short for a profile (about {PROFILE_USUAL_S}s), so that it passes without one"
        )
    }
}

/// With our name; the API server cuts warnings at 256 characters; cut where it can be seen.
fn fitted(text: &str) -> String {
    const LONGEST: usize = 255;
    let one_line = format!("msars: {text}").replace(char::is_control, " ");
    if one_line.chars().count() <= LONGEST {
        return one_line;
    }
    let mut cut: String = one_line.chars().take(LONGEST - 3).collect();
    cut.push_str("...");
    cut
}
