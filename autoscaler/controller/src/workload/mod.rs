//! Workloads: every 15 s observe, decide, act; between, a reflex grows throttled pods in place.
//!
//! One task owns all memory: metrics are fetched beside it, so that a slow Prometheus does not stop the reflex. What a
//! decision must remember is stored in the SloAutoscaler's status before its writes are made; a workload whose status
//! cannot be written is left as it is.

pub mod act;
pub mod adopt;
mod around;
pub mod behavior;
pub mod drain;
pub mod explain;
pub mod gather;
pub mod hands;
pub mod history;
pub mod kept;
mod leaving;
pub mod pod;
pub mod record;
mod reflex;
pub mod reflex_input;
pub mod rivals;
pub mod room;
pub mod spared;
pub mod status;
mod takeover;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt as _;
use jiff::Timestamp;
use kube::Client;
use msars_api::crd::SloAutoscaler;
use msars_client::leader::Claim;
use msars_domain::{ObjectKey, Observation};
use msars_observe::{Observed, Observer, Pod, Revision, Scope, Windows};
use msars_plan::{Limits, State, Tick};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use self::gather::One;
use self::hands::{Hands, Task};
use self::history::History;
use self::kept::Kept;
use self::record::Log;
use self::spared::Before;
use crate::engine::{Engine, EngineError, analytic};
use crate::kubelet::Kubelets;
use crate::metrics::{Metrics, TickOutcome};
use crate::objective::Board;
use crate::own::Own;
use crate::pods;
use crate::world::{Workload, World};

/// Between two decisions.
const EVERY: Duration = Duration::from_secs(15);
/// Between two looks of the reflex.
const FAST: Duration = Duration::from_secs(2);
/// Longest time of deciding.
const DECIDING: Duration = Duration::from_secs(10);
/// Workloads written at once.
const PARALLEL: usize = 8;
/// Whether the API server offers `pods/resize` is asked again after so many seconds.
const DISCOVERED_S: f64 = 600.0;

/// What the task needs besides the world.
#[derive(Debug)]
pub struct Means {
    /// Prometheus.
    pub observer: Observer,
    /// Its windows.
    pub windows: Windows,
    /// Kubelets.
    pub kubelets: Kubelets,
    /// Cores that a pod's threads can use at once.
    pub cores: f64,
    /// Where decisions are logged.
    pub log: Option<Log>,
    /// The clock.
    pub now: fn() -> Timestamp,
    /// Counts ticks, writes and workloads.
    pub metrics: Metrics,
    /// Which workloads a profile's load reaches.
    pub board: Arc<Board>,
}

/// The workloads' task.
#[derive(Debug)]
pub struct Workloads {
    world: World,
    hands: Hands,
    means: Means,
    engine: Engine,
    memory: BTreeMap<ObjectKey, Memory>,
    pods: reflex_input::Pods,
    resizable: Option<(bool, Timestamp)>,
    /// Nodes whose kubelet did not answer: told once.
    deaf: BTreeSet<String>,
}

/// What is remembered of one workload. Everything but the history comes back from the status after a change of leader.
#[derive(Debug)]
struct Memory {
    uid: String,
    state: State,
    /// When the status was last written, or first read.
    written: Timestamp,
    history: History,
    before: Before,
    kept: Kept,
    /// What the last decision rested on.
    last: Option<Last>,
}

#[derive(Debug)]
struct Last {
    workload: Workload,
    autoscaler: ObjectKey,
    seen: Observation,
    at: Timestamp,
}

fn leads(claim: &watch::Receiver<Claim>, now: Timestamp) -> bool {
    claim.borrow().is_some_and(|end| end > now)
}

impl Workloads {
    /// With nothing seen yet; `client` sends every write once.
    pub fn new(world: World, own: Own, client: Client, means: Means) -> Result<Self, EngineError> {
        Ok(Self {
            hands: Hands {
                client,
                own,
                now: means.now,
                metrics: means.metrics.clone(),
            },
            world,
            means,
            engine: Engine::start(analytic, Limits::default())?,
            memory: BTreeMap::new(),
            pods: reflex_input::Pods::default(),
            resizable: None,
            deaf: BTreeSet::new(),
        })
    }

    /// Runs until `stop`; acts only while this replica leads.
    pub async fn run(mut self, claim: watch::Receiver<Claim>, stop: watch::Receiver<bool>) {
        let stopped = msars_ops::shutdown::stopped(stop);
        tokio::pin!(stopped);
        let every = |period| {
            let mut ticks = tokio::time::interval(period);
            ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
            ticks
        };
        let (mut ticks, mut fast) = (every(EVERY), every(FAST));
        let mut looking: Option<JoinHandle<Observed>> = None;
        loop {
            let waiting = looking.is_some();
            tokio::select! {
                () = &mut stopped => break,
                _tick = ticks.tick(), if !waiting => {
                    if leads(&claim, (self.means.now)()) {
                        if self.world.scaling_synced() {
                            looking = Some(self.look());
                        }
                    } else {
                        // The next leader may change what is remembered here.
                        self.memory.clear();
                    }
                }
                looked = joined(&mut looking), if waiting => {
                    looking = None;
                    let begun = tokio::time::Instant::now();
                    let outcome = match looked {
                        Some(observed) => self.tick(&observed, &claim).await,
                        None => TickOutcome::Blind,
                    };
                    self.means.metrics.ticked(outcome, begun.elapsed());
                }
                _tick = fast.tick() => {
                    if leads(&claim, (self.means.now)()) {
                        self.reflex(&claim).await;
                    }
                }
            }
        }
        if let Some(looking) = looking {
            looking.abort();
        }
    }

    /// Asks Prometheus about all workloads at once, beside this task.
    fn look(&self) -> JoinHandle<Observed> {
        let workloads = self.world.workloads();
        let objectives = self.world.objectives();
        let serving = pods::serving(&self.world.pods());
        let mut scope = Scope {
            windows: self.means.windows,
            ..Scope::default()
        };
        for workload in workloads.values() {
            let Some(percentile) = gather::percentile(&objectives, workload) else {
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
    async fn tick(&mut self, observed: &Observed, claim: &watch::Receiver<Claim>) -> TickOutcome {
        for problem in &observed.problems {
            tracing::warn!(ask = ?problem.ask, category = problem.category, message = problem.message, "a query gave no usable answer");
        }
        self.discover().await;
        let now = (self.means.now)();
        let mut workloads = self.world.workloads();
        let autoscalers = autoscalers(&self.world.autoscalers());
        let all = workloads.iter().map(|(key, workload)| {
            let autoscaler = autoscalers.get(key).map(AsRef::as_ref);
            (workload.settings.mode, autoscaler)
        });
        self.means.metrics.workloads(all);
        if self.restore(&autoscalers, now).await {
            // Nobody leaves or is taken over before what was stored is seen again.
            return TickOutcome::Idle;
        }
        self.leave(&mut workloads, &autoscalers, now).await;
        self.memory.retain(|key, _| workloads.contains_key(key));
        let around = self.around();
        let objectives = self.world.objectives();
        let serving = pods::serving(&self.world.pods());
        let mut tick = Tick {
            now,
            seed: now.as_second().unsigned_abs(),
            observations: Vec::new(),
            states: Vec::new(),
        };
        let mut live: BTreeMap<&ObjectKey, Vec<&Revision>> = BTreeMap::new();
        for revision in &observed.revisions {
            live.entry(&revision.workload).or_default().push(revision);
        }
        let reached = self.means.board.reached();
        let mut with = Vec::new();
        for mut signals in observed.signals.iter().cloned() {
            let key = &signals.workload.clone();
            let Some(autoscaler) = autoscalers.get(key) else {
                // Nowhere to remember what is decided: made at the objectives' next round.
                continue;
            };
            let Some(workload) = workloads.remove(key) else {
                continue;
            };
            let Some(percentile) = gather::percentile(&objectives, &workload) else {
                continue;
            };
            let windows = self.means.windows;
            let memory = self.recall(&workload, autoscaler, now);
            let loaded = reached.contains(key);
            memory.before.spare(&mut signals, loaded, &windows, now);
            memory.history.look(now, &signals);
            let one = One {
                workload: &workload,
                autoscaler,
                percentile,
                serving: serving.get(key).map_or(&[][..], Vec::as_slice),
                signals,
                live: live.remove(key).unwrap_or_default(),
                history: memory.history.samples(),
            };
            tick.observations.push(gather::observation(&around, one));
            tick.states.push(memory.state.clone());
            let since = now.duration_since(memory.written).as_secs_f64();
            with.push((workload, Arc::clone(autoscaler), since >= status::EVERY_S));
        }
        if with.is_empty() {
            return TickOutcome::Idle;
        }
        let tick = Arc::new(tick);
        match self.engine.decide(Arc::clone(&tick), DECIDING).await {
            Ok(decisions) => {
                self.carry(tick, with, decisions, claim).await;
                TickOutcome::Decided
            }
            Err(error) => {
                tracing::error!(%error, category = error.category(), "nothing was decided");
                TickOutcome::failed(&error)
            }
        }
    }

    /// Carries all decisions out, some at once, while this replica leads.
    async fn carry(
        &mut self,
        tick: Arc<Tick>,
        with: Vec<(Workload, Arc<SloAutoscaler>, bool)>,
        decisions: Vec<Option<msars_plan::Decision>>,
        claim: &watch::Receiver<Claim>,
    ) {
        self.log(&tick, &decisions);
        let tasks: Vec<Task> = with
            .into_iter()
            .zip(decisions)
            .enumerate()
            .filter_map(|(index, ((workload, autoscaler, old), decision))| {
                let decision = decision?;
                tracing::debug!(decision = decision.explain(), "decided");
                Some(Task {
                    found: self.found(&workload),
                    workload,
                    autoscaler,
                    seen: tick.observations.get(index)?.clone(),
                    before: tick.states.get(index)?.clone(),
                    decision,
                    old,
                    now: tick.now,
                })
            })
            .collect();
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
        let (hands, clock) = (&self.hands, self.means.now);
        let outcomes: Vec<_> = futures::stream::iter(tasks)
            .map(|task| async move {
                if leads(claim, clock()) {
                    Some(hands.carry(task).await)
                } else {
                    None
                }
            })
            .buffer_unordered(PARALLEL)
            .filter_map(|outcome| async move { outcome })
            .collect()
            .await;
        for outcome in outcomes {
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
}

/// The end of a look; `None` when it failed.
async fn joined(looking: &mut Option<JoinHandle<Observed>>) -> Option<Observed> {
    match looking.as_mut()?.await {
        Ok(observed) => Some(observed),
        Err(error) => {
            tracing::error!(%error, "asking for metrics failed");
            None
        }
    }
}

/// Autoscalers by the Deployment that they scale; of several the first by name.
fn autoscalers(stored: &[Arc<SloAutoscaler>]) -> BTreeMap<ObjectKey, Arc<SloAutoscaler>> {
    let mut sorted: Vec<_> = stored.to_vec();
    sorted.sort_by(|a, b| a.metadata.name.cmp(&b.metadata.name));
    let mut out = BTreeMap::new();
    for autoscaler in sorted {
        let Some(namespace) = autoscaler.metadata.namespace.clone() else {
            continue;
        };
        let key = ObjectKey::new(namespace, &autoscaler.spec.target_ref.name);
        out.entry(key).or_insert(autoscaler);
    }
    out
}
