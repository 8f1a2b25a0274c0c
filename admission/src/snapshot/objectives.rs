//! Which workloads an objective visits, and whether it burns fast. Pure.

use std::collections::BTreeSet;
use std::sync::Arc;

use msars_api::crd::{ServiceLevelObjective, ServiceLevelObjectiveStatus};
use msars_domain::Percentile;
use msars_gate::{Facts, Snapshot};

/// Marks the workloads that an objective's chains visit.
pub(super) fn visited(
    snapshot: &mut Snapshot,
    objectives: &[Arc<ServiceLevelObjective>],
    workloads: &[Facts<'_>],
) {
    for slo in objectives {
        let Some(namespace) = &slo.metadata.namespace else {
            continue;
        };
        let status = slo.status.clone().unwrap_or_default();
        let burning = burns_fast(&status, slo.spec.percentile);
        let visited: BTreeSet<&str> = status
            .chains
            .iter()
            .flat_map(|chain| &chain.services)
            .map(|service| service.workload.as_str())
            .collect();
        for facts in workloads {
            let key = facts.key();
            if key.namespace != *namespace {
                continue;
            }
            let application = facts.settings.application.as_deref();
            let member = application.unwrap_or(namespace) == slo.spec.application;
            if member && visited.contains(key.name.as_str()) {
                let workload = snapshot.workload_mut(&key);
                workload.has_objective = true;
                workload.burning_fast |= burning;
            }
        }
    }
}

/// `percentile` is between 0 and 100; an objective without one that can be read burns nothing.
fn burns_fast(status: &ServiceLevelObjectiveStatus, percentile: f64) -> bool {
    let attainment = status
        .observed
        .as_ref()
        .and_then(|observed| observed.attainment);
    let percentile = Percentile::new(percentile / 100.0).ok();
    attainment
        .zip(percentile)
        .is_some_and(|(attainment, percentile)| percentile.burns_fast(attainment))
}

#[cfg(test)]
mod tests {
    use super::*;
    use msars_api::crd::Observed;

    #[test]
    fn an_objective_burns_fast_by_what_was_observed() {
        let status = |attainment| ServiceLevelObjectiveStatus {
            observed: Some(Observed {
                quantile_ms: None,
                attainment,
                requests: 1000.0,
                at: String::new(),
            }),
            ..ServiceLevelObjectiveStatus::default()
        };
        assert!(burns_fast(&status(Some(0.80)), 99.0));
        assert!(!burns_fast(&status(Some(0.90)), 99.0));
        assert!(!burns_fast(&status(None), 99.0));
        assert!(!burns_fast(&status(Some(0.80)), 100.0));
    }
}
