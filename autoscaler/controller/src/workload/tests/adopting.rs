use kube::api::DynamicObject;
use msars_api::annotations::Adopt;
use msars_api::crd::AdoptedAutoscaler;
use msars_domain::Action;
use msars_plan::{Limits, State, Tick, decide};

use super::super::adopt::{self, Case, Hold, Next};
use super::super::kept::Kept;
use super::*;
use crate::engine::analytic;
use crate::world::hpa::{self, Hpa, Targeted};
use crate::world::scalers::Scalers;

/// As an API server keeps it, with a field that no type of ours knows.
pub(super) fn stored_hpa() -> Value {
    json!({
        "apiVersion": "autoscaling/v2", "kind": "HorizontalPodAutoscaler",
        "metadata": {
            "namespace": "shop", "name": "carts", "uid": "h1", "resourceVersion": "41", "generation": 2,
            "creationTimestamp": "2026-01-01T00:00:00Z", "labels": {"team": "shop"},
            "annotations": {"note": "by hand"}, "managedFields": [{"manager": "kubectl"}],
        },
        "spec": {
            "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "carts"},
            "minReplicas": 3, "maxReplicas": 20, "metrics": [{"type": "Resource", "resource": {"name": "cpu",
                "target": {"type": "Utilization", "averageUtilization": 60}}}],
            "behavior": {"scaleDown": {"stabilizationWindowSeconds": 60}}, "fieldOfLater": {"a": [1, 2]},
        },
        "status": {"currentReplicas": 3, "desiredReplicas": 3},
    })
}

pub(super) fn object(hpa: &Value) -> Arc<DynamicObject> {
    Arc::new(serde_json::from_value(hpa.clone()).unwrap())
}

/// HorizontalPodAutoscalers by what they scale.
pub(super) fn scaled(all: &[Arc<DynamicObject>]) -> Targeted {
    Targeted::by(all.to_vec(), "scaleTargetRef")
}

pub(super) fn hpa(change: impl FnOnce(&mut Value)) -> Hpa {
    let mut hpa = stored_hpa();
    change(&mut hpa);
    hpa::found(&scaled(&[object(&hpa)]), &key()).remove(0)
}

/// What is stored of an autoscaler, at a time of its own.
pub(super) fn copy(hpa: &Hpa) -> AdoptedAutoscaler {
    let at = "2026-03-01T11:00:00Z".into();
    AdoptedAutoscaler {
        at,
        ..hpa.copy.clone()
    }
}

/// The wish, the mode, what is there, what is stored, a good decision, and what is next.
type Row<'a> = (
    bool,
    bool,
    &'a [Hpa],
    Option<&'a AdoptedAutoscaler>,
    bool,
    &'a str,
);

fn word(next: &Next) -> String {
    match next {
        Next::Hold(hold) => hold.reason().into(),
        Next::Nothing => "Nothing".into(),
        Next::Adopted => "Adopted".into(),
        Next::Store(_) => "Store".into(),
        Next::Delete(_) => "Delete".into(),
        Next::Create(_) => "Create".into(),
    }
}

#[test]
fn what_is_next_follows_from_what_is_seen() {
    let plain = hpa(|_| ());
    let is = [plain.clone()];
    let changed = [hpa(|hpa| hpa["spec"]["maxReplicas"] = json!(30))];
    let newer = [hpa(|hpa| hpa["metadata"]["uid"] = json!("h2"))];
    let going = [hpa(|hpa| {
        hpa["metadata"]["deletionTimestamp"] = json!("2026-03-01T12:00:00Z");
    })];
    let other = [hpa(|hpa| hpa["metadata"]["name"] = json!("carts-2"))];
    let made = |owner: Value| {
        [hpa(|hpa| {
            hpa["metadata"]["ownerReferences"] = json!([owner]);
        })]
    };
    let keda = made(
        json!({"apiVersion": "keda.sh/v1alpha1", "kind": "ScaledObject", "name": "carts", "uid": "k"}),
    );
    let operator = made(
        json!({"apiVersion": "x/v1", "kind": "App", "name": "shop", "uid": "o", "controller": true}),
    );
    let kept = made(json!({"apiVersion": "v1", "kind": "ConfigMap", "name": "c", "uid": "c"}));
    let memory = [hpa(|hpa| {
        let memory = json!({"type": "Resource", "resource": {"name": "memory"}});
        hpa["spec"]["metrics"].as_array_mut().unwrap().push(memory);
    })];
    let two = [plain.clone(), other[0].clone()];
    let stored = copy(&plain);
    let stored = Some(&stored);
    let table: &[Row<'_>] = &[
        // Nobody asked.
        (false, true, &is, None, true, "Nothing"),
        (false, false, &[], None, false, "Nothing"),
        // Asked: stored first, deleted then, and only after a good decision.
        (true, true, &is, None, false, "WaitsForMetrics"),
        (true, true, &is, None, true, "Store"),
        (true, true, &kept, None, true, "Store"),
        (true, true, &is, stored, true, "Delete"),
        (true, true, &[], stored, true, "Adopted"),
        (true, true, &[], stored, false, "Adopted"),
        (true, true, &[], None, true, "NoAutoscaler"),
        // A crash between store and delete: what changed since is stored anew.
        (true, true, &is, stored, false, "WaitsForMetrics"),
        (true, true, &changed, stored, true, "Store"),
        // Somebody's else, or nobody's to take.
        (true, true, &keda, None, true, "OwnedAutoscaler"),
        (true, true, &operator, None, true, "OwnedAutoscaler"),
        (true, true, &two, None, true, "SeveralAutoscalers"),
        (true, true, &memory, None, true, "OtherMetrics"),
        (true, false, &memory, None, true, "OtherMetrics"),
        (true, true, &memory, stored, true, "OtherMetrics"),
        (true, true, &going, None, true, "BeingDeleted"),
        (true, true, &going, stored, true, "BeingDeleted"),
        (true, true, &newer, stored, true, "CameBack"),
        // Recommending: only said.
        (true, false, &is, None, true, "Recommending"),
        (true, false, &keda, None, true, "OwnedAutoscaler"),
        (true, false, &[], None, true, "NoAutoscaler"),
        // Handed back: the annotation is gone, or the product acts no more.
        (false, true, &[], stored, true, "Create"),
        (true, false, &[], stored, false, "Create"),
        (false, false, &[], stored, false, "Create"),
        // A crash between create and drop, or never deleted: the API server says that it is there.
        (false, true, &is, stored, true, "Create"),
        (false, true, &memory, stored, true, "Create"),
        (false, true, &newer, stored, true, "Create"),
        (false, true, &two, stored, true, "Create"),
        (false, true, &going, stored, true, "BeingDeleted"),
        (false, true, &other, stored, true, "AnotherAutoscaler"),
    ];
    for (index, (asked, acts, found, stored, good, wanted)) in table.iter().enumerate() {
        let case = Case {
            workload: &key(),
            adopt: if *asked { Adopt::Hpa } else { Adopt::Nothing },
            acts: *acts,
            found,
            stored: *stored,
            good: *good,
            teams: None,
        };
        let next = adopt::next(&case);
        assert_eq!(word(&next), *wanted, "row {index}");
        let told = adopt::told(&next, *stored);
        assert_eq!(told.is_none(), next == Next::Nothing, "row {index}");
        if let Some((true, reason, _)) = told {
            assert_eq!(reason, "Adopted", "row {index}");
        }
    }
}

#[test]
fn a_teams_own_autoscaler_has_the_same_bounds_before_it_takes_over() {
    let is = [hpa(|_| ())];
    for (bounds, acts, wanted) in [
        ((3, 20), true, "Store"),
        // Nobody chose these.
        ((1, 10), true, "OtherBounds"),
        ((1, 10), false, "OtherBounds"),
        ((3, 20), false, "Recommending"),
    ] {
        let next = adopt::next(&Case {
            workload: &key(),
            adopt: Adopt::Hpa,
            acts,
            found: &is,
            stored: None,
            good: true,
            teams: Some(("team", bounds)),
        });
        assert_eq!(word(&next), wanted, "{bounds:?} {acts}");
        if let Next::Hold(hold @ Hold::Bounded { .. }) = next {
            let told = hold.to_string();
            assert!(told.contains("maxReplicas to 3 and 20"), "{told}");
        }
    }
}

#[test]
fn what_is_created_again_is_what_was_there() {
    let hpa = hpa(|_| ());
    let stored = serde_json::to_string(&copy(&hpa)).unwrap();
    let stored: AdoptedAutoscaler = serde_json::from_str(&stored).unwrap();
    let case = Case {
        workload: &key(),
        adopt: Adopt::Nothing,
        acts: true,
        found: &[],
        stored: Some(&stored),
        good: false,
        teams: None,
    };
    let Next::Create(Action::CreateAutoscaler {
        autoscaler,
        manifest,
    }) = adopt::next(&case)
    else {
        panic!("created again");
    };
    assert_eq!(autoscaler, key());
    let was = stored_hpa();
    assert_eq!(manifest["spec"], was["spec"]);
    assert_eq!(
        manifest["metadata"],
        json!({"namespace": "shop", "name": "carts", "labels": {"team": "shop"}, "annotations": {"note": "by hand"}})
    );
    assert!(manifest.get("status").is_none());
}

/// What the Deployment's annotations add, and the limits that hold then.
type Limited<'a> = (&'a [(&'a str, &'a str)], Option<(u32, u32)>);

#[test]
fn its_limits_hold_and_annotations_win() {
    let table: &[Limited<'_>] = &[
        (&[("adopt", "hpa")], Some((3, 20))),
        (&[("adopt", "hpa"), ("min-replicas", "5")], Some((5, 20))),
        (&[("adopt", "hpa"), ("min-replicas", "25")], Some((25, 25))),
        (&[("adopt", "hpa"), ("max-replicas", "8")], Some((3, 8))),
        (&[("adopt", "hpa"), ("max-replicas", "2")], Some((2, 2))),
        (&[("adopt", "hpa"), ("mode", "recommend")], Some((3, 20))),
        (&[("adopt", "hpa"), ("mode", "off")], None),
        (&[("adopt", "vpa")], None),
        (&[], None),
    ];
    let plain = hpa(|_| ());
    let stored = copy(&plain);
    for (annotations, wanted) in table {
        for (found, stored) in [(&[plain.clone()][..], None), (&[][..], Some(&stored))] {
            let mut object = deployment();
            for (name, value) in *annotations {
                object["metadata"]["annotations"][format!("msars.io/{name}")] = json!(value);
            }
            let mut workload = Workload::read(object, true, &[]).unwrap().0;
            workload.limit(found, stored);
            let bounds = crate::autoscalers::bounds(&workload, None);
            assert_eq!(bounds, wanted.unwrap_or((1, 10)), "{annotations:?}");
            let behavior = workload.behavior.and_then(|behavior| behavior.scale_down);
            let window = behavior.and_then(|rules| rules.stabilization_window_seconds);
            assert_eq!(window, wanted.map(|_| 60), "{annotations:?}");
        }
    }
}

/// The autoscaler that was made here for it.
pub(super) fn ours(all: &[Arc<DynamicObject>]) -> SloAutoscaler {
    let mut ours = autoscaler();
    let (workload, _seen) = adopting(1.0, &ours, all);
    ours.metadata.owner_references = Some(vec![crate::own::owner(&workload)]);
    ours
}

/// An adopting workload with its autoscaler there, as the tick sees it.
pub(super) fn adopting(
    rate: f64,
    autoscaler: &SloAutoscaler,
    all: &[Arc<DynamicObject>],
) -> (Workload, Observation) {
    let mut object = deployment();
    object["metadata"]["annotations"]["msars.io/adopt"] = json!("hpa");
    let mut workload = workload(&object, &[replica_set("carts:v1", "h1", 2)]);
    let status = autoscaler.status.as_ref();
    let stored = status.and_then(|status| status.adopted.as_ref());
    workload.limit(&hpa::found(&scaled(all), &key()), stored);
    let rivals = Scalers {
        hpas: scaled(all),
        ..Scalers::default()
    };
    let seen = beside(rate, &workload, autoscaler, rivals);
    (workload, seen)
}

/// A workload beside other autoscalers, as the tick sees it.
fn beside(
    rate: f64,
    workload: &Workload,
    autoscaler: &SloAutoscaler,
    rivals: Scalers,
) -> Observation {
    let mut around = around(workload, &[objective(&workload.revision, 50.0)]);
    around.rivals = rivals;
    let serving = pods::serving(&[pod("a", "h1"), pod("b", "h1")]);
    let one = One {
        serving: &serving[&key()],
        autoscaler,
        ..podless(workload, rate)
    };
    observation(&around, one)
}

pub(super) fn decided(seen: &Observation) -> msars_plan::Decision {
    let limits = Limits::default();
    let tick = Tick {
        now: now(),
        seed: 1,
        observations: vec![seen.clone()],
        states: vec![State::default()],
    };
    decide(&tick, &mut analytic(&limits), &limits).remove(0)
}

#[test]
fn until_it_is_taken_over_a_decision_is_made_and_nothing_written() {
    let all = [object(&stored_hpa())];
    let mut ours = autoscaler();
    ours.metadata.owner_references = Some(vec![crate::own::owner(&adopting(1.0, &ours, &all).0)]);
    let (_workload, seen) = adopting(500.0, &ours, &all);
    assert_eq!((seen.min_replicas, seen.max_replicas), (3, 20));
    assert_eq!(seen.behavior.scale_down.stabilization_window_seconds, 60);
    assert!(!seen.wishes.acts && seen.rival.is_none());
    let decision = decided(&seen);
    assert_eq!(decision.actions, []);
    assert!(decision.wanted.replicas > 2 && adopt::good(&seen, &decision));
    // Without readings there is no ground for it.
    let mut blind = seen.clone();
    blind.signals.rate = Reading::Unknown {
        why: Unknown::Stale,
    };
    assert!(!adopt::good(&blind, &decided(&blind)));
    let mut deaf = seen;
    for quantile in [
        &mut deaf.signals.self_quantile,
        &mut deaf.signals.request_quantile,
    ] {
        *quantile = Reading::Unknown {
            why: Unknown::Stale,
        };
    }
    assert!(!adopt::good(&deaf, &decided(&deaf)));
    // A quiet workload has too few requests for a quantile, always.
    deaf.signals.request_quantile = Reading::Unknown {
        why: Unknown::TooFewSamples,
    };
    assert!(adopt::good(&deaf, &decided(&deaf)));
    // Taken over: it acts. Another one later: hands off.
    ours.status.get_or_insert_default().adopted = Some(copy(&hpa(|_| ())));
    let (_workload, seen) = adopting(500.0, &ours, &[]);
    assert_eq!((seen.min_replicas, seen.max_replicas), (3, 20));
    assert!(seen.wishes.acts && !decided(&seen).actions.is_empty());
    let mut later = stored_hpa();
    later["metadata"]["uid"] = json!("h2");
    let (_workload, seen) = adopting(500.0, &ours, &[object(&later)]);
    assert!(seen.rival.is_some());
    assert_eq!(decided(&seen).actions, []);
}

#[test]
fn beside_a_vpa_nothing_is_taken_over() {
    let hpas = [object(&stored_hpa())];
    let ours = ours(&hpas);
    let (workload, _seen) = adopting(500.0, &ours, &hpas);
    let vpa = |mode: &str| {
        object(&json!({
            "apiVersion": "autoscaling.k8s.io/v1", "kind": "VerticalPodAutoscaler",
            "metadata": {"namespace": "shop", "name": "sizes"},
            "spec": {"targetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "carts"},
                "updatePolicy": {"updateMode": mode}},
        }))
    };
    for (mode, taken) in [("Off", true), ("Recreate", false)] {
        let rivals = Scalers {
            hpas: scaled(&hpas),
            vpas: Targeted::by(vec![vpa(mode)], "targetRef"),
            ..Scalers::default()
        };
        let seen = beside(500.0, &workload, &ours, rivals);
        let decision = decided(&seen);
        assert_eq!(decision.actions, [], "{mode}");
        assert_eq!(adopt::good(&seen, &decision), taken, "{mode}");
        let kind = seen.rival.map(|rival| rival.kind);
        let wanted = (!taken).then_some("VerticalPodAutoscaler");
        assert_eq!(kind.as_deref(), wanted, "{mode}");
    }
}

#[test]
fn keda_and_recommend_are_told_in_words() {
    let told = |hold: Hold| adopt::told(&Next::Hold(hold), None).unwrap().2;
    let keda = told(Hold::Made {
        hpa: "keda-hpa-carts".into(),
        maker: ("ScaledObject".into(), "carts".into()),
    });
    assert!(keda.contains("made by ScaledObject carts"), "{keda}");
    let recommend = told(Hold::Recommends {
        hpa: "carts".into(),
        bounds: (3, 20),
    });
    assert!(recommend.contains("from 3 to 20 replicas"), "{recommend}");
}

#[test]
fn what_was_taken_over_outlives_a_deleted_autoscaler() {
    let copy = copy(&hpa(|_| {}));
    let of = |uid: &str, stored: bool| {
        let mut found = autoscaler();
        found.metadata.uid = Some(uid.into());
        let status = found.status.get_or_insert_default();
        status.adopted = stored.then(|| copy.clone());
        found
    };
    let mut kept = Kept::default();
    assert_eq!(kept.lost(&of("a", false)), None);
    assert_eq!(kept.lost(&of("a", true)), None);
    assert_eq!(kept.lost(&of("b", false)), Some(copy.clone()));
    // Until it is seen stored.
    assert_eq!(kept.lost(&of("b", false)), Some(copy.clone()));
    assert_eq!(kept.lost(&of("b", true)), None);
    // Handed back.
    assert_eq!(kept.lost(&of("b", false)), None);
    assert_eq!(kept.lost(&of("c", false)), None);
}
