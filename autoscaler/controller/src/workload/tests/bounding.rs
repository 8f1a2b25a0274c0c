//! Sizes that nodes, LimitRanges, quotas and the template itself bound.

use k8s_openapi::api::core::v1::{LimitRange, ResourceQuota};
use msars_api::crd::{ServiceBudget, WantedSize};
use msars_domain::Action;
use msars_plan::{ConditionReason, ConditionType, Limits, State, Tick, decide};

use super::super::status;
use super::*;
use crate::engine::analytic;
use crate::{autoscalers, profiles};

/// The workload with 100m of 200m for its container, and a sidecar that requests 50m of at most 100m.
fn beside(sidecar: bool) -> Workload {
    let mut object = deployment();
    if sidecar {
        let containers = &mut object["spec"]["template"]["spec"]["containers"];
        let resources = json!({"requests": {"cpu": "50m"}, "limits": {"cpu": "100m"}});
        let sidecar = json!({"name": "log", "image": "log:v1", "resources": resources});
        containers.as_array_mut().unwrap().push(sidecar);
    }
    workload(&object, &[])
}

fn range(kind: &str, least: &str, most: &str) -> Arc<LimitRange> {
    let item = json!({"type": kind, "min": {"cpu": least}, "max": {"cpu": most}});
    let meta = json!({"namespace": "shop", "name": "r"});
    let spec = json!({"limits": [item]});
    Arc::new(serde_json::from_value(json!({"metadata": meta, "spec": spec})).unwrap())
}

fn quota(hard: &Value, used: &Value) -> Arc<ResourceQuota> {
    let meta = json!({"namespace": "shop", "name": "q"});
    let status = json!({"hard": hard, "used": used});
    let spec = json!({"hard": hard});
    let object = json!({"metadata": meta, "spec": spec, "status": status});
    Arc::new(serde_json::from_value(object).unwrap())
}

fn observed(workload: &Workload, around: &Around) -> Observation {
    let serving = pods::serving(&[pod("a", "h1"), pod("b", "h1")]);
    let one = One {
        serving: &serving[&key()],
        ..podless(workload, 500.0)
    };
    observation(around, one)
}

#[test]
fn a_size_is_bound_by_the_largest_node_but_never_below_the_templates() {
    let milli = |sizes: Vec<MilliCpu>| sizes.iter().map(|size| size.0).collect::<Vec<_>>();
    for (limit, node, wanted) in [
        ("200m", Some(500), &[100, 150, 200, 300, 400][..]),
        ("4", Some(2000), &[2000, 3000, 4000]),
        (
            "4",
            Some(16_000),
            &[2000, 3000, 4000, 6000, 8000, 12_000, 16_000],
        ),
        // Nothing is known of nodes yet.
        ("4", None, &[2000, 3000, 4000]),
    ] {
        let mut object = deployment();
        let app = &mut object["spec"]["template"]["spec"]["containers"][0];
        app["resources"]["limits"]["cpu"] = json!(limit);
        let workload = workload(&object, &[]);
        let node = node.map(MilliCpu);
        assert_eq!(
            milli(profiles::allowed(&workload, node)),
            wanted,
            "{limit} {node:?}"
        );
        let around = Around {
            node,
            ..around(&workload, &[])
        };
        let cpu = observed(&workload, &around).cpu;
        assert_eq!(Some(&cpu.min.0), wanted.first(), "{limit} {node:?}");
        assert_eq!(Some(&cpu.max.0), wanted.last(), "{limit} {node:?}");
    }
}

#[test]
fn splits_profiles_and_decisions_stay_within_limit_ranges() {
    for (cpu, range, low, high) in [
        (None, range("Container", "75m", "800m"), 150, 800),
        (None, range("Pod", "150m", "1"), 200, 900),
        (
            Some("25m..25m"),
            range("Container", "75m", "800m"),
            150,
            150,
        ),
        (Some("1..2"), range("Container", "75m", "800m"), 800, 800),
    ] {
        let mut workload = beside(true);
        workload.settings.cpu = cpu.and_then(msars_api::annotations::CpuBounds::parse);
        workload.allow(&[range], &[]);
        let bounds = profiles::bounds(&workload).unwrap();
        assert_eq!(bounds, (MilliCpu(low), MilliCpu(high)), "{cpu:?}");
        let probed = profiles::probed(&workload, Some(MilliCpu(4000)));
        let (base, others) = probed.split_first().unwrap();
        assert_eq!(*base, MilliCpu(200));
        assert!(others.iter().all(|size| (low..=high).contains(&size.0)));
        let mut autoscaler = autoscaler();
        autoscaler.metadata.owner_references = Some(vec![crate::own::owner(&workload)]);
        let one = One {
            autoscaler: &autoscaler,
            ..podless(&workload, 1.0)
        };
        let found = observation(&around(&workload, &[]), one).cpu;
        assert_eq!((found.min, found.max), bounds, "{cpu:?}");
    }
}

#[test]
fn a_pod_is_born_with_what_the_namespace_lets_it_have() {
    let none = json!({});
    let limits = |cpu: &str| json!({"limits.cpu": cpu});
    let wide = || range("Container", "10m", "4");
    for (sidecar, range, hard, used, wanted, born) in [
        (false, wide(), none.clone(), none.clone(), 800, 800),
        (
            false,
            range("Container", "10m", "500m"),
            none.clone(),
            none.clone(),
            800,
            500,
        ),
        (
            false,
            range("Container", "100m", "4"),
            none.clone(),
            none.clone(),
            50,
            200,
        ),
        (
            true,
            range("Pod", "10m", "500m"),
            none.clone(),
            none.clone(),
            800,
            400,
        ),
        // 800m are left, of which a sidecar takes 100m.
        (false, wide(), limits("2"), limits("1200m"), 800, 800),
        (true, wide(), limits("2"), limits("1200m"), 800, 200),
        (true, wide(), limits("2"), limits("1200m"), 700, 700),
        (
            false,
            wide(),
            json!({"requests.cpu": "1"}),
            json!({"requests.cpu": "700m"}),
            800,
            200,
        ),
        (
            false,
            wide(),
            json!({"requests.cpu": "1"}),
            json!({"requests.cpu": "700m"}),
            600,
            600,
        ),
        // No room even for the template's: it is what the user asked for; a smaller one stays.
        (false, wide(), limits("2"), limits("2"), 800, 200),
        (false, wide(), limits("2"), limits("2"), 100, 100),
        (
            false,
            range("Container", "10m", "150m"),
            limits("2"),
            limits("2"),
            800,
            150,
        ),
        // Pods are counted whatever their size.
        (
            false,
            wide(),
            json!({"pods": "2"}),
            json!({"pods": "2"}),
            800,
            800,
        ),
    ] {
        let mut workload = beside(sidecar);
        workload.allow(&[range], &[quota(&hard, &used)]);
        let found = workload.born(MilliCpu(wanted));
        assert_eq!(
            found,
            MilliCpu(born),
            "{wanted}, sidecar {sidecar}, {hard}, {used}"
        );
    }
}

#[test]
fn a_split_wants_no_size_that_new_pods_may_not_have() {
    let mut workload = beside(false);
    let budget = ServiceBudget {
        workload: "carts".into(),
        revision: "r2".into(),
        budget_ms: 50.0,
        share_percent: 10.0,
        size_milli: 1200,
        replicas: 3,
        source: "profile".into(),
    };
    let mut wanted = |range, quota| {
        workload.allow(&[range], &[quota]);
        autoscalers::wanted(&workload, &[&budget])
    };
    let size = |milli| WantedSize {
        revision: "r2".into(),
        size_milli: milli,
        replicas: 3,
    };
    let (wide, none) = (range("Container", "10m", "4"), json!({}));
    assert_eq!(wanted(Arc::clone(&wide), quota(&none, &none)), [size(1200)]);
    let narrow = range("Container", "10m", "500m");
    assert_eq!(wanted(narrow, quota(&none, &none)), [size(500)]);
    let full = quota(&json!({"limits.cpu": "2"}), &json!({"limits.cpu": "1500m"}));
    assert_eq!(wanted(wide, full), [size(200)]);
}

#[test]
fn stored_sizes_come_down_when_new_pods_would_be_refused() {
    let (mut workload, mut seen) = seen(30.0);
    let running = workload.revision.clone();
    let size = |revision: &str, milli: u32| WantedSize {
        revision: revision.into(),
        size_milli: milli,
        replicas: 2,
    };
    let stored = [size(&running, 800), size("older", 1200)];
    let born = |workload: &Workload, seen: &Observation, size: Option<u32>| {
        status::born_with(&stored, workload, seen, size.map(MilliCpu))
    };
    // Every pod is there: one that is made anew has the room of the one that went.
    let used = json!({"limits.cpu": "1600m"});
    let full = quota(&used, &used);
    workload.allow(&[], &[Arc::clone(&full)]);
    let found = born(&workload, &seen, Some(800));
    assert_eq!(found, [size(&running, 800), size("older", 200)]);
    seen.pods.pop();
    let found = born(&workload, &seen, Some(800));
    assert_eq!(found, [size(&running, 200), size("older", 200)]);
    // A revision that waits, or rolls out: the larger of split and size in force, as far as there is room for it.
    seen.rolling = true;
    for pod in &mut seen.pods {
        pod.revision = "older".into();
    }
    for (used, waits) in [("200m", 800), ("1", 200)] {
        let quota = quota(
            &json!({"limits.cpu": "1600m"}),
            &json!({"limits.cpu": used}),
        );
        workload.allow(&[], &[quota]);
        let found = born(&workload, &seen, Some(300));
        assert_eq!(found[0], size(&running, waits), "{used}");
    }
    // A new LimitRange counts before any size is in force.
    workload.allow(&[range("Container", "10m", "500m")], &[]);
    let found = born(&workload, &seen, None);
    assert_eq!(found, [size(&running, 500), size("older", 500)]);
}

#[test]
fn after_a_rollouts_large_pod_that_finds_no_node_the_next_are_born_small() {
    let size = |revision: &str, milli| WantedSize {
        revision: revision.into(),
        size_milli: milli,
        replicas: 2,
    };
    let (workload, mut seen) = seen(30.0);
    let running = workload.revision.clone();
    let stored = [size(&running, 800), size("waits", 600)];
    for (unschedulable, asked, older, rolling, wanted) in [
        (false, 800, "older", true, 800),
        (true, 800, "older", true, 200),
        // The template's size finds none either: that of others is not the reason.
        (true, 200, "older", true, 800),
        // Beside larger ones that serve, a small one would bound them all.
        (true, 800, running.as_str(), false, 800),
        (true, 800, running.as_str(), true, 800),
    ] {
        let asked = seen.template.scaled_to(MilliCpu(asked));
        seen.rolling = rolling;
        seen.pods[0].revision = older.into();
        let pod = &mut seen.pods[1];
        pod.revision.clone_from(&running);
        (pod.unschedulable, pod.asked) = (unschedulable, asked);
        let found = status::born_with(&stored, &workload, &seen, Some(MilliCpu(800)));
        let wanted = [size(&running, wanted), size("waits", 600)];
        assert_eq!(found, wanted, "{unschedulable} {asked:?} {older} {rolling}");
    }
}

#[test]
fn a_workload_that_a_resize_would_restart_has_replicas_only_and_says_why() {
    let policy = |how: &str| json!([{"resourceName": "cpu", "restartPolicy": how}]);
    for (policy, resizes) in [
        (policy("NotRequired"), true),
        (policy("RestartContainer"), false),
    ] {
        let mut object = deployment();
        object["spec"]["template"]["spec"]["containers"][0]["resizePolicy"] = policy;
        let mut workload = workload(&object, &[replica_set("carts:v1", "h1", 2)]);
        let sets = std::mem::take(&mut workload.owned).into_values();
        workload.owned = sets.map(|set| (workload.revision.clone(), set)).collect();
        let around = around(&workload, &[objective(&workload.revision, 50.0)]);
        let seen = observed(&workload, &around);
        assert_eq!(seen.resizable, Some(resizes));
        let bounds = profiles::bounds(&workload).unwrap();
        let pinned = (MilliCpu(200), MilliCpu(200));
        assert_eq!(bounds == pinned, !resizes, "{bounds:?}");
        let limits = Limits::default();
        let tick = Tick {
            now: now(),
            seed: 1,
            observations: vec![seen],
            states: vec![State::default()],
        };
        let made = decide(&tick, &mut analytic(&limits), &limits).remove(0);
        let resized = |action: &Action| matches!(action, Action::Resize { .. });
        assert_eq!(
            made.actions.iter().any(resized),
            resizes,
            "{}",
            made.explain()
        );
        assert!(made.wanted.replicas > 2, "{}", made.explain());
        let blocked = made
            .conditions
            .iter()
            .find(|c| c.kind == ConditionType::ResizeBlocked);
        let blocked = blocked.unwrap();
        assert_eq!(blocked.status, !resizes);
        if !resizes {
            assert_eq!(blocked.reason, ConditionReason::ResizeRestarts);
            let command = "kubectl -n shop patch deploy carts --type=json -p '[{\"op\":\"replace\",\"path\":\"/spec/template/spec/containers/0/resizePolicy/0/restartPolicy\",\"value\":\"NotRequired\"}]'";
            assert!(blocked.message.ends_with(command), "{}", blocked.message);
        }
    }
}
