//! What a snapshot is made of, told by the verdict on `kubectl set image` that follows from it.

use jiff::SignedDuration;
use kube::api::DynamicObject;
use msars_domain::ObjectKey;
use msars_gate::{Operation, Request, admit, revision_hash, shape_hash};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::*;
use crate::snapshot::heard::Heard;

/// What the copies show, and which grants were answered: all that a hold needs, unless a row changes it.
struct World {
    seen: Seen,
    grants: Grants,
}

fn now() -> Timestamp {
    "2026-03-01T10:00:00Z".parse().unwrap()
}

/// An object as the API server sends it.
fn read<T: DeserializeOwned>(object: Value) -> Arc<T> {
    Arc::new(serde_json::from_value(object).unwrap())
}

fn template(version: u32) -> Value {
    json!({
        "metadata": {"labels": {"app": "catalogue"}},
        "spec": {"containers": [{
            "name": "app",
            "image": format!("shop/catalogue:v{version}"),
            "resources": {"limits": {"cpu": "400m"}, "requests": {"cpu": "200m"}},
        }]},
    })
}

fn deployment(template: &Value) -> Value {
    json!({
        "metadata": {
            "name": "catalogue", "namespace": "shop", "uid": "u-1",
            "annotations": {
                "msars.io/mode": "auto", "msars.io/gate": "hold",
                "msars.io/profile-request": "GET /catalogue",
            },
        },
        "spec": {"replicas": 3, "template": template},
        "status": {"conditions": [{"type": "Available", "status": "True"}]},
    })
}

fn lease(holder: &str, renewed: &str) -> Value {
    json!({"metadata": {}, "spec": {"holderIdentity": holder, "renewTime": renewed}})
}

fn objective(application: &str, attainment: f64) -> Value {
    observed(application, attainment, "2026-03-01T09:58:00Z")
}

fn observed(application: &str, attainment: f64, at: &str) -> Value {
    json!({
        "apiVersion": "msars.io/v1alpha1", "kind": "ServiceLevelObjective",
        "metadata": {"name": "shop", "namespace": "shop"},
        "spec": {"application": application, "entry": "front-end", "percentile": 99, "latencyMs": 400},
        "status": {
            "chains": [{
                "name": "browse", "method": "exact", "reason": "", "tailFactor": 1, "feasible": true, "tookMs": 1, "at": "",
                "services": [{
                    "workload": "catalogue", "revision": "", "budgetMs": 9, "sharePercent": 9, "sizeMilli": 400,
                    "replicas": 3, "source": "profile",
                }],
            }],
            "observed": {"attainment": attainment, "requests": 1000, "at": at},
        },
    })
}

/// As its copy keeps it.
fn replica_set(owner: &str, version: u32) -> Arc<DynamicObject> {
    let mut set = serde_json::from_value(json!({
        "apiVersion": "apps/v1", "kind": "ReplicaSet",
        "metadata": {
            "name": "catalogue-5d4f", "namespace": "shop",
            "ownerReferences": [{"apiVersion": "apps/v1", "kind": "Deployment", "name": "catalogue", "uid": owner}],
        },
        "spec": {"replicas": 0, "template": template(version)},
    }))
    .unwrap();
    revisions::replica_set(&mut set);
    Arc::new(set)
}

fn profile(phase: &str, template: &Value, point: u32) -> Value {
    let point = json!({
        "sizeMilli": point, "rate": 10, "windowSeconds": 5, "requests": 50, "errors": 0, "cpuSeconds": 1, "p50Ms": 1,
        "p90Ms": 2, "p99Ms": 3,
    });
    json!({
        "apiVersion": "msars.io/v1alpha1", "kind": "LoadLatencyProfile",
        "metadata": {"name": "catalogue", "namespace": "shop"},
        "spec": {
            "workload": "catalogue", "revision": revision_hash(template).as_str(),
            "shape": shape_hash(template).as_str(),
        },
        "status": {"phase": phase, "points": [point]},
    })
}

fn policy(namespace: &str, selector: &Value) -> Arc<NetworkPolicy> {
    read(
        json!({"metadata": {"name": "p", "namespace": namespace}, "spec": {"podSelector": selector}}),
    )
}

fn claim(namespace: &str, mode: &str) -> Arc<PersistentVolumeClaim> {
    read(json!({
        "metadata": {"name": "data", "namespace": namespace}, "spec": {"accessModes": [mode]},
    }))
}

/// The stored template mounts the claim `data`.
fn mount(w: &mut World) {
    let spec = &mut w.seen.deployments[0]["spec"]["template"]["spec"];
    spec["volumes"] = json!([{"name": "data", "persistentVolumeClaim": {"claimName": "data"}}]);
    spec["containers"][0]["volumeMounts"] = json!([{"name": "data", "mountPath": "/data"}]);
}

fn world() -> World {
    let mut grants = Grants::default();
    grants.take("shop", Some(true), now());
    World {
        seen: Seen {
            deployments: vec![deployment(&template(1))],
            objectives: vec![read(objective("shop", 0.995))],
            leases: vec![read(lease("autoscaler-1", "2026-03-01T09:59:55.000000Z"))],
            healthy: true,
            ..Seen::default()
        },
        grants,
    }
}

fn built(w: &World, namespace: &str) -> Snapshot {
    let heard = Heard::default().take(&w.seen.leases, now());
    build(&w.seen, heard, &w.grants, namespace, now())
}

/// The verdict on the next image; `cpu` changes the limit instead.
fn verdict(w: &World, cpu: Option<&str>) -> String {
    let snapshot = built(w, "msars-system");
    let old = &w.seen.deployments[0];
    let mut new = old.clone();
    let container = &mut new["spec"]["template"]["spec"]["containers"][0];
    match cpu {
        Some(cpu) => container["resources"]["limits"]["cpu"] = json!(cpu),
        None => container["image"] = json!("shop/catalogue:v2"),
    }
    let request = Request {
        operation: Operation::Update,
        target: ObjectKey::new("shop", "catalogue"),
        user: "dev".into(),
        dry_run: false,
        field_manager: Some("kubectl-set".into()),
        patch: Some(true),
    };
    let verdict = admit(old, &new, &snapshot, &request, now()).verdict;
    verdict.reason().to_owned()
}

type Row = (&'static str, fn(&mut World), &'static str);

fn check(rows: &[Row], cpu: Option<&str>) {
    for (name, edit, reason) in rows {
        let mut world = world();
        edit(&mut world);
        assert_eq!(verdict(&world, cpu), *reason, "{name}");
    }
}

#[test]
fn a_copy_is_as_unsafe_as_policies_and_claims_of_its_namespace_say() {
    let rows: &[Row] = &[
        ("nothing in the way", |_| {}, "NewRevision"),
        (
            "a NetworkPolicy of its labels",
            |w| {
                let selector = json!({"matchLabels": {"app": "catalogue"}});
                w.seen.policies = vec![policy("shop", &selector)];
            },
            "NetworkPolicy",
        ),
        (
            "a NetworkPolicy of every pod, after one of others",
            |w| {
                let others = json!({"matchLabels": {"app": "cart"}});
                w.seen.policies = vec![policy("shop", &others), policy("shop", &json!({}))];
            },
            "NetworkPolicy",
        ),
        (
            "a NetworkPolicy by expression",
            |w| {
                let selector = json!({"matchExpressions": [{"key": "app", "operator": "Exists"}]});
                w.seen.policies = vec![policy("shop", &selector)];
            },
            "NetworkPolicy",
        ),
        (
            "a NetworkPolicy of others",
            |w| {
                let selector = json!({"matchLabels": {"app": "cart"}});
                w.seen.policies = vec![policy("shop", &selector)];
            },
            "NewRevision",
        ),
        (
            "a NetworkPolicy of another namespace",
            |w| w.seen.policies = vec![policy("bank", &json!({}))],
            "NewRevision",
        ),
        ("a claim that is not seen", mount, "WritableClaim"),
        (
            "a claim that a pod may write to",
            |w| {
                mount(w);
                w.seen.claims = vec![claim("shop", "ReadWriteOnce")];
            },
            "WritableClaim",
        ),
        (
            "a claim that only reads",
            |w| {
                mount(w);
                w.seen.claims = vec![claim("shop", "ReadOnlyMany")];
            },
            "NewRevision",
        ),
        (
            "a claim of that name that only reads, in another namespace",
            |w| {
                mount(w);
                w.seen.claims = vec![claim("bank", "ReadOnlyMany")];
            },
            "WritableClaim",
        ),
    ];
    check(rows, None);
}

#[test]
fn a_grant_is_known_by_a_fresh_answer_about_this_namespace() {
    let rows: &[Row] = &[
        ("never asked", |w| w.grants = Grants::default(), "NoGrant"),
        (
            "missing",
            |w| {
                w.grants.take("shop", Some(false), now());
            },
            "NoGrant",
        ),
        (
            "given long ago",
            |w| {
                let long = SignedDuration::from_mins(2);
                w.grants.take("shop", Some(true), now() - long);
            },
            "NoGrant",
        ),
        (
            "given in another namespace",
            |w| {
                w.grants = Grants::default();
                w.grants.take("bank", Some(true), now());
            },
            "NoGrant",
        ),
    ];
    check(rows, None);
}

#[test]
fn lease_switches_watches_and_objectives_are_read() {
    let rows: &[Row] = &[
        ("no lease", |w| w.seen.leases.clear(), "NoController"),
        (
            "a lease that was given up",
            |w| w.seen.leases = vec![read(lease("", "2026-03-01T09:59:59.000000Z"))],
            "NoController",
        ),
        (
            "a lease that was not renewed",
            |w| w.seen.leases = vec![read(lease("a", "2026-03-01T09:59:20.000000Z"))],
            "NoController",
        ),
        (
            "the switch of holds",
            |w| w.seen.switches = vec![read(json!({"metadata": {}, "data": {"holds": "off"}}))],
            "HoldsOff",
        ),
        ("a watch fails", |w| w.seen.healthy = false, "NotSynced"),
        ("no objective", |w| w.seen.objectives.clear(), "NoObjective"),
        (
            "an objective of another application",
            |w| w.seen.objectives = vec![read(objective("bank", 0.995))],
            "NoObjective",
        ),
        (
            "an objective that burns fast",
            |w| w.seen.objectives = vec![read(objective("shop", 0.80))],
            "BurningFast",
        ),
        (
            "an objective that burnt fast when it was last measured, long ago",
            |w| w.seen.objectives = vec![read(observed("shop", 0.80, "2026-03-01T09:40:00Z"))],
            "NewRevision",
        ),
        (
            "one that did long ago by the clock of its leader, which is ahead",
            |w| {
                w.seen.leases = vec![read(lease("a", "2026-03-01T10:20:00.000000Z"))];
                w.seen.objectives = vec![read(observed("shop", 0.80, "2026-03-01T10:02:00Z"))];
            },
            "NewRevision",
        ),
    ];
    check(rows, None);
}

#[test]
fn revisions_are_known_by_their_replica_sets_and_profiles() {
    let rows: &[Row] = &[
        (
            "its ReplicaSet, without replicas",
            |w| w.seen.replica_sets = vec![replica_set("u-1", 2)],
            "Known",
        ),
        (
            "another Deployment's ReplicaSet",
            |w| w.seen.replica_sets = vec![replica_set("u-2", 2)],
            "NewRevision",
        ),
        (
            "a finished profile",
            |w| w.seen.profiles = vec![read(profile("Done", &template(2), 400))],
            "Known",
        ),
        (
            "a profile under way",
            |w| w.seen.profiles = vec![read(profile("Probing", &template(2), 400))],
            "NewRevision",
        ),
    ];
    check(rows, None);
    let sizes: &[Row] = &[
        (
            "a size of a finished profile",
            |w| w.seen.profiles = vec![read(profile("Done", &template(1), 600))],
            "ProfiledSize",
        ),
        (
            "between the sizes of two",
            |w| {
                let sizes = [500, 700];
                w.seen.profiles = sizes
                    .map(|size| read(profile("Done", &template(1), size)))
                    .into();
            },
            "ProfiledSize",
        ),
        (
            "beyond them",
            |w| w.seen.profiles = vec![read(profile("Done", &template(1), 500))],
            "NewRevision",
        ),
    ];
    check(sizes, Some("600m"));
}

#[test]
fn what_is_held_is_not_known_and_only_our_accounts_are_our_own() {
    let mut held = deployment(&template(1));
    held["spec"]["paused"] = json!(true);
    held["metadata"]["annotations"]["msars.io/hold-hash"] =
        json!(revision_hash(&template(1)).as_str());
    let mut world = world();
    world.seen.deployments = vec![held];
    let snapshot = built(&world, "platform");
    let workload = snapshot.workload(&ObjectKey::new("shop", "catalogue"));
    assert!(workload.unwrap().known.is_empty());
    let own: Vec<&str> = snapshot.own_users.iter().map(String::as_str).collect();
    assert_eq!(
        own,
        [
            "system:serviceaccount:platform:msars-admission",
            "system:serviceaccount:platform:msars-autoscaler"
        ]
    );
}
