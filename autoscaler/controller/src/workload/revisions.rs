//! The revisions of a workload that a decision must think of. Pure.

use std::collections::BTreeMap;

use msars_domain::{Percentile, RevisionState};
use msars_observe::Revision;

use super::gather::Around;
use crate::profiles::Known;
use crate::work;
use crate::world::Workload;

/// The revisions in play; when none of them is profiled, the older ones that are and that an undo could bring back.
pub fn revisions(
    around: &Around,
    workload: &Workload,
    usual: Percentile,
    (live, works): (&[&Revision], &BTreeMap<String, f64>),
) -> Vec<RevisionState> {
    let profile = |revision: &str| {
        around
            .known
            .get(&(workload.key.clone(), revision.to_owned()))
    };
    let of_shape = || {
        let first = (workload.key.clone(), String::new());
        let own = around.known.range(first..);
        let own = own.take_while(|((key, _), _)| *key == workload.key);
        own.map(|(_, found)| found)
            .find(|(shape, _)| *shape == workload.shape)
    };
    let state = |revision: &str| {
        let current = revision == workload.revision;
        // A template that differs in CPU sizes alone keeps its profile.
        let known = profile(revision)
            .or_else(|| if current { of_shape() } else { None })
            .map(|(_, known)| known);
        let key = (workload.key.clone(), revision.to_owned());
        let budget = around.budgets.get(&key);
        let percentile = budget
            .map(|budget| budget.percentile)
            .or_else(|| known.map(|known| known.percentile));
        RevisionState {
            hash: revision.to_owned(),
            current,
            budget: budget.map(|budget| budget.ms),
            percentile: percentile.unwrap_or(usual),
            curve: known.map(|known| known.curve.clone()),
            // Without CPU of now the last known counts: a service whose metrics are gone is no lighter for it.
            work_ratio: known.and_then(|known| {
                let now = live_ratio(workload, revision, known, live);
                now.or_else(|| works.get(revision).copied())
            }),
        }
    };
    let mut wanted: Vec<&str> = vec![&workload.revision];
    if workload.running() != workload.revision {
        wanted.push(workload.running());
    }
    for (revision, owned) in &workload.owned {
        if owned.replicas > 0 && !wanted.contains(&revision.as_str()) {
            wanted.push(revision);
        }
    }
    let mut out: Vec<RevisionState> = wanted.iter().map(|revision| state(revision)).collect();
    if out.iter().all(|revision| revision.curve.is_none()) {
        let older = workload
            .owned
            .keys()
            .filter(|revision| !wanted.contains(&revision.as_str()))
            .filter(|revision| profile(revision).is_some());
        out.extend(older.map(|revision| state(revision)));
    }
    out
}

/// Live CPU per request of a revision over its profile's.
fn live_ratio(
    workload: &Workload,
    revision: &str,
    known: &Known,
    live: &[&Revision],
) -> Option<f64> {
    let hashes = &workload.owned.get(revision)?.pod_template_hashes;
    let found = live.iter().filter(|found| hashes.contains(&found.revision));
    // Of two ReplicaSets, in a restart, the one that serves more.
    let served = |found: &&&Revision| found.rate.value().map_or(0.0, |rate| rate.get());
    let found = found.max_by(|a, b| served(a).total_cmp(&served(b)))?;
    work::ratio(&found.cpu_cores, &found.rate, known)
}
