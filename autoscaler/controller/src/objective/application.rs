//! Which workloads make an application, and which objective it has. Pure.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use msars_api::annotations::{SLO, Warning};
use msars_api::crd::{ChainSpec, ServiceLevelObjective, ServiceLevelObjectiveSpec};
use msars_domain::{Millis, ObjectKey, Percentile};

use crate::own::owner;
use crate::world::Workload;

/// An objective with the workloads that it covers.
#[derive(Debug, Clone)]
pub struct Application {
    /// The ServiceLevelObjective.
    pub key: ObjectKey,
    /// The application's name.
    pub name: String,
    /// The entry Deployment.
    pub entry: ObjectKey,
    /// The percentile.
    pub percentile: Percentile,
    /// The latency.
    pub objective: Millis,
    /// Declared chains; discovered when there are none.
    pub chains: Vec<ChainSpec>,
    /// The workloads.
    pub members: Vec<ObjectKey>,
    /// Share of requests that must be within the latency over the window of the error budget.
    pub target: Percentile,
    /// The window of the error budget.
    pub window: Duration,
    /// The ServiceLevelObjective as it is stored.
    pub stored: Arc<ServiceLevelObjective>,
}

/// Every objective that can be read, by name; those that a later writer spoilt are left out.
pub fn all(
    objectives: &[Arc<ServiceLevelObjective>],
    workloads: &BTreeMap<ObjectKey, Workload>,
) -> Vec<Application> {
    let mut out: Vec<Application> = objectives
        .iter()
        .filter_map(|slo| {
            let namespace = slo.metadata.namespace.clone()?;
            let spec = &slo.spec;
            let percentile = Percentile::new(spec.percentile / 100.0).ok()?;
            let target = spec.attainment.map(Percentile::new);
            Some(Application {
                key: ObjectKey::new(&namespace, slo.metadata.name.clone()?),
                name: spec.application.clone(),
                entry: ObjectKey::new(&namespace, &spec.entry),
                percentile,
                objective: Millis::new(spec.latency_ms).ok()?,
                chains: spec.chains.clone(),
                members: workloads
                    .values()
                    .filter(|workload| {
                        workload.key.namespace == namespace
                            && workload.application() == spec.application
                    })
                    .map(|workload| workload.key.clone())
                    .collect(),
                target: target.and_then(Result::ok).unwrap_or(percentile),
                window: Duration::from_hours(spec.window_hours.into()),
                stored: Arc::clone(slo),
            })
        })
        .collect();
    out.sort_by(|a, b| a.key.cmp(&b.key));
    out
}

/// The objective that an entry Deployment's annotation asks for.
pub fn asked(workload: &Workload) -> Option<ServiceLevelObjective> {
    let objective = workload.settings.slo?;
    let mut slo = ServiceLevelObjective::new(
        &workload.key.name,
        ServiceLevelObjectiveSpec {
            application: workload.application().to_owned(),
            entry: workload.key.name.clone(),
            // Three decimals are what the annotation can say; floating point would add more.
            percentile: (objective.share() * 100_000.0).round() / 1000.0,
            latency_ms: objective.millis(),
            attainment: None,
            window_hours: 720,
            chains: Vec::new(),
        },
    );
    slo.metadata.namespace = Some(workload.key.namespace.clone());
    slo.metadata.owner_references = Some(vec![owner(workload)]);
    Some(slo)
}

/// Whether an objective was made here for this Deployment, and not by a team.
fn ours(slo: &ServiceLevelObjective, workload: &Workload) -> bool {
    let owners = slo.metadata.owner_references.iter().flatten();
    owners.into_iter().any(|owner| owner.uid == workload.uid)
}

/// Workloads whose annotation asked for an objective and is gone since. The objective stays: an undo brings back the
/// annotations of its revision, and what is scaled must not depend on them. An annotation that is there and is not
/// understood is told by itself.
pub fn unasked<'a>(
    objectives: &[Arc<ServiceLevelObjective>],
    workloads: &'a BTreeMap<ObjectKey, Workload>,
) -> Vec<&'a Workload> {
    let unreadable = |warning: &Warning| warning.annotation == SLO;
    let owner = |slo: &Arc<ServiceLevelObjective>| {
        let meta = &slo.metadata;
        let key = ObjectKey::new(meta.namespace.as_ref()?, meta.name.as_ref()?);
        let workload = workloads.get(&key)?;
        let silent = workload.settings.slo.is_none();
        (silent && ours(slo, workload) && !workload.warnings.iter().any(unreadable))
            .then_some(workload)
    };
    objectives.iter().filter_map(owner).collect()
}

/// What is to be done about the objectives that annotations ask for.
#[derive(Debug)]
pub enum Declare {
    /// It is not there yet.
    Create(Box<ServiceLevelObjective>),
    /// It says something else; it is ours, since its owner is the Deployment.
    Replace(Box<ServiceLevelObjective>),
}

/// Compares what annotations ask for with what is stored. An objective of that name that somebody else made is left
/// alone.
pub fn declare(
    objectives: &[Arc<ServiceLevelObjective>],
    workloads: &BTreeMap<ObjectKey, Workload>,
) -> Vec<Declare> {
    workloads
        .values()
        .filter_map(|workload| {
            let wanted = asked(workload)?;
            let found = objectives.iter().find(|slo| {
                slo.metadata.namespace == wanted.metadata.namespace
                    && slo.metadata.name == wanted.metadata.name
            });
            let Some(found) = found else {
                return Some(Declare::Create(Box::new(wanted)));
            };
            let same = found.spec.application == wanted.spec.application
                && (found.spec.percentile - wanted.spec.percentile).abs() < 1e-9
                && (found.spec.latency_ms - wanted.spec.latency_ms).abs() < 1e-9;
            (ours(found, workload) && !same).then(|| {
                let mut replaced = (**found).clone();
                // Declared chains, attainment and window are the user's own additions.
                replaced.spec.application = wanted.spec.application;
                replaced.spec.percentile = wanted.spec.percentile;
                replaced.spec.latency_ms = wanted.spec.latency_ms;
                Declare::Replace(Box::new(replaced))
            })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::tests::deployment;
    use super::*;

    #[test]
    fn an_objective_whose_annotation_is_gone_stays_and_is_found() {
        let entry = |asks: Option<&str>| {
            let mut object = deployment("front-end");
            if let Some(asks) = asks {
                object["metadata"]["annotations"][SLO] = json!(asks);
            }
            Workload::read(object, true, &[]).unwrap().0
        };
        let made = asked(&entry(Some("p99<400ms"))).unwrap();
        let of = |name: &str, uid: &str| {
            let mut slo = made.clone();
            slo.metadata.name = Some(name.into());
            if let Some([owner]) = slo.metadata.owner_references.as_deref_mut() {
                owner.uid = uid.into();
            }
            slo
        };
        let mut teams = made.clone();
        teams.metadata.owner_references = None;
        let (asks, silent) = (entry(Some("p99<400ms")), entry(None));
        let typo = entry(Some("p99 400"));
        for (what, slo, workload, found) in [
            ("asked for", made.clone(), Some(&asks), false),
            ("not asked for", made.clone(), Some(&silent), true),
            ("a typo", made.clone(), Some(&typo), false),
            ("opted out", made.clone(), None, false),
            ("a team's own", teams, Some(&silent), false),
            (
                "another name",
                of("mine", "front-end"),
                Some(&silent),
                false,
            ),
            (
                "an older one's",
                of("front-end", "gone"),
                Some(&silent),
                false,
            ),
        ] {
            let workloads = workload.map(|workload| (workload.key.clone(), workload.clone()));
            let workloads: BTreeMap<ObjectKey, Workload> = workloads.into_iter().collect();
            let stored = [Arc::new(slo)];
            assert_eq!(
                unasked(&stored, &workloads).len(),
                usize::from(found),
                "{what}"
            );
            assert_eq!(all(&stored, &workloads).len(), 1, "{what}");
        }
    }
}
