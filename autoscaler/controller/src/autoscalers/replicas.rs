//! Between how many replicas a workload is scaled. Pure.

use msars_api::crd::SloAutoscaler;

use super::ours;
use crate::world::{Workload, hpa};

/// Replicas allowed unless the user says otherwise, or had more.
const MOST_REPLICAS: u32 = 10;

/// Fewest and most replicas that a workload asks for, with its stored autoscaler. Where an autoscaler was taken over, its
/// bounds hold until it is there again, whether the annotation that asked for it is or not.
pub fn bounds(workload: &Workload, stored: Option<&SloAutoscaler>) -> (u32, u32) {
    let settings = &workload.settings;
    let status = stored.and_then(|stored| stored.status.as_ref());
    let adopted = status.and_then(|status| status.adopted.as_ref());
    let adopted = adopted.map(|adopted| hpa::bounds(&adopted.spec));
    // The most that annotations allow wins over the fewest of what was taken over.
    let allowed = |least: u32| settings.max_replicas.map_or(least, |most| least.min(most));
    let least = settings
        .min_replicas
        .or(adopted.map(|(least, _)| allowed(least)));
    let least = least.unwrap_or(1).max(1);
    let most = settings
        .max_replicas
        .or(adopted.map(|(_, most)| most))
        .unwrap_or_else(|| usual_most(workload, stored));
    (least, most.max(least))
}

/// Most replicas where no annotation says it: ten, or as many as there were until the workload was scaled from here, which
/// its autoscaler remembers. A fleet is not cut to a number that nobody chose.
fn usual_most(workload: &Workload, stored: Option<&SloAutoscaler>) -> u32 {
    let stored = stored.filter(|stored| ours(stored, workload));
    let remembered = stored.map_or(0, |stored| stored.spec.max_replicas);
    let scaled_here = stored.is_some_and(|stored| stored.spec.mode == "auto");
    let found = if scaled_here { 0 } else { workload.replicas };
    MOST_REPLICAS.max(remembered).max(found)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::tests::{stored, workload};
    use super::*;

    #[test]
    fn the_bounds_of_what_was_taken_over_hold_until_it_is_back() {
        let mut found = (*stored("carts", "carts", None)).clone();
        let spec = json!({"minReplicas": 2, "maxReplicas": 5});
        let adopted = json!({"name": "carts", "uid": "h1", "at": "", "spec": spec});
        found.status.get_or_insert_default().adopted = serde_json::from_value(adopted).unwrap();
        let mut workload = workload("carts");
        assert_eq!(bounds(&workload, Some(&found)), (2, 5));
        workload.settings.max_replicas = Some(7);
        assert_eq!(bounds(&workload, Some(&found)), (2, 7));
        workload.settings.max_replicas = Some(1);
        assert_eq!(bounds(&workload, Some(&found)), (1, 1));
    }

    #[test]
    fn a_fleet_is_not_cut_to_a_number_that_nobody_chose() {
        // Replicas, the annotation, mode and most replicas of the stored autoscaler; the most.
        for (replicas, annotated, stored_as, wanted) in [
            (3, None, None, 10),
            (30, None, None, 30),
            (30, Some(12), None, 12),
            (30, None, Some(("recommend", 10)), 30),
            // The night's fleet may grow to the day's again.
            (12, None, Some(("recommend", 30)), 30),
            (12, None, Some(("auto", 30)), 30),
            (40, None, Some(("auto", 30)), 30),
            (40, Some(5), Some(("auto", 30)), 5),
        ] {
            let mut workload = workload("carts");
            workload.replicas = replicas;
            workload.settings.max_replicas = annotated;
            let found = stored_as.map(|(mode, most)| {
                let mut found = (*stored("carts", "carts", None)).clone();
                found.spec.mode = String::from(mode);
                found.spec.max_replicas = most;
                found
            });
            let (_, most) = bounds(&workload, found.as_ref());
            assert_eq!(most, wanted, "{replicas} {annotated:?} {stored_as:?}");
        }
    }
}
