//! Which profile counts for a revision: its own, or that of a template which differs in CPU sizes alone. Pure.

use std::collections::BTreeMap;
use std::sync::Arc;

use msars_api::crd::LoadLatencyProfile;
use msars_domain::{MilliCpu, ObjectKey};

use crate::profiles::{self, Known};
use crate::world::Workload;

/// What of a template decides which profile may stand in for its own.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Form {
    shape: String,
    size: MilliCpu,
}

/// Forms of revisions by workload. A ReplicaSet tells none, so that what runs under a hold must be remembered from the
/// time before; a leader that begins during one does not know it.
#[derive(Debug, Default)]
pub(super) struct Forms(BTreeMap<(ObjectKey, String), Form>);

impl Forms {
    /// Remembers the templates of now, and forgets revisions that are gone.
    pub(super) fn see(&mut self, workloads: &BTreeMap<ObjectKey, Workload>) {
        self.0.retain(|(key, revision), _| {
            workloads
                .get(key)
                .is_some_and(|workload| workload.owned.contains_key(revision))
        });
        for workload in workloads.values() {
            if let Some((_, cpu)) = &workload.serving {
                let form = Form {
                    shape: workload.shape.clone(),
                    size: cpu.size(),
                };
                let key = (workload.key.clone(), workload.revision.clone());
                self.0.insert(key, form);
            }
        }
    }
}

/// The profile that counts for a revision.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Standing {
    /// The revision that was profiled.
    pub revision: String,
    /// What is known.
    pub known: Known,
}

/// Profiles that count, by workload and revision.
pub(super) type Profiles = BTreeMap<(ObjectKey, String), Standing>;

/// Every finished profile for its own revision; for a revision without, the one of its form whose measured sizes hold
/// its size: such a template passes the gate unprofiled.
pub(super) fn profiles(stored: &[Arc<LoadLatencyProfile>], forms: &Forms) -> Profiles {
    let mut out = Profiles::new();
    let mut measured: BTreeMap<&str, Vec<(ObjectKey, MilliCpu, MilliCpu, &str)>> = BTreeMap::new();
    for profile in stored {
        let (Some(namespace), Some(known)) =
            (&profile.metadata.namespace, profiles::known(profile))
        else {
            continue;
        };
        let spec = &profile.spec;
        let key = ObjectKey::new(namespace, &spec.workload);
        let points = profile.status.iter().flat_map(|status| &status.points);
        let sizes = points.map(|point| MilliCpu(point.size_milli));
        if let (Some(least), Some(most)) = (sizes.clone().min(), sizes.max()) {
            let found = (key.clone(), least, most, spec.revision.as_str());
            measured.entry(&spec.shape).or_default().push(found);
        }
        let standing = Standing {
            revision: spec.revision.clone(),
            known,
        };
        out.insert((key, spec.revision.clone()), standing);
    }
    for (place, form) in &forms.0 {
        if out.contains_key(place) {
            continue;
        }
        let same = measured.get(form.shape.as_str()).into_iter().flatten();
        let found = same
            .filter(|(key, least, most, _)| {
                *key == place.0 && (*least..=*most).contains(&form.size)
            })
            // As where replicas are planned: the first by its revision.
            .min_by_key(|(_, _, _, revision)| *revision)
            .and_then(|(key, _, _, revision)| out.get(&(key.clone(), (*revision).to_owned())))
            .cloned();
        if let Some(standing) = found {
            out.insert(place.clone(), standing);
        }
    }
    out
}
