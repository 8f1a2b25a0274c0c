//! A Deployment with its ReplicaSet, pods, profile and objective, to change by hand.

mod acting;
mod adopting;
mod bounding;
mod changing;
mod deciding;
mod draining;
mod fleet;
mod gathering;
mod handing;
mod recording;
pub(crate) mod server;
mod telling;
mod ticking;

use std::collections::BTreeMap;
use std::sync::{Arc, LazyLock};

use jiff::Timestamp;
use k8s_openapi::api::core::v1::Pod;
use kube::api::DynamicObject;
use msars_api::crd::{ProfileSource, ServiceLevelObjective, SloAutoscaler};
use msars_client::slim;
use msars_domain::{
    Curve, Knot, MilliCpu, Millis, ObjectKey, Observation, Percentile, Rate, Reading, Signals,
    SizeCurve, Unknown,
};
use msars_plan::State;
use serde_json::{Value, json};

use super::gather::{Around, One, budgets, observation};
use crate::pods;
use crate::profiles::Known;
use crate::world::scalers::Scalers;
use crate::world::{self, Workload};

fn now() -> Timestamp {
    "2026-03-01T12:00:00Z".parse().unwrap()
}

fn key() -> ObjectKey {
    ObjectKey::new("shop", "carts")
}

fn template(image: &str) -> Value {
    json!({
        "metadata": {"labels": {"app": "carts"}},
        "spec": {"containers": [{"name": "app", "image": image, "resources": {
            "requests": {"cpu": "100m", "memory": "64Mi"}, "limits": {"cpu": "200m", "memory": "64Mi"}}}]},
    })
}

fn deployment() -> Value {
    json!({
        "metadata": {
            "namespace": "shop", "name": "carts", "uid": "d1", "generation": 3,
            "annotations": {"msars.io/mode": "auto", "msars.io/application": "shop"},
        },
        "spec": {"replicas": 2, "template": template("carts:v1")},
        "status": {"observedGeneration": 3, "replicas": 2, "updatedReplicas": 2, "availableReplicas": 2},
    })
}

/// As its copy keeps it.
fn replica_set(image: &str, hash: &str, replicas: u32) -> Arc<DynamicObject> {
    let mut template = template(image);
    template["metadata"]["labels"]["pod-template-hash"] = json!(hash);
    let mut set = serde_json::from_value(json!({
        "apiVersion": "apps/v1", "kind": "ReplicaSet",
        "metadata": {"namespace": "shop", "name": format!("carts-{hash}"), "uid": hash},
        "spec": {"template": template}, "status": {"replicas": replicas},
    }))
    .unwrap();
    world::replica_set(&mut set);
    Arc::new(set)
}

fn workload(deployment: &Value, sets: &[Arc<DynamicObject>]) -> Workload {
    Workload::read(deployment.clone(), true, sets).unwrap().0
}

/// As its copy keeps it.
fn pod(name: &str, hash: &str) -> Arc<Pod> {
    let resources = json!({"requests": {"cpu": "100m"}, "limits": {"cpu": "200m"}});
    let mut pod = serde_json::from_value(json!({
        "metadata": {
            "name": name, "namespace": "shop", "uid": name, "generation": 1,
            "creationTimestamp": "2026-03-01T11:00:00Z", "labels": {"pod-template-hash": hash},
            "ownerReferences": [{"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": format!("carts-{hash}"),
                "uid": hash, "controller": true}],
        },
        "spec": {"containers": [{"name": "app", "resources": resources}]},
        "status": {
            "phase": "Running", "observedGeneration": 1,
            "conditions": [{"type": "Ready", "status": "True", "lastTransitionTime": "2026-03-01T11:00:10Z"}],
            "containerStatuses": [{"name": "app", "image": "i", "imageID": "", "ready": true,
                "restartCount": 0, "resources": resources}],
        },
    }))
    .unwrap();
    slim::pod(&mut pod);
    Arc::new(pod)
}

fn autoscaler() -> SloAutoscaler {
    serde_json::from_value(json!({
        "apiVersion": "msars.io/v1alpha1", "kind": "SloAutoscaler",
        "metadata": {"namespace": "shop", "name": "carts", "generation": 1, "resourceVersion": "7"},
        "spec": {"targetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "carts"}, "mode": "auto",
            "minReplicas": 1, "maxReplicas": 8},
    }))
    .unwrap()
}

fn objective(revision: &str, ms: f64) -> Arc<ServiceLevelObjective> {
    Arc::new(
        serde_json::from_value(json!({
            "apiVersion": "msars.io/v1alpha1", "kind": "ServiceLevelObjective",
            "metadata": {"namespace": "shop", "name": "front-end"},
            "spec": {"application": "shop", "entry": "front-end", "percentile": 99.0, "latencyMs": 400.0},
            "status": {"chains": [{"name": "browse", "method": "dp", "reason": "", "tailFactor": 1.0, "feasible": true,
                "tookMs": 1.0, "at": "", "services": [{"workload": "carts", "revision": revision, "budgetMs": ms,
                "sharePercent": 10.0, "sizeMilli": 200, "replicas": 2, "source": "profile"}]}]},
        }))
        .unwrap(),
    )
}

/// A pod of 100m carries 20 requests/s within 50 ms, of 200m 40, of 400m 100.
fn known() -> Known {
    let table = |size, knee: f64| SizeCurve {
        size: MilliCpu(size),
        knots: [(1.0, 10.0), (knee, 50.0), (knee * 1.2, 400.0)]
            .map(|(rate, ms)| Knot {
                rate: Rate::new(rate).unwrap(),
                quantile: Millis::new(ms).unwrap(),
            })
            .to_vec(),
    };
    Known {
        curve: Curve::new(vec![table(100, 20.0), table(200, 40.0), table(400, 100.0)]).unwrap(),
        percentile: Percentile::new(0.99).unwrap(),
        source: ProfileSource::Shadow,
        work_ms: 3.0,
        version: "1".into(),
    }
}

fn signals(rate: f64) -> Signals {
    fn seen<T>(value: T) -> Reading<T> {
        Reading::Known { value, at: now() }
    }
    let rate = Rate::new(rate).unwrap();
    let ms = |value| seen(Millis::new(value).unwrap());
    Signals {
        workload: key(),
        rate: seen(rate),
        peak_rate: seen(rate),
        rate_at_least: None,
        request_quantile: ms(12.0),
        self_quantile: ms(12.0),
        callee_wait: ms(0.0),
        error_share: seen(0.0),
        cpu_cores: seen(rate.get() * 0.003),
        throttled: Reading::Unknown {
            why: Unknown::NoSeries,
        },
    }
}

fn around(workload: &Workload, objectives: &[Arc<ServiceLevelObjective>]) -> Around {
    let profile = (workload.shape.clone(), known());
    Around {
        budgets: budgets(objectives),
        known: BTreeMap::from([((key(), workload.revision.clone()), profile)]),
        now: now(),
        rivals: Scalers::default(),
        ungranted: std::collections::BTreeSet::new(),
        quotas: Vec::new(),
        profiling: std::collections::BTreeSet::new(),
        changing: std::collections::BTreeSet::new(),
        resizable: Some(true),
        node: Some(MilliCpu(2000)),
    }
}

static AUTOSCALER: LazyLock<SloAutoscaler> = LazyLock::new(autoscaler);
/// Nothing remembered.
static FRESH: LazyLock<State> = LazyLock::new(State::default);

/// A workload without pods at a rate.
fn podless(workload: &Workload, rate: f64) -> One<'_> {
    One {
        workload,
        autoscaler: &AUTOSCALER,
        percentile: Percentile::new(0.99).unwrap(),
        serving: &[],
        signals: signals(rate),
        live: Vec::new(),
        history: Vec::new(),
        guests: None,
        state: &FRESH,
    }
}

/// What is seen of two pods at a rate.
fn seen(rate: f64) -> (Workload, Observation) {
    let workload = workload(&deployment(), &[replica_set("carts:v1", "h1", 2)]);
    let around = around(&workload, &[objective(&workload.revision, 50.0)]);
    let serving = pods::serving(&[pod("a", "h1"), pod("b", "h1")]);
    let one = One {
        serving: &serving[&key()],
        ..podless(&workload, rate)
    };
    let observation = observation(&around, one);
    (workload, observation)
}
