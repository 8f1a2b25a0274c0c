//! The snapshot that reviews are decided on, kept by watches.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use jiff::Timestamp;
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
use msars_api::annotations::PREFIX;
use msars_api::crd::{
    LoadLatencyProfile, Phase, ServiceLevelObjective, ServiceLevelObjectiveStatus, SloAutoscaler,
};
use msars_api::names;
use msars_client::connect::Clients;
use msars_client::watched::{Watched, watched};
use msars_domain::{MilliCpu, ObjectKey};
use msars_gate::snapshot::{Holds, PodSelector, SizeRange, Wanted, Workload, claim_is_writable};
use msars_gate::{Facts, Snapshot, revision_hash};
use msars_ops::readiness::ReadyHandle;
use msars_ops::shutdown::Tasks;
use serde_json::Value;
use tokio::sync::{Notify, watch};

/// A burst of events makes one snapshot.
const AT_MOST_EVERY: Duration = Duration::from_millis(100);
/// Without events: the age of the watches is seen again.
const AT_LEAST_EVERY: Duration = Duration::from_secs(1);
/// Error budget burn rate from which an objective burns fast (The Site Reliability Workbook, chapter 5).
const FAST_BURN: f64 = 14.4;

/// The copies and the snapshot made from them.
#[derive(Debug)]
pub struct Source {
    namespace: String,
    deployments: Watched<DynamicObject>,
    replica_sets: Watched<DynamicObject>,
    profiles: Watched<LoadLatencyProfile>,
    objectives: Watched<ServiceLevelObjective>,
    autoscalers: Watched<SloAutoscaler>,
    policies: Watched<NetworkPolicy>,
    claims: Watched<PersistentVolumeClaim>,
    lease: Watched<Lease>,
    switches: Watched<ConfigMap>,
    changed: Arc<Notify>,
    now: RwLock<Arc<Snapshot>>,
}

impl Source {
    /// Starts all watches as tasks.
    pub fn start(clients: &Clients, namespace: &str, tasks: &mut Tasks) -> Self {
        let changed = Arc::new(Notify::new());
        let client = &clients.retrying;
        macro_rules! copy {
            ($name:literal, $api:expr, $dynamic:expr, $config:expr) => {{
                let (copy, task) = watched(
                    $name,
                    $api,
                    $dynamic,
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
            namespace: namespace.to_owned(),
            deployments: copy!("watch deployments", api, deployments, all()),
            replica_sets: copy!("watch replicasets", sets, replica_sets, all()),
            profiles: copy!("watch profiles", Api::all(client.clone()), (), all()),
            objectives: copy!("watch objectives", Api::all(client.clone()), (), all()),
            autoscalers: copy!("watch autoscalers", Api::all(client.clone()), (), all()),
            policies: copy!("watch networkpolicies", Api::all(client.clone()), (), all()),
            claims: copy!("watch claims", Api::all(client.clone()), (), all()),
            lease: copy!(
                "watch lease",
                Api::namespaced(client.clone(), namespace),
                (),
                named(names::LEASE)
            ),
            switches: copy!(
                "watch switches",
                Api::namespaced(client.clone(), namespace),
                (),
                named(names::SWITCHES)
            ),
            changed,
            now: RwLock::default(),
        }
    }

    /// The snapshot to decide on.
    pub fn read(&self) -> Arc<Snapshot> {
        Arc::clone(&self.now.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Every Deployment with annotations of ours, as stored.
    pub fn deployments(&self) -> Vec<Value> {
        self.deployments
            .all()
            .iter()
            .filter(|deployment| annotated(deployment))
            .filter_map(|deployment| serde_json::to_value(&**deployment).ok())
            .collect()
    }

    /// Keeps the snapshot until `stop`.
    pub async fn keep(
        self: Arc<Self>,
        synced: ReadyHandle,
        mut stop: watch::Receiver<bool>,
        now: fn() -> Timestamp,
    ) {
        loop {
            let snapshot = self.build(now());
            synced.set(snapshot.synced.is_some());
            *self.now.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(snapshot);
            let ended = async {
                // An error says that the sender is gone: the end, too.
                drop(stop.wait_for(|stop| *stop).await);
            };
            tokio::select! {
                () = ended => return,
                () = tokio::time::sleep(AT_LEAST_EVERY) => {}
                () = async {
                    self.changed.notified().await;
                    tokio::time::sleep(AT_MOST_EVERY).await;
                } => {}
            }
        }
    }

    fn healthy(&self) -> bool {
        self.deployments.healthy()
            && self.replica_sets.healthy()
            && self.profiles.healthy()
            && self.objectives.healthy()
            && self.autoscalers.healthy()
            && self.policies.healthy()
            && self.claims.healthy()
            && self.lease.healthy()
            && self.switches.healthy()
    }

    fn build(&self, now: Timestamp) -> Snapshot {
        let account = |name: &str| format!("system:serviceaccount:{}:{name}", self.namespace);
        let mut snapshot = Snapshot {
            holds: holds(&self.switches.all()),
            lease_renewed: self
                .lease
                .all()
                .iter()
                .filter_map(|lease| lease.spec.as_ref())
                .filter(|spec| {
                    spec.holder_identity
                        .as_ref()
                        .is_some_and(|me| !me.is_empty())
                })
                .find_map(|spec| spec.renew_time.as_ref().map(|time| time.0)),
            synced: self.healthy().then_some(now),
            own_users: BTreeSet::from([account("msars-autoscaler"), account("msars-admission")]),
            namespaces: BTreeMap::new(),
        };
        let deployments = self.deployments();
        for deployment in &deployments {
            let facts = Facts::read(deployment);
            let workload = snapshot.workload_mut(&facts.key());
            if let Some(template) = deployment.pointer("/spec/template")
                && matches!(facts.state, msars_gate::HoldState::Free)
            {
                // What is stored and free runs, even before its ReplicaSet is seen.
                workload.know(template);
            }
        }
        self.known(&mut snapshot, &deployments);
        self.objectives(&mut snapshot, &deployments);
        for policy in self.policies.all() {
            let namespace = policy.metadata.namespace.clone().unwrap_or_default();
            if let (Some(found), Ok(policy)) = (
                snapshot.namespaces.get_mut(&namespace),
                serde_json::to_value(&*policy),
            ) {
                found.policies.push(PodSelector::of_network_policy(&policy));
            }
        }
        for claim in self.claims.all() {
            let namespace = claim.metadata.namespace.clone().unwrap_or_default();
            if let (Some(found), Some(name), Ok(value)) = (
                snapshot.namespaces.get_mut(&namespace),
                claim.metadata.name.clone(),
                serde_json::to_value(&*claim),
            ) {
                found
                    .writable_claims
                    .insert(name, claim_is_writable(&value));
            }
        }
        snapshot
    }

    /// Known revisions, profiled sizes and wanted sizes.
    fn known(&self, snapshot: &mut Snapshot, deployments: &[Value]) {
        let owners: BTreeMap<&str, ObjectKey> = deployments
            .iter()
            .filter_map(|deployment| {
                let uid = deployment.pointer("/metadata/uid")?.as_str()?;
                Some((uid, Facts::read(deployment).key()))
            })
            .collect();
        let mut labels: BTreeMap<(ObjectKey, String), String> = BTreeMap::new();
        for set in self.replica_sets.all() {
            let owner = set
                .metadata
                .owner_references
                .iter()
                .flatten()
                .find_map(|owner| owners.get(owner.uid.as_str()));
            let (Some(owner), Some(template)) = (owner, set.data.pointer("/spec/template")) else {
                continue;
            };
            snapshot.workload_mut(owner).know(template);
            let label = template
                .pointer("/metadata/labels/pod-template-hash")
                .and_then(Value::as_str);
            if let Some(label) = label {
                labels.insert(
                    (owner.clone(), revision_hash(template).to_string()),
                    label.to_owned(),
                );
            }
        }
        let mut images: BTreeMap<(ObjectKey, String), BTreeMap<String, String>> = BTreeMap::new();
        for deployment in deployments {
            if let Some(template) = deployment.pointer("/spec/template") {
                let key = (
                    Facts::read(deployment).key(),
                    revision_hash(template).to_string(),
                );
                images.insert(key, images_of(template));
            }
        }
        for profile in self.profiles.all() {
            let namespace = profile.metadata.namespace.clone().unwrap_or_default();
            let key = ObjectKey::new(namespace, &profile.spec.workload);
            let done = profile
                .status
                .as_ref()
                .filter(|status| status.phase == Phase::Done);
            let (Some(status), Some(_)) = (done, snapshot.workload(&key)) else {
                continue;
            };
            let workload = snapshot.workload_mut(&key);
            workload.known.insert(profile.spec.revision.clone());
            let sizes = status.points.iter().map(|point| MilliCpu(point.size_milli));
            if let (Some(min), Some(max)) = (sizes.clone().min(), sizes.max()) {
                let range = SizeRange { min, max };
                workload
                    .profiled
                    .entry(profile.spec.shape.clone())
                    .and_modify(|found| {
                        found.min = found.min.min(range.min);
                        found.max = found.max.max(range.max);
                    })
                    .or_insert(range);
            }
        }
        for autoscaler in self.autoscalers.all() {
            let namespace = autoscaler.metadata.namespace.clone().unwrap_or_default();
            let key = ObjectKey::new(namespace, &autoscaler.spec.target_ref.name);
            if snapshot.workload(&key).is_none() || autoscaler.spec.mode != "auto" {
                continue;
            }
            for size in autoscaler.status.iter().flat_map(|status| &status.sizes) {
                let place = (key.clone(), size.revision.clone());
                let wanted = Wanted {
                    size: MilliCpu(size.size_milli),
                    pod_template_hash: labels.get(&place).cloned(),
                    images: images.get(&place).cloned().unwrap_or_default(),
                };
                snapshot
                    .workload_mut(&key)
                    .wanted
                    .insert(size.revision.clone(), wanted);
            }
        }
    }

    /// Which workloads an objective visits, and whether it burns fast.
    fn objectives(&self, snapshot: &mut Snapshot, deployments: &[Value]) {
        for slo in self.objectives.all() {
            let Some(namespace) = slo.metadata.namespace.clone() else {
                continue;
            };
            let status = slo.status.clone().unwrap_or_default();
            let burning = burns_fast(&status, slo.spec.percentile / 100.0);
            let visited: BTreeSet<&str> = status
                .chains
                .iter()
                .flat_map(|chain| &chain.services)
                .map(|service| service.workload.as_str())
                .collect();
            for deployment in deployments {
                let facts = Facts::read(deployment);
                let key = facts.key();
                if key.namespace != namespace {
                    continue;
                }
                let application = facts.settings.application.clone();
                let member = application.as_deref().unwrap_or(&namespace) == slo.spec.application;
                if member && visited.contains(key.name.as_str()) {
                    let workload: &mut Workload = snapshot.workload_mut(&key);
                    workload.has_objective = true;
                    workload.burning_fast |= burning;
                }
            }
        }
    }
}

fn annotated(deployment: &DynamicObject) -> bool {
    deployment
        .metadata
        .annotations
        .iter()
        .flatten()
        .any(|(name, _)| name.starts_with(PREFIX))
}

fn images_of(template: &Value) -> BTreeMap<String, String> {
    template
        .pointer("/spec/containers")
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
        .filter_map(|container| {
            let text = |name: &str| container.get(name)?.as_str().map(str::to_owned);
            Some((text("name")?, text("image")?))
        })
        .collect()
}

fn holds(maps: &[Arc<ConfigMap>]) -> Holds {
    let off = maps.iter().any(|map| {
        map.data
            .as_ref()
            .and_then(|data| data.get(names::SWITCH_HOLDS))
            .is_some_and(|value| value.trim() == "off")
    });
    if off { Holds::Off } else { Holds::On }
}

fn burns_fast(status: &ServiceLevelObjectiveStatus, share: f64) -> bool {
    status
        .observed
        .as_ref()
        .and_then(|observed| observed.attainment)
        .is_some_and(|attainment| 1.0 - attainment > FAST_BURN * (1.0 - share))
}

#[cfg(test)]
mod tests {
    use super::*;
    use msars_api::crd::Observed;

    #[test]
    fn an_objective_burns_fast_from_fourteen_times_its_budget_on() {
        let status = |attainment| ServiceLevelObjectiveStatus {
            observed: Some(Observed {
                quantile_ms: None,
                attainment,
                requests: 1000.0,
                error_budget_left: None,
                at: String::new(),
            }),
            ..ServiceLevelObjectiveStatus::default()
        };
        assert!(burns_fast(&status(Some(0.80)), 0.99));
        assert!(!burns_fast(&status(Some(0.90)), 0.99));
        assert!(!burns_fast(&status(None), 0.99));
    }

    #[test]
    fn holds_are_on_unless_the_switch_says_off() {
        let map = |value: &str| {
            let data = BTreeMap::from([(names::SWITCH_HOLDS.to_owned(), value.to_owned())]);
            Arc::new(ConfigMap {
                data: Some(data),
                ..ConfigMap::default()
            })
        };
        assert_eq!(holds(&[]), Holds::On);
        assert_eq!(holds(&[map("on")]), Holds::On);
        assert_eq!(holds(&[map(" off\n")]), Holds::Off);
    }
}
