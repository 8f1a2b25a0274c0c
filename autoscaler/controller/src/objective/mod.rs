//! Objectives: observe the application, split, write the result per revision.

mod application;
pub mod assemble;
mod classes;
mod learning;
pub mod passive;
mod report;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use msars_api::crd::Observed;
use msars_budget::{Allocator as _, Floor, Reference, Split};
use msars_client::leader::Claim;
use msars_domain::{MilliCpu, Millis, ObjectKey, Signals};
use msars_observe::{Observer, Windows};
use tokio::sync::{Notify, watch};

use self::application::Application;
use self::assemble::{Class, Member, Missing};
use crate::autoscalers;
use crate::metrics::Metrics;
use crate::own::Own;
use crate::profiles::{self, Known};
use crate::world::{Workload, World};

/// Between two looks at Prometheus.
const EVERY: Duration = Duration::from_secs(10);
/// A split is made anew when the entry's rate or the tail factor moved by this share.
const MOVED: f64 = 0.25;
/// But not more often than this, unless a revision or a profile changed.
const DWELL_S: f64 = 30.0;

/// What objectives and revisions tell each other.
#[derive(Debug, Default)]
pub struct Board {
    inner: Mutex<Posted>,
    /// A profile came in: split without waiting for the next look.
    pub profiled: Notify,
}

#[derive(Debug, Default)]
struct Posted {
    split: BTreeSet<(ObjectKey, String)>,
    percentile: BTreeMap<ObjectKey, f64>,
    profiling: BTreeSet<ObjectKey>,
    callees: BTreeMap<ObjectKey, BTreeSet<ObjectKey>>,
    observed: BTreeMap<ObjectKey, f64>,
    strained: BTreeMap<ObjectKey, BTreeMap<ObjectKey, Strain>>,
}

impl Board {
    fn with<T>(&self, f: impl FnOnce(&mut Posted) -> T) -> T {
        f(&mut self.inner.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Whether a split counts with this revision.
    pub fn is_split(&self, workload: &ObjectKey, revision: &str) -> bool {
        let key = (workload.clone(), revision.to_owned());
        self.with(|posted| posted.split.contains(&key))
    }

    /// The percentile of the objective that visits a workload.
    pub fn percentile(&self, workload: &ObjectKey) -> Option<f64> {
        self.with(|posted| posted.percentile.get(workload).copied())
    }

    /// Says which workloads are being profiled: nothing is learnt from their namespaces meanwhile.
    pub fn set_profiling(&self, workloads: BTreeSet<ObjectKey>) {
        self.with(|posted| posted.profiling = workloads);
    }

    /// Everything that a workload's requests reach, by the chains seen last, with its self time in ms; a callee whose
    /// time is not known counts with none, so that any strain is seen.
    pub fn callees(&self, workload: &ObjectKey) -> BTreeMap<ObjectKey, f64> {
        self.with(|posted| {
            let callees = posted.callees.get(workload).into_iter().flatten();
            callees
                .map(|key| {
                    let before = posted.observed.get(key).copied().unwrap_or(0.0);
                    (key.clone(), before)
                })
                .collect()
        })
    }

    /// Workloads whose self time passes four fifths of their budget.
    pub fn strained(&self) -> BTreeMap<ObjectKey, Strain> {
        self.with(|posted| {
            let all = posted.strained.values().flatten();
            all.map(|(key, strain)| (key.clone(), *strain)).collect()
        })
    }

    fn profiling_in(&self, namespace: &str) -> bool {
        self.with(|posted| {
            posted
                .profiling
                .iter()
                .any(|key| key.namespace == namespace)
        })
    }
}

/// A callee whose self time passes this share of its budget is in trouble while a caller is profiled.
const STRAIN: f64 = 0.8;

/// A longer self time is felt from this share of the objective on.
const FELT: f64 = 0.05;

/// A self time near or above its budget.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Strain {
    /// The self time at the objective's percentile, ms.
    pub now_ms: f64,
    /// How much longer than before it must be to be felt by the objective, ms.
    pub felt_ms: f64,
}

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
    /// What was seen last, by objective.
    memory: BTreeMap<ObjectKey, Memory>,
}

/// What is remembered of an application between two rounds. Everything here is read anew after a change of leader.
#[derive(Debug, Default)]
struct Memory {
    classes: Vec<Class>,
    observed: BTreeMap<String, Millis>,
    work_ratio: BTreeMap<String, f64>,
    entry: Option<Observed>,
    trouble: Option<String>,
    /// The running revisions' budgets.
    budgets: BTreeMap<String, Millis>,
    /// What the last split rested on.
    basis: Option<Basis>,
}

#[derive(Debug, Clone, PartialEq)]
struct Basis {
    versions: Vec<String>,
    rate: f64,
    tail: f64,
    at: Timestamp,
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
            memory: BTreeMap::new(),
        }
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
        let rate: f64 = memory.classes.iter().map(|class| class.rate.get()).sum();
        let basis = Basis {
            versions: ahead
                .iter()
                .map(|(name, member)| {
                    let version = member.profile.map_or("-", |known| known.version.as_str());
                    format!("{name}@{}@{version}", member.revision)
                })
                .collect(),
            rate,
            tail: memory
                .classes
                .iter()
                .map(|class| class.tail.get())
                .fold(0.0, f64::max),
            at: now,
        };
        if !due(memory.basis.as_ref(), &basis) {
            report::observed(&self.own, application, memory.entry.as_ref(), now).await;
            return;
        }
        let begun = (self.now)();
        let both = compute(
            application,
            &memory.classes,
            &current,
            &ahead,
            !waiting.is_empty(),
        )
        .await;
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
                    memory.budgets = split
                        .services
                        .iter()
                        .map(|service| (service.service.clone(), service.budget))
                        .collect();
                    memory.basis = Some(basis);
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

fn due(last: Option<&Basis>, next: &Basis) -> bool {
    let Some(last) = last else {
        return true;
    };
    let far = |now: f64, then: f64| (now - then).abs() > MOVED * then.max(0.1);
    let moved = far(next.rate, last.rate) || far(next.tail, last.tail);
    last.versions != next.versions
        || (moved && next.at.duration_since(last.at).as_secs_f64() >= DWELL_S)
}

/// The members of an application with the revision that a split is for: the running one, or (`ahead`) the one that
/// waits, when it is profiled.
fn members<'a>(
    application: &Application,
    workloads: &'a BTreeMap<ObjectKey, Workload>,
    known: &'a BTreeMap<(ObjectKey, String), Known>,
    memory: &Memory,
    ahead: bool,
) -> BTreeMap<String, Member<'a>> {
    application
        .members
        .iter()
        .filter_map(|key| {
            let workload = workloads.get(key)?;
            let profile = |revision: &str| known.get(&(key.clone(), revision.to_owned()));
            let waiting = workload.held().then_some(workload.revision.as_str());
            let revision = match waiting {
                Some(waiting) if ahead && profile(waiting).is_some() => waiting,
                _ => workload.running(),
            };
            let member = Member {
                workload,
                revision,
                profile: profile(revision),
                observed: memory.observed.get(&key.name).copied(),
                work_ratio: if revision == workload.running() {
                    memory.work_ratio.get(&key.name).copied().unwrap_or(1.0)
                } else {
                    1.0
                },
                floor: None,
            };
            Some((key.name.clone(), member))
        })
        .collect()
}

/// Splits for what runs and, when a profiled revision waits, for what will run: then nothing else may shrink below
/// what the first split gave it.
async fn compute(
    application: &Application,
    classes: &[Class],
    current: &BTreeMap<String, Member<'_>>,
    ahead: &BTreeMap<String, Member<'_>>,
    waiting: bool,
) -> Result<(Split, Option<Split>), String> {
    let name = application.name.clone();
    let wrong = |Missing(services): Missing| format!("nothing is known of {}", services.join(", "));
    let first = assemble::request(&name, classes, current).map_err(wrong)?;
    let second = if waiting {
        Some(assemble::request(&name, classes, ahead).map_err(wrong)?)
    } else {
        None
    };
    let changed: BTreeSet<String> = ahead
        .iter()
        .filter(|(name, member)| {
            current
                .get(*name)
                .is_none_or(|other| other.revision != member.revision)
        })
        .map(|(name, _)| name.clone())
        .collect();
    let solved = tokio::task::spawn_blocking(move || {
        let mut reference = Reference::default();
        let mut solve = |request| {
            reference
                .allocate(&[request])
                .pop()
                .ok_or("no answer".to_owned())?
                .map_err(|error| error.to_string())
        };
        let split: Split = solve(first)?;
        let next = match second {
            None => None,
            Some(mut request) => {
                for (name, service) in &mut request.services {
                    let pods = split.service(name).and_then(|service| service.pods);
                    if let Some(pods) = pods.filter(|_| !changed.contains(name)) {
                        service.floor = Some(Floor {
                            size: MilliCpu(pods.size.0),
                            replicas: pods.replicas,
                        });
                    }
                }
                Some(solve(request)?)
            }
        };
        Ok::<_, String>((split, next))
    });
    solved.await.map_err(|error| error.to_string())?
}

/// Signals by workload.
type SignalMap = BTreeMap<ObjectKey, Signals>;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_split_is_due_for_a_new_revision_at_once_and_for_a_new_rate_after_a_while() {
        let at = |second| Timestamp::from_second(second).unwrap();
        let basis = |version: &str, rate, second| Basis {
            versions: vec![version.into()],
            rate,
            tail: 1.0,
            at: at(second),
        };
        let last = basis("a", 40.0, 0);
        for (next, wanted) in [
            (basis("a", 40.0, 100), false),
            (basis("b", 40.0, 1), true),
            (basis("a", 60.0, 10), false),
            (basis("a", 60.0, 31), true),
            (basis("a", 45.0, 31), false),
        ] {
            assert_eq!(due(Some(&last), &next), wanted, "{next:?}");
        }
        assert!(due(None, &last));
    }
}
