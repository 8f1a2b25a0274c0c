//! What controller and webhook replicas do with a stored Deployment.

use crate::world::{annotate, at, deployment, held, own_paused, patched, template};
use jiff::Timestamp;
use msars_domain::{Action, ObjectKey};
use msars_gate::snapshot::Holds;
use msars_gate::{HoldState, Phase, Progress, Step, Trouble, Watcher, let_go, next};
use serde_json::{Value, json};

struct Case {
    object: Value,
    progress: Progress,
    now: Timestamp,
}

fn case() -> Case {
    Case {
        object: held().old,
        progress: Progress {
            phase: Phase::Measuring,
            ..Progress::default()
        },
        now: at("2026-03-01T10:00:30Z"),
    }
}

fn told(step: &Step) -> String {
    match step {
        Step::Rest => "Rest".into(),
        Step::Wait { .. } => "Wait".into(),
        Step::Strip { .. } => "Strip".into(),
        Step::Gone => "Gone".into(),
        Step::Release { why, .. } => format!("Release {} ({})", why.label(), why.word()),
    }
}

#[test]
fn a_held_deployment_waits_or_is_released_for_one_reason() {
    type Row = (&'static str, fn(&mut Case), &'static str);
    let rows: &[Row] = &[
        ("measuring", |_| {}, "Wait"),
        (
            "a new leader knows nothing yet",
            |c| c.progress.phase = Phase::Unknown,
            "Wait",
        ),
        (
            "profiled, not prepared",
            |c| c.progress.phase = Phase::Profiled { prepared: false },
            "Wait",
        ),
        (
            "profiled and prepared",
            |c| c.progress.phase = Phase::Profiled { prepared: true },
            "Release Profiled (profiled)",
        ),
        (
            "a second before the deadline",
            |c| c.now = at("2026-03-01T10:01:59Z"),
            "Wait",
        ),
        (
            "at the deadline",
            |c| c.now = at("2026-03-01T10:02:00Z"),
            "Release Deadline (deadline)",
        ),
        (
            "a deadline that can't be read",
            |c| annotate(&mut c.object, "msars.io/hold-until", &json!("?")),
            "Release Deadline (deadline)",
        ),
        (
            "a deadline put years ahead",
            |c| {
                annotate(
                    &mut c.object,
                    "msars.io/hold-until",
                    &json!("2036-01-01T00:00:00Z"),
                );
                c.now = at("2026-03-01T10:10:00Z");
            },
            "Release Deadline (deadline)",
        ),
        (
            "queued, time enough",
            |c| {
                c.progress.phase = Phase::Queued {
                    finish: Some(at("2026-03-01T10:01:50Z")),
                }
            },
            "Wait",
        ),
        (
            "queued, unknown how long",
            |c| c.progress.phase = Phase::Queued { finish: None },
            "Wait",
        ),
        (
            "queued, too long",
            |c| {
                c.progress.phase = Phase::Queued {
                    finish: Some(at("2026-03-01T10:02:01Z")),
                }
            },
            "Release Queue (queue)",
        ),
        (
            "its turn, time enough",
            |c| {
                c.progress.phase = Phase::Next {
                    finish: at("2026-03-01T10:02:00Z"),
                }
            },
            "Wait",
        ),
        (
            "its turn, too late",
            |c| {
                c.progress.phase = Phase::Next {
                    finish: at("2026-03-01T10:02:01Z"),
                }
            },
            "Release NoTime (no-time)",
        ),
        (
            "starting",
            |c| {
                c.progress.phase = Phase::Starting {
                    since: at("2026-03-01T09:59:46Z"),
                }
            },
            "Wait",
        ),
        (
            "not Ready in 45 s",
            |c| {
                c.progress.phase = Phase::Starting {
                    since: at("2026-03-01T09:59:45Z"),
                }
            },
            "Release NotReady (not-ready)",
        ),
        (
            "a copy that ended before it was Ready",
            |c| {
                c.progress.phase = Phase::Failed {
                    trouble: Trouble::NotReady,
                }
            },
            "Release NotReady (not-ready)",
        ),
        (
            "a callee in trouble",
            |c| {
                c.progress.phase = Phase::Failed {
                    trouble: Trouble::Callee,
                }
            },
            "Release Callee (callee)",
        ),
        (
            "no image",
            |c| {
                c.progress.phase = Phase::Failed {
                    trouble: Trouble::ImagePull,
                }
            },
            "Release ImagePull (image-pull)",
        ),
        (
            "a copy that went",
            |c| {
                c.progress.phase = Phase::Failed {
                    trouble: Trouble::Evicted,
                }
            },
            "Release Evicted (evicted)",
        ),
        (
            "errors",
            |c| {
                c.progress.phase = Phase::Failed {
                    trouble: Trouble::Errors,
                }
            },
            "Release Errors (errors)",
        ),
        (
            "another revision with a ReplicaSet",
            |c| c.progress.known = true,
            "Release Known (reverted)",
        ),
        (
            "holds off",
            |c| c.progress.holds = Holds::Off,
            "Release HoldsOff (mode-off)",
        ),
        (
            "mode off, unseen by the webhook",
            |c| annotate(&mut c.object, "msars.io/mode", &json!("off")),
            "Release ModeOff (mode-off)",
        ),
        (
            "skip-gate, unseen by the webhook",
            |c| annotate(&mut c.object, "msars.io/skip-gate", &json!("true")),
            "Release SkipGate (user)",
        ),
        (
            "reverted past the webhook",
            |c| c.object["spec"]["template"] = template(1),
            "Release Reverted (reverted)",
        ),
        (
            "reverted past the webhook, its ReplicaSet seen",
            |c| {
                c.object["spec"]["template"] = template(1);
                c.progress.known = true;
            },
            "Release Reverted (reverted)",
        ),
        (
            "changed past the webhook to a known revision",
            |c| {
                c.object["spec"]["template"] = template(3);
                c.progress.known = true;
            },
            "Release Known (reverted)",
        ),
        (
            "changed past the webhook",
            |c| c.object["spec"]["template"] = template(3),
            "Release Unseen (errors)",
        ),
        (
            "changed, and no proof whose pause it is",
            |c| {
                c.object["spec"]["template"] = template(3);
                c.object["metadata"]["managedFields"] = json!([]);
            },
            "Rest",
        ),
        (
            "the user's own pause",
            |c| {
                c.object = deployment(2);
                c.object["spec"]["paused"] = json!(true);
                own_paused(&mut c.object, "kubectl-rollout");
            },
            "Rest",
        ),
        (
            "a pause the user declared meanwhile",
            |c| {
                own_paused(&mut c.object, "argocd");
                c.now = at("2026-03-01T11:00:00Z");
            },
            "Rest",
        ),
        ("not held", |c| c.object = deployment(2), "Rest"),
        (
            "leftovers",
            |c| c.object["spec"]["paused"] = json!(false),
            "Strip",
        ),
        (
            "deleted",
            |c| c.object["metadata"]["deletionTimestamp"] = json!("2026-03-01T10:00:20Z"),
            "Gone",
        ),
        ("not an object", |c| c.object = json!(7), "Rest"),
    ];
    for (name, edit, wanted) in rows {
        let mut case = case();
        edit(&mut case);
        let step = next(&case.object, Watcher::Leader(&case.progress), case.now);
        assert_eq!(told(&step), *wanted, "{name}");
        if let Some(action) = step.action() {
            let Action::PatchDeployment { target, patch } = action else {
                panic!("{name}: {action:?}");
            };
            assert_eq!(*target, ObjectKey::new("shop", "catalogue"));
            assert_eq!(patch[0]["op"], "test", "{name}");
            assert_eq!(
                HoldState::read(&patched(&case.object, patch)),
                HoldState::Free,
                "{name}"
            );
        }
    }
}

#[test]
fn a_webhook_replica_releases_what_expired_while_nobody_leads_and_nothing_else() {
    let late = "2026-03-01T10:02:00Z";
    for (name, lease, now, wanted) in [
        (
            "expired, no lease",
            None,
            late,
            "Release Deadline (deadline)",
        ),
        (
            "expired, dead lease",
            Some("2026-03-01T10:01:30Z"),
            late,
            "Release Deadline (deadline)",
        ),
        (
            "expired, a controller leads",
            Some("2026-03-01T10:01:45Z"),
            late,
            "Rest",
        ),
        (
            "overdue, a controller leads and does not end it",
            Some("2026-03-01T10:02:14Z"),
            "2026-03-01T10:02:15Z",
            "Release Deadline (deadline)",
        ),
        (
            "not overdue yet",
            Some("2026-03-01T10:02:14Z"),
            "2026-03-01T10:02:14.9Z",
            "Rest",
        ),
        (
            "not expired, no lease",
            None,
            "2026-03-01T10:01:00Z",
            "Rest",
        ),
    ] {
        let watcher = Watcher::Bystander {
            lease_renewed: lease.map(at),
        };
        assert_eq!(told(&next(&held().old, watcher, at(now))), wanted, "{name}");
    }
    let mut users = held().old;
    own_paused(&mut users, "argocd");
    let watcher = Watcher::Bystander {
        lease_renewed: None,
    };
    assert_eq!(next(&users, watcher, at(late)), Step::Rest);
}

#[test]
fn a_release_does_not_touch_an_object_that_changed_since() {
    let step = next(
        &held().old,
        Watcher::Leader(&Progress::default()),
        at("2026-03-01T10:02:00Z"),
    );
    let Some(Action::PatchDeployment { patch, .. }) = step.action() else {
        panic!("{step:?}");
    };
    let mut newer = held();
    newer.new["spec"]["template"] = template(3);
    let mut newer = newer.stored();
    let patch: json_patch::Patch = serde_json::from_value(Value::Array(patch.clone())).unwrap();
    assert!(json_patch::patch(&mut newer, &patch).is_err());
}

#[test]
fn when_the_product_leaves_every_hold_of_ours_ends_and_no_other_pause() {
    let held = held().old;
    let mut stale = held.clone();
    stale["spec"]["paused"] = json!(false);
    let mut users = held.clone();
    own_paused(&mut users, "argocd");
    for (object, writes, state) in [
        (&held, true, HoldState::Free),
        (&stale, true, HoldState::Free),
        (&users, false, HoldState::Users),
        (&deployment(1), false, HoldState::Free),
    ] {
        let patch = match let_go(object) {
            Some(Action::PatchDeployment { target, patch }) => {
                assert_eq!(target, ObjectKey::new("shop", "catalogue"));
                patch
            }
            other => {
                assert_eq!(other, None);
                Vec::new()
            }
        };
        assert_eq!(!patch.is_empty(), writes);
        assert_eq!(HoldState::read(&patched(object, &patch)), state);
    }
    // A newer hold is left alone by a write that was decided on leftovers of an older one.
    let Some(Action::PatchDeployment { patch, .. }) = let_go(&stale) else {
        panic!("leftovers are removed");
    };
    let mut newer = held;
    newer["metadata"]["resourceVersion"] = json!("1001");
    let patch: json_patch::Patch = serde_json::from_value(Value::Array(patch)).unwrap();
    assert!(json_patch::patch(&mut newer, &patch).is_err());
}
