//! Which workloads an objective visits, and whether it burns fast. Pure.

use std::collections::BTreeSet;
use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use msars_api::crd::{ServiceLevelObjective, ServiceLevelObjectiveStatus};
use msars_domain::Percentile;
use msars_gate::{Facts, Snapshot};

/// What was observed longer ago says nothing of now: while requests are measured it is written anew every five minutes.
/// The leader stamps it, so that its age is told by the leader's clock, as `now` is here.
const OBSERVED_LIMIT: SignedDuration = SignedDuration::from_mins(15);

/// Marks the workloads that an objective's chains visit; `now` is the leader's.
pub(super) fn visited(
    snapshot: &mut Snapshot,
    objectives: &[Arc<ServiceLevelObjective>],
    workloads: &[Facts<'_>],
    now: Timestamp,
) {
    for slo in objectives {
        let Some(namespace) = &slo.metadata.namespace else {
            continue;
        };
        let status = slo.status.clone().unwrap_or_default();
        let burning = burns_fast(&status, slo.spec.percentile, now);
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
fn burns_fast(status: &ServiceLevelObjectiveStatus, percentile: f64, now: Timestamp) -> bool {
    let fresh = |at: &str| {
        at.parse::<Timestamp>()
            .is_ok_and(|at| now.duration_since(at) < OBSERVED_LIMIT)
    };
    let observed = status.observed.as_ref();
    let attainment = observed
        .filter(|observed| fresh(&observed.at))
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
    fn an_objective_burns_fast_by_what_was_observed_a_while_ago_at_most() {
        let now: Timestamp = "2026-03-01T10:00:00Z".parse().unwrap();
        for (attainment, percentile, at, wanted) in [
            (Some(0.80), 99.0, "2026-03-01T10:00:00Z", true),
            (Some(0.80), 99.0, "2026-03-01T09:45:01Z", true),
            (Some(0.80), 99.0, "2026-03-01T09:45:00Z", false),
            (Some(0.80), 99.0, "2026-02-01T10:00:00Z", false),
            // Clocks differ.
            (Some(0.80), 99.0, "2026-03-01T10:00:09Z", true),
            (Some(0.80), 99.0, "", false),
            (Some(0.90), 99.0, "2026-03-01T10:00:00Z", false),
            (None, 99.0, "2026-03-01T10:00:00Z", false),
            (Some(0.80), 100.0, "2026-03-01T10:00:00Z", false),
        ] {
            let status = ServiceLevelObjectiveStatus {
                observed: Some(Observed {
                    quantile_ms: None,
                    attainment,
                    requests: 1000.0,
                    at: at.into(),
                }),
                ..ServiceLevelObjectiveStatus::default()
            };
            let found = burns_fast(&status, percentile, now);
            assert_eq!(found, wanted, "{attainment:?} of p{percentile} at {at}");
        }
    }
}
