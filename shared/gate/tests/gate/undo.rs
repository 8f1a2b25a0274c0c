//! What old annotations and earlier calls bring back.

use serde_json::{Value, json};

use crate::world::{End, LAST_APPLIED, World, annotate, at, deployment, end, set_image, template};

/// An undo as kubectl 1.35 sends it: template and all annotations of the ReplicaSet, no field manager.
fn undo_to(w: &mut World, version: u32, annotations: &Value) {
    w.request.field_manager = None;
    w.new["spec"]["template"] = template(version);
    w.new["metadata"]["annotations"] = annotations.clone();
    w.workload().know(&template(version));
}

#[test]
fn an_undo_keeps_our_settings_as_they_are() {
    let live = |w: &mut World| {
        annotate(&mut w.old, "msars.io/min-replicas", &json!("2"));
        annotate(&mut w.old, "team", &json!("shop"));
    };
    let settings = |object: &Value| -> Vec<(String, String)> {
        let map = object["metadata"]["annotations"].as_object().unwrap();
        let mut ours: Vec<_> = map
            .iter()
            .filter(|(name, _)| name.starts_with("msars.io/"))
            .map(|(name, value)| (name.clone(), value.as_str().unwrap().to_owned()))
            .collect();
        ours.sort();
        ours
    };
    for (name, brought) in [
        ("from before the opt-in", json!({"old": "1"})),
        (
            "with an old floor",
            json!({"msars.io/mode": "auto", "msars.io/min-replicas": "9"}),
        ),
        (
            "with a hold's leftovers",
            json!({"msars.io/hold-hash": "x", "msars.io/hold-until": "y", "msars.io/mode": "off"}),
        ),
        ("without annotations", Value::Null),
    ] {
        let mut world = set_image();
        live(&mut world);
        undo_to(&mut world, 5, &brought);
        assert_eq!(world.admit().verdict.reason(), "Known", "{name}");
        let stored = world.stored();
        assert_eq!(settings(&stored), settings(&world.old), "{name}");
        assert_eq!(
            stored["metadata"]["annotations"]["team"],
            Value::Null,
            "{name}: others' are not ours to keep"
        );
        assert!(
            world.admit().warnings[0].contains("kept the msars.io annotations"),
            "{name}"
        );
    }
}

#[test]
fn a_write_that_names_its_manager_or_its_manifest_means_its_annotations() {
    let off = json!({"msars.io/mode": "off"});
    let edits: [(&str, fn(&mut World)); 4] = [
        ("helm rollback", |w| {
            w.request.field_manager = Some("helm".into())
        }),
        ("replace", |w| w.request.patch = Some(false)),
        ("client-side apply", |w| {
            annotate(&mut w.new, LAST_APPLIED, &json!("{}"))
        }),
        ("an unknown revision", |w| w.workload().known.clear()),
    ];
    for (name, edit) in edits {
        let mut world = set_image();
        undo_to(&mut world, 5, &off);
        edit(&mut world);
        assert_eq!(world.stored(), world.new, "{name}");
    }
}

#[test]
fn leftovers_of_a_hold_are_removed_by_any_write() {
    let mut world = set_image();
    world.new = deployment(1);
    annotate(&mut world.new, "msars.io/hold-hash", &json!("x"));
    annotate(&mut world.new, "msars.io/hold-since", &json!("y"));
    assert_eq!(world.stored(), deployment(1));
}

#[test]
fn asked_again_in_the_same_write_the_hold_is_the_same() {
    let mut world = set_image();
    let once = world.stored();
    world.new = once.clone();
    world.now = at("2026-03-01T10:00:01Z");
    assert_eq!(world.admit().patch, Vec::<Value>::new());
    // Another webhook changed the template after us: the stamp follows it.
    world.new["spec"]["template"]["spec"]["priorityClassName"] = json!("shop");
    assert_eq!(end(&world), End::Held);
    // Another webhook made a known template of it: the pause goes.
    world.new["spec"]["template"] = template(7);
    world.workload().know(&template(7));
    assert_eq!(end(&world), End::Rolls);
}
