//! Copies of the API server's objects that a snapshot is made of, kept by watches.

use std::collections::BTreeSet;
use std::sync::Arc;

use k8s_openapi::api::{
    apps::v1::{Deployment, ReplicaSet},
    coordination::v1::Lease,
    core::v1::{ConfigMap, PersistentVolumeClaim},
    networking::v1::NetworkPolicy,
};
use kube::{
    Api,
    api::{ApiResource, DynamicObject},
    runtime::watcher,
};
use msars_api::annotations::{self, Mode};
use msars_api::crd::{LoadLatencyProfile, ServiceLevelObjective, SloAutoscaler};
use msars_api::names;
use msars_client::connect::Clients;
use msars_client::slim;
use msars_client::unread::UnreadObjects;
use msars_client::watched::{Watched, guarded, watched};
use msars_ops::shutdown::Tasks;
use serde_json::Value;
use tokio::sync::Notify;

use super::revisions;

/// The copies.
#[derive(Debug)]
pub(super) struct Copies {
    pub(super) deployments: Watched<DynamicObject>,
    pub(super) replica_sets: Watched<DynamicObject>,
    pub(super) profiles: Watched<LoadLatencyProfile>,
    pub(super) objectives: Watched<ServiceLevelObjective>,
    pub(super) autoscalers: Watched<SloAutoscaler>,
    pub(super) policies: Watched<NetworkPolicy>,
    pub(super) claims: Watched<PersistentVolumeClaim>,
    pub(super) lease: Watched<Lease>,
    pub(super) switches: Watched<ConfigMap>,
    /// Told of every change.
    pub(super) changed: Arc<Notify>,
}

/// What the copies show at one moment.
#[derive(Debug, Default)]
pub(super) struct Seen {
    /// Those with annotations of ours.
    pub(super) deployments: Vec<Value>,
    pub(super) replica_sets: Vec<Arc<DynamicObject>>,
    pub(super) profiles: Vec<Arc<LoadLatencyProfile>>,
    pub(super) objectives: Vec<Arc<ServiceLevelObjective>>,
    pub(super) autoscalers: Vec<Arc<SloAutoscaler>>,
    pub(super) policies: Vec<Arc<NetworkPolicy>>,
    pub(super) claims: Vec<Arc<PersistentVolumeClaim>>,
    pub(super) leases: Vec<Arc<Lease>>,
    pub(super) switches: Vec<Arc<ConfigMap>>,
    /// Whether every copy is complete and hears from the API server.
    pub(super) healthy: bool,
}

impl Copies {
    /// Starts all watches as tasks. Lease and switches are those of `namespace`.
    pub(super) fn start(clients: &Clients, namespace: &str, tasks: &mut Tasks) -> Self {
        let changed = Arc::new(Notify::new());
        let client = &clients.retrying;
        macro_rules! copy {
            ($name:literal, $api:expr, $kept:expr, $config:expr) => {
                copy!(watched, $name, $api, $kept, $config)
            };
            ($how:ident, $name:literal, $api:expr, $kept:expr, $config:expr) => {{
                let (copy, task) = $how(
                    $name,
                    $api,
                    $kept,
                    $config,
                    Arc::clone(&changed),
                    tasks.stop(),
                );
                tasks.spawn($name, task);
                copy
            }};
        }
        let all = watcher::Config::default;
        let named = |name: &str| all().fields(&format!("metadata.name={name}"));
        let deployments = ApiResource::erase::<Deployment>(&());
        let replica_sets = ApiResource::erase::<ReplicaSet>(&());
        let api = Api::all_with(client.clone(), &deployments);
        let sets = Api::all_with(client.clone(), &replica_sets);
        Self {
            deployments: copy!("watch deployments", api, (deployments, slim::ours), all()),
            replica_sets: copy!(
                "watch replicasets",
                sets,
                (replica_sets, revisions::replica_set),
                all()
            ),
            profiles: copy!(
                guarded,
                "watch profiles",
                Api::all(client.clone()),
                ((), slim::unmanaged),
                all()
            ),
            objectives: copy!(
                guarded,
                "watch objectives",
                Api::all(client.clone()),
                ((), slim::unmanaged),
                all()
            ),
            autoscalers: copy!(
                guarded,
                "watch autoscalers",
                Api::all(client.clone()),
                ((), slim::unmanaged),
                all()
            ),
            policies: copy!(
                "watch networkpolicies",
                Api::all(client.clone()),
                ((), slim::unmanaged),
                all()
            ),
            claims: copy!(
                "watch claims",
                Api::all(client.clone()),
                ((), slim::unmanaged),
                all()
            ),
            lease: copy!(
                "watch lease",
                Api::namespaced(client.clone(), namespace),
                ((), slim::unmanaged),
                named(names::LEASE)
            ),
            switches: copy!(
                "watch switches",
                Api::namespaced(client.clone(), namespace),
                ((), slim::unmanaged),
                named(names::SWITCHES)
            ),
            changed,
        }
    }

    /// Everything, as it is now.
    pub(super) fn seen(&self) -> Seen {
        Seen {
            deployments: self.workloads(),
            replica_sets: self.replica_sets.all(),
            profiles: self.profiles.all(),
            objectives: self.objectives.all(),
            autoscalers: self.autoscalers.all(),
            policies: self.policies.all(),
            claims: self.claims.all(),
            leases: self.lease.all(),
            switches: self.switches.all(),
            healthy: self.healthy(),
        }
    }

    /// Namespaces with a Deployment in mode auto: what is done there needs our writes.
    pub(super) fn acting(&self) -> BTreeSet<String> {
        let mode = |map| annotations::parse(map).0.mode;
        self.deployments
            .all()
            .iter()
            .filter(|deployment| {
                deployment.metadata.annotations.as_ref().map(mode) == Some(Mode::Auto)
            })
            .filter_map(|deployment| deployment.metadata.namespace.clone())
            .collect()
    }

    /// Every Deployment with annotations of ours, as stored.
    pub(super) fn workloads(&self) -> Vec<Value> {
        self.deployments
            .all()
            .iter()
            .filter(|deployment| annotations::present(deployment.metadata.annotations.as_ref()))
            .filter_map(|deployment| serde_json::to_value(&**deployment).ok())
            .collect()
    }

    /// Counts what is stored of our kinds and cannot be read.
    pub(super) fn count_unread(&self, unread: &UnreadObjects) {
        unread.look(&self.profiles, &self.objectives, &self.autoscalers);
    }

    pub(super) fn deployments_healthy(&self) -> bool {
        self.deployments.healthy()
    }

    fn healthy(&self) -> bool {
        self.deployments_healthy()
            && self.replica_sets.healthy()
            && self.profiles.healthy()
            && self.objectives.healthy()
            && self.autoscalers.healthy()
            && self.policies.healthy()
            && self.claims.healthy()
            && self.lease.healthy()
            && self.switches.healthy()
    }
}
