//! A tick: what metrics showed of all workloads becomes one decision each, and these are carried out.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures::StreamExt as _;
use jiff::Timestamp;
use msars_api::crd::SloAutoscaler;
use msars_domain::{Millis, ObjectKey, Reading, Signals, Unknown};
use msars_observe::{Observed, Pod, Revision, Scope};
use msars_plan::{Decision, Tick};
use tokio::task::JoinHandle;

use super::gather::{self, One, Percentiles};
use super::hands::Task;
use super::{Last, PARALLEL, Workloads, status};
use crate::autoscalers::Targets;
use crate::metrics::TickOutcome;
use crate::pods;
use crate::world::Workload;

/// Longest time of deciding.
const DECIDING: Duration = Duration::from_secs(10);

/// A workload that is decided on.
struct Due {
    workload: Workload,
    autoscaler: Arc<SloAutoscaler>,
    /// Its status is old: it is written even if it says the same.
    old: bool,
}

impl Workloads {
    /// Asks Prometheus about all workloads at once, beside this task.
    pub(super) fn look(&self) -> JoinHandle<Observed> {
        let workloads = self.world.workloads();
        let percentiles = Percentiles::of(&self.world.objectives());
        let serving = pods::serving(&self.world.pods());
        let mut scope = Scope {
            windows: self.means.windows,
            ..Scope::default()
        };
        for workload in workloads.values() {
            let Some(percentile) = percentiles.at(workload) else {
                continue;
            };
            scope.workloads.insert(workload.key.clone(), percentile);
            let container = workload.serving.as_ref().map(|(name, _)| name.clone());
            for pod in serving.get(&workload.key).into_iter().flatten() {
                let name = pod.pod.metadata.name.clone().unwrap_or_default();
                scope.pods.insert(
                    ObjectKey::new(&workload.key.namespace, name),
                    Pod {
                        workload: workload.key.name.clone(),
                        revision: pod.pod_template_hash.clone(),
                        ready_since: pod.ready_since,
                        container: container.clone(),
                    },
                );
            }
        }
        let (observer, now) = (self.means.observer.clone(), (self.means.now)());
        tokio::spawn(async move { observer.signals(&scope, now).await })
    }

    /// Decides and acts on what metrics showed.
    pub(super) async fn tick(&mut self, observed: &Observed) -> TickOutcome {
        for problem in &observed.problems {
            tracing::warn!(ask = ?problem.ask, category = problem.category, message = problem.message, "a query gave no usable answer");
        }
        if !self.hears() {
            return TickOutcome::Silent;
        }
        self.discover().await;
        let now = (self.means.now)();
        let mut workloads = self.world.workloads();
        let targets = Targets::of(&self.world.autoscalers());
        let mut autoscalers = targets.first();
        let all = workloads.iter().map(|(key, workload)| {
            let autoscaler = autoscalers.get(key).map(AsRef::as_ref);
            (workload.settings.mode, autoscaler)
        });
        self.means.metrics.workloads(all);
        self.tell_misread(&workloads).await;
        self.ask_grants(&workloads, now).await;
        if self.hands.lead.holds() && self.outdo(&targets, now).await {
            // What was moved is seen before anything is decided by it.
            return TickOutcome::Idle;
        }
        let lost = self.restore(&autoscalers, now).await;
        autoscalers.retain(|key, _| !lost.contains(key));
        self.leave(&mut workloads, &autoscalers, now).await;
        self.memory
            .retain(|key, _| workloads.contains_key(key) || lost.contains(key));
        let (tick, due) = self.assemble(observed, workloads, &autoscalers, now);
        if due.is_empty() {
            return if lost.is_empty() {
                TickOutcome::Idle
            } else {
                TickOutcome::Unstored
            };
        }
        let tick = Arc::new(tick);
        match self.engine.decide(Arc::clone(&tick), DECIDING).await {
            Ok(decisions) => {
                self.carry(&tick, due, decisions).await;
                TickOutcome::Decided
            }
            Err(error) => {
                tracing::error!(%error, category = error.category(), "nothing was decided");
                TickOutcome::failed(&error)
            }
        }
    }

    /// What is decided on: every workload with metrics and with an autoscaler to remember the decision in.
    fn assemble(
        &mut self,
        observed: &Observed,
        mut workloads: BTreeMap<ObjectKey, Workload>,
        autoscalers: &BTreeMap<ObjectKey, Arc<SloAutoscaler>>,
        now: Timestamp,
    ) -> (Tick, Vec<Due>) {
        let around = self.around(&workloads);
        let percentiles = Percentiles::of(&self.world.objectives());
        let serving = pods::serving(&self.world.pods());
        let board = Arc::clone(&self.means.board);
        let reached = board.reached();
        let windows = self.means.windows;
        let mut live: BTreeMap<&ObjectKey, Vec<&Revision>> = BTreeMap::new();
        for revision in &observed.revisions {
            live.entry(&revision.workload).or_default().push(revision);
        }
        let mut tick = Tick {
            now,
            seed: now.as_second().unsigned_abs(),
            observations: Vec::new(),
            states: Vec::new(),
        };
        let mut due = Vec::new();
        for mut signals in observed.signals.iter().cloned() {
            let key = &signals.workload.clone();
            let Some(autoscaler) = autoscalers.get(key) else {
                // Nowhere to remember what is decided: made at the objectives' next round.
                continue;
            };
            let Some(workload) = workloads.remove(key) else {
                continue;
            };
            let Some(percentile) = percentiles.at(&workload) else {
                continue;
            };
            if board.calls_nobody(key) {
                waits_for_nobody(&mut signals);
            }
            let memory = self.recall(&workload, autoscaler, now);
            let loaded = reached.contains(key);
            memory.before.spare(&mut signals, loaded, &windows, now);
            memory.history.look(now, &signals);
            let rate = signals.rate.value().map_or(0.0, |rate| rate.get());
            let one = One {
                workload: &workload,
                autoscaler,
                percentile,
                serving: serving.get(key).map_or(&[][..], Vec::as_slice),
                signals,
                live: live.remove(key).unwrap_or_default(),
                history: memory.history.samples(),
                guests: board.guests(key, rate),
                state: &memory.state,
            };
            tick.observations.push(gather::observation(&around, one));
            tick.states.push(memory.state.clone());
            let since = now.duration_since(memory.written).as_secs_f64();
            due.push(Due {
                workload,
                autoscaler: Arc::clone(autoscaler),
                old: since >= status::EVERY_S,
            });
        }
        (tick, due)
    }

    /// Carries all decisions out, some at once, while this replica leads.
    async fn carry(&mut self, tick: &Arc<Tick>, due: Vec<Due>, decisions: Vec<Option<Decision>>) {
        self.tell(tick, &decisions);
        let tasks = self.tasks(tick, due, decisions);
        let missing = if self.hands.lead.holds() {
            self.missing(&tasks)
        } else {
            Vec::new()
        };
        for task in &tasks {
            if let Some(memory) = self.memory.get_mut(&task.workload.key) {
                memory.last = Some(Last {
                    workload: task.workload.clone(),
                    autoscaler: crate::autoscalers::key(&task.autoscaler),
                    seen: task.seen.clone(),
                    at: tick.now,
                });
            }
        }
        let hands = &self.hands;
        let by_namespace = |task: Task| (task.workload.key.namespace.clone(), task);
        let tasks = tasks.into_iter().map(by_namespace);
        let outcomes = in_turn(tasks, |task| async move {
            if !hands.lead.holds() {
                return None;
            }
            let outcome = hands.carry(task).await;
            Some((outcome.late, outcome))
        })
        .await;
        hands.tell(missing).await;
        for outcome in outcomes {
            if outcome.forbidden {
                self.grants.refused(&outcome.workload.namespace, tick.now);
            }
            for (uid, from) in outcome.shrunk {
                self.pods.shrunk(uid, tick.now, from);
            }
            if let Some(memory) = self.memory.get_mut(&outcome.workload) {
                memory.state = outcome.state;
                if outcome.written {
                    memory.written = tick.now;
                }
            }
        }
    }

    /// What changes a workload comes first: with thousands of them, statuses alone take seconds.
    fn tasks(&self, tick: &Tick, due: Vec<Due>, decisions: Vec<Option<Decision>>) -> Vec<Task> {
        let made = due.into_iter().zip(decisions).enumerate();
        let mut tasks: Vec<Task> = made
            .filter_map(|(index, (due, decision))| {
                let decision = decision?;
                tracing::debug!(decision = decision.explain(), "decided");
                Some(Task {
                    found: self.found(&due.workload),
                    reach: self.reached(&due.workload),
                    workload: due.workload,
                    autoscaler: due.autoscaler,
                    seen: tick.observations.get(index)?.clone(),
                    before: tick.states.get(index)?.clone(),
                    decision,
                    old: due.old,
                    now: tick.now,
                })
            })
            .collect();
        tasks.sort_by_key(|task| task.decision.actions.is_empty());
        tasks
    }
}

/// Where the metrics say nothing of calls, and the chains say that there are none: its request time is its self time.
fn waits_for_nobody(signals: &mut Signals) {
    let says = |reading: &Reading<Millis>| {
        let why = Unknown::NoSeries;
        *reading != Reading::Unknown { why }
    };
    if let Reading::Known { at, .. } = signals.rate
        && !says(&signals.callee_wait)
        && let Ok(value) = Millis::new(0.0)
    {
        signals.callee_wait = Reading::Known { value, at };
    }
}

/// What comes of all tasks, some done at once; `done` also says whether one took long. Where one of a namespace did, its
/// others would as well: they are left to the next tick, so that other namespaces wait for them once at most.
async fn in_turn<T, O, F: Future<Output = Option<(bool, O)>>>(
    tasks: impl Iterator<Item = (String, T)>,
    done: impl Fn(T) -> F,
) -> Vec<O> {
    let slow = Mutex::new(BTreeSet::new());
    let slow = || slow.lock().unwrap_or_else(PoisonError::into_inner);
    let (slow, done) = (&slow, &done);
    futures::stream::iter(tasks)
        .map(|(namespace, task)| async move {
            if slow().contains(&namespace) {
                return None;
            }
            let (late, outcome) = done(task).await?;
            if late {
                slow().insert(namespace);
            }
            Some(outcome)
        })
        .buffer_unordered(PARALLEL)
        .filter_map(|outcome| async move { outcome })
        .collect()
        .await
}

/// The end of a look; `None` when it failed.
pub(super) async fn joined(looking: &mut Option<JoinHandle<Observed>>) -> Option<Observed> {
    match looking.as_mut()?.await {
        Ok(observed) => Some(observed),
        Err(error) => {
            tracing::error!(%error, "asking for metrics failed");
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use msars_domain::Rate;

    use super::super::leaving::blind;
    use super::*;

    #[test]
    fn the_request_time_of_a_service_that_calls_nobody_is_its_own() {
        let at = Timestamp::UNIX_EPOCH;
        let unknown = |why| Reading::Unknown { why };
        let quiet = Reading::Unknown {
            why: Unknown::NoSeries,
        };
        let wait = |ms| Reading::Known {
            value: Millis::new(ms).unwrap(),
            at,
        };
        let rate = Reading::Known {
            value: Rate::new(20.0).unwrap(),
            at,
        };
        for (rate, before, after) in [
            // Metrics that know no calls, and those in which it has none.
            (rate.clone(), unknown(Unknown::NoSeries), wait(0.0)),
            (
                quiet,
                unknown(Unknown::NoSeries),
                unknown(Unknown::NoSeries),
            ),
            // What is measured, or is not known for another reason, stays.
            (rate.clone(), wait(5.0), wait(5.0)),
            (rate, unknown(Unknown::Stale), unknown(Unknown::Stale)),
        ] {
            let mut signals = Signals {
                rate,
                callee_wait: before,
                ..blind(&ObjectKey::new("shop", "db"))
            };
            waits_for_nobody(&mut signals);
            assert_eq!(signals.callee_wait, after);
        }
    }

    #[tokio::test]
    async fn where_one_workloads_writes_took_long_those_of_its_namespace_wait_and_no_others() {
        let tasks = [
            ("shop", "first", true),
            ("shop", "second", false),
            ("bank", "third", false),
            ("shop", "fourth", true),
            ("bank", "fifth", true),
            ("bank", "sixth", false),
            ("park", "nobody leads any more", false),
        ];
        let tasks = tasks.into_iter();
        let tasks = tasks.map(|(namespace, name, late)| (namespace.to_owned(), (name, late)));
        let done = in_turn(tasks, |(name, late)| async move {
            (!name.starts_with("nobody")).then_some((late, name))
        });
        assert_eq!(done.await, ["first", "third", "fifth"]);
    }
}
