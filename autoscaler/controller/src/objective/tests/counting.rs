//! Which profile and which sizes count.

use k8s_openapi::api::core::v1::Pod;
use msars_budget::{Latency, TailFactor};
use msars_domain::{Call, Chain, EdgeKind, MilliCpu, Rate};
use msars_gate::HoldState;

use super::super::assemble::{Class, budgets, request};
use super::super::force;
use super::super::live::unknown;
use super::super::memory::Memory;
use super::super::solve::{compute, members};
use super::*;
use crate::pods::serving;

fn limited(image: &str, cpu: &str) -> Value {
    let mut object = deployment("catalogue");
    let container = &mut object["spec"]["template"]["spec"]["containers"][0];
    container["image"] = json!(image);
    container["resources"]["limits"]["cpu"] = json!(cpu);
    object
}

/// The catalogue's profile at 200m and 400m.
fn profiled() -> Arc<LoadLatencyProfile> {
    let base = workload(&limited("shop:v1", "200m"));
    let mut profile = (*profile("catalogue", &base.revision, 0)).clone();
    profile.spec.shape = base.shape;
    Arc::new(profile)
}

#[test]
fn a_template_of_another_size_keeps_its_profile_and_is_not_learnt() {
    for (image, cpu, counts) in [
        ("shop:v1", "200m", true),
        ("shop:v1", "300m", true),
        ("shop:v1", "400m", true),
        // Past what was measured, it is a revision of its own.
        ("shop:v1", "500m", false),
        ("shop:v1", "100m", false),
        ("shop:v2", "300m", false),
    ] {
        let mut shop = Shop::default();
        shop.add(&limited(image, cpu));
        shop.learn(&[profiled()]);
        let application = application("catalogue", &["catalogue"]);
        let memory = Memory::default();
        let members = members(&application, &shop.around(), &memory, false);
        assert_eq!(
            members["catalogue"].profile.is_some(),
            counts,
            "{image} {cpu}"
        );
        let workload = &shop.workloads[&key("catalogue")];
        let asked = |share| msars_domain::Percentile::new(share).unwrap();
        assert_eq!(
            unknown(workload, &shop.known, asked(0.99)),
            !counts,
            "{image} {cpu}"
        );
        // A profile for p99 tells nothing of p99.9.
        assert!(
            unknown(workload, &shop.known, asked(0.999)),
            "{image} {cpu}"
        );
    }
}

#[test]
fn what_runs_under_a_hold_keeps_the_profile_that_stood_in_for_its_own() {
    let mut shop = Shop::default();
    shop.add(&limited("shop:v1", "300m"));
    shop.learn(&[profiled()]);
    let running = shop.workloads[&key("catalogue")].clone();
    let mut held = workload(&limited("shop:v2", "300m"));
    held.state = HoldState::Orphaned { until: None };
    held.from = Some(running.revision.clone());
    held.owned = running.owned;
    shop.workloads.insert(key("catalogue"), held);
    shop.learn(&[profiled()]);
    let standing = &shop.known[&(key("catalogue"), running.revision.clone())];
    assert_ne!(standing.revision, running.revision);
    // Its ReplicaSet is gone: so is what is known of its form.
    if let Some(held) = shop.workloads.get_mut(&key("catalogue")) {
        held.owned.clear();
    }
    shop.learn(&[profiled()]);
    assert!(
        !shop
            .known
            .contains_key(&(key("catalogue"), running.revision))
    );
}

fn pod(hash: &str, milli: u32, manager: &str) -> Arc<Pod> {
    let resources = json!({"requests": {"cpu": "100m"}, "limits": {"cpu": format!("{milli}m")}});
    let cpu = json!({"f:spec": {"f:containers": {"k:{\"name\":\"app\"}": {"f:resources": {"f:limits": {"f:cpu": {}}}}}}});
    Arc::new(
        serde_json::from_value(json!({
            "metadata": {
                "name": format!("{hash}-{milli}"), "namespace": "shop", "uid": format!("{hash}-{milli}"),
                "creationTimestamp": "2026-03-01T11:00:00Z", "labels": {"pod-template-hash": hash},
                "ownerReferences": [{"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": format!("catalogue-{hash}"),
                    "uid": hash, "controller": true}],
                "managedFields": [{"manager": manager, "subresource": "resize", "operation": "Update", "fieldsV1": cpu}],
            },
            "spec": {"containers": [{"name": "app", "resources": resources}]},
            "status": {
                "phase": "Running",
                "conditions": [{"type": "Ready", "status": "True", "lastTransitionTime": "2026-03-01T11:00:10Z"}],
            },
        }))
        .unwrap(),
    )
}

#[test]
fn a_size_is_in_force_when_one_revision_serves_and_is_the_users_when_all_pods_have_it_from_them() {
    let force = |size, pinned: Option<u32>| InForce {
        size: MilliCpu(size),
        pinned: pinned.map(MilliCpu),
    };
    for (pods, wanted) in [
        (vec![], None),
        (vec![pod("h1", 200, "msars")], Some(force(200, None))),
        (
            vec![pod("h1", 200, "msars"), pod("h1", 400, "kubectl-edit")],
            Some(force(300, None)),
        ),
        (
            vec![pod("h1", 300, "kubectl-edit"), pod("h1", 500, "vpa")],
            Some(force(400, Some(300))),
        ),
        // A rollout.
        (vec![pod("h1", 200, "msars"), pod("h2", 200, "msars")], None),
    ] {
        let catalogue = workload(&deployment("catalogue"));
        let workloads = BTreeMap::from([(key("catalogue"), catalogue)]);
        let found = force::sizes(&workloads, &serving(&pods));
        assert_eq!(found.get(&key("catalogue")).copied(), wanted);
    }
}

#[test]
fn a_pinned_service_is_promised_no_more_than_the_profiled_size_below() {
    for (pinned, sizes) in [
        (None, &[200, 400, 800][..]),
        (Some(200), &[200]),
        (Some(700), &[400]),
        (Some(50), &[200]),
    ] {
        let mut shop = Shop::default();
        shop.add(&limited("shop:v1", "200m"));
        shop.learn(&[profiled()]);
        let force = InForce {
            size: MilliCpu(200),
            pinned: pinned.map(MilliCpu),
        };
        shop.sizes.insert(key("catalogue"), force);
        let application = application("catalogue", &["catalogue"]);
        let memory = Memory::default();
        let members = members(&application, &shop.around(), &memory, false);
        let class = Class {
            chain: Chain {
                name: "all".into(),
                root: Call {
                    service: "catalogue".into(),
                    visits: 1.0,
                    max_visits: 1,
                    kind: EdgeKind::Sequential,
                    children: vec![],
                },
                percentile: application.percentile,
            },
            rate: Rate::new(10.0).unwrap(),
            objective: application.objective,
            tail: TailFactor::ONE,
        };
        let request = request("catalogue", &[class], &members).unwrap();
        let Latency::Profiled { curve, .. } = &request.services["catalogue"].latency else {
            panic!("profiled");
        };
        let found: Vec<u32> = curve.sizes().iter().map(|table| table.size.0).collect();
        assert_eq!(found, sizes, "{pinned:?}");
    }
}

#[tokio::test]
async fn an_unprofiled_revision_keeps_the_budget_of_the_one_before() {
    let (some, few) = (Some(15.0), None);
    for (observed, stored, objective, wanted, counted) in [
        // Nothing is known of an earlier one, or only what it took.
        (some, None, 400.0, (15.0, "observed"), 15.0),
        (
            some,
            Some(("observed", 80.0)),
            400.0,
            (15.0, "observed"),
            15.0,
        ),
        (
            some,
            Some(("profile", 80.0)),
            400.0,
            (80.0, "earlier"),
            80.0,
        ),
        (
            some,
            Some(("earlier", 80.0)),
            400.0,
            (80.0, "earlier"),
            80.0,
        ),
        // It has too few requests to say what it takes.
        (few, Some(("profile", 80.0)), 400.0, (80.0, "earlier"), 80.0),
        // It takes more than it had: that is counted, and is no budget.
        (
            some,
            Some(("profile", 10.0)),
            400.0,
            (10.0, "earlier"),
            15.0,
        ),
        // There is no room for it any more.
        (some, Some(("profile", 80.0)), 50.0, (80.0, "earlier"), 15.0),
    ] {
        let mut shop = Shop::default();
        shop.add(&limited("shop:v2", "200m"));
        let mut application = application("catalogue", &["catalogue"]);
        if let Some((source, had)) = stored {
            let mut slo = (*application.stored).clone();
            let service = json!({"workload": "catalogue", "revision": "v1", "budgetMs": had, "sharePercent": 20.0,
                "sizeMilli": 200, "replicas": 2, "source": source});
            let status = json!({"chains": [{"name": "all", "method": "dp", "reason": "", "tailFactor": 1.0,
                "feasible": true, "tookMs": 1.0, "at": "", "services": [service]}]});
            slo.status = serde_json::from_value(status).unwrap();
            application.stored = Arc::new(slo);
        }
        let mut memory = Memory::default();
        let observed = observed.map(|time| ("catalogue".to_owned(), ms(time)));
        memory.observed.extend(observed);
        let members = members(&application, &shop.around(), &memory, false);
        let class = Class {
            chain: Chain {
                name: "all".into(),
                root: Call {
                    service: "catalogue".into(),
                    visits: 1.0,
                    max_visits: 1,
                    kind: EdgeKind::Sequential,
                    children: Vec::new(),
                },
                percentile: application.percentile,
            },
            rate: Rate::new(40.0).unwrap(),
            objective: ms(objective),
            tail: TailFactor::ONE,
        };
        let (split, _) = compute(&application, &[class], &members, &members, false)
            .await
            .unwrap();
        let case = format!("{stored:?} in {objective} ms");
        assert!(split.feasible, "{case}: {}", split.reason);
        assert_eq!(split.services[0].budget, ms(counted), "{case}");
        let found = budgets(&split, "all", &members);
        assert_eq!(
            (found[0].budget_ms, found[0].source.as_str()),
            wanted,
            "{case}"
        );
    }
}
