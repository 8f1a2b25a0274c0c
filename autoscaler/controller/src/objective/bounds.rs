//! How far a split may go with a workload: as where replicas are planned, by a team's own SloAutoscaler before annotations.
//! Pure.

use msars_api::crd::SloAutoscaler;
use msars_domain::MilliCpu;

use crate::world::Workload;
use crate::{autoscalers, profiles};

/// Fewest and most replicas, smallest and largest size.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bounds {
    /// Replicas.
    pub replicas: (u32, u32),
    /// Sizes; none where no container serves and nobody asks for any.
    pub sizes: Option<(MilliCpu, MilliCpu)>,
}

/// With the autoscaler that counts: one that was made here says what annotations say, and later.
pub(super) fn bounds(workload: &Workload, autoscaler: Option<&SloAutoscaler>) -> Bounds {
    let usual = Bounds {
        replicas: autoscalers::bounds(workload, autoscaler),
        sizes: profiles::bounds(workload),
    };
    let teams = autoscaler.filter(|autoscaler| !autoscalers::ours(autoscaler, workload));
    let Some(spec) = teams.map(|autoscaler| &autoscaler.spec) else {
        return usual;
    };
    let least = spec.min_replicas.max(1);
    // Where a resize would restart the container, annotations and template leave one size.
    let cpu = spec.cpu.filter(|_| workload.restarts.is_none());
    let fit = |milli: u32| workload.allowed.fit(MilliCpu(milli.max(1)));
    Bounds {
        replicas: (least, spec.max_replicas.max(least)),
        sizes: cpu.map_or(usual.sizes, |cpu| {
            Some((fit(cpu.min_milli), fit(cpu.max_milli)))
        }),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::tests::{deployment, workload};
    use super::*;
    use crate::own::owner;

    #[test]
    fn a_teams_own_bounds_count_and_ours_say_what_annotations_say() {
        let workload = workload(&deployment("carts"));
        let mut autoscaler: SloAutoscaler = serde_json::from_value(json!({
            "apiVersion": "msars.io/v1alpha1", "kind": "SloAutoscaler",
            "metadata": {"namespace": "shop", "name": "team"},
            "spec": {"targetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "carts"}, "mode": "auto",
                "minReplicas": 2, "maxReplicas": 3, "cpu": {"minMilli": 150, "maxMilli": 300}},
        }))
        .unwrap();
        let usual = bounds(&workload, None);
        assert_eq!(usual.replicas, (1, 10));
        let teams = Bounds {
            replicas: (2, 3),
            sizes: Some((MilliCpu(150), MilliCpu(300))),
        };
        assert_eq!(bounds(&workload, Some(&autoscaler)), teams);
        autoscaler.spec.cpu = None;
        assert_eq!(bounds(&workload, Some(&autoscaler)).sizes, usual.sizes);
        autoscaler.metadata.owner_references = Some(vec![owner(&workload)]);
        assert_eq!(bounds(&workload, Some(&autoscaler)), usual);
    }
}
