//! What the programs asked the API server for in all cases before, against the rights that they have.

use anyhow::{Context, Result, ensure};
use msars_suite::{Right, Who, calls, held, missed, unused};

use crate::bed::Bed;
use crate::{Case, last};

pub const CASES: &[Case] = &[last(
    "rights: each one that the manifests give was used, and none was missed",
    all,
)];

/// What no case brings about: by whom, which verb, of what.
const UNSHOWN: [(Who, &str, &str); 1] = [
    // The webhook would have to tell of the same workload twice within minutes that it ended its hold past the deadline.
    (Who::Admission, "patch", "events"),
];

fn all(bed: &Bed) -> Result<()> {
    let log = std::fs::read(bed.cluster.audit_log()).context("the audit log")?;
    let calls = calls(&String::from_utf8_lossy(&log));
    let rights = held();
    let words = |right: &Right| {
        let of = match (&*right.group, &right.name) {
            ("", None) => String::new(),
            ("", Some(name)) => format!(" {name}"),
            (group, None) => format!(".{group}"),
            (group, Some(name)) => format!(".{group} {name}"),
        };
        let (who, scope) = (right.who, right.scope);
        format!("{who:?} {scope:?}: {} {}{of}", right.verb, right.resource)
    };
    let shown = |right: &&Right| !UNSHOWN.contains(&(right.who, &right.verb, &right.resource));
    let unused = unused(&rights, &calls);
    let idle: Vec<String> = unused.iter().filter(shown).map(words).collect();
    let missed = missed(&rights, &calls);
    println!(
        "      {} of {} rights used, by {} different calls",
        rights.len() - unused.len(),
        rights.len(),
        calls.len()
    );
    ensure!(missed.is_empty(), "refused: {missed:#?}");
    ensure!(idle.is_empty(), "never used: {idle:#?}");
    Ok(())
}
