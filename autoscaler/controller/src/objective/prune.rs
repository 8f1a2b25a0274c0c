//! Profiles that no revision needs any more.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use msars_api::crd::LoadLatencyProfile;
use msars_domain::ObjectKey;

use super::Objectives;
use super::known::Profiles;
use crate::world::Workload;

/// So many of a workload's newest profiles stay, whether a ReplicaSet needs them or not: an old template may be applied
/// again after its ReplicaSet went.
const KEPT: usize = 10;
/// Most deletions of one round: an API server that holds thousands is not asked to drop them at once.
const A_ROUND: usize = 20;

/// Profiles that no ReplicaSet's revision and no template rests on, as their own or one that stands in, and that are
/// not among the newest of their workload. Those of workloads that opted out stay until the Deployment goes. Pure.
fn prunable<'a>(
    stored: &'a [Arc<LoadLatencyProfile>],
    workloads: &BTreeMap<ObjectKey, Workload>,
    known: &Profiles,
) -> Vec<&'a Arc<LoadLatencyProfile>> {
    let mut by_workload: BTreeMap<ObjectKey, Vec<&Arc<LoadLatencyProfile>>> = BTreeMap::new();
    for profile in stored {
        if let Some(namespace) = &profile.metadata.namespace {
            let key = ObjectKey::new(namespace, &profile.spec.workload);
            by_workload.entry(key).or_default().push(profile);
        }
    }
    let mut out = Vec::new();
    for (key, mut profiles) in by_workload {
        let Some(workload) = workloads.get(&key).filter(|_| profiles.len() > KEPT) else {
            continue;
        };
        let needed = needed(workload, known);
        // One whose age is not known was made just now.
        profiles.sort_by_key(|profile| {
            let meta = &profile.metadata;
            let born = meta.creation_timestamp.as_ref().map(|time| time.0);
            (born.is_some(), std::cmp::Reverse(born), &meta.name)
        });
        let old = profiles.into_iter().skip(KEPT);
        out.extend(old.filter(|profile| !needed.contains(profile.spec.revision.as_str())));
    }
    out
}

/// Profiled revisions that what runs, waits or could come back rests on.
fn needed<'a>(workload: &'a Workload, known: &'a Profiles) -> BTreeSet<&'a str> {
    let owned = workload.owned.keys().map(String::as_str);
    let revisions = owned.chain([workload.revision.as_str(), workload.running()]);
    let mut out = BTreeSet::new();
    for revision in revisions {
        out.insert(revision);
        let standing = known.get(&(workload.key.clone(), revision.to_owned()));
        out.extend(standing.map(|standing| standing.revision.as_str()));
    }
    out
}

impl Objectives {
    /// Deletes what is not needed.
    pub(super) async fn prune(&self, workloads: &BTreeMap<ObjectKey, Workload>, known: &Profiles) {
        let stored = self.world.profiles();
        for profile in prunable(&stored, workloads, known)
            .into_iter()
            .take(A_ROUND)
        {
            let meta = &profile.metadata;
            let (Some(namespace), Some(name)) = (&meta.namespace, &meta.name) else {
                continue;
            };
            let key = ObjectKey::new(namespace, name);
            let same = |found: &LoadLatencyProfile| found.metadata.uid == meta.uid;
            match self.own.delete_if(&key, same).await {
                Ok(true) => {
                    tracing::info!(profile = %key, "a profile that no revision needs was deleted");
                    self.metrics.pruned();
                }
                Ok(false) => {}
                Err(error) => {
                    tracing::warn!(%error, category = error.category(), "a profile was not deleted");
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::known::{Forms, profiles};
    use super::super::tests::{deployment, profile, workload};
    use super::*;

    #[test]
    fn a_profile_goes_when_nothing_rests_on_it_and_ten_are_newer() {
        let mut workload = workload(&deployment("carts"));
        let age = |second: i64, revision: &str| profile("carts", revision, second);
        let mut stored: Vec<_> = (1..=12)
            .map(|n| age(n * 100, &format!("old-{n}")))
            .collect();
        let gone = |workload: &Workload, stored: &[Arc<LoadLatencyProfile>], known: &Profiles| {
            let workloads = BTreeMap::from([(workload.key.clone(), workload.clone())]);
            prunable(stored, &workloads, known)
                .into_iter()
                .map(|profile| profile.spec.revision.clone())
                .collect::<Vec<_>>()
        };
        let none = Profiles::new();
        assert_eq!(gone(&workload, &stored[..10], &none), [""; 0]);
        assert_eq!(gone(&workload, &stored, &none), ["old-2", "old-1"]);
        // What runs rests on the oldest, whatever its age.
        stored.push(age(1, &workload.revision));
        assert_eq!(gone(&workload, &stored, &none), ["old-2", "old-1"]);
        // A ReplicaSet that an undo could bring back.
        let owned = workload.owned.values().next().unwrap().clone();
        workload.owned.insert("old-1".into(), owned);
        assert_eq!(gone(&workload, &stored, &none), ["old-2"]);
        // Another revision's that stands in for the template's.
        stored.pop();
        let standing = profiles(&[age(1, "old-2")], &Forms::default()).into_values();
        let standing = standing.last().unwrap();
        let place = (workload.key.clone(), workload.revision.clone());
        let known = Profiles::from([(place, standing)]);
        assert_eq!(gone(&workload, &stored, &known), [""; 0]);
        // Nothing is known of a workload that opted out.
        assert!(prunable(&stored, &BTreeMap::new(), &none).is_empty());
    }
}
