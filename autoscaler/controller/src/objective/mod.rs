//! Objectives: observe the application, split, write the result per revision.

mod application;
pub mod assemble;
mod board;
pub mod bounds;
mod classes;
mod declared;
mod drift;
mod force;
mod known;
mod live;
mod look;
mod measured;
mod memory;
pub mod passive;
mod prune;
mod rare;
mod report;
mod room;
mod solve;
mod spent;
mod strain;
mod tail;
#[cfg(test)]
pub(crate) mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use msars_api::crd::SloAutoscaler;
use msars_budget::Split;
use msars_client::leader::Claim;
use msars_domain::{ObjectKey, Signals};
use msars_observe::{Observer, Windows};
use tokio::sync::watch;
use tokio::task::JoinSet;

use self::application::Application;
use self::assemble::Member;
pub use self::board::{Board, Decided};
use self::force::InForce;
use self::known::{Forms, Profiles};
use self::measured::Seen;
use self::memory::{Memory, Standing};
pub use self::room::{Quotas, limits};
use self::solve::{Basis, compute, due, members};
pub use self::strain::Health;
use crate::autoscalers::{self, Targets};
use crate::lead::Lead;
use crate::metrics::Metrics;
use crate::own::Own;
use crate::pods;
use crate::world::{Workload, World};

/// The reason of an objective that is split, and keeps its latency.
pub const SPLIT: &str = "Split";
/// The reason of one that is split as well as can be, and does not.
pub const OUT_OF_REACH: &str = "OutOfReach";
/// Between two looks at Prometheus.
const EVERY: Duration = Duration::from_secs(10);
/// The objectives' task.
#[derive(Debug)]
pub struct Objectives {
    world: World,
    own: Own,
    lead: Lead,
    observer: Observer,
    windows: Windows,
    now: fn() -> Timestamp,
    board: Arc<Board>,
    metrics: Metrics,
    splits: Splits,
    /// What was seen last, by objective.
    memory: BTreeMap<ObjectKey, Memory>,
    /// What decides which profile stands in for another.
    forms: Forms,
    /// The question about error budgets that is on its way, at most one.
    asking: JoinSet<spent::Found>,
    /// Drift that is not told yet.
    pending: drift::Pending,
    /// Workloads whose users were told that an objective stays without its annotation.
    unasked: BTreeSet<ObjectKey>,
}

/// When an objective is split.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Splits {
    /// Whenever what it rests on changed.
    #[default]
    Follow,
    /// Once by each leader: what is wanted of a service then holds for its later revisions too.
    Once,
}

/// What all applications of a round share.
#[derive(Debug, Clone, Copy)]
struct Around<'a> {
    workloads: &'a BTreeMap<ObjectKey, Workload>,
    known: &'a Profiles,
    sizes: &'a BTreeMap<ObjectKey, InForce>,
    /// The autoscaler that counts, by Deployment.
    autoscalers: &'a BTreeMap<ObjectKey, Arc<SloAutoscaler>>,
    /// Empty in a round that asks nothing.
    signals: &'a SignalMap,
}

/// The members of an application with the revisions that a split is for.
type Members<'a> = BTreeMap<String, Member<'a>>;

impl Objectives {
    /// With nothing seen yet; nothing is written but while `claim` says that this replica leads.
    pub fn new(
        world: World,
        own: Own,
        observer: Observer,
        windows: Windows,
        now: fn() -> Timestamp,
        board: Arc<Board>,
        claim: watch::Receiver<Claim>,
    ) -> Self {
        let lead = Lead::new(claim, now);
        Self {
            world,
            own: own.led(lead.clone()),
            lead,
            observer,
            windows,
            now,
            board,
            metrics: Metrics::default(),
            splits: Splits::default(),
            memory: BTreeMap::new(),
            forms: Forms::default(),
            asking: JoinSet::new(),
            pending: drift::Pending::default(),
            unasked: BTreeSet::new(),
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
    pub async fn run(mut self, mut stop: watch::Receiver<bool>) {
        let mut ticks = tokio::time::interval(EVERY);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let board = Arc::clone(&self.board);
        loop {
            let look = tokio::select! {
                _tick = ticks.tick() => true,
                () = board.profiled.notified() => false,
                _ended = stop.wait_for(|stop| *stop) => return,
            };
            self.turn(look).await;
        }
    }

    /// A round where this replica leads; where it does not, the next leader may write other splits.
    async fn turn(&mut self, look: bool) {
        if !self.lead.holds() {
            // What was measured stays: the lead may only have lapsed, and a quiet application can't be measured anew.
            self.memory.values_mut().for_each(Memory::give_up);
            self.pending = drift::Pending::default();
        } else if self.world.synced() {
            Box::pin(self.round(look)).await;
        }
    }

    /// One round over all objectives; `look` asks Prometheus first.
    pub async fn round(&mut self, look: bool) {
        let workloads = self.world.workloads();
        self.declare(&workloads).await;
        autoscalers::keep(&self.own, &self.world.autoscalers(), &workloads).await;
        let objectives = self.world.objectives();
        self.tell_unasked(&objectives, &workloads).await;
        let applications = application::all(&objectives, &workloads);
        self.recall(&applications);
        self.forms.see(&workloads);
        let known = known::profiles(&self.world.profiles(), &self.forms);
        let sizes = force::sizes(&workloads, &pods::serving(&self.world.pods()));
        let targets = Targets::of(&self.world.autoscalers()).first();
        let signals = if look {
            self.signals(&applications, &workloads).await
        } else {
            SignalMap::new()
        };
        let around = Around {
            workloads: &workloads,
            known: &known,
            sizes: &sizes,
            autoscalers: &targets,
            signals: &signals,
        };
        if look {
            let entries = self.entries(&applications).await;
            self.budgets(&applications, &entries);
            let traffic = self.all_traffic(&applications, &signals).await;
            let readings = entries.iter().zip(traffic);
            for (application, read) in applications.iter().zip(readings) {
                self.look(application, read, &around);
            }
            self.learn(&applications, &workloads, &known).await;
        }
        for application in &applications {
            if !self.lead.holds() {
                return;
            }
            self.split(application, &around).await;
        }
        if look {
            self.drift(&applications, &workloads, &known).await;
            self.prune(&workloads, &known).await;
        }
    }

    /// Forgets applications that are gone, notes which are profiled now, and posts the percentiles of what they visit.
    fn recall(&mut self, applications: &[Application]) {
        self.memory.retain(|key, _| {
            applications
                .iter()
                .any(|application| &application.key == key)
        });
        let now = (self.now)();
        let mut percentiles = BTreeMap::new();
        for application in applications {
            let memory = self.memory.entry(application.key.clone()).or_default();
            if self.board.profiling_in(&application.key.namespace) {
                memory.profiled = Some(now);
            }
            for member in &application.members {
                // A profile serves all objectives that its workload is part of.
                let strictest: &mut f64 = percentiles.entry(member.clone()).or_default();
                *strictest = strictest.max(application.percentile.get());
            }
        }
        let lives = |key: &ObjectKey| applications.iter().any(|one| one.key == *key);
        self.board.cover(lives, percentiles);
    }

    /// Whether the windows of an application hold the load of a profile's copy.
    fn loaded(&self, application: &Application, now: Timestamp) -> bool {
        let memory = self.memory.get(&application.key);
        memory.is_some_and(|memory| memory.loaded(&self.windows, now))
    }

    /// Splits one application where that is due, and writes what its status is to say.
    async fn split(&mut self, application: &Application, around: &Around<'_>) {
        let mut memory = self.memory.remove(&application.key).unwrap_or_default();
        let seen = Seen {
            application,
            entry: memory.entry.clone(),
            budget: memory.budget.clone(),
            now: (self.now)(),
        };
        if memory.classes.is_empty() {
            let (reason, why) = match &memory.trouble {
                Some(trouble) => (trouble.reason(), trouble.message(application)),
                None => ("NoChain", "no calls were counted yet".into()),
            };
            report::not_split(&self.own, &seen, reason, &why).await;
        } else {
            self.follow(&mut memory, &seen, around).await;
        }
        self.memory.insert(application.key.clone(), memory);
    }

    /// The same for an application whose classes are known.
    async fn follow(&self, memory: &mut Memory, seen: &Seen<'_>, around: &Around<'_>) {
        let (application, now) = (seen.application, seen.now);
        memory.ask(application);
        let current = members(application, around, memory, false);
        let ahead = members(application, around, memory, true);
        // A copy's load grows what it strains: that is no change of the users' making.
        let none = BTreeMap::new();
        let sizes = if memory.loaded(&self.windows, now) {
            &none
        } else {
            around.sizes
        };
        let both = (&current, &ahead);
        let basis = Basis::of(application, &memory.classes, both, sizes, now);
        let invalid = report::invalid(memory.trouble.as_ref(), application);
        if !due(memory.basis.as_ref(), &basis) {
            let standing = memory.standing.as_ref();
            report::standing(&self.own, seen, standing, invalid.as_deref()).await;
            return;
        }
        let waiting = ahead
            .values()
            .any(|member| member.workload.held() && member.revision == member.workload.revision);
        let begun = (self.now)();
        let solved = self
            .solve(application, memory, (&current, &ahead), waiting)
            .await;
        let took_ms = (self.now)().duration_since(begun).as_secs_f64() * 1000.0;
        let (split, next) = match &solved {
            Ok((split, next)) => (split, next.as_ref()),
            Err(why) => {
                self.metrics.split(None, took_ms / 1000.0);
                report::not_split(&self.own, seen, "NoProfile", why).await;
                return;
            }
        };
        let decisive = next.unwrap_or(split);
        self.metrics.split(Some(decisive.method), took_ms / 1000.0);
        let written = report::Written {
            seen,
            classes: &memory.classes,
            split,
            next,
            current: &current,
            ahead: &ahead,
            invalid: invalid.as_deref(),
            took_ms,
        };
        if let Some(stored) = report::split(&self.own, &written).await {
            memory.basis = Some(basis.stored_as(&stored));
            memory.standing = Some(Standing {
                split: split.clone(),
                feasible: decisive.feasible,
                reason: decisive.reason.clone(),
            });
        }
    }

    /// For what runs, and for what will run when it waits: computed, or the standing one where there is to be no other.
    async fn solve(
        &self,
        application: &Application,
        memory: &Memory,
        (current, ahead): (&Members<'_>, &Members<'_>),
        waiting: bool,
    ) -> Result<(Split, Option<Split>), String> {
        let standing = memory.standing.as_ref();
        match standing.filter(|_| self.splits == Splits::Once) {
            Some(Standing { split, .. }) => Ok((split.clone(), waiting.then(|| split.clone()))),
            None => compute(application, &memory.classes, current, ahead, waiting).await,
        }
    }
}

/// Signals by workload.
type SignalMap = BTreeMap<ObjectKey, Signals>;
