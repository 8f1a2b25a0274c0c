//! The SloAutoscaler of every workload: made from annotations, and told what a split wants per revision.

mod replicas;
mod wanted;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use msars_api::annotations::Mode;
use msars_api::crd::{CpuBounds, SloAutoscaler, SloAutoscalerSpec, TargetRef};
use msars_domain::ObjectKey;

pub use replicas::bounds;
pub use wanted::{want, wanted};

use crate::own::{Own, owner};
use crate::world::Workload;

/// Within this the webhook's replicas know the sizes that a status says: they look at changes ten times a second. Pods that
/// are born before get those of before.
pub const KNOWN: Duration = Duration::from_millis(500);

/// Namespace and name of an autoscaler: a team's own may be named otherwise than its Deployment.
pub fn key(autoscaler: &SloAutoscaler) -> ObjectKey {
    let part = |text: &Option<String>| text.clone().unwrap_or_default();
    let meta = &autoscaler.metadata;
    ObjectKey::new(part(&meta.namespace), part(&meta.name))
}

/// SloAutoscalers by the Deployment that each names, the one that counts first: a team's own before one that was made
/// here, then the older, then by name.
#[derive(Debug, Default)]
pub struct Targets(BTreeMap<ObjectKey, Vec<Arc<SloAutoscaler>>>);

impl Targets {
    /// Of all that are stored.
    pub fn of(stored: &[Arc<SloAutoscaler>]) -> Self {
        let mut out: BTreeMap<ObjectKey, Vec<Arc<SloAutoscaler>>> = BTreeMap::new();
        for autoscaler in stored {
            let target =
                ObjectKey::new(key(autoscaler).namespace, &autoscaler.spec.target_ref.name);
            out.entry(target).or_default().push(Arc::clone(autoscaler));
        }
        for all in out.values_mut() {
            all.sort_by_cached_key(|autoscaler| {
                let meta = &autoscaler.metadata;
                let made = meta.creation_timestamp.as_ref().map(|time| time.0);
                (made_here(autoscaler), made, meta.name.clone())
            });
        }
        Self(out)
    }

    /// All of a Deployment.
    pub fn all(&self, workload: &ObjectKey) -> &[Arc<SloAutoscaler>] {
        self.0.get(workload).map_or(&[], Vec::as_slice)
    }

    /// The one that counts, by Deployment.
    pub fn first(&self) -> BTreeMap<ObjectKey, Arc<SloAutoscaler>> {
        let first = |(key, all): (&ObjectKey, &Vec<Arc<SloAutoscaler>>)| {
            Some((key.clone(), Arc::clone(all.first()?)))
        };
        self.0.iter().filter_map(first).collect()
    }

    /// Those that do not count, each with the one that does.
    pub fn others(&self) -> impl Iterator<Item = (&Arc<SloAutoscaler>, &Arc<SloAutoscaler>)> {
        self.0
            .values()
            .filter_map(|all| all.split_first())
            .flat_map(|(first, others)| others.iter().map(move |other| (other, first)))
    }

    /// The key of the one that counts, or under which one is made: the Deployment's, unless one of another target has it.
    pub fn place(&self, workload: &ObjectKey) -> ObjectKey {
        if let Some(first) = self.all(workload).first() {
            return key(first);
        }
        let taken = self
            .0
            .values()
            .flatten()
            .any(|found| key(found) == *workload);
        if taken {
            ObjectKey::new(&workload.namespace, format!("{}-msars", workload.name))
        } else {
            workload.clone()
        }
    }
}

/// Whether an autoscaler was made here for the Deployment that it names, whichever object that is now.
fn made_here(autoscaler: &SloAutoscaler) -> bool {
    let owners = autoscaler.metadata.owner_references.iter().flatten();
    owners.into_iter().any(|owner| {
        owner.controller == Some(true)
            && owner.kind == "Deployment"
            && owner.name == autoscaler.spec.target_ref.name
    })
}

/// Whether an autoscaler was made here for this workload, and not by a team.
pub fn ours(autoscaler: &SloAutoscaler, workload: &Workload) -> bool {
    let owners = autoscaler.metadata.owner_references.iter().flatten();
    owners.into_iter().any(|owner| owner.uid == workload.uid)
}

/// Sizes that a workload's annotations ask for; the lower they may be, the finer the steps.
pub fn cpu(workload: &Workload) -> Option<CpuBounds> {
    workload.settings.cpu.map(|bounds| CpuBounds {
        min_milli: bounds.min_m,
        max_milli: bounds.max_m,
        step_milli: bounds.min_m.clamp(5, 50),
    })
}

/// What a workload's annotations ask for, with its stored autoscaler.
fn asked(workload: &Workload, stored: Option<&SloAutoscaler>) -> SloAutoscaler {
    let settings = &workload.settings;
    let (min_replicas, max_replicas) = bounds(workload, stored);
    let mut autoscaler = SloAutoscaler::new(
        &workload.autoscaler.name,
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
            cpu: cpu(workload),
            behavior: None,
        },
    );
    autoscaler.metadata.namespace = Some(workload.key.namespace.clone());
    autoscaler.metadata.owner_references = Some(vec![owner(workload)]);
    autoscaler
}

/// What is to be written so that every workload has its autoscaler: new ones, and ours whose annotations changed. Where
/// a team made one for the workload, whatever its name, nothing is.
pub fn differences(
    stored: &[Arc<SloAutoscaler>],
    workloads: &BTreeMap<ObjectKey, Workload>,
) -> (Vec<SloAutoscaler>, Vec<SloAutoscaler>) {
    let (mut create, mut replace) = (Vec::new(), Vec::new());
    let targets = Targets::of(stored);
    for workload in workloads.values() {
        let found = targets.all(&workload.key).first();
        let wanted = asked(workload, found.map(Arc::as_ref));
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

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    pub(super) fn workload(place: &str) -> Workload {
        let object = json!({
            "metadata": {"namespace": "shop", "name": "carts", "uid": "d1", "annotations": {"msars.io/mode": "auto"}},
            "spec": {"template": {"spec": {"containers": [{"name": "app", "image": "i"}]}}},
        });
        let mut workload = Workload::read(object, true, &[]).unwrap().0;
        workload.autoscaler = ObjectKey::new("shop", place);
        workload
    }

    /// One of a name and a target, made here or at an hour of the day by a team.
    pub(super) fn stored(name: &str, target: &str, hour: Option<u8>) -> Arc<SloAutoscaler> {
        let mut autoscaler: SloAutoscaler = serde_json::from_value(json!({
            "apiVersion": "msars.io/v1alpha1", "kind": "SloAutoscaler",
            "metadata": {"namespace": "shop", "name": name},
            "spec": {"targetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": target}, "mode": "recommend"},
        }))
        .unwrap();
        match hour {
            Some(hour) => {
                let at = format!("2026-03-01T{hour:02}:00:00Z");
                autoscaler.metadata.creation_timestamp = serde_json::from_value(json!(at)).unwrap();
            }
            None => autoscaler.metadata.owner_references = Some(vec![owner(&workload(name))]),
        }
        Arc::new(autoscaler)
    }

    /// What is stored; the key of the one that counts or will, and the names of those made and replaced.
    type Row<'a> = (
        &'a [Arc<SloAutoscaler>],
        &'a str,
        &'a [&'a str],
        &'a [&'a str],
    );

    #[test]
    fn a_teams_own_is_found_by_its_target_and_wins() {
        let ours = stored("carts", "carts", None);
        let team = stored("team", "carts", Some(9));
        let later = stored("a-later", "carts", Some(10));
        let another = stored("carts", "orders", Some(9));
        let table: &[Row<'_>] = &[
            (&[], "carts", &["carts"], &[]),
            (std::slice::from_ref(&ours), "carts", &[], &["carts"]),
            (std::slice::from_ref(&team), "team", &[], &[]),
            (&[ours.clone(), team.clone()], "team", &[], &[]),
            // The older of two, whatever their names.
            (&[later.clone(), team.clone()], "team", &[], &[]),
            // One of its name for another Deployment.
            (
                std::slice::from_ref(&another),
                "carts-msars",
                &["carts-msars"],
                &[],
            ),
            (&[another.clone(), team.clone()], "team", &[], &[]),
        ];
        for (stored, place, made, replaced) in table {
            let targets = Targets::of(stored);
            let workload = workload(place);
            assert_eq!(targets.place(&workload.key), workload.autoscaler, "{place}");
            let (create, replace) =
                differences(stored, &BTreeMap::from([(workload.key.clone(), workload)]));
            let names = |all: &[SloAutoscaler]| -> Vec<String> {
                all.iter().map(|one| key(one).name).collect()
            };
            assert_eq!(names(&create), *made, "{place}");
            assert_eq!(names(&replace), *replaced, "{place}");
        }
        let all = [later, ours, team];
        let targets = Targets::of(&all);
        let others: Vec<_> = targets
            .others()
            .map(|(other, first)| (key(other).name, key(first).name))
            .collect();
        let pair = |other: &str| (other.to_owned(), "team".to_owned());
        assert_eq!(others, [pair("a-later"), pair("carts")]);
    }
}
