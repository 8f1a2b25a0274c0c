//! How a hold ends, and whose pause is whose.

use msars_gate::snapshot::{Grant, Holds};
use serde_json::{Value, json};

use crate::world::{
    End, LAST_APPLIED, World, annotate, at, check, deployment, hash, held, own_paused, set_image,
    template,
};

fn pause_both(w: &mut World) {
    for object in [&mut w.old, &mut w.new] {
        object["spec"]["paused"] = json!(true);
        own_paused(object, "kubectl-rollout");
    }
}

#[test]
fn the_users_pause_is_the_users() {
    check(
        set_image,
        &[
            (
                "rollout pause",
                |w| {
                    w.new = deployment(1);
                    w.new["spec"]["paused"] = json!(true);
                    own_paused(&mut w.new, "kubectl-rollout");
                },
                "Pass UserPaused",
                End::Unchanged,
            ),
            (
                "apply with paused: true",
                |w| {
                    w.new["spec"]["paused"] = json!(true);
                    own_paused(&mut w.new, "argocd");
                },
                "Pass UserPaused",
                End::Unchanged,
            ),
            (
                "set image while paused",
                pause_both,
                "Pass UserPaused",
                End::Unchanged,
            ),
            (
                "resume after that",
                |w| {
                    pause_both(w);
                    w.new = deployment(2);
                    w.old["spec"]["template"] = template(2);
                },
                "Pass UserResumed",
                End::Unchanged,
            ),
            (
                "resume and new image in one write",
                |w| {
                    pause_both(w);
                    w.new = deployment(2);
                },
                "Pass UserResumed",
                End::Unchanged,
            ),
            (
                "paused: false declared by server-side apply",
                |w| own_paused(&mut w.new, "flux"),
                "Pass PauseDeclared",
                End::Unchanged,
            ),
            (
                "paused: false in the manifest last applied",
                |w| {
                    annotate(
                        &mut w.new,
                        LAST_APPLIED,
                        &json!(r#"{"spec":{"paused":false}}"#),
                    );
                },
                "Pass PauseDeclared",
                End::Unchanged,
            ),
            (
                "a word in the manifest that is no field",
                |w| {
                    annotate(
                        &mut w.new,
                        LAST_APPLIED,
                        &json!(r#"{"metadata":{"labels":{"a":"paused"}},"spec":{}}"#),
                    );
                },
                "Hold NewRevision",
                End::Held,
            ),
            (
                "the export of a held object, applied as its user's pause",
                |w| {
                    let export = held().old;
                    w.new["metadata"]["annotations"] = export["metadata"]["annotations"].clone();
                    w.new["spec"]["paused"] = json!(true);
                    own_paused(&mut w.new, "kubectl-replace");
                },
                "Pass UserPaused",
                End::Paused,
            ),
        ],
    );
}

#[test]
fn a_hold_ends_when_its_user_says_so_and_goes_on_otherwise() {
    check(
        held,
        &[
            (
                "a write of the deployment controller",
                |w| annotate(&mut w.new, "deployment.kubernetes.io/revision", &json!("2")),
                "KeepHold Held",
                End::Held,
            ),
            (
                "scaling while held",
                |w| w.new["spec"]["replicas"] = json!(5),
                "KeepHold Held",
                End::Held,
            ),
            (
                "rollout resume",
                |w| {
                    w.new["spec"]
                        .as_object_mut()
                        .unwrap()
                        .shift_remove("paused");
                },
                "Release UserResumed",
                End::Rolls,
            ),
            (
                "apply with paused: false",
                |w| w.new["spec"]["paused"] = json!(false),
                "Release UserResumed",
                End::Rolls,
            ),
            (
                "replace without paused and annotations",
                |w| w.new = deployment(2),
                "Release UserResumed",
                End::Unchanged,
            ),
            (
                "replace with a newer image, without paused",
                |w| w.new = deployment(3),
                "Release UserResumed",
                End::Unchanged,
            ),
            (
                "our own release",
                |w| {
                    w.request.user = "system:serviceaccount:msars:autoscaler".into();
                    w.new = deployment(2);
                },
                "Release Own",
                End::Unchanged,
            ),
            (
                "apply with paused: true",
                |w| own_paused(&mut w.new, "argocd"),
                "Release TakenOver",
                End::Paused,
            ),
            (
                "skip-gate",
                |w| annotate(&mut w.new, "msars.io/skip-gate", &json!("true")),
                "Release SkipGate",
                End::Rolls,
            ),
            (
                "emergency",
                |w| annotate(&mut w.new, "msars.io/emergency", &json!("true")),
                "Release SkipGate",
                End::Rolls,
            ),
            (
                "mode off",
                |w| annotate(&mut w.new, "msars.io/mode", &json!("off")),
                "Release ModeOff",
                End::Rolls,
            ),
            (
                "mode removed",
                |w| annotate(&mut w.new, "msars.io/mode", &Value::Null),
                "Release ModeOff",
                End::Rolls,
            ),
            (
                "gate observe",
                |w| annotate(&mut w.new, "msars.io/gate", &json!("observe")),
                "Release ModeOff",
                End::Rolls,
            ),
            (
                "profile-request removed",
                |w| annotate(&mut w.new, "msars.io/profile-request", &Value::Null),
                "Release NoProfileRequest",
                End::Rolls,
            ),
            (
                "holds switched off",
                |w| w.snapshot.holds = Holds::Off,
                "Release HoldsOff",
                End::Rolls,
            ),
            (
                "the running template again",
                |w| w.new["spec"]["template"] = template(1),
                "Release Reverted",
                End::Rolls,
            ),
            (
                "another known template",
                |w| {
                    w.new["spec"]["template"] = template(5);
                    w.workload().know(&template(5));
                },
                "Release Known",
                End::Rolls,
            ),
            (
                "the held revision becomes known, its release prepared",
                |w| w.workload().know(&template(2)),
                "KeepHold Held",
                End::Held,
            ),
            (
                "a changed template",
                |w| w.new["spec"]["template"] = template(3),
                "KeepHold Held",
                End::Held,
            ),
            (
                "a changed template that can't be held",
                |w| {
                    w.new["spec"]["template"] = template(3);
                    w.new["spec"]["template"]["spec"]["hostNetwork"] = json!(true);
                },
                "Release HostNetwork",
                End::Rolls,
            ),
            (
                "a changed template without a controller",
                |w| {
                    w.new["spec"]["template"] = template(3);
                    w.snapshot.lease_renewed = None;
                },
                "Release NoController",
                End::Rolls,
            ),
            (
                "the same template without a controller waits for its deadline",
                |w| w.snapshot.lease_renewed = None,
                "KeepHold Held",
                End::Held,
            ),
            (
                "any write once the grant is gone",
                |w| w.namespace().grant = Grant::Missing,
                "Release NoGrant",
                End::Rolls,
            ),
            (
                "a grant that is not known ends nothing",
                |w| w.namespace().grant = Grant::Unknown,
                "KeepHold Held",
                End::Held,
            ),
            (
                "a changed template while the grant is not known",
                |w| {
                    w.new["spec"]["template"] = template(3);
                    w.namespace().grant = Grant::Unknown;
                },
                "Release NoGrant",
                End::Rolls,
            ),
            (
                "after the deadline",
                |w| w.now = at("2026-03-01T10:02:00Z"),
                "Release Deadline",
                End::Rolls,
            ),
            (
                "a changed template after the deadline",
                |w| {
                    w.now = at("2026-03-01T10:02:00Z");
                    w.new["spec"]["template"] = template(3);
                },
                "Release Deadline",
                End::Rolls,
            ),
            (
                "a deadline that can't be read",
                |w| w.annotate("msars.io/hold-until", &json!("soon")),
                "Release Deadline",
                End::Rolls,
            ),
            (
                "a hold's annotations dropped by a careless write",
                |w| {
                    for name in ["msars.io/hold-hash", "msars.io/hold-until"] {
                        annotate(&mut w.new, name, &Value::Null);
                    }
                },
                "KeepHold Held",
                End::Held,
            ),
            (
                "a template changed past the webhook heals at the next write",
                |w| {
                    for object in [&mut w.old, &mut w.new] {
                        object["spec"]["template"] = template(3);
                    }
                },
                "KeepHold Held",
                End::Held,
            ),
            (
                "reverted past the webhook",
                |w| {
                    for object in [&mut w.old, &mut w.new] {
                        object["spec"]["template"] = template(1);
                    }
                },
                "Release Reverted",
                End::Rolls,
            ),
        ],
    );
}

#[test]
fn a_resumed_revision_is_not_held_again() {
    let mut world = held();
    world.new["spec"]["paused"] = json!(false);
    let resumed = world.stored();
    // The rollout made a ReplicaSet, so the revision is known; the user goes back, and forth.
    world.workload().know(&template(2));
    world.old = deployment(1);
    world.new = resumed;
    assert_eq!(world.admit().verdict.reason(), "Known");
}

#[test]
fn a_changed_template_while_held_keeps_the_first_deadline() {
    let mut world = held();
    world.new["spec"]["template"] = template(3);
    let stored = world.stored();
    let annotations = &stored["metadata"]["annotations"];
    assert_eq!(annotations["msars.io/hold-hash"], json!(hash(3)));
    assert_eq!(annotations["msars.io/hold-from"], json!(hash(1)));
    assert_eq!(annotations["msars.io/hold-since"], "2026-03-01T10:00:00Z");
    assert_eq!(annotations["msars.io/hold-until"], "2026-03-01T10:02:00Z");
    assert_eq!(
        world.admit().warnings,
        [
            "msars: holding the changed revision for up to 90s more while it is profiled; let it through: kubectl rollout resume deploy/catalogue -n shop"
        ]
    );
}
