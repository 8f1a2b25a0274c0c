//! When a split is due, what it rests on, and the solving itself. Pure but for the thread that solves.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use jiff::Timestamp;
use msars_api::crd::ChainSplit;
use msars_budget::{Allocator as _, Floor, Reference, Split, SplitRequest, on_chains};
use msars_domain::{Call, EdgeKind, MilliCpu, Millis, ObjectKey, Percentile, Rate};

use super::application::Application;
use super::assemble::{self, Class, Member, Missing, earlier};
use super::bounds::bounds;
use super::drift::Live;
use super::force::InForce;
use super::memory::Memory;
use super::{Around, Members};

/// A split is made anew when something measured moved by this share.
const MOVED: f64 = 0.25;
/// But not more often than this, unless what is asked or what runs changed.
const DWELL_S: f64 = 30.0;

/// What a split rests on.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Basis {
    /// What is asked of each class.
    asked: Vec<Asked>,
    /// What runs or will, by service.
    runs: BTreeMap<String, Runs>,
    /// The revision that runs, by service: another one than will while its hold lasts, and then the split is for both.
    running: BTreeMap<String, String>,
    measured: BTreeMap<Measured, f64>,
    /// The splits that are stored.
    stored: Vec<Stored>,
    at: Timestamp,
}

/// What tells a stored split from any other: its chain, and when it was made. Figures may come back rounded.
type Stored = (String, String);

fn stored(chains: &[ChainSplit]) -> Vec<Stored> {
    let one = |chain: &ChainSplit| (chain.name.clone(), chain.at.clone());
    chains.iter().map(one).collect()
}

/// What is asked of a class, and whom it calls.
#[derive(Debug, Clone, PartialEq)]
struct Asked {
    chain: String,
    objective: Millis,
    percentile: Percentile,
    edges: Vec<Edge>,
}

/// An edge of the tree, in tree order.
#[derive(Debug, Clone, PartialEq)]
struct Edge {
    caller: String,
    callee: String,
    kind: EdgeKind,
    /// Visits and their bound where they are declared; counted ones are [`Measured`].
    declared: Option<(f64, u32)>,
}

/// A service as it runs, or will.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Runs {
    revision: String,
    /// The version of its profile.
    profile: Option<String>,
    replicas: (u32, u32),
    sizes: Option<(MilliCpu, MilliCpu)>,
}

/// What is measured, and moves a little all the time.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Measured {
    /// Requests per second that enter.
    Rate,
    /// The tail factor.
    Tail,
    /// Mean calls of a service per request of a chain.
    Visits(String, String),
    /// Requests per second of a service, those of no class included.
    Load(String),
    /// Live CPU per request of a service over its profile's.
    Work(String),
    /// Size in force of a service, in thousandths of a core.
    Size(String),
    /// Self time of a service without a profile, as a share of the objective.
    Time(String),
}

impl Basis {
    /// Of a split for these members, those that run and those that will, made now. Sizes in force that are not given do
    /// not count.
    pub(super) fn of(
        application: &Application,
        classes: &[Class],
        (current, members): (&Members<'_>, &Members<'_>),
        sizes: &BTreeMap<ObjectKey, InForce>,
        now: Timestamp,
    ) -> Self {
        let rate = classes.iter().map(|class| class.rate.get()).sum();
        let tail = classes.iter().map(|class| class.tail.get());
        let mut measured = BTreeMap::from([
            (Measured::Rate, rate),
            (Measured::Tail, tail.fold(0.0, f64::max)),
        ]);
        for class in classes {
            for (service, visits) in class.chain.visits() {
                let what = Measured::Visits(class.chain.name.clone(), service.to_owned());
                measured.insert(what, visits);
            }
        }
        let loads = on_chains(classes.iter().map(|class| (&class.chain, class.rate)));
        for (name, member) in members {
            if let Some(load) = loads.get(name.as_str()) {
                let elsewhere = member.elsewhere.map_or(0.0, Rate::get);
                measured.insert(Measured::Load(name.clone()), load + elsewhere);
            }
            measured.insert(Measured::Work(name.clone()), member.work_ratio);
            if let (None, None, Some(time)) = (member.profile, member.earlier, member.observed) {
                let share = time.get() / application.objective.get();
                measured.insert(Measured::Time(name.clone()), share);
            }
            if let Some(force) = sizes.get(&member.workload.key) {
                measured.insert(Measured::Size(name.clone()), f64::from(force.size.0));
            }
        }
        let declared = !application.chains.is_empty();
        let status = application.stored.status.as_ref();
        Self {
            asked: classes.iter().map(|class| asked(class, declared)).collect(),
            runs: members
                .iter()
                .map(|(name, member)| (name.clone(), runs(member)))
                .collect(),
            running: current
                .iter()
                .map(|(name, member)| (name.clone(), member.revision.to_owned()))
                .collect(),
            measured,
            stored: status.map_or_else(Vec::new, |status| stored(&status.chains)),
            at: now,
        }
    }

    /// The same once the split that rests on it is stored as these chains.
    pub(super) fn stored_as(mut self, chains: &[ChainSplit]) -> Self {
        self.stored = stored(chains);
        self
    }

    /// Whether something else is asked: not by a call that only happened not to be seen.
    fn asks_otherwise(&self, last: &Self) -> bool {
        self.asked.len() != last.asked.len()
            || self.asked.iter().zip(&last.asked).any(|(next, last)| {
                let same = (&next.chain, next.objective, next.percentile)
                    == (&last.chain, last.objective, last.percentile);
                let new = next.edges.iter().any(|edge| !last.edges.contains(edge));
                let declared = last.edges.iter().filter(|edge| edge.declared.is_some());
                !same || new || declared.into_iter().any(|edge| !next.edges.contains(edge))
            })
    }

    /// Whether anything measured is far from what it was, or was not known then, or nobody calls a service any more.
    fn moved(&self, last: &Self) -> bool {
        let far = |now: f64, then: f64| (now - then).abs() > MOVED * then.max(0.1);
        let moved = |(what, now): (&Measured, &f64)| {
            last.measured.get(what).is_none_or(|then| far(*now, *then))
        };
        let idle = |what: &Measured| {
            matches!(what, Measured::Visits(..)) && !self.measured.contains_key(what)
        };
        self.measured.iter().any(moved) || last.measured.keys().any(idle)
    }
}

fn asked(class: &Class, declared: bool) -> Asked {
    fn walk(call: &Call, declared: bool, out: &mut Vec<Edge>) {
        for child in &call.children {
            out.push(Edge {
                caller: call.service.clone(),
                callee: child.service.clone(),
                kind: child.kind,
                declared: declared.then_some((child.visits, child.max_visits)),
            });
            walk(child, declared, out);
        }
    }
    let mut edges = Vec::new();
    walk(&class.chain.root, declared, &mut edges);
    Asked {
        chain: class.chain.name.clone(),
        objective: class.objective,
        percentile: class.chain.percentile,
        edges,
    }
}

fn runs(member: &Member<'_>) -> Runs {
    Runs {
        revision: member.revision.to_owned(),
        profile: member.profile.map(|known| known.version.clone()),
        replicas: member.bounds.replicas,
        sizes: member.bounds.sizes,
    }
}

/// Whether a split is to be made: at once for what is asked and what runs, after a while for what is measured. After a
/// while as well where another split is stored than was written, as by a leader that was late: until then, the copy may
/// not show it yet.
pub(super) fn due(last: Option<&Basis>, next: &Basis) -> bool {
    let Some(last) = last else {
        return true;
    };
    let dwelt = next.at.duration_since(last.at).as_secs_f64() >= DWELL_S;
    next.asks_otherwise(last)
        || last.runs != next.runs
        || last.running != next.running
        || (dwelt && (next.moved(last) || next.stored != last.stored))
}

/// The members of an application with the revision that a split is for: the running one, or (`ahead`) the one that
/// waits, when it is profiled.
pub(super) fn members<'a>(
    application: &Application,
    around: &Around<'a>,
    memory: &Memory,
    ahead: bool,
) -> Members<'a> {
    application
        .members
        .iter()
        .filter_map(|key| {
            let workload = around.workloads.get(key)?;
            let profile = |revision: &str| {
                let standing = around.known.get(&(key.clone(), revision.to_owned()))?;
                Some(&standing.known)
            };
            let waiting = workload.held().then_some(workload.revision.as_str());
            let revision = match waiting {
                Some(waiting) if ahead && profile(waiting).is_some() => waiting,
                _ => workload.running(),
            };
            let known = profile(revision);
            let stored = application.stored.status.as_ref();
            let member = Member {
                workload,
                revision,
                profile: known,
                earlier: stored
                    .filter(|_| known.is_none())
                    .and_then(|status| earlier(&status.chains, &key.name, application.objective)),
                observed: memory.observed.get(&key.name).copied(),
                // Measured on, and given to, the pods of one revision.
                work_ratio: memory
                    .live
                    .get(&key.name)
                    .filter(|live| live.revision == revision)
                    .map_or(1.0, Live::counted),
                bounds: bounds(workload, around.autoscalers.get(key).map(Arc::as_ref)),
                pinned: around
                    .sizes
                    .get(key)
                    .filter(|_| revision == workload.running())
                    .and_then(|force| force.pinned),
                floor: None,
                elsewhere: memory.elsewhere.get(&key.name).copied(),
            };
            Some((key.name.clone(), member))
        })
        .collect()
}

/// What is asked for these members. Where unprofiled ones keep the budgets of earlier revisions and that leaves too little
/// for the others, the second request counts only what they take.
fn requests(
    name: &str,
    classes: &[Class],
    members: &Members<'_>,
) -> Result<Vec<SplitRequest>, String> {
    let wrong = |Missing(services): Missing| format!("nothing is known of {}", services.join(", "));
    let mut out = vec![assemble::request(name, classes, members).map_err(wrong)?];
    if members.values().any(|member| member.earlier.is_some()) {
        let mut bare = members.clone();
        for member in bare.values_mut() {
            // Of a service with too few requests nothing else is known.
            if member.observed.is_some() {
                member.earlier = None;
            }
        }
        out.push(assemble::request(name, classes, &bare).map_err(wrong)?);
    }
    Ok(out)
}

/// Splits for what runs and, when a profiled revision waits, for what will run: then nothing else may shrink below
/// what the first split gave it.
pub(super) async fn compute(
    application: &Application,
    classes: &[Class],
    current: &Members<'_>,
    ahead: &Members<'_>,
    waiting: bool,
) -> Result<(Split, Option<Split>), String> {
    let first = requests(&application.name, classes, current)?;
    let second = if waiting {
        Some(requests(&application.name, classes, ahead)?)
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
        let mut solve = |requests: Vec<SplitRequest>| -> Result<Split, String> {
            let mut found = Err("no answer".to_owned());
            for request in requests {
                let answer = reference.allocate(&[request]).pop();
                let split = answer
                    .ok_or("no answer".to_owned())?
                    .map_err(|error| error.to_string())?;
                let feasible = split.feasible;
                found = Ok(split);
                if feasible {
                    break;
                }
            }
            found
        };
        let split = solve(first)?;
        let next = match second {
            None => None,
            Some(mut requests) => {
                let services = requests
                    .iter_mut()
                    .flat_map(|request| &mut request.services);
                for (name, service) in services {
                    let pods = split.service(name).and_then(|service| service.pods);
                    if let Some(pods) = pods.filter(|_| !changed.contains(name)) {
                        service.floor = Some(Floor {
                            size: MilliCpu(pods.size.0),
                            replicas: pods.replicas,
                        });
                    }
                }
                Some(solve(requests)?)
            }
        };
        Ok::<_, String>((split, next))
    });
    solved.await.map_err(|error| error.to_string())?
}
