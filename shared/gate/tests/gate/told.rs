//! What the writer is told.

use msars_gate::Verdict;
use serde_json::json;

use crate::world::{at, hash, held, set_image, template};

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
            "msars: holding this revision for up to 120s while it is profiled; let it through: kubectl rollout resume deploy/catalogue"
        ]
    );
    world.annotate("msars.io/gate-deadline", &json!("45s"));
    assert!(world.admit().warnings[0].contains("up to 45s"));
    world.annotate("msars.io/gate-deadline", &json!("1h"));
    let warnings = world.admit().warnings;
    assert!(warnings[0].contains("up to 120s"), "{warnings:?}");
    assert!(
        warnings[1].starts_with("msars: msars.io/gate-deadline: \"1h\" is not"),
        "{warnings:?}"
    );
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
