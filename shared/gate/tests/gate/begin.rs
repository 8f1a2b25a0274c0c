//! Which writes begin a hold.

use msars_gate::Operation;
use msars_gate::snapshot::{Grant, Holds};
use serde_json::{Value, json};

use crate::world::{End, at, check, deployment, set_cpu, set_image, template};

#[test]
fn a_new_revision_is_held_only_if_everything_a_hold_needs_is_there() {
    check(
        set_image,
        &[
            ("an unknown image", |_| {}, "Hold NewRevision", End::Held),
            (
                "a dry run is answered alike",
                |w| w.request.dry_run = true,
                "Hold NewRevision",
                End::Held,
            ),
            (
                "server-side apply",
                |w| {
                    w.request.field_manager = Some("argocd".into());
                },
                "Hold NewRevision",
                End::Held,
            ),
            (
                "replace",
                |w| w.request.patch = Some(false),
                "Hold NewRevision",
                End::Held,
            ),
            (
                "creation",
                |w| w.request.operation = Operation::Create,
                "Pass NotAnUpdate",
                End::Unchanged,
            ),
            (
                "deletion",
                |w| w.request.operation = Operation::Other,
                "Pass NotAnUpdate",
                End::Unchanged,
            ),
            (
                "being deleted",
                |w| w.new["metadata"]["deletionTimestamp"] = json!("2026-03-01T10:00:00Z"),
                "Pass Deleting",
                End::Unchanged,
            ),
            (
                "no old object",
                |w| w.old = Value::Null,
                "Pass Unreadable",
                End::Unchanged,
            ),
            (
                "metadata of a wrong type",
                |w| w.new["metadata"] = json!(3),
                "Pass Unreadable",
                End::Unchanged,
            ),
            (
                "mode recommend",
                |w| w.annotate("msars.io/mode", &json!("recommend")),
                "Pass ModeNotAuto",
                End::Unchanged,
            ),
            (
                "mode off",
                |w| w.annotate("msars.io/mode", &json!("off")),
                "Pass ModeNotAuto",
                End::Unchanged,
            ),
            (
                "mode missing",
                |w| w.annotate("msars.io/mode", &Value::Null),
                "Pass ModeNotAuto",
                End::Unchanged,
            ),
            (
                "mode misspelt",
                |w| w.annotate("msars.io/mode", &json!("Auto")),
                "Pass ModeNotAuto",
                End::Unchanged,
            ),
            (
                "gate observe",
                |w| w.annotate("msars.io/gate", &json!("observe")),
                "Pass GateObserves",
                End::Unchanged,
            ),
            (
                "skip-gate",
                |w| w.annotate("msars.io/skip-gate", &json!("true")),
                "Pass SkipGate",
                End::Unchanged,
            ),
            (
                "pause annotation",
                |w| w.annotate("msars.io/pause", &json!("true")),
                "Pass Paused",
                End::Unchanged,
            ),
            (
                "emergency",
                |w| w.annotate("msars.io/emergency", &json!("true")),
                "Pass Emergency",
                End::Unchanged,
            ),
            (
                "no profile-request",
                |w| w.annotate("msars.io/profile-request", &Value::Null),
                "Pass NoProfileRequest",
                End::Unchanged,
            ),
            (
                "a profile-request that can't be read",
                |w| w.annotate("msars.io/profile-request", &json!("FETCH it")),
                "Pass BadProfileRequest",
                End::Unchanged,
            ),
            (
                "no chain with an objective",
                |w| w.workload().has_objective = false,
                "Pass NoObjective",
                End::Unchanged,
            ),
            (
                "unknown workload",
                |w| w.snapshot.namespaces.clear(),
                "Pass NoObjective",
                End::Unchanged,
            ),
            (
                "no lease",
                |w| w.snapshot.lease_renewed = None,
                "Pass NoController",
                End::Unchanged,
            ),
            (
                "lease of 30 s ago",
                |w| w.snapshot.lease_renewed = Some(at("2026-03-01T09:59:30Z")),
                "Pass NoController",
                End::Unchanged,
            ),
            (
                "lease of 29 s ago",
                |w| w.snapshot.lease_renewed = Some(at("2026-03-01T09:59:31.5Z")),
                "Hold NewRevision",
                End::Held,
            ),
            (
                "lease renewed after this write came",
                |w| w.snapshot.lease_renewed = Some(at("2026-03-01T10:00:03Z")),
                "Hold NewRevision",
                End::Held,
            ),
            (
                "snapshot not synced",
                |w| w.snapshot.synced = None,
                "Pass NotSynced",
                End::Unchanged,
            ),
            (
                "holds off in the cluster",
                |w| w.snapshot.holds = Holds::Off,
                "Pass HoldsOff",
                End::Unchanged,
            ),
            (
                "no grant of writes",
                |w| w.namespace().grant = Grant::Missing,
                "Pass NoGrant",
                End::Unchanged,
            ),
            (
                "a grant not asked for yet",
                |w| w.namespace().grant = Grant::Unknown,
                "Pass NoGrant",
                End::Unchanged,
            ),
            (
                "a grant of another namespace",
                |w| {
                    w.namespace().grant = Grant::Missing;
                    let other = w.snapshot.namespaces.entry("bank".into()).or_default();
                    other.grant = Grant::Given;
                },
                "Pass NoGrant",
                End::Unchanged,
            ),
            (
                "not Available",
                |w| w.old["status"]["conditions"][0]["status"] = json!("False"),
                "Pass NotAvailable",
                End::Unchanged,
            ),
            (
                "no condition yet",
                |w| w.old["status"] = json!({}),
                "Pass NotAvailable",
                End::Unchanged,
            ),
            (
                "no replicas",
                |w| w.new["spec"]["replicas"] = json!(0),
                "Pass NoReplicas",
                End::Unchanged,
            ),
            (
                "burning fast",
                |w| w.workload().burning_fast = true,
                "Pass BurningFast",
                End::Unchanged,
            ),
        ],
    );
}

#[test]
fn what_is_known_is_never_held() {
    check(
        set_image,
        &[
            (
                "a revision with a profile or a ReplicaSet",
                |w| w.workload().know(&template(2)),
                "Pass Known",
                End::Unchanged,
            ),
            (
                "known, whatever else is wrong",
                |w| {
                    w.workload().know(&template(2));
                    w.snapshot.synced = None;
                },
                "Pass Known",
                End::Unchanged,
            ),
            (
                "the same template",
                |w| w.new = deployment(1),
                "Pass SameTemplate",
                End::Unchanged,
            ),
            (
                "only replicas",
                |w| {
                    w.new = deployment(1);
                    w.new["spec"]["replicas"] = json!(9);
                },
                "Pass SameTemplate",
                End::Unchanged,
            ),
            (
                "rollout restart",
                |w| {
                    w.new = deployment(1);
                    w.new["spec"]["template"]["metadata"]["annotations"] =
                        json!({"kubectl.kubernetes.io/restartedAt": "2026-03-01T10:00:00Z"});
                },
                "Pass Restart",
                End::Unchanged,
            ),
            (
                "CPU inside the profiled range",
                |w| {
                    w.profile_shape();
                    w.new = deployment(1);
                    set_cpu(&mut w.new, "300m", "600m");
                },
                "Pass ProfiledSize",
                End::Unchanged,
            ),
            (
                "CPU at its end",
                |w| {
                    w.profile_shape();
                    w.new = deployment(1);
                    set_cpu(&mut w.new, "400m", "0.8");
                },
                "Pass ProfiledSize",
                End::Unchanged,
            ),
            (
                "CPU beyond it",
                |w| {
                    w.profile_shape();
                    w.new = deployment(1);
                    set_cpu(&mut w.new, "400m", "801m");
                },
                "Hold NewRevision",
                End::Held,
            ),
            (
                "CPU inside, memory changed too",
                |w| {
                    w.profile_shape();
                    w.new = deployment(1);
                    set_cpu(&mut w.new, "300m", "600m");
                    w.new["spec"]["template"]["spec"]["containers"][0]["resources"]["limits"]["memory"] =
                        json!("1Gi");
                },
                "Hold NewRevision",
                End::Held,
            ),
        ],
    );
}
