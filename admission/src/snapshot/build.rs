//! One snapshot out of what the copies show, step by step. Pure.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::PersistentVolumeClaim;
use k8s_openapi::api::networking::v1::NetworkPolicy;
use msars_gate::snapshot::{Holds, PodSelector, claim_is_writable};
use msars_gate::{Facts, HoldState, Snapshot};

use super::copies::Seen;
use super::grants::Grants;
use super::heard::leaders_time;
use super::{objectives, revisions};

/// What is known at `now`; the leader was last `heard` of then, and `namespace` is the installation's.
pub(super) fn build(
    seen: &Seen,
    heard: Option<Timestamp>,
    grants: &Grants,
    namespace: &str,
    now: Timestamp,
) -> Snapshot {
    let account = |name: &str| format!("system:serviceaccount:{namespace}:{name}");
    let switches = seen.switches.first();
    let mut snapshot = Snapshot {
        holds: Holds::read(switches.and_then(|map| map.data.as_ref())),
        lease_renewed: heard,
        synced: seen.healthy.then_some(now),
        own_users: BTreeSet::from([account("msars-autoscaler"), account("msars-admission")]),
        namespaces: BTreeMap::new(),
    };
    let workloads: Vec<Facts<'_>> = seen.deployments.iter().map(Facts::read).collect();
    for facts in &workloads {
        let workload = snapshot.workload_mut(&facts.key());
        if let Some(template) = facts.object.pointer("/spec/template")
            && matches!(facts.state, HoldState::Free)
        {
            // What is stored and free runs, even before its ReplicaSet is seen.
            workload.know(template);
        }
    }
    let hashes = revisions::running(&mut snapshot, &seen.replica_sets, &workloads);
    revisions::profiled(&mut snapshot, &seen.profiles);
    revisions::wanted(&mut snapshot, &seen.autoscalers, &hashes, &workloads);
    let clock = leaders_time(&seen.leases, now);
    objectives::visited(&mut snapshot, &seen.objectives, &workloads, clock);
    policies(&mut snapshot, &seen.policies);
    claims(&mut snapshot, &seen.claims);
    for (name, known) in &mut snapshot.namespaces {
        known.grant = grants.grant(name, now);
    }
    snapshot
}

fn policies(snapshot: &mut Snapshot, policies: &[Arc<NetworkPolicy>]) {
    for policy in policies {
        let namespace = policy.metadata.namespace.as_deref().unwrap_or_default();
        if let (Some(found), Ok(policy)) = (
            snapshot.namespaces.get_mut(namespace),
            serde_json::to_value(&**policy),
        ) {
            found.policies.push(PodSelector::of_network_policy(&policy));
        }
    }
}

fn claims(snapshot: &mut Snapshot, claims: &[Arc<PersistentVolumeClaim>]) {
    for claim in claims {
        let namespace = claim.metadata.namespace.as_deref().unwrap_or_default();
        if let (Some(found), Some(name), Ok(value)) = (
            snapshot.namespaces.get_mut(namespace),
            claim.metadata.name.clone(),
            serde_json::to_value(&**claim),
        ) {
            found
                .writable_claims
                .insert(name, claim_is_writable(&value));
        }
    }
}

#[cfg(test)]
mod tests;
