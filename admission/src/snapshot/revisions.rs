//! Known revisions, profiled sizes and wanted sizes. Pure.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use kube::api::DynamicObject;
use msars_api::annotations::Mode;
use msars_api::crd::{LoadLatencyProfile, Phase, SloAutoscaler};
use msars_client::slim;
use msars_domain::{MilliCpu, ObjectKey};
use msars_gate::snapshot::{SizeRange, Wanted};
use msars_gate::{Facts, Running, Snapshot, images};
use serde_json::Value;

/// `pod-template-hash` of every ReplicaSet, by workload and revision.
pub(super) type Hashes = BTreeMap<(ObjectKey, String), BTreeSet<String>>;

/// What the copy of a ReplicaSet keeps.
pub(super) fn replica_set(set: &mut DynamicObject) {
    slim::only(set, Running::kept);
}

/// Revisions that a ReplicaSet of the workload runs are known.
pub(super) fn running(
    snapshot: &mut Snapshot,
    replica_sets: &[Arc<DynamicObject>],
    workloads: &[Facts<'_>],
) -> Hashes {
    let owners: BTreeMap<&str, ObjectKey> = workloads
        .iter()
        .filter_map(|facts| {
            let uid = facts.object.pointer("/metadata/uid")?.as_str()?;
            Some((uid, facts.key()))
        })
        .collect();
    let mut hashes = Hashes::new();
    for set in replica_sets {
        let owner = set
            .metadata
            .owner_references
            .iter()
            .flatten()
            .find_map(|owner| owners.get(owner.uid.as_str()));
        let (Some(owner), Some(running)) = (owner, Running::read(&set.data)) else {
            continue;
        };
        let workload = snapshot.workload_mut(owner);
        workload.known.insert(running.revision.to_owned());
        if let Some(hash) = running.pod_template_hash {
            workload.pod_template_hashes.insert(hash.to_owned());
            let place = (owner.clone(), running.revision.to_owned());
            hashes.entry(place).or_default().insert(hash.to_owned());
        }
    }
    hashes
}

/// Revisions with a finished profile are known, and so are the sizes that it measured.
pub(super) fn profiled(snapshot: &mut Snapshot, profiles: &[Arc<LoadLatencyProfile>]) {
    for profile in profiles {
        let namespace = profile.metadata.namespace.clone().unwrap_or_default();
        let key = ObjectKey::new(namespace, &profile.spec.workload);
        let done = profile
            .status
            .as_ref()
            .filter(|status| status.phase == Phase::Done);
        let (Some(status), Some(_)) = (done, snapshot.workload(&key)) else {
            continue;
        };
        let workload = snapshot.workload_mut(&key);
        workload.known.insert(profile.spec.revision.clone());
        let sizes = status.points.iter().map(|point| MilliCpu(point.size_milli));
        if let (Some(min), Some(max)) = (sizes.clone().min(), sizes.max()) {
            workload
                .profiled
                .entry(profile.spec.shape.clone())
                .and_modify(|found| {
                    found.min = found.min.min(min);
                    found.max = found.max.max(max);
                })
                .or_insert(SizeRange { min, max });
        }
    }
}

/// Whether a workload's status says that it is left alone: another autoscaler has it, or nothing may be written.
fn left_alone(autoscaler: &SloAutoscaler) -> bool {
    let status = autoscaler.status.as_ref();
    let mut conditions = status.iter().flat_map(|status| &status.conditions);
    conditions.any(|condition| {
        let reason = (condition.type_.as_str(), condition.reason.as_str());
        condition.status == "False"
            && [
                ("ScalingActive", "AmbiguousSelector"),
                ("InReach", "NamespaceNotGranted"),
            ]
            .contains(&reason)
    })
}

/// Sizes that new pods are to be born with, where the product acts: by the annotation as by its autoscaler.
pub(super) fn wanted(
    snapshot: &mut Snapshot,
    autoscalers: &[Arc<SloAutoscaler>],
    hashes: &Hashes,
    workloads: &[Facts<'_>],
) {
    let templates: BTreeMap<(ObjectKey, String), &Value> = workloads
        .iter()
        .filter_map(|facts| {
            let template = facts.object.pointer("/spec/template")?;
            Some(((facts.key(), facts.revision.to_string()), template))
        })
        .collect();
    let acting: BTreeSet<ObjectKey> = workloads
        .iter()
        .filter(|facts| facts.settings.mode == Mode::Auto)
        .map(Facts::key)
        .collect();
    for autoscaler in autoscalers {
        let namespace = autoscaler.metadata.namespace.clone().unwrap_or_default();
        let key = ObjectKey::new(namespace, &autoscaler.spec.target_ref.name);
        if !acting.contains(&key) || autoscaler.spec.mode != "auto" || left_alone(autoscaler) {
            continue;
        }
        for size in autoscaler.status.iter().flat_map(|status| &status.sizes) {
            let place = (key.clone(), size.revision.clone());
            let wanted = Wanted {
                size: MilliCpu(size.size_milli),
                pod_template_hashes: hashes.get(&place).cloned().unwrap_or_default(),
                images: templates
                    .get(&place)
                    .map(|template| images(template))
                    .unwrap_or_default(),
            };
            snapshot
                .workload_mut(&key)
                .wanted
                .insert(size.revision.clone(), wanted);
        }
    }
}
