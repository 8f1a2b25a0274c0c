//! The end of the product in a cluster or namespace: every workload gets enough pods of its template's size, every hold
//! is released, no shadow pod stays. Run while no other replica leads.

use std::collections::BTreeMap;
use std::time::Duration;

use msars_client::apply::Applied;
use msars_domain::{Action, ObjectKey, Signals};
use msars_gate::let_go;
use serde_json::Value;

use super::leaving::Stays;
use super::{Workloads, autoscalers, joined, status};
use crate::pods::shadows;
use crate::world::Workload;

/// Between two looks at what must become ready, or has changed.
const LOOK: Duration = Duration::from_millis(500);
/// How long a hold that changes at every write is tried to be released.
const AGAIN: Duration = Duration::from_secs(10);

/// What was done.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Drained {
    /// Workloads that were left.
    pub left: Vec<ObjectKey>,
    /// Holds that were released.
    pub released: Vec<ObjectKey>,
    /// Shadow pods that were deleted.
    pub deleted: Vec<ObjectKey>,
    /// What could not be done, one sentence each: leaving now may lose capacity.
    pub wrong: Vec<String>,
}

impl Workloads {
    /// Drains all workloads, or those of one namespace, and waits until their pods are ready, at most for `within`.
    /// The world must be complete.
    pub async fn drain(mut self, namespace: Option<&str>, within: Duration) -> Drained {
        let ours = |key: &ObjectKey| namespace.is_none_or(|wanted| wanted == key.namespace);
        let mut out = Drained::default();
        self.discover().await;
        let mut looking = Some(self.look());
        let observed = joined(&mut looking).await.unwrap_or_default();
        let signals: BTreeMap<ObjectKey, Signals> = observed
            .signals
            .into_iter()
            .map(|signals| (signals.workload.clone(), signals))
            .collect();
        let autoscalers = autoscalers(&self.world.autoscalers());
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
        for (key, workload) in workloads.into_iter().filter(|(key, _)| ours(key)) {
            self.release(&workload, &mut out).await;
            let Some(autoscaler) = autoscalers.get(&key) else {
                continue;
            };
            let signals = signals.get(&key).cloned();
            if self
                .leave_one(&workload, autoscaler, signals, Stays::No, now)
                .await
            {
                out.left.push(key);
            } else {
                out.wrong
                    .push(format!("{key} was not left: see the log above"));
            }
        }
        self.sweep(ours, &mut out).await;
        self.settled(ours, within, &mut out).await;
        out
    }

    /// Releases a hold of ours and removes what stands of one.
    async fn release(&self, workload: &Workload, out: &mut Drained) {
        let key = &workload.key;
        let deadline = tokio::time::Instant::now() + AGAIN;
        let mut object = workload.object.clone();
        while let Some(action) = let_go(&object) {
            match self.hands.apply(&action).await {
                Ok(Applied::Done) => {
                    out.released.push(key.clone());
                    return;
                }
                // Somebody was faster: what is there now may be nothing of ours, or a newer hold.
                Ok(Applied::Conflict) if tokio::time::Instant::now() < deadline => {
                    tokio::time::sleep(LOOK).await;
                    let Some(now) = self.world.workloads().remove(key) else {
                        return;
                    };
                    object = now.object;
                }
                Ok(Applied::Conflict) => {
                    out.wrong
                        .push(format!("{key} changed too often to release its hold"));
                    return;
                }
                Ok(Applied::Gone) => return,
                Err(error) => {
                    out.wrong.push(error.to_string());
                    return;
                }
            }
        }
    }

    async fn sweep(&self, ours: impl Fn(&ObjectKey) -> bool, out: &mut Drained) {
        for pod in shadows(&self.world.pods()) {
            if !ours(&pod) {
                continue;
            }
            match self
                .hands
                .apply(&Action::DeletePod { pod: pod.clone() })
                .await
            {
                Ok(_) => out.deleted.push(pod),
                Err(error) => out.wrong.push(error.to_string()),
            }
        }
    }

    /// Waits until every Deployment has its replicas available.
    async fn settled(
        &self,
        ours: impl Fn(&ObjectKey) -> bool,
        within: Duration,
        out: &mut Drained,
    ) {
        let deadline = tokio::time::Instant::now() + within;
        loop {
            let workloads = self.world.workloads();
            let open: Vec<&Workload> = workloads
                .values()
                .filter(|workload| ours(&workload.key) && !settled(&workload.object))
                .collect();
            if open.is_empty() {
                return;
            }
            if tokio::time::Instant::now() >= deadline {
                let late = open.iter().map(|workload| {
                    format!("{} is not Available with all its replicas", workload.key)
                });
                out.wrong.extend(late);
                return;
            }
            tokio::time::sleep(LOOK).await;
        }
    }
}

/// Whether a Deployment was seen by its controller and has every replica available.
fn settled(deployment: &Value) -> bool {
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
    number("/status/observedGeneration") >= number("/metadata/generation")
        && number("/status/availableReplicas") >= replicas
}
