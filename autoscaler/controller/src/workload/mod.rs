//! Workloads: every 15 s observe, decide, act; between, a reflex grows throttled pods in place.
//!
//! One task owns all memory: metrics are fetched beside it, so that a slow Prometheus does not stop the reflex. What a
//! decision must remember is stored in the SloAutoscaler's status before its writes are made; a workload whose status
//! cannot be written is left as it is.

pub mod act;
pub mod adopt;
mod around;
pub mod behavior;
mod births;
mod deaf;
pub mod drain;
pub mod explain;
pub mod gather;
pub mod hands;
pub mod history;
pub mod kept;
mod leaving;
mod parting;
pub mod pod;
pub mod reach;
pub mod record;
pub mod recorder;
mod reflex;
pub mod reflex_input;
pub mod replay;
mod restore;
pub mod revisions;
pub mod rivals;
pub mod room;
mod second;
mod silence;
pub mod spared;
pub mod status;
mod takeover;
pub mod tell;
#[cfg(test)]
pub(crate) mod tests;
mod tick;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use kube::Client;
use msars_client::leader::Claim;
use msars_domain::{ObjectKey, Observation};
use msars_observe::{Observed, Observer, Windows};
use msars_plan::{Limits, State};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use self::deaf::Deaf;
use self::hands::Hands;
use self::history::History;
use self::kept::Kept;
use self::recorder::Recorder;
use self::silence::Silence;
use self::spared::Before;
use self::tick::joined;
use crate::engine::{Engine, EngineError, analytic};
use crate::kubelet::Kubelets;
use crate::lead::Lead;
use crate::metrics::{Metrics, TickOutcome};
use crate::objective::Board;
use crate::own::Own;
use crate::world::{Workload, World};

/// Between two decisions.
const EVERY: Duration = Duration::from_secs(15);
/// Between two looks of the reflex.
const FAST: Duration = Duration::from_secs(2);
/// Requests to the API server that are made at once.
const PARALLEL: usize = 8;
/// At the end, the last decisions are written within this.
const LOGGED: Duration = Duration::from_secs(5);

/// What the task needs besides the world.
#[derive(Debug)]
pub struct Means {
    /// Prometheus.
    pub observer: Observer,
    /// Its windows.
    pub windows: Windows,
    /// Kubelets.
    pub kubelets: Kubelets,
    /// Where decisions are logged.
    pub log: Option<Recorder>,
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
    /// Nodes whose kubelet did not answer.
    deaf: Deaf,
    grants: reach::Grants,
    misread: tell::Misread,
    silence: Silence,
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
    missing: tell::Missing,
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

/// The planner's settings for a Prometheus that is asked over these windows: what is new by them is no old reading.
fn limits(windows: &Windows) -> Limits {
    let usual = Limits::default();
    let seconds = |span: Duration| u32::try_from(span.as_secs()).unwrap_or(u32::MAX);
    Limits {
        staleness_s: usual.staleness_s.max(seconds(windows.stale())),
        // Two scrapes may be missed, as by one that is late.
        lost_s: usual.lost_s.max(seconds(windows.scrape * 2)),
        quantile_s: (usual.quantile_s).max(seconds(windows.tail() + windows.scrape + windows.late)),
        ..usual
    }
}

impl Workloads {
    /// With nothing seen yet; `client` sends every write once, while `claim` says that this replica leads.
    pub fn new(
        world: World,
        own: Own,
        client: Client,
        means: Means,
        claim: watch::Receiver<Claim>,
    ) -> Result<Self, EngineError> {
        let lead = Lead::new(claim, means.now);
        Ok(Self {
            hands: Hands::new(client, own, lead, means.metrics.clone()),
            world,
            engine: Engine::start(analytic, limits(&means.windows))?,
            means,
            memory: BTreeMap::new(),
            pods: reflex_input::Pods::default(),
            resizable: None,
            deaf: Deaf::default(),
            grants: reach::Grants::default(),
            misread: tell::Misread::default(),
            silence: Silence::default(),
        })
    }

    /// Runs until `stop`; acts only while this replica leads.
    pub async fn run(mut self, stop: watch::Receiver<bool>) {
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
                () = around::due(&mut ticks, &self.means.board), if !waiting => {
                    if self.hands.lead.holds() {
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
                        Some(observed) => self.tick(&observed).await,
                        None => TickOutcome::Blind,
                    };
                    self.means.metrics.ticked(outcome, begun.elapsed());
                }
                _tick = fast.tick() => self.reflex().await,
            }
        }
        if let Some(looking) = looking {
            looking.abort();
            drop(looking.await);
        }
        if let Some(log) = self.means.log
            && !log.end(LOGGED).await
        {
            tracing::warn!("the last decisions were not logged in time");
        }
    }
}
