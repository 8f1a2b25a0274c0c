//! The work that profiles found against what the shop's versions truly do. Pure.

use crate::report::{Bar, Revision};

/// Largest error of the work per request, as a share of the truth.
const ERROR: f64 = 0.1;

/// Found over true less one; none without a profile.
fn error(revision: &Revision) -> Option<f64> {
    let found = revision.work_found_ms?;
    (revision.work_true_ms > 0.0).then(|| found / revision.work_true_ms - 1.0)
}

/// The demand that each profile's work is near the truth.
pub fn bar(revisions: &[Revision]) -> Bar {
    let words = |revision: &Revision| {
        let found = error(revision).map_or("unknown".to_owned(), |error| {
            format!("{:+.1} %", error * 100.0)
        });
        format!("{}: {found}", revision.image)
    };
    let near = |revision: &Revision| error(revision).is_some_and(|error| error.abs() <= ERROR);
    Bar {
        wanted: format!(
            "work per request found within {:.0} % of the truth",
            ERROR * 100.0
        ),
        found: revisions.iter().map(words).collect::<Vec<_>>().join(", "),
        met: !revisions.is_empty() && revisions.iter().all(near),
    }
}
