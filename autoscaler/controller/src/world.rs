//! What the controller knows of the cluster: guarded copies, and the opted-in workloads read out of them.

mod birth;
mod deployment;
pub mod hpa;
mod nodes;
pub mod optional;
pub mod ranges;
pub mod scalers;
pub mod template;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use k8s_openapi::api::{
    apps::v1::{Deployment, ReplicaSet},
    autoscaling::v2::HorizontalPodAutoscaler,
    core::v1::{ConfigMap, LimitRange, Namespace, Node, Pod, ResourceQuota},
};
use kube::{
    Api,
    api::{ApiResource, DynamicObject},
    runtime::watcher,
};
use msars_api::annotations;
use msars_api::crd::{LoadLatencyProfile, ServiceLevelObjective, SloAutoscaler};
use msars_api::names;
use msars_client::connect::Clients;
use msars_client::slim;
use msars_client::unread::UnreadObjects;
use msars_client::watched::{Watched, guarded, watched};
use msars_domain::{MilliCpu, ObjectKey};
use msars_gate::snapshot::Holds;
use msars_ops::shutdown::Tasks;
use tokio::sync::Notify;

pub(crate) use self::deployment::{Opted, replica_set};
pub use self::deployment::{Owned, Workload};
use self::optional::Optional;
use crate::autoscalers::Targets;

/// The copies.
#[derive(Debug, Clone)]
pub struct World {
    deployments: Watched<DynamicObject>,
    replica_sets: Watched<DynamicObject>,
    pods: Watched<Pod>,
    profiles: Watched<LoadLatencyProfile>,
    objectives: Watched<ServiceLevelObjective>,
    autoscalers: Watched<SloAutoscaler>,
    switches: Watched<ConfigMap>,
    hpas: Watched<DynamicObject>,
    vpas: Optional,
    scaled_objects: Optional,
    namespaces: Watched<Namespace>,
    quotas: Watched<ResourceQuota>,
    limit_ranges: Watched<LimitRange>,
    nodes: Watched<Node>,
    node: Option<MilliCpu>,
    /// Told of every change.
    pub changed: Arc<Notify>,
}

impl World {
    /// Starts all watches as tasks.
    pub fn start(clients: &Clients, namespace: &str, tasks: &mut Tasks) -> Self {
        let changed = Arc::new(Notify::new());
        let client = &clients.retrying;
        macro_rules! copy {
            ($name:literal, $api:expr, $kept:expr) => {
                copy!(watched, $name, $api, $kept)
            };
            ($how:ident, $name:literal, $api:expr, $kept:expr) => {{
                let (copy, task) = $how(
                    $name,
                    $api,
                    $kept,
                    watcher::Config::default(),
                    Arc::clone(&changed),
                    tasks.stop(),
                );
                tasks.spawn($name, task);
                copy
            }};
        }
        let deployments = ApiResource::erase::<Deployment>(&());
        let replica_sets = ApiResource::erase::<ReplicaSet>(&());
        // As stored: one that is taken over is kept whole, fields that our types do not know included.
        let hpas = ApiResource::erase::<HorizontalPodAutoscaler>(&());
        Self {
            deployments: copy!(
                "watch deployments",
                Api::all_with(client.clone(), &deployments),
                (deployments, slim::left)
            ),
            replica_sets: copy!(
                "watch replicasets",
                Api::all_with(client.clone(), &replica_sets),
                (replica_sets, replica_set)
            ),
            pods: copy!("watch pods", Api::all(client.clone()), ((), slim::pod)),
            profiles: copy!(
                guarded,
                "watch profiles",
                Api::all(client.clone()),
                ((), slim::unmanaged)
            ),
            objectives: copy!(
                guarded,
                "watch objectives",
                Api::all(client.clone()),
                ((), slim::unmanaged)
            ),
            autoscalers: copy!(
                guarded,
                "watch autoscalers",
                Api::all(client.clone()),
                ((), slim::unmanaged)
            ),
            switches: copy!(
                "watch switches",
                Api::namespaced(client.clone(), namespace),
                ((), slim::unmanaged)
            ),
            hpas: copy!(
                "watch horizontalpodautoscalers",
                Api::all_with(client.clone(), &hpas),
                (hpas, slim::whole)
            ),
            vpas: Optional::start(optional::VPA, client, &changed, tasks),
            scaled_objects: Optional::start(optional::SCALED_OBJECT, client, &changed, tasks),
            namespaces: copy!(
                "watch namespaces",
                Api::all(client.clone()),
                ((), slim::unmanaged)
            ),
            quotas: copy!(
                "watch resourcequotas",
                Api::all(client.clone()),
                ((), slim::unmanaged)
            ),
            limit_ranges: copy!(
                "watch limitranges",
                Api::all(client.clone()),
                ((), slim::unmanaged)
            ),
            nodes: copy!(
                "watch nodes",
                Api::all(client.clone()),
                ((), slim::unmanaged)
            ),
            node: None,
            changed,
        }
    }

    /// Whether every copy was complete once.
    pub fn synced(&self) -> bool {
        self.deployments.synced()
            && self.replica_sets.synced()
            && self.pods.synced()
            && self.profiles.synced()
            && self.objectives.synced()
            && self.autoscalers.synced()
            && self.switches.synced()
            && self.hpas.synced()
    }

    /// Whether what scaling reads besides was complete once.
    pub fn scaling_synced(&self) -> bool {
        self.synced()
            && self.quotas.synced()
            && self.limit_ranges.synced()
            && self.namespaces.synced()
            && self.vpas.settled()
            && self.scaled_objects.settled()
            && self.node_known()
    }

    /// The kinds that say whether and what is scaled, and whether the copy of each hears from the API server now.
    pub fn heard(&self) -> [(&'static str, bool); 3] {
        [
            ("deployments", self.deployments.healthy()),
            ("pods", self.pods.healthy()),
            ("horizontalpodautoscalers", self.hpas.healthy()),
        ]
    }

    /// Counts what is stored of our kinds and cannot be read.
    pub fn count_unread(&self, unread: &UnreadObjects) {
        unread.look(&self.profiles, &self.objectives, &self.autoscalers);
    }

    /// All limit ranges.
    pub fn limit_ranges(&self) -> Vec<Arc<LimitRange>> {
        self.limit_ranges.all()
    }

    /// All quotas.
    pub fn quotas(&self) -> Vec<Arc<ResourceQuota>> {
        self.quotas.all()
    }

    /// The cluster-wide switch.
    pub fn holds(&self) -> Holds {
        let all = self.switches.all();
        let switches = all
            .iter()
            .find(|map| map.metadata.name.as_deref() == Some(names::SWITCHES));
        Holds::read(switches.and_then(|map| map.data.as_ref()))
    }

    /// All profiles.
    pub fn profiles(&self) -> Vec<Arc<LoadLatencyProfile>> {
        self.profiles.all()
    }

    /// All objectives.
    pub fn objectives(&self) -> Vec<Arc<ServiceLevelObjective>> {
        self.objectives.all()
    }

    /// All autoscalers.
    pub fn autoscalers(&self) -> Vec<Arc<SloAutoscaler>> {
        self.autoscalers.all()
    }

    /// All pods.
    pub fn pods(&self) -> Vec<Arc<Pod>> {
        self.pods.all()
    }

    /// Every Deployment with `msars.io/mode` other than `off`, and those that still carry a hold's annotations.
    pub fn workloads(&self) -> BTreeMap<ObjectKey, Workload> {
        self.read(|_key, annotated| annotated, Opted::In)
    }

    /// Those of `keys` that opted out since: mode `off`, or without any annotation of ours.
    pub fn left(&self, keys: &BTreeSet<ObjectKey>) -> BTreeMap<ObjectKey, Workload> {
        self.read(|key, _annotated| keys.contains(key), Opted::Out)
    }

    fn read(
        &self,
        wanted: impl Fn(&ObjectKey, bool) -> bool,
        opted: Opted,
    ) -> BTreeMap<ObjectKey, Workload> {
        let mut sets: BTreeMap<String, Vec<Arc<DynamicObject>>> = BTreeMap::new();
        for set in self.replica_sets.all() {
            let owner = set
                .metadata
                .owner_references
                .iter()
                .flatten()
                .find(|owner| owner.controller == Some(true));
            if let Some(owner) = owner {
                sets.entry(owner.uid.clone())
                    .or_default()
                    .push(Arc::clone(&set));
            }
        }
        let (limits, quotas) = (self.limit_ranges.all(), self.quotas());
        let targets = Targets::of(&self.autoscalers.all());
        let hpas = self.hpas();
        let mut out = BTreeMap::new();
        for deployment in self.deployments.all() {
            let meta = &deployment.metadata;
            let annotated = annotations::present(meta.annotations.as_ref());
            let part = |text: &Option<String>| text.clone().unwrap_or_default();
            let key = ObjectKey::new(part(&meta.namespace), part(&meta.name));
            if !wanted(&key, annotated) {
                continue;
            }
            let owned = meta
                .uid
                .as_ref()
                .and_then(|uid| sets.get(uid))
                .map_or(&[][..], Vec::as_slice);
            if let Ok(object) = serde_json::to_value(&*deployment)
                && let Some((mut workload, found)) = Workload::read(object, annotated, owned)
                && found == opted
            {
                Self::limit(&mut workload, &targets, &hpas);
                workload.allow(&limits, &quotas);
                out.insert(workload.key.clone(), workload);
            }
        }
        out
    }
}
