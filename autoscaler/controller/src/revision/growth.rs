//! What has to grow before a profiled revision is released: the services around it must carry their load within the
//! budgets that its split gave them, by the decisions of the workloads' tick. Pure.

use std::fmt;

use jiff::Timestamp;
use msars_domain::{Millis, PodState, Resize};
use msars_plan::{Decision, Fleet, Guard, Limits, Reason};

/// What the last tick decided for a service.
#[derive(Debug, Clone, Copy)]
pub struct Planned<'a> {
    /// The budget of the running revision that it rests on.
    pub budget: Option<Millis>,
    /// Whether it is carried out.
    pub acts: bool,
    /// By which share the load may exceed what the pods carry before they grow.
    pub tolerance: f64,
    /// The decision.
    pub decision: &'a Decision,
}

/// Where a service's plan stands.
#[derive(Debug, Clone, Copy)]
pub enum Plan<'a> {
    /// There was no tick lately.
    Due,
    /// The last tick decided nothing about it.
    Left,
    /// It decided this.
    Made(Planned<'a>),
}

/// A service around the one that is held.
#[derive(Debug)]
pub struct Service<'a> {
    /// What the objectives give its running revision now; `None` where no chain visits it.
    pub budget: Option<Millis>,
    /// Its plan.
    pub plan: Plan<'a>,
    /// Its serving pods.
    pub pods: &'a [PodState],
    /// Why the API server refuses pods that its ReplicaSet wants.
    pub refused: Option<&'a str>,
}

/// How a service stands to its new budget.
#[derive(Debug, Clone, PartialEq)]
pub enum Growth {
    /// Its Ready pods carry its load.
    Enough,
    /// No decision within this budget yet.
    Undecided,
    /// What it needs is on its way.
    Growing {
        /// Pods that are Ready at the size wanted.
        ready: u32,
        /// What is wanted.
        wanted: Fleet,
    },
    /// It would have to grow, and nothing that is on its way makes it enough.
    Stuck(Obstacle),
}

/// Why a service does not grow: waiting would change nothing.
#[derive(Debug, Clone, PartialEq)]
pub enum Obstacle {
    /// Nothing is decided about it.
    Left,
    /// Decisions about it are only shown.
    Shown,
    /// What the decision says of itself: paused, another autoscaler, no metrics.
    Decision(Reason),
    /// What bounds the decision: a quota, the maximum, another writer.
    Guard(Guard),
    /// The API server refuses its pods.
    Refused(String),
    /// So many pods have this.
    Pods(u32, Fault),
}

/// What keeps a pod from being Ready at the size wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// No node has room for it.
    Unschedulable,
    /// It had more than the time that a start takes.
    NotReady,
    /// Its size is left alone.
    LeftAlone,
    /// Its node has no room for the new size.
    NoRoom,
}

impl fmt::Display for Obstacle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Left => write!(
                f,
                "nothing is decided about it: no SloAutoscaler or no signals"
            ),
            Self::Shown => write!(
                f,
                "its annotation msars.io/mode, its SloAutoscaler, or both are not auto"
            ),
            Self::Decision(reason) => write!(f, "{reason}"),
            Self::Guard(guard) => write!(f, "{guard}"),
            Self::Refused(message) => write!(f, "its pods are refused: {message}"),
            Self::Pods(pods, Fault::Unschedulable) => {
                write!(f, "no node has room for {pods} of its pods")
            }
            Self::Pods(pods, Fault::NotReady) => {
                write!(f, "{pods} of its pods do not become Ready")
            }
            Self::Pods(pods, Fault::LeftAlone) => {
                write!(f, "the size of {pods} of its pods is left alone")
            }
            Self::Pods(pods, Fault::NoRoom) => {
                write!(
                    f,
                    "the node has no room for the new size of {pods} of its pods"
                )
            }
        }
    }
}

/// How a service stands to its budget.
pub fn growth(service: &Service<'_>, now: Timestamp) -> Growth {
    let Some(budget) = service.budget else {
        return Growth::Enough;
    };
    let planned = match service.plan {
        Plan::Due => return Growth::Undecided,
        Plan::Left => return Growth::Stuck(Obstacle::Left),
        Plan::Made(planned) => planned,
    };
    // What was decided within a tighter budget holds within a looser one.
    if planned.budget.is_none_or(|rested| rested > budget) {
        return Growth::Undecided;
    }
    let decision = planned.decision;
    if matches!(decision.reason, Reason::NoProfile | Reason::NoObjective) {
        return Growth::Enough;
    }
    let numbers = &decision.numbers;
    let (Some(load), Some(asks), Some(each_now), Some(each_then)) = (
        numbers.load,
        numbers.asks,
        numbers.each_now,
        numbers.each_then,
    ) else {
        return Growth::Stuck(Obstacle::Decision(decision.reason.clone()));
    };
    let there = |pod: &PodState, fleet: Fleet| pod.ready && sized(pod, fleet);
    // As the planner judges whether a fleet fits, of the pods that are there: by what each carries, since what it says of
    // the fleet leaves out those that are not.
    let ready = |fleet| service.pods.iter().filter(|pod| there(pod, fleet)).count() as u32;
    let fits = |fleet: Fleet, each: f64| {
        let have = f64::from(ready(fleet)) * each;
        have >= load && have * (1.0 + planned.tolerance) >= asks
    };
    let wanted = decision.wanted;
    // A fleet that carries the load may still grow, on its way to a cheaper shape.
    if fits(wanted, each_then) || fits(decision.current, each_now) {
        return Growth::Enough;
    }
    let ready = ready(wanted);
    if !planned.acts {
        return Growth::Stuck(Obstacle::Shown);
    }
    let missing = service.pods.len() < wanted.replicas as usize;
    let lacking = service.pods.iter().filter(|pod| !there(pod, wanted));
    let blocked = |guard: &Guard| matches!(guard, Guard::ResizeBlocked { .. });
    let blocked = decision.guards.iter().any(blocked);
    let faults: Vec<_> = lacking.map(|pod| fault(pod, blocked, now)).collect();
    if (missing && service.refused.is_none()) || faults.contains(&None) {
        return Growth::Growing { ready, wanted };
    }
    if let Some(message) = service.refused.filter(|_| missing) {
        return Growth::Stuck(Obstacle::Refused(message.to_owned()));
    }
    if let Some(fault) = faults.first().copied().flatten() {
        let pods = faults.iter().filter(|found| **found == Some(fault)).count() as u32;
        return Growth::Stuck(Obstacle::Pods(pods, fault));
    }
    bounded(decision, ready)
}

/// Whether a pod has at least the size wanted; the runtime may round what was asked.
fn sized(pod: &PodState, wanted: Fleet) -> bool {
    let settled = pod.resize == Resize::None && pod.asked.size() >= wanted.size;
    settled || pod.actual.size() >= wanted.size
}

/// Why a pod will not be what is wanted; none while that may come.
fn fault(pod: &PodState, blocked: bool, now: Timestamp) -> Option<Fault> {
    let late = || {
        let age = now.duration_since(pod.born).as_secs();
        age > i64::from(Limits::default().startup_s)
    };
    let refused = matches!(
        pod.resize,
        Resize::Deferred { .. } | Resize::Infeasible { .. } | Resize::Error
    );
    if pod.unschedulable {
        Some(Fault::Unschedulable)
    } else if !pod.ready {
        late().then_some(Fault::NotReady)
    } else if pod.foreign {
        Some(Fault::LeftAlone)
    } else {
        let withdrawn = blocked && pod.resize == Resize::None;
        (refused || withdrawn).then_some(Fault::NoRoom)
    }
}

/// Everything wanted is there and it is not enough: more comes step by step, or never.
fn bounded(decision: &Decision, ready: u32) -> Growth {
    let step = |guard: &&Guard| {
        matches!(
            guard,
            Guard::RateLimited { .. } | Guard::UpStabilized { .. } | Guard::Direction { .. }
        )
    };
    let end = |guard: &&Guard| {
        matches!(
            guard,
            Guard::Quota { .. } | Guard::AtMaximum | Guard::ReplicasLeft
        )
    };
    let guards = &decision.guards;
    if let Some(guard) = guards.iter().find(end) {
        return Growth::Stuck(Obstacle::Guard(guard.clone()));
    }
    if guards.iter().any(|guard| step(&guard)) {
        let wanted = decision.wanted;
        return Growth::Growing { ready, wanted };
    }
    Growth::Stuck(Obstacle::Decision(decision.reason.clone()))
}

#[cfg(test)]
mod tests;
