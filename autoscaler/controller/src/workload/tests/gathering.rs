use msars_domain::{CpuBounds, Qos};
use msars_observe::Revision;
use msars_plan::{Limits, Tick, decide};

use super::*;
use crate::engine::analytic;
use crate::profiles;
use crate::world::template::qos;

#[test]
fn a_workload_is_seen_with_pods_profile_budget_and_bounds() {
    let (workload, seen) = seen(30.0);
    assert!(seen.wishes.acts && !seen.rolling && seen.resizable == Some(true));
    assert_eq!(
        (seen.replicas, seen.min_replicas, seen.max_replicas),
        (2, 1, 8)
    );
    assert_eq!(seen.container, "app");
    assert_eq!(seen.template.size(), MilliCpu(200));
    assert_eq!(seen.qos, Qos::Burstable);
    let bounds = CpuBounds {
        min: MilliCpu(100),
        max: MilliCpu(1200),
        step: MilliCpu(50),
    };
    assert_eq!(seen.cpu, bounds);
    let pods: Vec<_> = seen
        .pods
        .iter()
        .map(|p| (p.revision.as_str(), p.ready))
        .collect();
    assert_eq!(pods, [(workload.revision.as_str(), true); 2]);
    let [revision] = &seen.revisions[..] else {
        panic!("{:?}", seen.revisions);
    };
    assert!(revision.current && revision.curve.is_some());
    assert_eq!(revision.budget, Some(Millis::new(50.0).unwrap()));
}

#[test]
fn a_pin_bounds_what_may_be_asked_and_not_what_is_known() {
    let milli = |sizes: Vec<MilliCpu>| sizes.iter().map(|size| size.0).collect::<Vec<_>>();
    for (cpu, node, grid, allowed) in [
        (
            None,
            2000,
            &[100, 150, 200, 300, 400, 600, 800, 1200][..],
            &[100, 150, 200, 300, 400, 600, 800, 1200][..],
        ),
        (
            None,
            500,
            &[100, 150, 200, 300, 400],
            &[100, 150, 200, 300, 400],
        ),
        (
            Some("25m..25m"),
            500,
            &[25, 30, 44, 67, 100, 150, 200, 300, 400],
            &[25],
        ),
        (
            Some("40m..2"),
            4000,
            &[
                40, 44, 67, 100, 150, 200, 300, 400, 600, 800, 1200, 1800, 2000,
            ],
            &[
                40, 44, 67, 100, 150, 200, 300, 400, 600, 800, 1200, 1800, 2000,
            ],
        ),
        (
            Some("120m..180m"),
            300,
            &[100, 120, 150, 180, 200, 300],
            &[120, 150, 180],
        ),
        (Some("3..4"), 300, &[100, 150, 200, 300], &[300]),
    ] {
        let mut object = deployment();
        if let Some(cpu) = cpu {
            object["metadata"]["annotations"]["msars.io/cpu"] = json!(cpu);
        }
        let workload = workload(&object, &[]);
        let node = Some(MilliCpu(node));
        assert_eq!(milli(profiles::grid(&workload, node)), grid, "{cpu:?}");
        assert_eq!(
            milli(profiles::allowed(&workload, node)),
            allowed,
            "{cpu:?}"
        );
    }
}

#[test]
fn annotations_count_before_they_are_written_into_the_autoscaler() {
    let mut object = deployment();
    object["metadata"]["annotations"]["msars.io/max-replicas"] = json!("1");
    object["metadata"]["annotations"]["msars.io/cpu"] = json!("25m..30m");
    let workload = workload(&object, &[]);
    let mut autoscaler = autoscaler();
    autoscaler.spec.cpu = Some(msars_api::crd::CpuBounds {
        min_milli: 50,
        max_milli: 900,
        step_milli: 50,
    });
    for (ours, most, largest) in [(false, 8, 900), (true, 1, 30)] {
        if ours {
            autoscaler.metadata.owner_references = Some(vec![crate::own::owner(&workload)]);
        }
        let one = One {
            autoscaler: &autoscaler,
            ..podless(&workload, 1.0)
        };
        let seen = observation(&around(&workload, &[]), one);
        assert_eq!(
            (seen.max_replicas, seen.cpu.max),
            (most, MilliCpu(largest)),
            "{ours}"
        );
    }
}

#[test]
fn the_mode_and_the_autoscaler_must_both_say_auto() {
    for (annotation, spec, acts) in [
        ("auto", "auto", true),
        ("auto", "recommend", false),
        ("recommend", "auto", false),
    ] {
        let mut object = deployment();
        object["metadata"]["annotations"]["msars.io/mode"] = json!(annotation);
        let workload = workload(&object, &[]);
        let mut autoscaler = autoscaler();
        autoscaler.spec.mode = spec.into();
        let one = One {
            autoscaler: &autoscaler,
            ..podless(&workload, 1.0)
        };
        let seen = observation(&around(&workload, &[]), one);
        assert_eq!(seen.wishes.acts, acts, "{annotation} {spec}");
        assert_eq!(seen.revisions[0].budget, None);
    }
}

/// What is seen where nothing may be written in these namespaces, after our last write of replicas.
fn seen_after(
    object: &Value,
    ungranted: &[&str],
    wrote: Option<jiff::Timestamp>,
) -> msars_domain::Observation {
    let workload = workload(object, &[]);
    let mut around = around(&workload, &[]);
    around.ungranted = ungranted.iter().map(|&name| name.to_owned()).collect();
    let state = State {
        wrote,
        ..State::default()
    };
    let one = One {
        state: &state,
        ..podless(&workload, 1.0)
    };
    observation(&around, one)
}

#[test]
fn without_the_grant_a_decision_is_made_and_nothing_written() {
    for (ungranted, acts) in [(&[][..], true), (&["other"], true), (&["shop"], false)] {
        let seen = seen_after(&deployment(), ungranted, None);
        assert_eq!(seen.wishes.acts, acts, "{ungranted:?}");
    }
}

#[test]
fn a_tool_that_ignores_replicas_by_now_does_not_keep_them() {
    let mut object = deployment();
    object["metadata"]["managedFields"] = json!([{"manager": "argocd-controller", "operation": "Update",
        "time": now().to_string(), "fieldsV1": {"f:spec": {"f:replicas": {}}}}]);
    for (wrote, keeper) in [(None, None), (Some(now()), Some("argocd-controller"))] {
        let seen = seen_after(&object, &[], wrote);
        assert_eq!(seen.declared_by.as_deref(), keeper);
    }
}

#[test]
fn a_rollout_is_seen_while_old_pods_or_an_unseen_template_are_there() {
    let table = [
        (
            json!({"observedGeneration": 3, "replicas": 2, "updatedReplicas": 2}),
            false,
        ),
        (
            json!({"observedGeneration": 2, "replicas": 2, "updatedReplicas": 2}),
            true,
        ),
        (
            json!({"observedGeneration": 3, "replicas": 3, "updatedReplicas": 1}),
            true,
        ),
        // Pods that a quota keeps from being made are no rollout.
        (
            json!({"observedGeneration": 3, "replicas": 1, "updatedReplicas": 1}),
            false,
        ),
    ];
    for (status, rolling) in table {
        let mut object = deployment();
        object["status"] = status.clone();
        let sets = [
            replica_set("carts:v1", "h1", 2),
            replica_set("carts:v0", "h0", 1),
            replica_set("carts:v9", "h9", 0),
        ];
        let workload = workload(&object, &sets);
        let one = podless(&workload, 1.0);
        let seen = observation(&around(&workload, &[]), one);
        assert_eq!(seen.rolling, rolling, "{status}");
        // The newest template, and what still has pods; an old one without is in play only when nothing is profiled.
        assert_eq!(seen.revisions.len(), 2);
        assert!(seen.revisions[0].current && !seen.revisions[1].current);
    }
}

#[test]
fn the_tightest_budget_of_all_chains_counts() {
    let found = budgets(&[
        objective("r1", 50.0),
        objective("r1", 30.0),
        objective("r2", 80.0),
    ]);
    let ms = |revision: &str| found[&(key(), revision.to_owned())].ms.get();
    assert!((ms("r1") - 30.0).abs() < 1e-9 && (ms("r2") - 80.0).abs() < 1e-9);
}

/// What two pods of one revision show, with so many cores in use.
fn live(all: &Signals, cores: f64) -> Revision {
    Revision {
        workload: key(),
        revision: "h1".into(),
        pods: 2,
        rate: all.rate.clone(),
        request_quantile: all.request_quantile.clone(),
        self_quantile: all.self_quantile.clone(),
        callee_wait: all.callee_wait.clone(),
        error_share: all.error_share.clone(),
        cpu_cores: Reading::Known {
            value: cores,
            at: now(),
        },
        throttled: all.throttled.clone(),
    }
}

#[test]
fn live_work_counts_when_it_differs_by_more_than_a_fifth() {
    let workload = workload(&deployment(), &[replica_set("carts:v1", "h1", 2)]);
    let around = around(&workload, &[objective(&workload.revision, 50.0)]);
    for (cores, rate, wanted) in [
        (0.09, 30.0, Some(1.0)),
        (0.10, 30.0, Some(1.0)),
        (0.18, 30.0, Some(2.0)),
        (0.045, 30.0, Some(0.5)),
        (0.09, 0.5, None),
    ] {
        let all = signals(rate);
        let live = live(&all, cores);
        let one = One {
            signals: all,
            live: vec![&live],
            ..podless(&workload, 1.0)
        };
        let found = observation(&around, one).revisions[0].work_ratio;
        let close = match (found, wanted) {
            (Some(found), Some(wanted)) => (found - wanted).abs() < 1e-9,
            (found, wanted) => found.is_none() && wanted.is_none(),
        };
        assert!(close, "{cores} at {rate}: {found:?}");
    }
}

#[test]
fn without_cpu_the_live_work_known_last_counts_and_nothing_shrinks_for_it() {
    let workload = workload(&deployment(), &[replica_set("carts:v1", "h1", 2)]);
    let around = around(&workload, &[objective(&workload.revision, 50.0)]);
    let limits = Limits::default();
    let all = signals(30.0);
    // 3 ms in the profile, 6 ms live.
    let mut live = live(&all, 0.18);
    let look = |live: &Revision, state: &State| {
        let serving = pods::serving(&[pod("a", "h1"), pod("b", "h1")]);
        let one = One {
            serving: &serving[&key()],
            signals: all.clone(),
            live: vec![live],
            state,
            ..podless(&workload, 1.0)
        };
        let seen = observation(&around, one);
        let ratio = seen.revisions[0].work_ratio;
        let tick = Tick {
            now: now(),
            seed: 1,
            observations: vec![seen],
            states: vec![state.clone()],
        };
        let decision = decide(&tick, &mut analytic(&limits), &limits).remove(0);
        (ratio, decision)
    };
    let (ratio, measured) = look(&live, &State::default());
    assert_eq!(ratio, Some(2.0));
    live.cpu_cores = Reading::Unknown {
        why: Unknown::Stale,
    };
    let (ratio, blind) = look(&live, &measured.state);
    assert_eq!(ratio, Some(2.0));
    assert_eq!(blind.wanted, measured.wanted, "{}", blind.explain());
    // Another leader reads it from the status.
    let text = serde_json::to_string(&blind.state).unwrap();
    let stored: State = serde_json::from_str(&text).unwrap();
    assert_eq!(look(&live, &stored).0, Some(2.0));
    // Of a revision whose CPU was never measured, the profile is all that is known.
    assert_eq!(look(&live, &State::default()).0, None);
}

#[test]
fn classes_are_the_api_servers() {
    let resources = |requests: Value, limits: Value| json!({"spec": {"containers": [{"resources": {"requests": requests, "limits": limits}}]}});
    let whole = json!({"cpu": "1", "memory": "1Gi"});
    for (template, class) in [
        (json!({"spec": {"containers": [{}]}}), Qos::BestEffort),
        (resources(json!({"cpu": "0"}), json!({})), Qos::BestEffort),
        (resources(json!({}), whole.clone()), Qos::Guaranteed),
        (resources(whole.clone(), whole.clone()), Qos::Guaranteed),
        (resources(json!({"cpu": "500m"}), whole), Qos::Burstable),
        (resources(json!({}), json!({"cpu": "1"})), Qos::Burstable),
    ] {
        assert_eq!(qos(&template), class, "{template}");
    }
}

#[test]
fn replicas_without_a_pod_are_seen_with_the_controllers_words() {
    let failure = json!([{"type": "Available", "status": "True", "message": "fine"},
        {"type": "ReplicaFailure", "status": "True", "message": "exceeded quota: team"}]);
    let (one, three) = (
        [pod("a", "h1")],
        [pod("a", "h1"), pod("b", "h0"), pod("c", "h0")],
    );
    for (pods, conditions, uncreated, why) in [
        (&one[..], failure, 1, Some("exceeded quota: team")),
        (&one[..], json!([]), 1, None),
        // One more than asked for, while they are exchanged.
        (&three[..], json!([]), 0, None),
    ] {
        let mut object = deployment();
        object["status"]["conditions"] = conditions;
        let workload = workload(&object, &[replica_set("carts:v1", "h1", 2)]);
        let serving = pods::serving(pods);
        let one = One {
            serving: &serving[&key()],
            ..podless(&workload, 1.0)
        };
        let seen = observation(&around(&workload, &[]), one);
        assert_eq!(seen.uncreated, uncreated);
        assert_eq!(seen.create_failure.as_deref(), why);
    }
}

#[test]
fn a_pod_costs_what_was_added_to_it_and_without_one_what_its_template_says() {
    let mut living: Value = serde_json::to_value(&*pod("a", "h1")).unwrap();
    let proxy =
        json!({"name": "proxy", "resources": {"requests": {"cpu": "30m", "memory": "40Mi"}}});
    living["spec"]["containers"]
        .as_array_mut()
        .unwrap()
        .push(proxy);
    let living = pods::serving(&[Arc::new(serde_json::from_value(living).unwrap())]);
    let workload = workload(&deployment(), &[replica_set("carts:v1", "h1", 2)]);
    for (serving, others, memory) in [(&living[&key()][..], 30, 40), (&[][..], 0, 64)] {
        let one = One {
            serving,
            ..podless(&workload, 1.0)
        };
        let cost = observation(&around(&workload, &[]), one).cost;
        assert_eq!(cost.requests.others, MilliCpu(others));
        assert_eq!(cost.request_memory.0 >> 20, memory);
    }
}
