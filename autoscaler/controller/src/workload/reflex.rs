//! The reflex's looks at kubelets and its writes.

use std::collections::BTreeSet;
use std::sync::Arc;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{LimitRange, ResourceQuota};
use msars_api::crd::{LastChange, SloAutoscaler};
use msars_client::apply::{Applied, ApplyError};
use msars_domain::{Action, CpuBounds, MilliCpu, ObjectKey};
use msars_plan::{ReflexInput, reflex};
use tokio::time::Instant;

use super::act::{PATIENCE, refusal};
use super::deaf::read;
use super::hands::Hands;
use super::record::{Line, ReflexLine};
use super::reflex_input::{self, Subject, grew};
use super::{Last, Memory, Workloads, gather, room, status};
use crate::pods::{self, Serving};

/// Why pods grew between two ticks.
const THROTTLED: &str = "Throttled";
/// An observation older than this is no ground for a reflex, seconds: ticks have stopped.
const OLD_S: f64 = 60.0;

impl Workloads {
    /// One look while this replica leads: throttled pods of acting workloads grow in place.
    pub(super) async fn reflex(&mut self) {
        // Asked whoever leads, so that a new leader knows since when.
        if !self.hears() || !self.hands.lead.holds() {
            return;
        }
        let now = (self.means.now)();
        let acting = |memory: &&Memory| {
            memory.last.as_ref().is_some_and(|last| {
                let fresh = now.duration_since(last.at).as_secs_f64() <= OLD_S;
                let seen = &last.seen;
                fresh
                    && seen.wishes.acts
                    && seen.resizable == Some(true)
                    && seen.template.limit.is_some()
            })
        };
        if !self.memory.values().any(|memory| acting(&memory)) {
            return;
        }
        let all = self.world.pods();
        let serving = pods::serving(&all);
        let profiling = gather::profiling(&all);
        let (quotas, ranges) = (self.world.quotas(), self.world.limit_ranges());
        let mut nodes = BTreeSet::new();
        let mut subjects = Vec::new();
        for (key, memory) in &self.memory {
            let Some(last) = memory.last.as_ref().filter(|_| acting(&memory)) else {
                continue;
            };
            let found = serving.get(key).map_or(&[][..], Vec::as_slice);
            nodes.extend(found.iter().filter_map(node));
            subjects.push(subject(
                last,
                memory,
                found,
                (&quotas, &ranges),
                profiling.contains(&key.namespace),
            ));
        }
        let periods = read(&self.means.kubelets, nodes, &mut self.deaf, now).await;
        let input = reflex_input::input(now, &subjects, &periods, &mut self.pods);
        let actions = reflex(&input, self.engine.limits());
        let begun = Instant::now();
        self.log_growth(&input, &actions);
        for (key, (size, actions)) in reflex_input::by_workload(&input, actions) {
            // Ticks wait for this: what is late by then, they see.
            if !self.hands.lead.holds() || begun.elapsed() >= PATIENCE {
                break;
            }
            self.grow(&key, size, actions, now).await;
        }
    }

    /// Hands what grows to the log, with what it rests on.
    fn log_growth(&self, input: &ReflexInput, actions: &[Action]) {
        if actions.is_empty() {
            return;
        }
        let grown = reflex_input::by_workload(input, actions.to_vec());
        self.log(vec![Line::Reflex(Box::new(ReflexLine {
            reflex: input.of(|workload| grown.contains_key(workload)),
            limits: self.engine.limits().clone(),
            actions: actions.to_vec(),
        }))]);
    }

    /// Stores the size in force, then grows the pods.
    pub(super) async fn grow(
        &mut self,
        key: &ObjectKey,
        size: MilliCpu,
        actions: Vec<Action>,
        now: Timestamp,
    ) {
        let Some(memory) = self.memory.get_mut(key) else {
            return;
        };
        let Some(last) = memory.last.as_ref() else {
            return;
        };
        let mut state = memory.state.clone();
        state.grown_by_reflex(now, size, self.engine.limits());
        let stored = self
            .hands
            .own
            .status::<SloAutoscaler>(&last.autoscaler, |autoscaler| {
                let status = autoscaler.status.get_or_insert_default();
                status::remember(status, &state);
                let size = state.size.unwrap_or(size);
                status.size_milli = Some(size.0);
                status.sizes =
                    status::born_with(&status.sizes, &last.workload, &last.seen, Some(size));
            })
            .await;
        if let Err(error) = stored {
            tracing::warn!(%error, category = error.category(), workload = %key, "a growth was not stored, so it is not made");
            return;
        }
        let begun = Instant::now();
        let mut done = 0;
        for action in &actions {
            if begun.elapsed() >= PATIENCE {
                break;
            }
            // What was stored stands, as where a write gets no answer.
            let Some(ended) = self.hands.apply(action).await else {
                break;
            };
            match ended {
                Ok(Applied::Done) => {
                    done += 1;
                    if let Action::Resize { uid, .. } = action {
                        self.pods.grown(uid.clone(), now);
                    }
                }
                Ok(Applied::Conflict | Applied::Gone) => {}
                Err(error) => {
                    self.hands.refused(&last.workload, action, &error).await;
                    if let Some(refused) = refusal(&last.seen, action, &error, now) {
                        state.refuse(refused, &error.to_string());
                    }
                    if matches!(error, ApplyError::Forbidden { .. }) {
                        self.grants.refused(&key.namespace, now);
                        break;
                    }
                }
            }
        }
        tracing::info!(workload = %key, pods = done, size = size.0, "throttled pods grew");
        if done > 0 {
            self.hands.tell_growth(last, done, size, now).await;
        }
        memory.state = state;
    }
}

impl Hands {
    /// Tells what the reflex changed, as ticks tell theirs.
    async fn tell_growth(&self, last: &Last, pods: usize, size: MilliCpu, now: Timestamp) {
        let message = grew(pods, size);
        let change = LastChange {
            at: now.to_string(),
            reason: THROTTLED.to_owned(),
            message: message.clone(),
        };
        let told = self
            .own
            .status::<SloAutoscaler>(&last.autoscaler, |autoscaler| {
                let status = autoscaler.status.get_or_insert_default();
                status.last_change = Some(change.clone());
            })
            .await;
        if let Err(error) = told {
            tracing::warn!(%error, category = error.category(), "a growth was not told");
        }
        self.own
            .tell(&last.workload, "Scale", false, THROTTLED, message)
            .await;
    }
}

fn node(serving: &Serving) -> Option<String> {
    serving.pod.status.as_ref()?.host_ip.clone()
}

fn subject<'a>(
    last: &'a Last,
    memory: &'a Memory,
    serving: &[Serving],
    (quotas, ranges): (&[Arc<ResourceQuota>], &[Arc<LimitRange>]),
    profiling: bool,
) -> Subject<'a> {
    let (workload, seen) = (&last.workload, &last.seen);
    let headroom = if seen.quotas.is_empty() {
        seen.headroom
    } else {
        room::headroom(
            quotas,
            &workload.key.namespace,
            workload.template(),
            seen.qos,
        )
    };
    let allowed = workload.ranged(ranges);
    Subject {
        seen: &last.seen,
        cpu: CpuBounds {
            min: allowed.fit(seen.cpu.min),
            max: allowed.fit(seen.cpu.max),
            ..seen.cpu
        },
        pods: gather::pods(&last.workload, serving, &last.seen.container),
        headroom,
        state: &memory.state,
        hands_off: last.seen.rival.is_some() || profiling,
    }
}
