//! A Deployment as the API server shows it, a write to it, and what the webhook knows: one that is to be held, unless
//! a test changes it.

use jiff::Timestamp;
use msars_domain::{MilliCpu, ObjectKey};
use msars_gate::snapshot::{Grant, Namespace, SizeRange, Snapshot, Workload};
use msars_gate::{Admission, HoldState, Operation, Request, admit, revision_hash, shape_hash};
use serde_json::{Value, json};

pub const LAST_APPLIED: &str = "kubectl.kubernetes.io/last-applied-configuration";

/// A write and its surroundings.
#[derive(Debug, Clone)]
pub struct World {
    pub old: Value,
    pub new: Value,
    pub snapshot: Snapshot,
    pub request: Request,
    pub now: Timestamp,
}

pub fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

pub fn template(version: u32) -> Value {
    json!({
        "metadata": {"creationTimestamp": null, "labels": {"app": "catalogue"}},
        "spec": {
            "containers": [{
                "name": "app",
                "image": format!("shop/catalogue:v{version}"),
                "resources": {
                    "limits": {"cpu": "400m", "memory": "128Mi"},
                    "requests": {"cpu": "200m", "memory": "64Mi"},
                },
                "volumeMounts": [],
            }],
            "restartPolicy": "Always",
        },
    })
}

pub fn deployment(version: u32) -> Value {
    json!({
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {
            "name": "catalogue",
            "namespace": "shop",
            "resourceVersion": "1000",
            "annotations": {
                "deployment.kubernetes.io/revision": "1",
                "msars.io/mode": "auto",
                "msars.io/gate": "hold",
                "msars.io/profile-request": "GET /catalogue?size=5",
            },
            "managedFields": [
                {"manager": "kubectl-client-side-apply", "operation": "Update",
                 "fieldsV1": {"f:spec": {"f:replicas": {}, "f:template": {}}}},
            ],
            "unknownToUs": {"kept": [1, 2, 3]},
        },
        "spec": {
            "replicas": 3,
            "strategy": {"type": "RollingUpdate"},
            "template": template(version),
            "fieldOfTheFuture": true,
        },
        "status": {"conditions": [{"type": "Available", "status": "True"}]},
    })
}

/// `kubectl set image`, v1 to v2, while everything is as a hold needs it.
pub fn set_image() -> World {
    let key = ObjectKey::new("shop", "catalogue");
    let now = at("2026-03-01T10:00:00.25Z");
    let mut snapshot = Snapshot {
        lease_renewed: Some(at("2026-03-01T09:59:55Z")),
        synced: Some(now),
        own_users: ["system:serviceaccount:msars:autoscaler".to_owned()].into(),
        ..Snapshot::default()
    };
    let workload = snapshot.workload_mut(&key);
    workload.has_objective = true;
    workload.know(&template(1));
    snapshot.namespaces.entry("shop".into()).or_default().grant = Grant::Given;
    World {
        old: deployment(1),
        new: deployment(2),
        snapshot,
        request: Request {
            operation: Operation::Update,
            target: key,
            user: "dev".into(),
            dry_run: false,
            field_manager: Some("kubectl-set".into()),
            patch: Some(true),
        },
        now,
    }
}

/// v2 is held; thirty seconds later a write arrives that changes nothing, unless a test changes it.
pub fn held() -> World {
    let mut world = set_image();
    world.old = world.stored();
    world.new = world.old.clone();
    world.now = at("2026-03-01T10:00:30Z");
    world.snapshot.lease_renewed = Some(at("2026-03-01T10:00:25Z"));
    world
}

impl World {
    pub fn admit(&self) -> Admission {
        admit(
            &self.old,
            &self.new,
            &self.snapshot,
            &self.request,
            self.now,
        )
    }

    /// The object as it is stored after the webhook.
    pub fn stored(&self) -> Value {
        patched(&self.new, &self.admit().patch)
    }

    pub fn workload(&mut self) -> &mut Workload {
        self.snapshot
            .workload_mut(&ObjectKey::new("shop", "catalogue"))
    }

    pub fn namespace(&mut self) -> &mut Namespace {
        self.snapshot.namespaces.entry("shop".into()).or_default()
    }

    /// Adds to the pod's spec of both objects.
    pub fn pod_spec(&mut self, field: &str, value: &Value) {
        for object in [&mut self.old, &mut self.new] {
            object["spec"]["template"]["spec"][field] = value.clone();
        }
    }

    /// Sets an annotation in both objects; null removes it.
    pub fn annotate(&mut self, name: &str, value: &Value) {
        for object in [&mut self.old, &mut self.new] {
            annotate(object, name, value);
        }
    }

    /// Profiles the shape of the old template from 100m to 800m.
    pub fn profile_shape(&mut self) {
        let shape = shape_hash(&self.old["spec"]["template"]).to_string();
        self.workload().profiled.insert(
            shape,
            SizeRange {
                min: MilliCpu(100),
                max: MilliCpu(800),
            },
        );
    }
}

pub fn annotate(object: &mut Value, name: &str, value: &Value) {
    let map = object["metadata"]["annotations"].as_object_mut().unwrap();
    if value.is_null() {
        map.shift_remove(name);
    } else {
        map.insert(name.into(), value.clone());
    }
}

/// Makes somebody the owner of `spec.paused`.
pub fn own_paused(object: &mut Value, manager: &str) {
    let entry = json!({"manager": manager, "operation": "Update", "fieldsV1": {"f:spec": {"f:paused": {}}}});
    object["metadata"]["managedFields"]
        .as_array_mut()
        .unwrap()
        .push(entry);
}

pub fn set_cpu(object: &mut Value, request: &str, limit: &str) {
    let resources = &mut object["spec"]["template"]["spec"]["containers"][0]["resources"];
    resources["requests"]["cpu"] = json!(request);
    resources["limits"]["cpu"] = json!(limit);
}

pub fn patched(object: &Value, patch: &[Value]) -> Value {
    let patch: json_patch::Patch = serde_json::from_value(Value::Array(patch.to_vec())).unwrap();
    let mut object = object.clone();
    json_patch::patch(&mut object, &patch).unwrap();
    object
}

pub fn hash(version: u32) -> String {
    revision_hash(&template(version)).to_string()
}

/// What the stored object looks like.
#[derive(Debug, PartialEq)]
pub enum End {
    /// Held by us.
    Held,
    /// As it was written.
    Unchanged,
    /// Not paused, and nothing of a hold left.
    Rolls,
    /// Paused, and nothing of a hold left.
    Paused,
}

/// Name, change of the situation, verdict with its reason, stored object.
pub type Row = (&'static str, fn(&mut World), &'static str, End);

pub fn end(world: &World) -> End {
    let stored = world.stored();
    match HoldState::read(&stored) {
        HoldState::Ours { .. } => End::Held,
        _ if stored == world.new => End::Unchanged,
        HoldState::Free => End::Rolls,
        HoldState::Users if !stored.to_string().contains("msars.io/hold-") => End::Paused,
        other => panic!("{other:?}"),
    }
}

/// Checks rows against one situation.
pub fn check(start: impl Fn() -> World, rows: &[Row]) {
    for (name, edit, verdict, wanted) in rows {
        let mut world = start();
        edit(&mut world);
        let admission = world.admit();
        let found = format!(
            "{} {}",
            admission.verdict.label(),
            admission.verdict.reason()
        );
        assert_eq!(found, *verdict, "{name}");
        assert_eq!(end(&world), *wanted, "{name}");
    }
}
