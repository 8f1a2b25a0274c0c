//! What the controller knows of the cluster: guarded copies, and the opted-in workloads read out of them.

pub mod hpa;
mod template;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use jiff::Timestamp;
use k8s_openapi::api::{
    apps::v1::{Deployment, ReplicaSet},
    autoscaling::v2::{HorizontalPodAutoscaler, HorizontalPodAutoscalerBehavior},
    core::v1::{ConfigMap, LimitRange, Pod, ResourceQuota},
};
use kube::{
    Api,
    api::{ApiResource, DynamicObject},
    runtime::watcher,
};
use msars_api::annotations::{self, Adopt, Mode, Settings, Warning};
use msars_api::crd::{AdoptedAutoscaler, LoadLatencyProfile, ServiceLevelObjective, SloAutoscaler};
use msars_api::names;
use msars_client::connect::Clients;
use msars_client::watched::{Watched, watched};
use msars_domain::{CpuSize, MilliCpu, ObjectKey};
use msars_gate::snapshot::Holds;
use msars_gate::{Facts, HoldState, Stamps, images, revision_hash, serving, shape_hash};
use msars_ops::shutdown::Tasks;
use serde_json::Value;
use tokio::sync::Notify;

use self::hpa::Hpa;
use self::template::sidecars;

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
    rivals: Watched<DynamicObject>,
    quotas: Watched<ResourceQuota>,
    limit_ranges: Watched<LimitRange>,
    /// Told of every change.
    pub changed: Arc<Notify>,
}

impl World {
    /// Starts all watches as tasks.
    pub fn start(clients: &Clients, namespace: &str, tasks: &mut Tasks) -> Self {
        let changed = Arc::new(Notify::new());
        let client = &clients.retrying;
        macro_rules! copy {
            ($name:literal, $api:expr, $dynamic:expr) => {{
                let (copy, task) = watched(
                    $name,
                    $api,
                    $dynamic,
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
        let rivals = ApiResource::erase::<HorizontalPodAutoscaler>(&());
        Self {
            deployments: copy!(
                "watch deployments",
                Api::all_with(client.clone(), &deployments),
                deployments
            ),
            replica_sets: copy!(
                "watch replicasets",
                Api::all_with(client.clone(), &replica_sets),
                replica_sets
            ),
            pods: copy!("watch pods", Api::all(client.clone()), ()),
            profiles: copy!("watch profiles", Api::all(client.clone()), ()),
            objectives: copy!("watch objectives", Api::all(client.clone()), ()),
            autoscalers: copy!("watch autoscalers", Api::all(client.clone()), ()),
            switches: copy!(
                "watch switches",
                Api::namespaced(client.clone(), namespace),
                ()
            ),
            rivals: copy!(
                "watch horizontalpodautoscalers",
                Api::all_with(client.clone(), &rivals),
                rivals
            ),
            quotas: copy!("watch resourcequotas", Api::all(client.clone()), ()),
            limit_ranges: copy!("watch limitranges", Api::all(client.clone()), ()),
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
            && self.rivals.synced()
    }

    /// Whether what scaling reads besides was complete once.
    pub fn scaling_synced(&self) -> bool {
        self.synced() && self.quotas.synced() && self.limit_ranges.synced()
    }

    /// All HorizontalPodAutoscalers.
    pub fn rivals(&self) -> Vec<Arc<DynamicObject>> {
        self.rivals.all()
    }

    /// All quotas.
    pub fn quotas(&self) -> Vec<Arc<ResourceQuota>> {
        self.quotas.all()
    }

    /// All limit ranges.
    pub fn limit_ranges(&self) -> Vec<Arc<LimitRange>> {
        self.limit_ranges.all()
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
                self.limit(&mut workload);
                out.insert(workload.key.clone(), workload);
            }
        }
        out
    }
}

impl World {
    /// A workload that takes over its autoscaler has that one's limits.
    fn limit(&self, workload: &mut Workload) {
        if workload.settings.adopt == Adopt::Nothing {
            return;
        }
        let found = hpa::found(&self.rivals.all(), &workload.key);
        let autoscalers = self.autoscalers.all();
        let stored = autoscalers
            .iter()
            .filter(|autoscaler| {
                autoscaler.metadata.namespace.as_deref() == Some(&workload.key.namespace)
                    && autoscaler.spec.target_ref.name == workload.key.name
            })
            .find_map(|autoscaler| autoscaler.status.as_ref()?.adopted.as_ref());
        workload.limit(&found, stored);
    }
}

/// Whether a Deployment is in our reach by its own wish.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Opted {
    In,
    Out,
}

/// An owned ReplicaSet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Owned {
    /// Its `pod-template-hash`.
    pub pod_template_hash: String,
    /// Its replicas.
    pub replicas: u64,
}

/// An opted-in Deployment, read once.
#[derive(Debug, Clone)]
pub struct Workload {
    /// Namespace and name.
    pub key: ObjectKey,
    /// Uid.
    pub uid: String,
    /// As stored.
    pub object: Value,
    /// Out of its annotations.
    pub settings: Settings,
    /// Annotation values that were not understood.
    pub warnings: Vec<Warning>,
    /// The revision of its template.
    pub revision: String,
    /// The template's hash that ignores CPU sizes.
    pub shape: String,
    /// Whose pause it is in.
    pub state: HoldState,
    /// The revision that runs while another waits.
    pub from: Option<String>,
    /// Start of the hold.
    pub since: Option<Timestamp>,
    /// `spec.replicas`.
    pub replicas: u32,
    /// Name and CPU of the serving container.
    pub serving: Option<(String, CpuSize)>,
    /// CPU requests of the other containers.
    pub sidecars: MilliCpu,
    /// ReplicaSets by the revision of their template.
    pub owned: BTreeMap<String, Owned>,
    /// Images of the template.
    pub images: BTreeMap<String, String>,
    /// The behaviour of the autoscaler that is or will be taken over.
    pub behavior: Option<HorizontalPodAutoscalerBehavior>,
}

impl Workload {
    pub(crate) fn read(
        object: Value,
        annotated: bool,
        sets: &[Arc<DynamicObject>],
    ) -> Option<(Self, Opted)> {
        let facts = Facts::read(&object);
        let held = !matches!(facts.state, HoldState::Free | HoldState::Users);
        let opted = if (facts.settings.mode == Mode::Off || !annotated) && !held {
            Opted::Out
        } else {
            Opted::In
        };
        let template = object.pointer("/spec/template")?;
        let stamps = Stamps::read(&object);
        let owned = sets
            .iter()
            .filter_map(|set| {
                let template = set.data.pointer("/spec/template")?;
                let label = template
                    .pointer("/metadata/labels/pod-template-hash")?
                    .as_str()?;
                let replicas = set.data.pointer("/status/replicas").and_then(Value::as_u64);
                let owned = Owned {
                    pod_template_hash: label.to_owned(),
                    replicas: replicas.unwrap_or(0),
                };
                Some((revision_hash(template).to_string(), owned))
            })
            .collect();
        let found = serving(template);
        let name = found.as_ref().map(|serving| serving.name.to_owned());
        let workload = Self {
            key: facts.key(),
            uid: object.pointer("/metadata/uid")?.as_str()?.to_owned(),
            settings: facts.settings.clone(),
            warnings: facts.warnings.clone(),
            revision: facts.revision.to_string(),
            shape: shape_hash(template).to_string(),
            state: facts.state.clone(),
            from: stamps.as_ref().and_then(|stamps| stamps.from.clone()),
            since: stamps.and_then(|stamps| stamps.since),
            replicas: u32::try_from(facts.replicas).unwrap_or(u32::MAX),
            sidecars: sidecars(template, name.as_deref()),
            serving: found.and_then(|serving| Some((serving.name.to_owned(), serving.cpu?))),
            images: images(template),
            behavior: None,
            owned,
            object,
        };
        Some((workload, opted))
    }

    /// Takes over the limits and behaviour of its autoscaler, or of the one that was taken over, if it asks for it.
    pub(crate) fn limit(&mut self, found: &[Hpa], stored: Option<&AdoptedAutoscaler>) {
        self.behavior = hpa::limit(&mut self.settings, found, stored);
    }

    /// Whether a hold of ours stands.
    pub fn held(&self) -> bool {
        matches!(
            self.state,
            HoldState::Ours { .. } | HoldState::Orphaned { .. }
        )
    }

    /// The revision that serves: the one before the hold, or the template's.
    pub fn running(&self) -> &str {
        match (&self.state, &self.from) {
            (HoldState::Ours { .. } | HoldState::Orphaned { .. }, Some(from)) => from,
            _ => &self.revision,
        }
    }

    /// The application: the annotation, or the namespace's name.
    pub fn application(&self) -> &str {
        self.settings
            .application
            .as_deref()
            .unwrap_or(&self.key.namespace)
    }

    /// The pod template.
    pub fn template(&self) -> &Value {
        self.object
            .pointer("/spec/template")
            .unwrap_or(&Value::Null)
    }
}
