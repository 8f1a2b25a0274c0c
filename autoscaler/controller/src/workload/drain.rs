//! The end of the product in a cluster or namespace: every workload gets enough pods of its template's size, every hold
//! is released, no shadow pod stays. Run while no other replica leads.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use msars_client::apply::Applied;
use msars_domain::{Action, ObjectKey, Signals};
use msars_gate::let_go;
use serde_json::Value;
use tokio::time::{Instant, timeout_at};

use super::leaving::FOLLOWS;
use super::parting::{Parting, Why};
use super::tick::joined;
use super::{Workloads, status};
use crate::autoscalers::Targets;
use crate::pods::shadows;
use crate::world::Workload;

/// How long what changes at every write is tried.
const AGAIN: Duration = Duration::from_secs(10);
/// Within this, every replica of the webhook has seen that nobody leads, and begins no hold any more.
const SEEN: Duration = Duration::from_secs(3);

/// What was done.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Drained {
    /// Workloads that were left.
    pub left: Vec<ObjectKey>,
    /// Holds that were released.
    pub released: Vec<ObjectKey>,
    /// Shadow pods that were deleted.
    pub deleted: Vec<ObjectKey>,
    /// What could not be done or will not be enough, one sentence each: leaving now may lose capacity.
    pub wrong: Vec<String>,
}

/// Deployments that were written, and the generation that the copy shows from then on.
type Written = BTreeMap<ObjectKey, u64>;

impl Workloads {
    /// Drains all workloads, or those of one namespace, and waits until their pods are ready, at most for `within`.
    /// The world must be complete, and this replica lead.
    pub async fn drain(&mut self, namespace: Option<&str>, within: Duration) -> Drained {
        let ours = |key: &ObjectKey| namespace.is_none_or(|wanted| wanted == key.namespace);
        let mut out = Drained::default();
        let mut written = Written::new();
        self.discover().await;
        let mut looking = Some(self.look());
        let observed = joined(&mut looking).await.unwrap_or_default();
        let signals: BTreeMap<ObjectKey, Signals> = observed
            .signals
            .into_iter()
            .map(|signals| (signals.workload.clone(), signals))
            .collect();
        let autoscalers = Targets::of(&self.world.autoscalers()).first();
        let now = (self.means.now)();
        let mut workloads = self.world.workloads();
        // Those that opted out while their autoscaler could not be created again.
        let owed = autoscalers
            .iter()
            .filter(|(key, autoscaler)| {
                !workloads.contains_key(key) && status::stored(autoscaler).is_some()
            })
            .map(|(key, _)| key.clone())
            .collect();
        workloads.extend(self.world.left(&owed));
        workloads.retain(|key, _| ours(key));
        let mut wrote = |workload: &Workload| {
            let begun = generation(&workload.object);
            *written.entry(workload.key.clone()).or_insert(begun) += 1;
        };
        for workload in workloads.values() {
            if self.release(workload, &mut out).await && workload.held() {
                wrote(workload);
            }
        }
        let partings = workloads.values().filter_map(|workload| {
            Some(Parting {
                workload,
                autoscaler: autoscalers.get(&workload.key)?,
                why: Why::Drains,
                now,
            })
        });
        let partings: Vec<Parting<'_>> = partings.collect();
        let ended = self.leave_all(&partings, &signals).await;
        for (parting, left) in partings.iter().zip(ended) {
            if left.scaled {
                wrote(parting.workload);
            }
            out.wrong.extend(left.wrong);
            if left.over {
                out.left.push(parting.workload.key.clone());
            }
        }
        self.sweep(ours, &mut out).await;
        self.settled(ours, within, &written, &mut out).await;
        out
    }

    /// Releases what was held meanwhile, after the Lease was given back: until it was, the webhook took the drain for a
    /// controller. Several may do this at once, as the webhook's replicas do: the patch tests what it changes.
    pub async fn free(&self, namespace: Option<&str>, out: &mut Drained) {
        let deadline = Instant::now() + SEEN;
        let mut failed = BTreeSet::new();
        loop {
            for (key, workload) in self.world.workloads() {
                let ours = namespace.is_none_or(|wanted| wanted == key.namespace);
                if ours
                    && workload.held()
                    && !failed.contains(&key)
                    && !self.release(&workload, out).await
                {
                    failed.insert(key);
                }
            }
            if !self.changed(deadline).await {
                return;
            }
        }
    }

    /// Waits for a change of the copies; false at the deadline.
    async fn changed(&self, deadline: Instant) -> bool {
        timeout_at(deadline, self.world.changed.notified())
            .await
            .is_ok()
    }

    /// Releases a hold of ours and removes what stands of one, whoever leads; false when that failed.
    async fn release(&self, workload: &Workload, out: &mut Drained) -> bool {
        let key = &workload.key;
        let deadline = Instant::now() + AGAIN;
        let mut object = workload.object.clone();
        while let Some(action) = let_go(&object) {
            match self.hands.perform(&action).await {
                Ok(Applied::Done) => {
                    out.released.push(key.clone());
                    return true;
                }
                // Somebody was faster: what is there now may be nothing of ours, or a newer hold.
                Ok(Applied::Conflict) if self.changed(deadline).await => {
                    let Some(now) = self.world.workloads().remove(key) else {
                        return true;
                    };
                    object = now.object;
                }
                Ok(Applied::Conflict) => {
                    out.wrong.push(format!(
                        "{key} changed too often to release its hold: kubectl -n {} rollout resume deploy/{}",
                        key.namespace, key.name
                    ));
                    return false;
                }
                Ok(Applied::Gone) => return true,
                Err(error) => {
                    out.wrong.push(error.to_string());
                    return false;
                }
            }
        }
        true
    }

    async fn sweep(&self, ours: impl Fn(&ObjectKey) -> bool, out: &mut Drained) {
        for (pod, uid) in shadows(&self.world.pods()) {
            if !ours(&pod) {
                continue;
            }
            let action = Action::DeletePod {
                pod: pod.clone(),
                uid,
            };
            match self.hands.apply(&action).await {
                Some(Ok(_)) => out.deleted.push(pod),
                Some(Err(error)) => out.wrong.push(error.to_string()),
                // Those of its profiles are among them.
                None => {
                    out.wrong.push(FOLLOWS.to_owned());
                    return;
                }
            }
        }
    }

    /// Waits until every Deployment has its replicas available.
    async fn settled(
        &self,
        ours: impl Fn(&ObjectKey) -> bool,
        within: Duration,
        written: &Written,
        out: &mut Drained,
    ) {
        let deadline = Instant::now() + within;
        loop {
            let workloads = self.world.workloads();
            let open: Vec<&Workload> = workloads
                .values()
                .filter(|workload| {
                    let key = &workload.key;
                    ours(key) && !settled(&workload.object, written.get(key).copied())
                })
                .collect();
            if open.is_empty() {
                return;
            }
            if !self.changed(deadline).await {
                let late = open.iter().map(|workload| {
                    let ObjectKey { namespace, name } = &workload.key;
                    format!(
                        "{} is not Available with all its replicas: kubectl -n {namespace} rollout status deploy/{name}",
                        workload.key
                    )
                });
                out.wrong.extend(late);
                return;
            }
        }
    }
}

fn generation(deployment: &Value) -> u64 {
    let generation = deployment.pointer("/metadata/generation");
    generation.and_then(Value::as_u64).unwrap_or(0)
}

/// Whether a Deployment was seen by its controller and has every replica available; before the generation `since`, the
/// copy does not show what was written.
pub(super) fn settled(deployment: &Value, since: Option<u64>) -> bool {
    let number = |path: &str| {
        deployment
            .pointer(path)
            .and_then(Value::as_u64)
            .unwrap_or(0)
    };
    let replicas = deployment
        .pointer("/spec/replicas")
        .and_then(Value::as_u64)
        .unwrap_or(1);
    let now = generation(deployment);
    since.is_none_or(|since| now >= since)
        && number("/status/observedGeneration") >= now
        && number("/status/availableReplicas") >= replicas
}
