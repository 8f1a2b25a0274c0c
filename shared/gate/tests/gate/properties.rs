//! What holds for every write in every situation.

use crate::world::{
    LAST_APPLIED, World, annotate, at, held, own_paused, patched, set_cpu, set_image, template,
};
use msars_gate::snapshot::{Grant, Holds};
use msars_gate::{HoldState, Phase, Progress, Trouble, Verdict, Watcher, next, pause_declared};
use proptest::prelude::*;
use serde_json::{Value, json};

/// Single changes of a situation; a random set of them makes one.
const EDITS: &[fn(&mut World)] = &[
    |w| w.new["spec"]["template"] = template(1),
    |w| w.new["spec"]["template"] = template(3),
    |w| w.old["spec"]["template"] = template(3),
    |w| w.workload().know(&template(2)),
    |w| w.workload().know(&template(3)),
    |w| w.profile_shape(),
    |w| set_cpu(&mut w.new, "100m", "900m"),
    |w| set_cpu(&mut w.new, "100m", "300m"),
    |w| w.new["spec"]["paused"] = json!(true),
    |w| w.new["spec"]["paused"] = json!(false),
    |w| w.old["spec"]["paused"] = json!(true),
    |w| w.old["spec"]["paused"] = json!(false),
    |w| own_paused(&mut w.new, "argocd"),
    |w| own_paused(&mut w.old, "argocd"),
    |w| {
        annotate(
            &mut w.new,
            LAST_APPLIED,
            &json!(r#"{"spec":{"paused":true}}"#),
        )
    },
    |w| annotate(&mut w.new, "msars.io/mode", &json!("off")),
    |w| annotate(&mut w.new, "msars.io/mode", &Value::Null),
    |w| annotate(&mut w.new, "msars.io/skip-gate", &json!("true")),
    |w| annotate(&mut w.new, "msars.io/gate-deadline", &json!("10s")),
    |w| annotate(&mut w.new, "msars.io/hold-hash", &json!("0123")),
    |w| annotate(&mut w.new, "msars.io/hold-hash", &Value::Null),
    |w| annotate(&mut w.new, "msars.io/hold-until", &json!(3)),
    |w| {
        annotate(
            &mut w.old,
            "msars.io/hold-until",
            &json!("2030-01-01T00:00:00Z"),
        )
    },
    |w| annotate(&mut w.old, "msars.io/hold-since", &Value::Null),
    |w| annotate(&mut w.old, "msars.io/min-replicas", &json!("4")),
    |w| w.new["metadata"]["annotations"] = Value::Null,
    |w| {
        w.new["metadata"]
            .as_object_mut()
            .unwrap()
            .shift_remove("annotations");
    },
    |w| w.new["metadata"]["managedFields"] = json!([]),
    |w| w.request.field_manager = None,
    |w| w.request.user = "system:serviceaccount:msars:autoscaler".into(),
    |w| w.snapshot.synced = None,
    |w| w.snapshot.lease_renewed = None,
    |w| w.snapshot.holds = Holds::Off,
    |w| w.namespace().grant = Grant::Missing,
    |w| w.namespace().grant = Grant::Unknown,
    |w| w.new["spec"]["replicas"] = json!(0),
    |w| w.new["spec"]["strategy"]["type"] = json!("Recreate"),
    |w| w.now = at("2026-03-01T10:02:30Z"),
    |w| w.now = at("2026-03-01T10:20:00Z"),
];

fn worlds() -> impl Strategy<Value = World> {
    let picks = proptest::collection::vec(0..EDITS.len(), 0..6);
    (any::<bool>(), picks).prop_map(|(begin_held, picks)| {
        let mut world = if begin_held { held() } else { set_image() };
        for pick in picks {
            // An edit of annotations that another edit removed has nothing to do.
            if world.new["metadata"]["annotations"].is_object() {
                EDITS[pick](&mut world);
            }
        }
        world
    })
}

/// The object without what is ours to write: `spec.paused` and our annotations.
fn without_ours(object: &Value) -> Value {
    let mut object = object.clone();
    object["spec"]
        .as_object_mut()
        .unwrap()
        .shift_remove("paused");
    let metadata = object["metadata"].as_object_mut().unwrap();
    if let Some(map) = metadata
        .get_mut("annotations")
        .and_then(Value::as_object_mut)
    {
        map.retain(|name, _| !name.starts_with("msars.io/"));
    }
    let empty = metadata
        .get("annotations")
        .is_some_and(|map| map.is_null() || map == &json!({}));
    if empty {
        metadata.shift_remove("annotations");
    }
    object
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, cases: 4000, ..ProptestConfig::default() })]

    #[test]
    fn a_patch_applies_twice_as_once_and_touches_only_what_is_ours(world in worlds()) {
        let admission = world.admit();
        prop_assert_eq!(&world.admit(), &admission, "same input, same answer");
        for operation in &admission.patch {
            let path = operation["path"].as_str().unwrap();
            let ours = path == "/spec/paused"
                || path == "/metadata/annotations"
                || path.starts_with("/metadata/annotations/msars.io~1");
            prop_assert!(ours, "{path}");
        }
        let once = patched(&world.new, &admission.patch);
        prop_assert_eq!(without_ours(&once), without_ours(&world.new));
        let mut again = world.clone();
        again.new = once.clone();
        prop_assert_eq!(&again.stored(), &once, "after {:?}", admission.verdict);
    }

    #[test]
    fn a_known_revision_is_never_held_and_the_users_pause_never_lifted(mut world in worlds()) {
        let users_before = world.new["spec"]["paused"] == json!(true) && pause_declared(&world.new);
        if users_before {
            prop_assert_eq!(&world.stored()["spec"]["paused"], &json!(true));
        }
        let unpaused = world.new["spec"]["paused"] != json!(true);
        if unpaused && !matches!(HoldState::read(&world.old), HoldState::Free | HoldState::Stale) {
            prop_assert_ne!(&world.stored()["spec"]["paused"], &json!(true), "a resume is final");
        }
        let template = world.new["spec"]["template"].clone();
        world.workload().know(&template);
        prop_assert!(!matches!(world.admit().verdict, Verdict::Hold { .. }), "known");
    }

    #[test]
    fn nothing_begins_to_be_held_that_nobody_of_ours_may_end(mut world in worlds()) {
        for grant in [Grant::Missing, Grant::Unknown] {
            world.namespace().grant = grant;
            prop_assert!(!matches!(world.admit().verdict, Verdict::Hold { .. }), "{grant:?}");
        }
        world.namespace().grant = Grant::Missing;
        prop_assert!(!matches!(world.admit().verdict, Verdict::KeepHold { .. }), "kept");
    }

    #[test]
    fn what_is_held_ends_by_its_deadline_and_at_most_ten_minutes(world in worlds()) {
        let stored = world.stored();
        if let HoldState::Ours { until, .. } = HoldState::read(&stored) {
            let until = until.unwrap();
            prop_assert!(until > world.now);
            prop_assert!(until.duration_since(world.now).as_secs() <= 600);
            let nobody = Watcher::Bystander { lease_renewed: None };
            prop_assert!(next(&stored, nobody, until).action().is_some());
            for phase in [Phase::Unknown, Phase::Measuring, Phase::Failed { trouble: Trouble::Errors }] {
                let progress = Progress { phase, ..Progress::default() };
                prop_assert!(next(&stored, Watcher::Leader(&progress), until).action().is_some());
            }
        }
    }
}
