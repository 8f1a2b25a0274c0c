//! An application with its workloads and profiles, to change by hand.

mod counting;
mod hosting;
mod leading;
mod looking;
mod resplitting;

pub(crate) use self::hosting::{hosted_board, lone, rate};

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::api::DynamicObject;
use msars_api::crd::{LoadLatencyProfile, ServiceLevelObjective, SloAutoscaler};
use msars_domain::{Millis, ObjectKey};
use serde_json::{Value, json};

use super::application::{Application, all};
use super::force::InForce;
use super::known::{Forms, Profiles};
use super::{Around, SignalMap};
use crate::world::{self, Workload};

/// An objective of p99 in 400 ms, without declared chains.
pub(super) fn application(entry: &str, members: &[&str]) -> Application {
    let slo: ServiceLevelObjective = serde_json::from_value(json!({
        "apiVersion": "msars.io/v1alpha1", "kind": "ServiceLevelObjective",
        "metadata": {"namespace": "shop", "name": entry, "generation": 1},
        "spec": {"application": entry, "entry": entry, "percentile": 99.0, "latencyMs": 400.0},
    }))
    .unwrap();
    let mut application = all(&[Arc::new(slo)], &BTreeMap::new()).remove(0);
    application.members = members.iter().map(|name| key(name)).collect();
    application
}

pub(crate) fn key(name: &str) -> ObjectKey {
    ObjectKey::new("shop", name)
}

fn ms(value: f64) -> Millis {
    Millis::new(value).unwrap()
}

/// A Deployment of one container of 100m, limited to 200m.
pub(super) fn deployment(name: &str) -> Value {
    json!({
        "metadata": {
            "namespace": "shop", "name": name, "uid": name, "generation": 1,
            "annotations": {"msars.io/mode": "auto"},
        },
        "spec": {"replicas": 2, "template": {
            "metadata": {"labels": {"app": name}},
            "spec": {"containers": [{"name": "app", "image": "shop:v1", "resources": {
                "requests": {"cpu": "100m"}, "limits": {"cpu": "200m"}}}]},
        }},
    })
}

/// With a ReplicaSet of its template, whose `pod-template-hash` is `h1`.
pub(super) fn workload(deployment: &Value) -> Workload {
    let mut template = deployment["spec"]["template"].clone();
    template["metadata"]["labels"]["pod-template-hash"] = json!("h1");
    let mut set: DynamicObject = serde_json::from_value(json!({
        "apiVersion": "apps/v1", "kind": "ReplicaSet",
        "metadata": {"namespace": "shop", "name": "h1"},
        "spec": {"template": template}, "status": {"replicas": 2},
    }))
    .unwrap();
    world::replica_set(&mut set);
    Workload::read(deployment.clone(), true, &[Arc::new(set)])
        .unwrap()
        .0
}

/// A finished profile of 3 ms of work, measured at 200m and 400m.
pub(crate) fn profile(workload: &str, revision: &str, born: i64) -> Arc<LoadLatencyProfile> {
    let point = |size: u32| {
        json!({"sizeMilli": size, "rate": 10.0, "windowSeconds": 5.0, "requests": 50, "errors": 0, "cpuSeconds": 0.15,
            "p50Ms": 3.0, "p90Ms": 6.0, "p99Ms": 9.0})
    };
    let table = |size: u32| {
        let knee = f64::from(size) / 5.0;
        json!({"sizeMilli": size, "knots": [{"rate": 1.0, "ms": 9.0}, {"rate": knee, "ms": 90.0}]})
    };
    let mut profile: LoadLatencyProfile = serde_json::from_value(json!({
        "apiVersion": "msars.io/v1alpha1", "kind": "LoadLatencyProfile",
        "metadata": {"namespace": "shop", "name": format!("{workload}.{revision}"), "uid": revision},
        "spec": {"workload": workload, "revision": revision, "shape": "none"},
        "status": {
            "phase": "Done", "source": "Shadow", "pointCount": 2, "percentile": 99.0,
            "points": [point(200), point(400)],
            "mechanism": {"workMs": 3.0, "workError": 0.01, "sigma": 0.5, "workers": 8, "cores": 2.0, "correction": 1.0},
            "curve": [table(200), table(400), table(800)],
        },
    }))
    .unwrap();
    profile.metadata.creation_timestamp = Some(Time(Timestamp::from_second(born).unwrap()));
    Arc::new(profile)
}

/// What a round knows, owned.
#[derive(Debug, Default)]
struct Shop {
    workloads: BTreeMap<ObjectKey, Workload>,
    forms: Forms,
    known: Profiles,
    sizes: BTreeMap<ObjectKey, InForce>,
    autoscalers: BTreeMap<ObjectKey, Arc<SloAutoscaler>>,
    signals: SignalMap,
}

impl Shop {
    fn around(&self) -> Around<'_> {
        Around {
            workloads: &self.workloads,
            known: &self.known,
            sizes: &self.sizes,
            autoscalers: &self.autoscalers,
            signals: &self.signals,
        }
    }

    fn add(&mut self, deployment: &Value) {
        let workload = workload(deployment);
        self.workloads.insert(workload.key.clone(), workload);
    }

    fn learn(&mut self, profiles: &[Arc<LoadLatencyProfile>]) {
        self.forms.see(&self.workloads);
        self.known = super::known::profiles(profiles, &self.forms);
    }
}
