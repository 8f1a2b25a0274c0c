//! The SloAutoscaler of every workload: made from annotations, and told what a split wants per revision.

use std::collections::BTreeMap;
use std::sync::Arc;

use msars_api::annotations::Mode;
use msars_api::crd::{
    CpuBounds, ServiceBudget, SloAutoscaler, SloAutoscalerSpec, TargetRef, WantedSize,
};
use msars_domain::ObjectKey;

use crate::own::{Own, owner};
use crate::world::Workload;

/// Replicas allowed unless the user says otherwise.
const MOST_REPLICAS: u32 = 10;

/// Namespace and name of an autoscaler: a team's own may be named otherwise than its Deployment.
pub fn key(autoscaler: &SloAutoscaler) -> ObjectKey {
    let part = |text: &Option<String>| text.clone().unwrap_or_default();
    let meta = &autoscaler.metadata;
    ObjectKey::new(part(&meta.namespace), part(&meta.name))
}

/// Fewest and most replicas that a workload asks for.
pub fn bounds(workload: &Workload) -> (u32, u32) {
    let settings = &workload.settings;
    let least = settings.min_replicas.unwrap_or(1).max(1);
    let most = settings.max_replicas.unwrap_or(MOST_REPLICAS);
    (least, most.max(least))
}

/// Whether an autoscaler was made here for this workload, and not by a team.
pub fn ours(autoscaler: &SloAutoscaler, workload: &Workload) -> bool {
    let owners = autoscaler.metadata.owner_references.iter().flatten();
    owners.into_iter().any(|owner| owner.uid == workload.uid)
}

/// What a workload's annotations ask for.
pub fn asked(workload: &Workload) -> SloAutoscaler {
    let settings = &workload.settings;
    let (min_replicas, max_replicas) = bounds(workload);
    let mut autoscaler = SloAutoscaler::new(
        &workload.key.name,
        SloAutoscalerSpec {
            target_ref: TargetRef {
                api_version: "apps/v1".into(),
                kind: "Deployment".into(),
                name: workload.key.name.clone(),
            },
            mode: match settings.mode {
                Mode::Off => "off",
                Mode::Recommend => "recommend",
                Mode::Auto => "auto",
            }
            .into(),
            min_replicas,
            max_replicas,
            cpu: settings.cpu.map(|bounds| CpuBounds {
                min_milli: bounds.min_m,
                max_milli: bounds.max_m,
                step_milli: 50,
            }),
            behavior: None,
        },
    );
    autoscaler.metadata.namespace = Some(workload.key.namespace.clone());
    autoscaler.metadata.owner_references = Some(vec![owner(workload)]);
    autoscaler
}

/// What is to be written so that every workload has its autoscaler: new ones, and ours whose annotations changed.
/// One of that name that somebody else made is left alone.
pub fn differences(
    stored: &[Arc<SloAutoscaler>],
    workloads: &BTreeMap<ObjectKey, Workload>,
) -> (Vec<SloAutoscaler>, Vec<SloAutoscaler>) {
    let (mut create, mut replace) = (Vec::new(), Vec::new());
    for workload in workloads.values() {
        let wanted = asked(workload);
        let found = stored.iter().find(|autoscaler| {
            autoscaler.metadata.namespace == wanted.metadata.namespace
                && autoscaler.metadata.name == wanted.metadata.name
        });
        match found {
            None => create.push(wanted),
            Some(found) => {
                let mut next = (**found).clone();
                // Behaviour has no annotation: what the user put there stays.
                next.spec = SloAutoscalerSpec {
                    behavior: found.spec.behavior.clone(),
                    ..wanted.spec
                };
                if ours(found, workload) && next.spec != found.spec {
                    replace.push(next);
                }
            }
        }
    }
    (create, replace)
}

/// Makes and updates the objects.
pub async fn keep(
    own: &Own,
    stored: &[Arc<SloAutoscaler>],
    workloads: &BTreeMap<ObjectKey, Workload>,
) {
    let (create, replace) = differences(stored, workloads);
    for autoscaler in create {
        if let Err(error) = own.create(&autoscaler).await {
            tracing::warn!(%error, category = error.category(), "an autoscaler was not made");
        }
    }
    for autoscaler in replace {
        if let Err(error) = own.replace(&autoscaler).await {
            tracing::warn!(%error, category = error.category(), "an autoscaler was not updated");
        }
    }
}

/// Sizes that an autoscaler's status keeps: those of this split first, then those of revisions that it does not speak
/// of (an undo may bring them back), at most ten.
pub fn sizes(stored: &[WantedSize], wanted: &[WantedSize]) -> Vec<WantedSize> {
    let mut out = wanted.to_vec();
    for old in stored {
        if out.len() < 10 && !out.iter().any(|size| size.revision == old.revision) {
            out.push(old.clone());
        }
    }
    out
}

/// Writes what a split wants for one workload's revisions; true when it stands. All else of the status is
/// [`crate::workload::status`]'s.
pub async fn want(own: &Own, workload: &Workload, budgets: &[&ServiceBudget]) -> bool {
    let wanted: Vec<WantedSize> = budgets
        .iter()
        .map(|budget| WantedSize {
            revision: budget.revision.clone(),
            size_milli: budget.size_milli,
            replicas: budget.replicas,
        })
        .collect();
    let running = workload.running().to_owned();
    let outcome = own
        .status::<SloAutoscaler>(&workload.key, |autoscaler| {
            let status = autoscaler.status.get_or_insert_default();
            let mut wanted = wanted.clone();
            // Where replicas and size are owned already, the running revision's size is `workload`'s to say.
            if status.memory.is_some()
                && let Some(size) = wanted.iter_mut().find(|size| size.revision == running)
                && let Some(stored) = status.sizes.iter().find(|old| old.revision == running)
            {
                size.size_milli = stored.size_milli;
            }
            status.sizes = sizes(&status.sizes, &wanted);
        })
        .await;
    match outcome {
        Ok(()) => true,
        Err(error) => {
            tracing::warn!(%error, category = error.category(), "wanted sizes were not written");
            false
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn size(revision: &str, milli: u32) -> WantedSize {
        WantedSize {
            revision: revision.into(),
            size_milli: milli,
            replicas: 1,
        }
    }

    #[test]
    fn sizes_of_older_revisions_stay_for_an_undo() {
        let stored = [size("a", 100), size("b", 200)];
        let kept = sizes(&stored, &[size("b", 300), size("c", 400)]);
        assert_eq!(kept, [size("b", 300), size("c", 400), size("a", 100)]);
        let many: Vec<WantedSize> = (0..20).map(|n| size(&n.to_string(), n)).collect();
        assert_eq!(sizes(&many, &[size("new", 1)]).len(), 10);
    }
}
