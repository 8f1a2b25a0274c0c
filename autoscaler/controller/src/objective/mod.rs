//! Objectives: observe the application, split, write the result per revision.

mod application;
pub mod assemble;
mod board;
mod classes;
mod live;
mod look;
pub mod passive;
mod report;
mod room;
mod solve;
mod tail;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use msars_api::crd::Observed;
use msars_budget::Split;
use msars_client::leader::Claim;
use msars_domain::{Millis, ObjectKey, Signals};
use msars_observe::{Observer, Windows};
use tokio::sync::watch;

use self::application::Application;
use self::assemble::Class;
pub use self::board::{Board, Strain};
use self::solve::{Basis, compute, due, members};
use crate::autoscalers;
use crate::metrics::Metrics;
use crate::own::Own;
use crate::profiles::{self, Known};
use crate::world::{Workload, World};

/// Between two looks at Prometheus.
const EVERY: Duration = Duration::from_secs(10);
/// The objectives' task.
#[derive(Debug)]
pub struct Objectives {
    world: World,
    own: Own,
    observer: Observer,
    windows: Windows,
    cores: f64,
    now: fn() -> Timestamp,
    board: Arc<Board>,
    metrics: Metrics,
    splits: Splits,
    /// What was seen last, by objective.
    memory: BTreeMap<ObjectKey, Memory>,
}

/// When an objective is split.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Splits {
    /// Whenever a revision, a profile, the rate or the tail factor changed.
    #[default]
    Follow,
    /// Once by each leader: what is wanted of a service then holds for its later revisions too.
    Once,
}

/// What is remembered of an application between two rounds. Everything here is read anew after a change of leader.
#[derive(Debug, Default)]
struct Memory {
    classes: Vec<Class>,
    observed: BTreeMap<String, Millis>,
    work_ratio: BTreeMap<String, f64>,
    /// CPU seconds per request, as seen last.
    work: BTreeMap<String, f64>,
    entry: Option<Observed>,
    trouble: Option<String>,
    /// What the last split rested on.
    basis: Option<Basis>,
    /// The split that is written, for what runs.
    split: Option<Split>,
}

impl Objectives {
    /// With nothing seen yet.
    pub fn new(
        world: World,
        own: Own,
        observer: Observer,
        windows: Windows,
        cores: f64,
        now: fn() -> Timestamp,
        board: Arc<Board>,
    ) -> Self {
        Self {
            world,
            own,
            observer,
            windows,
            cores,
            now,
            board,
            metrics: Metrics::default(),
            splits: Splits::default(),
            memory: BTreeMap::new(),
        }
    }

    /// Makes splits when `splits` says.
    #[must_use]
    pub const fn made(mut self, splits: Splits) -> Self {
        self.splits = splits;
        self
    }

    /// Counts splits in `metrics`.
    #[must_use]
    pub fn counted_in(mut self, metrics: Metrics) -> Self {
        self.metrics = metrics;
        self
    }

    /// Runs while this replica leads, until `stop`.
    pub async fn run(mut self, claim: watch::Receiver<Claim>, mut stop: watch::Receiver<bool>) {
        let mut ticks = tokio::time::interval(EVERY);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let board = Arc::clone(&self.board);
        loop {
            let look = tokio::select! {
                _tick = ticks.tick() => true,
                () = board.profiled.notified() => false,
                _ended = stop.wait_for(|stop| *stop) => return,
            };
            let leads = claim.borrow().is_some_and(|end| end > (self.now)());
            if leads && self.world.synced() {
                self.round(look).await;
            }
        }
    }

    /// One round over all objectives; `look` asks Prometheus first.
    pub async fn round(&mut self, look: bool) {
        let workloads = self.world.workloads();
        self.declare(&workloads).await;
        autoscalers::keep(&self.own, &self.world.autoscalers(), &workloads).await;
        let applications = application::all(&self.world.objectives(), &workloads);
        self.memory.retain(|key, _| {
            applications
                .iter()
                .any(|application| &application.key == key)
        });
        let mut percentiles = BTreeMap::new();
        for application in &applications {
            for member in &application.members {
                percentiles
                    .entry(member.clone())
                    .or_insert(application.percentile.get());
            }
        }
        self.board.with(|posted| posted.percentile = percentiles);
        if look {
            let signals = self.signals(&applications, &workloads).await;
            for application in &applications {
                self.look(application, &workloads, &signals).await;
            }
            self.learn(&applications, &workloads).await;
        }
        let known = self.known();
        for application in &applications {
            self.split(application, &workloads, &known).await;
        }
    }

    /// Every finished profile by workload and revision.
    fn known(&self) -> BTreeMap<(ObjectKey, String), Known> {
        self.world
            .profiles()
            .iter()
            .filter_map(|profile| {
                let namespace = profile.metadata.namespace.clone()?;
                let workload = ObjectKey::new(namespace, &profile.spec.workload);
                let known = profiles::known(profile)?;
                Some(((workload, profile.spec.revision.clone()), known))
            })
            .collect()
    }

    async fn split(
        &mut self,
        application: &Application,
        workloads: &BTreeMap<ObjectKey, Workload>,
        known: &BTreeMap<(ObjectKey, String), Known>,
    ) {
        let now = (self.now)();
        let memory = self.memory.entry(application.key.clone()).or_default();
        if memory.classes.is_empty() {
            let why = memory
                .trouble
                .clone()
                .unwrap_or_else(|| "no calls were counted yet".into());
            report::not_split(
                &self.own,
                application,
                "NoChain",
                &why,
                memory.entry.as_ref(),
                now,
            )
            .await;
            return;
        }
        let current = members(application, workloads, known, memory, false);
        let ahead = members(application, workloads, known, memory, true);
        let waiting: Vec<(ObjectKey, String)> = ahead
            .values()
            .filter(|member| member.workload.held() && member.revision == member.workload.revision)
            .map(|member| (member.workload.key.clone(), member.revision.to_owned()))
            .collect();
        let basis = Basis::of(&ahead, &memory.classes, now);
        if !due(memory.basis.as_ref(), &basis) {
            report::observed(&self.own, application, memory.entry.as_ref(), now).await;
            return;
        }
        let begun = (self.now)();
        let standing = memory.split.clone().filter(|_| self.splits == Splits::Once);
        let both = if let Some(split) = standing {
            Ok((split.clone(), (!waiting.is_empty()).then_some(split)))
        } else {
            let anew = !waiting.is_empty();
            compute(application, &memory.classes, &current, &ahead, anew).await
        };
        let took_ms = (self.now)().duration_since(begun).as_secs_f64() * 1000.0;
        let made = both.as_ref().ok();
        let method = made.map(|(split, next)| next.as_ref().unwrap_or(split).method);
        self.metrics.split(method, took_ms / 1000.0);
        match both {
            Ok((split, next)) => {
                let written = report::split(
                    &self.own,
                    &report::Written {
                        application,
                        classes: &memory.classes,
                        split: &split,
                        next: next.as_ref(),
                        current: &current,
                        ahead: &ahead,
                        entry: memory.entry.as_ref(),
                        took_ms,
                        now,
                    },
                )
                .await;
                if written {
                    memory.basis = Some(basis);
                    memory.split = Some(split);
                    self.board.with(|posted| posted.split.extend(waiting));
                }
            }
            Err(why) => {
                report::not_split(
                    &self.own,
                    application,
                    "NoProfile",
                    &why,
                    memory.entry.as_ref(),
                    now,
                )
                .await;
            }
        }
    }
}

/// Signals by workload.
type SignalMap = BTreeMap<ObjectKey, Signals>;
