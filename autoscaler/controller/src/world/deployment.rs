//! An opted-in Deployment with its ReplicaSets, read once. Pure.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use jiff::Timestamp;
use k8s_openapi::api::autoscaling::v2::HorizontalPodAutoscalerBehavior;
use kube::api::DynamicObject;
use msars_api::annotations::{Mode, Settings, Warning};
use msars_api::crd::AdoptedAutoscaler;
use msars_client::slim;
use msars_domain::{CpuSize, Headroom, ObjectKey};
use msars_gate::{Facts, HoldState, Running, Stamps, images, serving, shape_hash};
use serde_json::Value;

use super::hpa::{self, Hpa};
use super::ranges::Allowed;
use super::template::{restarts, sidecars};

/// Whether a Deployment is in our reach by its own wish.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Opted {
    In,
    Out,
}

/// The owned ReplicaSets of one revision: a restart makes another one.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Owned {
    /// The `pod-template-hash` of each.
    pub pod_template_hashes: BTreeSet<String>,
    /// Their replicas together.
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
    /// CPU of the other containers together.
    pub sidecars: CpuSize,
    /// Where its template says that a change of CPU restarts the serving container: a path into the Deployment.
    pub restarts: Option<String>,
    /// Sizes within the LimitRanges.
    pub allowed: Allowed,
    /// What quotas leave.
    pub left: Headroom,
    /// ReplicaSets by the revision of their template.
    pub owned: BTreeMap<String, Owned>,
    /// Images of the template.
    pub images: BTreeMap<String, String>,
    /// Its SloAutoscaler: the team's own, or the one that is or will be made here.
    pub autoscaler: ObjectKey,
    /// The behaviour of the autoscaler that is or will be taken over.
    pub behavior: Option<HorizontalPodAutoscalerBehavior>,
}

/// What the copy of a ReplicaSet keeps.
pub(crate) fn replica_set(set: &mut DynamicObject) {
    slim::only(set, Running::kept);
}

fn owned(sets: &[Arc<DynamicObject>]) -> BTreeMap<String, Owned> {
    let mut all: BTreeMap<String, Owned> = BTreeMap::new();
    for running in sets.iter().filter_map(|set| Running::read(&set.data)) {
        if let Some(label) = running.pod_template_hash {
            let revision = all.entry(running.revision.to_owned()).or_default();
            revision.pod_template_hashes.insert(label.to_owned());
            revision.replicas += running.replicas;
        }
    }
    all
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
        let found = serving(template);
        let name = found.as_ref().map(|serving| serving.name.to_owned());
        let workload = Self {
            autoscaler: facts.key(),
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
            restarts: restarts(template, found.as_ref()),
            allowed: Allowed::default(),
            left: Headroom::default(),
            serving: found.and_then(|serving| Some((serving.name.to_owned(), serving.cpu?))),
            images: images(template),
            behavior: None,
            owned: owned(sets),
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

    /// Namespace and name of the application.
    pub fn member_of(&self) -> (String, String) {
        (self.key.namespace.clone(), self.application().to_owned())
    }

    /// The pod template.
    pub fn template(&self) -> &Value {
        self.object
            .pointer("/spec/template")
            .unwrap_or(&Value::Null)
    }
}
