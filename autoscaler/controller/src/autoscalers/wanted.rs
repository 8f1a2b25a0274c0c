//! The sizes that splits want of a workload's revisions, in its SloAutoscaler.

use msars_api::crd::{ServiceBudget, SloAutoscaler, SloAutoscalerStatus, WantedSize};
use msars_domain::MilliCpu;

use crate::own::Own;
use crate::world::Workload;

/// Sizes that an autoscaler's status keeps: those of this split first, then those of revisions that it does not speak
/// of (an undo may bring them back), at most ten.
fn sizes(stored: &[WantedSize], wanted: &[WantedSize]) -> Vec<WantedSize> {
    let mut out = wanted.to_vec();
    for old in stored {
        if out.len() < 10 && !out.iter().any(|size| size.revision == old.revision) {
            out.push(old.clone());
        }
    }
    out
}

/// What a split wants of a workload's revisions: new pods are born with it, so that it is no more than they may have.
pub fn wanted(workload: &Workload, budgets: &[&ServiceBudget]) -> Vec<WantedSize> {
    budgets
        .iter()
        .map(|budget| WantedSize {
            revision: budget.revision.clone(),
            size_milli: workload.born(MilliCpu(budget.size_milli)).0,
            replicas: budget.replicas,
        })
        .collect()
}

/// Sizes that an autoscaler's status keeps when a split wants these.
fn said(
    status: &SloAutoscalerStatus,
    workload: &Workload,
    wanted: &[WantedSize],
) -> Vec<WantedSize> {
    let mut wanted = wanted.to_vec();
    for size in &mut wanted {
        let same = |old: &&WantedSize| old.revision == size.revision;
        let Some(stored) = status.sizes.iter().find(same) else {
            continue;
        };
        // Of several objectives the one that wants most of what waits counts, whichever is split last.
        if workload.held() && size.revision == workload.revision {
            size.size_milli = size.size_milli.max(stored.size_milli);
        }
        // Where replicas and size are owned already, the running revision's size is `workload`'s to say.
        if status.memory.is_some() && size.revision == workload.running() {
            size.size_milli = stored.size_milli;
        }
    }
    sizes(&status.sizes, &wanted)
}

/// Writes what a split wants for one workload's revisions; true when it stands. All else of the status is
/// [`crate::workload::status`]'s.
pub async fn want(own: &Own, workload: &Workload, budgets: &[&ServiceBudget]) -> bool {
    let wanted = wanted(workload, budgets);
    let outcome = own
        .status::<SloAutoscaler>(&workload.autoscaler, |autoscaler| {
            let status = autoscaler.status.get_or_insert_default();
            status.sizes = said(status, workload, &wanted);
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
    use http::{Request, Response};
    use kube::client::Body;
    use msars_gate::HoldState;

    use super::super::tests::{stored, workload};
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

    #[test]
    fn a_waiting_revision_is_born_at_the_larger_of_two_objectives_sizes() {
        let mut workload = workload("carts");
        workload.revision = "new".into();
        workload.from = Some("old".into());
        // Of the revision that runs and the one that comes.
        let told = |workload: &Workload, owned: bool, stored: [u32; 2], wanted: [u32; 2]| {
            let status = SloAutoscalerStatus {
                memory: owned.then(String::new),
                sizes: vec![size("old", stored[0]), size("new", stored[1])],
                ..SloAutoscalerStatus::default()
            };
            let wanted = [size("old", wanted[0]), size("new", wanted[1])];
            let said = said(&status, workload, &wanted);
            said.iter().map(|size| size.size_milli).collect::<Vec<_>>()
        };
        // Nothing waits: what is wanted last counts, but of what runs where it is owned already.
        assert_eq!(told(&workload, false, [300, 400], [200, 250]), [200, 250]);
        assert_eq!(told(&workload, true, [300, 400], [200, 250]), [200, 400]);
        workload.state = HoldState::Orphaned { until: None };
        assert_eq!(told(&workload, false, [300, 400], [200, 250]), [200, 400]);
        assert_eq!(told(&workload, false, [300, 400], [200, 500]), [200, 500]);
        assert_eq!(told(&workload, true, [300, 400], [200, 250]), [300, 400]);
    }

    #[tokio::test]
    async fn what_is_wanted_goes_to_the_one_that_counts() {
        let (service, mut handle) = tower_test::mock::pair::<Request<Body>, Response<Body>>();
        let server = tokio::spawn(async move {
            let mut asked = Vec::new();
            while let Some((request, answer)) = handle.next_request().await {
                asked.push(request.uri().path().to_owned());
                let stored = serde_json::to_vec(&*stored("team", "carts", Some(9))).unwrap();
                answer.send_response(Response::new(Body::from(stored)));
            }
            asked
        });
        let own = Own::new(kube::Client::new(service, "shop"), "test");
        assert!(want(&own, &workload("team"), &[]).await);
        drop(own);
        let asked = server.await.unwrap();
        let path = "/apis/msars.io/v1alpha1/namespaces/shop/sloautoscalers/team";
        assert_eq!(asked, [path.to_owned(), format!("{path}/status")]);
    }
}
