//! What the programs asked the API server for in all cases before, against the rights that they have.

use anyhow::{Context, Result, ensure};
use msars_suite::{Right, calls, held, missed, unused};

use crate::bed::Bed;
use crate::{Case, last};

pub const CASES: &[Case] = &[last(
    "rights: each one that the manifests give was used, and none was missed",
    all,
)];

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
    let idle: Vec<String> = unused(&rights, &calls).iter().map(words).collect();
    let missed = missed(&rights, &calls);
    println!(
        "      {} of {} rights used, by {} different calls",
        rights.len() - idle.len(),
        rights.len(),
        calls.len()
    );
    ensure!(missed.is_empty(), "refused: {missed:#?}");
    ensure!(idle.is_empty(), "never used: {idle:#?}");
    Ok(())
}
