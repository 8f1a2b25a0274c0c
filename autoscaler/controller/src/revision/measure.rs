//! Reading a shadow pod: its status, its CPU, its waits for callees.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{ContainerStatus, Pod};
use kube::{Api, Client};
use msars_api::names;
use msars_client::apply::{Applied, ApplyError};
use msars_domain::{Action, ObjectKey, authority};
use msars_gate::READY_LIMIT;
use msars_observe::{Preset, Program, cadvisor};

use super::again::passes;
use super::counters::Counters;
use super::shadow::Blueprint;
use super::task::JobError;
use crate::kubelet::Kubelets;
use crate::lead::Lead;
use crate::metrics::Metrics;
use crate::objective::{Board, Health};
use crate::plain::Plain;

/// How long copy and load pod may take to be Ready: a little less than the gate gives them, so that the job, which
/// knows what was found, says so first.
pub const READY_WITHIN: Duration = Duration::from_secs(READY_LIMIT.as_secs().unsigned_abs() - 2);

/// Everything a job needs to measure with.
#[derive(Clone)]
pub struct Bench {
    /// The strict client.
    pub client: Client,
    /// Whether this replica leads.
    pub lead: Lead,
    /// For CPU counters of copies that export none.
    pub kubelets: Kubelets,
    /// Plain HTTP to pods.
    pub plain: Plain,
    /// The image of the load pod.
    pub load_image: String,
    /// Names of the metrics that a copy may export itself.
    pub preset: Preset,
    /// Counts writes, holds and profiles.
    pub counts: Metrics,
    /// The clock.
    pub now: fn() -> Timestamp,
    /// What objectives post: which workloads are strained.
    pub board: Arc<Board>,
}

impl std::fmt::Debug for Bench {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Bench")
            .field("load_image", &self.load_image)
            .finish_non_exhaustive()
    }
}

/// A shadow pod that is there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Made {
    /// Its uid.
    pub uid: String,
    /// The run that made it, where it says so.
    pub run: Option<String>,
}

/// A Ready pod.
#[derive(Debug, Clone)]
pub struct Subject {
    /// Its name.
    pub key: ObjectKey,
    /// Its uid.
    pub uid: String,
    /// Its address.
    pub ip: String,
    /// The address of its node.
    pub host_ip: String,
    /// The container that counts.
    pub container: String,
}

pub(super) fn status<'a>(pod: &'a Pod, container: &str) -> Option<&'a ContainerStatus> {
    pod.status
        .as_ref()?
        .container_statuses
        .as_ref()?
        .iter()
        .find(|status| status.name == container)
}

/// What a pod's status says about its start.
#[derive(Debug, PartialEq, Eq)]
enum Start {
    Ready,
    ImagePull(String),
    Ended(String),
    Waiting(String),
}

fn start(pod: &Pod) -> Start {
    let Some(status) = &pod.status else {
        return Start::Waiting("no status yet".into());
    };
    let phase = status.phase.clone().unwrap_or_default();
    if phase == "Failed" || phase == "Succeeded" {
        return Start::Ended(format!(
            "{phase}: {}",
            status
                .message
                .as_deref()
                .or(status.reason.as_deref())
                .unwrap_or("it ended")
        ));
    }
    let containers = status
        .container_statuses
        .iter()
        .chain(&status.init_container_statuses)
        .flatten();
    for container in containers {
        let waiting = container
            .state
            .as_ref()
            .and_then(|state| state.waiting.as_ref());
        let reason = waiting.and_then(|waiting| waiting.reason.as_deref());
        let message = waiting.and_then(|waiting| waiting.message.as_deref());
        if let Some(
            reason @ ("ErrImagePull" | "ImagePullBackOff" | "InvalidImageName"
            | "ErrImageNeverPull"),
        ) = reason
        {
            return Start::ImagePull(format!("{reason}: {}", message.unwrap_or(&container.image)));
        }
    }
    let condition = |name: &str| {
        status
            .conditions
            .iter()
            .flatten()
            .find(|condition| condition.type_ == name)
    };
    if condition("Ready").is_some_and(|ready| ready.status == "True") {
        return Start::Ready;
    }
    let scheduled = condition("PodScheduled").filter(|found| found.status == "False");
    Start::Waiting(scheduled.map_or(phase, |found| {
        format!(
            "not scheduled: {}",
            found.message.as_deref().unwrap_or("no reason given")
        )
    }))
}

/// What took a pod away, if anything did.
fn taken(key: &ObjectKey, pod: Option<&Pod>) -> Option<String> {
    let Some(pod) = pod else {
        return Some(format!("pod {key} is gone: deleted, preempted or evicted"));
    };
    let conditions = pod.status.as_ref().and_then(|s| s.conditions.as_ref());
    let target = conditions
        .into_iter()
        .flatten()
        .find(|found| found.type_ == "DisruptionTarget" && found.status == "True");
    if let Some(found) = target {
        let reason = found.reason.as_deref().unwrap_or("no reason given");
        let message = found.message.as_deref().unwrap_or_default();
        return Some(format!("pod {key} was taken away: {reason}: {message}"));
    }
    let going = pod.metadata.deletion_timestamp.is_some();
    going.then(|| format!("pod {key} is being deleted"))
}

impl Bench {
    /// Whether the copy or its load pod was taken away, and by what, as an error in place of what failed for it.
    pub async fn taken(&self, blueprint: &Blueprint) -> Option<JobError> {
        for key in [blueprint.subject_key(), blueprint.load_key()] {
            let api: Api<Pod> = Api::namespaced(self.client.clone(), &key.namespace);
            // Where the pod cannot be read, what failed before says more.
            let pod = api.get_opt(&key.name).await.ok()?;
            if let Some(why) = taken(&key, pod.as_ref()) {
                return Some(JobError::Evicted(why));
            }
        }
        None
    }

    /// The pod of this name, if there is one: its uid, and the run that made it.
    pub(super) async fn made(&self, key: &ObjectKey) -> Result<Option<Made>, kube::Error> {
        let api: Api<Pod> = Api::namespaced(self.client.clone(), &key.namespace);
        let pod = api.get_opt(&key.name).await?;
        Ok(pod.and_then(|pod| {
            let mut annotations = pod.metadata.annotations.unwrap_or_default();
            Some(Made {
                uid: pod.metadata.uid?,
                run: annotations.remove(names::SHADOW_RUN_ANNOTATION),
            })
        }))
    }

    /// Performs one action, once, and counts it. None where this replica leads no more: nothing was written, and the
    /// rest is left to the next leader.
    pub async fn apply(&self, action: &Action) -> Option<Result<Applied, ApplyError>> {
        if !self.lead.lets(action) {
            return None;
        }
        Some(self.perform(action).await)
    }

    /// The same whoever leads, for what concerns nobody else.
    pub(super) async fn perform(&self, action: &Action) -> Result<Applied, ApplyError> {
        self.counts.apply(&self.client, action).await
    }

    /// Whether one of these workloads suffers more than before the profile.
    pub fn strained(&self, spared: &BTreeMap<ObjectKey, Health>) -> bool {
        let suffering = self.board.suffering(spared);
        if let Some(callee) = &suffering {
            tracing::info!(%callee, "a callee suffers: no more load is put on it");
        }
        suffering.is_some()
    }

    /// Waits until the pod is Ready, [`READY_WITHIN`] since then at the longest; an image that cannot be pulled
    /// and a pod that ended are told at once.
    pub async fn ready(
        &self,
        key: &ObjectKey,
        container: &str,
        since: tokio::time::Instant,
    ) -> Result<Subject, JobError> {
        let api: Api<Pod> = Api::namespaced(self.client.clone(), &key.namespace);
        let deadline = since + READY_WITHIN;
        let not_ready = |found: String| JobError::NotReady {
            within: READY_WITHIN.as_secs(),
            found: format!("pod {key}: {found}"),
        };
        let mut found = String::from("not looked at yet");
        while tokio::time::Instant::now() < deadline {
            let pod = match api.get_opt(&key.name).await {
                Ok(pod) => pod,
                // The API server is away for a moment; the pod may get Ready meanwhile.
                Err(error) if passes(&error) => {
                    found = format!("it cannot be read: {error}");
                    tokio::time::sleep(Duration::from_millis(200)).await;
                    continue;
                }
                Err(error) => {
                    return Err(JobError::Read {
                        step: "reading the copy",
                        message: error.to_string(),
                    });
                }
            };
            match pod.as_ref().map(start) {
                Some(Start::Ready) => {
                    if let Some(subject) = pod.as_ref().and_then(|pod| subject(key, container, pod))
                    {
                        return Ok(subject);
                    }
                }
                Some(Start::ImagePull(why)) => return Err(JobError::ImagePull(why)),
                Some(Start::Ended(why)) => return Err(not_ready(why)),
                Some(Start::Waiting(why)) => found = why,
                None => found = "it is not there".into(),
            }
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
        Err(not_ready(found))
    }

    /// The copy's counters: its own when it exports CPU, else the kubelet's.
    pub async fn counters(
        &self,
        subject: &Subject,
        own: Option<&(u16, String)>,
    ) -> Option<Counters> {
        let mut counters = Counters::default();
        if let Some((port, path)) = own {
            let url = format!("http://{}{path}", authority(&subject.ip, *port));
            match self.plain.get(&url, Duration::from_secs(2)).await {
                Ok(text) => {
                    let read = Program::read(&self.preset, &text);
                    counters = Counters::of(read, (self.now)());
                }
                Err(error) => tracing::warn!(%error, "the copy's own metrics cannot be read"),
            }
        }
        if counters.cpu.is_none() {
            counters.cpu = self.kubelet_cpu(subject).await;
        }
        Some(counters)
    }

    /// CPU seconds from the kubelet, with the sample's own time.
    async fn kubelet_cpu(&self, subject: &Subject) -> Option<(Timestamp, f64)> {
        let text = match self.kubelets.cadvisor(&subject.host_ip).await {
            Ok(text) => text,
            Err(error) => {
                tracing::warn!(%error, category = error.category(), "no CPU counter of the copy");
                return None;
            }
        };
        cadvisor::container_cpu(
            &text,
            &subject.key.namespace,
            &subject.key.name,
            &subject.container,
        )
        .map(|(seconds, at)| (at, seconds))
    }
}

fn subject(key: &ObjectKey, container: &str, pod: &Pod) -> Option<Subject> {
    let status = pod.status.as_ref()?;
    Some(Subject {
        key: key.clone(),
        uid: pod.metadata.uid.clone()?,
        ip: status.pod_ip.clone()?,
        host_ip: status.host_ip.clone()?,
        container: container.to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn pod(status: &serde_json::Value) -> Pod {
        serde_json::from_value(json!({"metadata": {"uid": "u"}, "status": status})).unwrap()
    }

    #[test]
    fn what_took_a_copy_away_is_told() {
        let key = ObjectKey::new("shop", "copy");
        let preempted = json!({"conditions": [{
            "type": "DisruptionTarget", "status": "True", "reason": "PreemptionByScheduler", "message": "for cart-1",
        }]});
        let found = |status| taken(&key, Some(&pod(&status))).unwrap_or_default();
        assert!(found(preempted).ends_with("PreemptionByScheduler: for cart-1"));
        assert_eq!(found(json!({"phase": "Running"})), "");
        let mut going = pod(&json!({}));
        going.metadata.deletion_timestamp =
            serde_json::from_value(json!("2026-01-01T00:00:00Z")).unwrap();
        assert!(taken(&key, Some(&going)).is_some_and(|why| why.contains("being deleted")));
        assert!(taken(&key, None).is_some_and(|why| why.contains("gone")));
    }

    #[test]
    fn a_start_is_read_from_the_status() {
        let table = [
            (json!({}), Start::Waiting(String::new())),
            (
                json!({"phase": "Pending", "conditions": [{"type": "PodScheduled", "status": "False", "message": "Insufficient cpu"}]}),
                Start::Waiting("not scheduled: Insufficient cpu".into()),
            ),
            (
                json!({"phase": "Pending", "containerStatuses": [{"name": "app", "image": "x:v9", "imageID": "", "ready": false, "restartCount": 0, "state": {"waiting": {"reason": "ImagePullBackOff"}}}]}),
                Start::ImagePull("ImagePullBackOff: x:v9".into()),
            ),
            (
                json!({"phase": "Failed", "reason": "Evicted"}),
                Start::Ended("Failed: Evicted".into()),
            ),
            (
                json!({"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]}),
                Start::Ready,
            ),
        ];
        for (status, wanted) in table {
            assert_eq!(start(&pod(&status)), wanted);
        }
    }
}
