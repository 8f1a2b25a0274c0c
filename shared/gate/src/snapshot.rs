//! What a webhook replica knows besides the review: plain data, filled from its watches, read without I/O.

use std::collections::{BTreeMap, BTreeSet};

use jiff::{SignedDuration, Timestamp};
use msars_api::names::SWITCH_HOLDS;
use msars_domain::{MilliCpu, ObjectKey};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::revision_hash;

/// A controller's lease older than this is no live controller.
pub const LEASE_LIMIT: SignedDuration = SignedDuration::from_secs(30);

/// The cluster-wide switch of holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Holds {
    /// Revisions are held where a workload asks for it.
    #[default]
    On,
    /// Nothing is held, and what is held is released.
    Off,
}

impl Holds {
    /// Reads the data of the ConfigMap of switches; on, where there is none. What nobody knows is off: who writes
    /// anything there during an incident wants holds to end.
    pub fn read(switches: Option<&BTreeMap<String, String>>) -> Self {
        match switches.and_then(|data| data.get(SWITCH_HOLDS)) {
            Some(value) => Self::meant(value).unwrap_or(Self::Off),
            None => Self::On,
        }
    }

    /// The value of the switch where it is none of the known words.
    pub fn unknown(switches: Option<&BTreeMap<String, String>>) -> Option<&str> {
        let value = switches?.get(SWITCH_HOLDS)?.as_str();
        Self::meant(value).is_none().then_some(value)
    }

    fn meant(value: &str) -> Option<Self> {
        match value.trim().to_lowercase().as_str() {
            "" | "on" | "true" | "yes" | "1" | "enabled" => Some(Self::On),
            "off" | "false" | "no" | "0" | "disabled" => Some(Self::Off),
            _ => None,
        }
    }
}

/// Whether our writes are granted in a namespace, as `manifests/namespace` does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Grant {
    /// Not asked yet, or so long ago that it may have changed: no hold begins, and none ends for it.
    #[default]
    Unknown,
    /// They are.
    Given,
    /// They are not: a hold could be ended by nobody of ours.
    Missing,
}

/// What is known at one moment.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Snapshot {
    /// The cluster-wide switch.
    pub holds: Holds,
    /// When the leading controller was last seen to renew its lease, by our clock; `None` without a lease.
    pub lease_renewed: Option<Timestamp>,
    /// When the watches behind this snapshot were last complete; `None` while one of them is not.
    pub synced: Option<Timestamp>,
    /// Users whose writes are our own (service accounts of controller and webhook).
    pub own_users: BTreeSet<String>,
    /// By namespace.
    pub namespaces: BTreeMap<String, Namespace>,
}

/// What is known of one namespace.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Namespace {
    /// Whether our writes are granted.
    pub grant: Grant,
    /// Opted-in Deployments by name.
    pub workloads: BTreeMap<String, Workload>,
    /// Pod selectors of the namespace's NetworkPolicies.
    pub policies: Vec<PodSelector>,
    /// PersistentVolumeClaims by name: whether a pod may write to them. An unknown claim counts as writable.
    pub writable_claims: BTreeMap<String, bool>,
}

/// What is known of one opted-in Deployment.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Workload {
    /// Hashes of the known revisions: those with a load-latency profile, and those of owned ReplicaSets.
    pub known: BTreeSet<String>,
    /// Sizes measured, by shape hash ([`crate::shape_hash`]).
    pub profiled: BTreeMap<String, SizeRange>,
    /// Whether a chain with an objective visits this workload.
    pub has_objective: bool,
    /// Whether that objective's error budget burns fast.
    pub burning_fast: bool,
    /// Sizes that new pods are to be born with, by revision hash.
    pub wanted: BTreeMap<String, Wanted>,
    /// The `pod-template-hash` of every ReplicaSet that is known.
    pub pod_template_hashes: BTreeSet<String>,
}

/// Smallest and largest size of a load-latency profile, both included.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct SizeRange {
    /// Smallest size measured.
    pub min: MilliCpu,
    /// Largest size measured.
    pub max: MilliCpu,
}

impl SizeRange {
    /// Whether a size lies inside.
    pub fn contains(&self, size: MilliCpu) -> bool {
        (self.min..=self.max).contains(&size)
    }
}

/// The size that new pods of one revision are to be born with.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Wanted {
    /// CPU limit of the serving container, or its request where it has no limit.
    pub size: MilliCpu,
    /// The `pod-template-hash` of the revision's ReplicaSets that are known: a restart makes another one of the same
    /// revision.
    #[serde(default)]
    pub pod_template_hashes: BTreeSet<String>,
    /// Image by container name of the stored template, where it is this revision's; finds the revision of a pod whose
    /// ReplicaSet is too new to be known.
    #[serde(default)]
    pub images: BTreeMap<String, String>,
}

impl Snapshot {
    /// The workload, if it is known.
    pub fn workload(&self, key: &ObjectKey) -> Option<&Workload> {
        self.namespaces
            .get(&key.namespace)?
            .workloads
            .get(&key.name)
    }

    /// The workload, made when it is not known yet.
    pub fn workload_mut(&mut self, key: &ObjectKey) -> &mut Workload {
        self.namespaces
            .entry(key.namespace.clone())
            .or_default()
            .workloads
            .entry(key.name.clone())
            .or_default()
    }

    /// Whether a controller leads at `now`.
    pub fn controller_lives(&self, now: Timestamp) -> bool {
        lives(self.lease_renewed, now)
    }
}

/// Whether a lease renewed then is live at `now`.
pub(crate) fn lives(renewed: Option<Timestamp>, now: Timestamp) -> bool {
    renewed.is_some_and(|renewed| now.duration_since(renewed) < LEASE_LIMIT)
}

impl Workload {
    /// Adds the revision of a template (`spec.template` of a Deployment, or of a ReplicaSet it owns).
    pub fn know(&mut self, template: &Value) {
        self.known.insert(revision_hash(template).to_string());
    }

    /// The wanted size of a pod: by its `pod-template-hash`, or, where its ReplicaSet is not known yet, by its images, if
    /// exactly one revision fits. Returns the revision's hash with it.
    pub fn wanted_for<'a>(
        &'a self,
        pod_template_hash: &str,
        images: &BTreeMap<String, String>,
    ) -> Option<(&'a str, &'a Wanted)> {
        let by_hash = self
            .wanted
            .iter()
            .find(|(_, wanted)| wanted.pod_template_hashes.contains(pod_template_hash));
        let found = by_hash.or_else(|| {
            if self.pod_template_hashes.contains(pod_template_hash) {
                return None;
            }
            let mut fitting = self.wanted.iter().filter(|(_, wanted)| {
                !wanted.images.is_empty()
                    && wanted
                        .images
                        .iter()
                        .all(|(name, image)| images.get(name) == Some(image))
            });
            match (fitting.next(), fitting.next()) {
                (only, None) => only,
                _ => None,
            }
        });
        found.map(|(hash, wanted)| (hash.as_str(), wanted))
    }
}

/// A Kubernetes label selector of pods. An empty one selects every pod.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct PodSelector {
    /// Labels with exactly these values.
    pub match_labels: BTreeMap<String, String>,
    /// Further requirements.
    pub match_expressions: Vec<Requirement>,
}

/// One requirement of a selector.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Requirement {
    /// The label.
    pub key: String,
    /// `In`, `NotIn`, `Exists` or `DoesNotExist`; any other counts as met, which errs on the side of not holding.
    pub operator: String,
    /// Values of `In` and `NotIn`.
    #[serde(default)]
    pub values: Vec<String>,
}

impl PodSelector {
    /// The pod selector of a NetworkPolicy; one that can't be read selects every pod.
    pub fn of_network_policy(policy: &Value) -> Self {
        policy
            .pointer("/spec/podSelector")
            .and_then(|selector| serde_json::from_value(selector.clone()).ok())
            .unwrap_or_default()
    }

    /// Whether a pod with these labels is selected.
    pub fn selects(&self, labels: &BTreeMap<&str, &str>) -> bool {
        let label = |key: &str| labels.get(key).copied();
        self.match_labels
            .iter()
            .all(|(key, value)| label(key) == Some(value))
            && self.match_expressions.iter().all(|requirement| {
                let found = label(&requirement.key);
                let listed = found.is_some_and(|v| requirement.values.iter().any(|w| w == v));
                match requirement.operator.as_str() {
                    "In" => listed,
                    "NotIn" => !listed,
                    "Exists" => found.is_some(),
                    "DoesNotExist" => found.is_none(),
                    _ => true,
                }
            })
    }
}

/// Whether a pod may write to a PersistentVolumeClaim: unless its only access mode is `ReadOnlyMany`.
pub fn claim_is_writable(claim: &Value) -> bool {
    let modes = claim
        .pointer("/spec/accessModes")
        .and_then(Value::as_array)
        .map(Vec::as_slice);
    modes.is_none_or(|modes| modes.is_empty() || modes.iter().any(|mode| mode != "ReadOnlyMany"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn holds_are_on_where_the_switch_is_absent_or_says_so() {
        let data = |value: &str| BTreeMap::from([(SWITCH_HOLDS.to_owned(), value.to_owned())]);
        let other = BTreeMap::from([("other".to_owned(), "off".to_owned())]);
        for switches in [None, Some(BTreeMap::new()), Some(other)] {
            assert_eq!(Holds::read(switches.as_ref()), Holds::On, "{switches:?}");
            assert_eq!(Holds::unknown(switches.as_ref()), None);
        }
        for (value, wanted, known) in [
            ("on", Holds::On, true),
            ("ON", Holds::On, true),
            ("true", Holds::On, true),
            ("Yes", Holds::On, true),
            ("1", Holds::On, true),
            ("enabled", Holds::On, true),
            (" \n", Holds::On, true),
            ("", Holds::On, true),
            ("off", Holds::Off, true),
            (" off\n", Holds::Off, true),
            ("Off", Holds::Off, true),
            ("OFF", Holds::Off, true),
            ("false", Holds::Off, true),
            ("No", Holds::Off, true),
            ("0", Holds::Off, true),
            ("disabled", Holds::Off, true),
            ("stop", Holds::Off, false),
            ("\"off\"", Holds::Off, false),
        ] {
            let switches = data(value);
            assert_eq!(Holds::read(Some(&switches)), wanted, "{value:?}");
            let unknown = (!known).then_some(value);
            assert_eq!(Holds::unknown(Some(&switches)), unknown, "{value:?}");
        }
    }
}
