//! Which rule speaks when several apply to a write while a hold stands; ARCHITECTURE.md has the same order.

use msars_gate::snapshot::{Grant, Holds};
use serde_json::json;

use crate::world::{End, World, annotate, at, check, held, own_paused, template};

fn revert(w: &mut World) {
    w.new["spec"]["template"] = template(1);
}

fn resume(w: &mut World) {
    w.new["spec"]["paused"] = json!(false);
}

fn late(w: &mut World) {
    w.now = at("2026-03-01T10:02:00Z");
}

#[test]
fn while_held_the_first_rule_that_applies_speaks() {
    check(
        held,
        &[
            (
                "resumed with the running template",
                |w| {
                    revert(w);
                    resume(w);
                },
                "Release UserResumed",
                End::Rolls,
            ),
            (
                "resumed after the deadline, with mode off",
                |w| {
                    resume(w);
                    late(w);
                    annotate(&mut w.new, "msars.io/mode", &json!("off"));
                },
                "Release UserResumed",
                End::Rolls,
            ),
            (
                "paused by its user with the running template",
                |w| {
                    revert(w);
                    own_paused(&mut w.new, "argocd");
                },
                "Release TakenOver",
                End::Paused,
            ),
            (
                "the running template with holds off and mode off",
                |w| {
                    revert(w);
                    w.snapshot.holds = Holds::Off;
                    annotate(&mut w.new, "msars.io/mode", &json!("off"));
                },
                "Release HoldsOff",
                End::Rolls,
            ),
            (
                "the running template with mode off",
                |w| {
                    revert(w);
                    annotate(&mut w.new, "msars.io/mode", &json!("off"));
                },
                "Release ModeOff",
                End::Rolls,
            ),
            (
                "the running template after the deadline, without a grant",
                |w| {
                    revert(w);
                    late(w);
                    w.namespace().grant = Grant::Missing;
                },
                "Release Reverted",
                End::Rolls,
            ),
            (
                "after the deadline, without a grant",
                |w| {
                    late(w);
                    w.namespace().grant = Grant::Missing;
                },
                "Release Deadline",
                End::Rolls,
            ),
            (
                "a changed template without a grant and without a controller",
                |w| {
                    w.new["spec"]["template"] = template(3);
                    w.namespace().grant = Grant::Missing;
                    w.snapshot.lease_renewed = None;
                },
                "Release NoGrant",
                End::Rolls,
            ),
        ],
    );
}
