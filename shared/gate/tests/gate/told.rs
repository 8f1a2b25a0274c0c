//! What the writer is told.

use msars_gate::snapshot::Grant;
use msars_gate::{Operation, Verdict};
use serde_json::{Value, json};

use crate::world::{annotate, at, deployment, hash, held, set_image, template};

#[test]
fn a_hold_says_what_it_is_and_how_to_let_it_through() {
    let mut world = set_image();
    let Verdict::Hold {
        revision,
        from,
        since,
        until,
    } = world.admit().verdict
    else {
        panic!("held");
    };
    assert_eq!((revision, from), (hash(2), hash(1)));
    assert_eq!(
        (since, until),
        (at("2026-03-01T10:00:00Z"), at("2026-03-01T10:02:00Z"))
    );
    assert_eq!(
        world.admit().warnings,
        [
            "msars: holding this revision for up to 120s while it is profiled; let it through: kubectl rollout resume deploy/catalogue -n shop"
        ]
    );
    world.annotate("msars.io/gate-deadline", &json!("45s"));
    world.annotate("msars.io/gate-deadline", &json!("1h"));
    let warnings = world.admit().warnings;
    assert!(warnings[0].contains("up to 120s"), "{warnings:?}");
    assert!(
        warnings[1].starts_with("msars: msars.io/gate-deadline: \"1h\" is not"),
        "{warnings:?}"
    );
}

#[test]
fn a_hold_too_short_for_a_profile_says_so() {
    let mut world = set_image();
    world.annotate("msars.io/gate-deadline", &json!("46s"));
    assert!(world.admit().warnings[0].contains("up to 46s while it is profiled"));
    world.annotate("msars.io/gate-deadline", &json!("45s"));
    assert_eq!(
        world.admit().warnings,
        [
            "msars: holding this revision for up to 45s, too short for a profile (about 45s), so that it passes without one; let it through: kubectl rollout resume deploy/catalogue -n shop",
            "msars: msars.io/gate-deadline: \"45s\" is not 50s or more, which a profile needs; using it as given: holds end without a profile",
        ]
    );
    let mut world = held();
    world.new["spec"]["template"] = template(3);
    world.now = at("2026-03-01T10:01:30Z");
    world.snapshot.lease_renewed = Some(world.now);
    let warnings = world.admit().warnings;
    assert!(
        warnings[0].contains("up to 30s more, too short for a profile"),
        "{warnings:?}"
    );
}

#[test]
fn a_bad_value_is_told_at_once_by_an_annotation_and_by_a_new_deployment() {
    let bad = "msars: msars.io/profile-request: \"FETCH it\" is not like GET /catalogue?size=5; 0.2 POST /cart {\"id\": 1}; using no requests: revisions are not held";
    let mut world = set_image();
    world.new = deployment(1);
    annotate(
        &mut world.new,
        "msars.io/profile-request",
        &json!("FETCH it"),
    );
    let told = world.admit();
    assert_eq!(told.verdict.reason(), "SameTemplate");
    assert_eq!(told.warnings, [bad]);

    world.request.operation = Operation::Create;
    world.old = Value::Null;
    let told = world.admit();
    assert_eq!(told.verdict.reason(), "NotAnUpdate");
    assert_eq!((told.warnings, told.patch), (vec![bad.to_owned()], vec![]));
    // Whatever is created, paused or with what a hold leaves behind, stays as it was sent.
    world.new = held().old;
    let told = world.admit();
    assert_eq!((told.warnings, told.patch), (vec![], vec![]));
}

#[test]
fn a_user_who_asked_for_holds_is_told_what_stands_in_the_way() {
    let mut world = set_image();
    world.workload().has_objective = false;
    assert_eq!(
        world.admit().warnings,
        ["msars: not held: no objective covers this workload"]
    );
    world.annotate("msars.io/gate", &json!("observe"));
    assert_eq!(world.admit().warnings, Vec::<String>::new());
    let mut world = set_image();
    world.namespace().grant = Grant::Missing;
    assert_eq!(
        world.admit().warnings,
        [
            "msars: not held: writes in namespace shop are not known to be granted; grant them with: kubectl apply -k manifests/namespace -n shop"
        ]
    );
    let mut world = held();
    world.new["spec"]["template"] = template(1);
    assert_eq!(
        world.admit().warnings,
        ["msars: the hold ends: the running template came back"]
    );
}

#[test]
fn warnings_are_short_whatever_the_names() {
    let mut world = set_image();
    world.request.target.name = "n".repeat(253);
    *world.snapshot.workload_mut(&world.request.target) = set_image().workload().clone();
    world.annotate("msars.io/profile-rates", &json!("é".repeat(5000)));
    let warnings = world.admit().warnings;
    assert_eq!(warnings.len(), 2);
    assert!(
        warnings.iter().all(|text| text.chars().count() < 256),
        "{warnings:?}"
    );
}
