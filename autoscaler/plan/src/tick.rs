//! What goes into a decision and what comes out.

use jiff::Timestamp;
use msars_domain::{Action, Headroom, MilliCpu, ObjectKey, Observation};
use serde::{Deserialize, Serialize};

use crate::{Condition, Forecaster, Guard, Numbers, Policy, Reason, State};

/// Replicas and the CPU size of each.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fleet {
    /// Pods.
    pub replicas: u32,
    /// Size of each: the limit, and without one the request.
    pub size: MilliCpu,
}

impl Fleet {
    /// The larger of both figures.
    #[must_use]
    pub fn at_least(self, other: Self) -> Self {
        Self {
            replicas: self.replicas.max(other.replicas),
            size: self.size.max(other.size),
        }
    }

    /// Either figure above `other`'s.
    pub fn grows_from(self, other: Self) -> bool {
        self.replicas > other.replicas || self.size > other.size
    }

    /// Either figure below `other`'s.
    pub fn shrinks_from(self, other: Self) -> bool {
        self.replicas < other.replicas || self.size < other.size
    }
}

impl std::fmt::Display for Fleet {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} × {}", self.replicas, self.size)
    }
}

/// Everything one round of decisions depends on. Serialisable: recorded, it replays.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Tick {
    /// The time of the decisions.
    pub now: Timestamp,
    /// Seed for policies that draw.
    pub seed: u64,
    /// One per workload.
    pub observations: Vec<Observation>,
    /// `states[i]` is what was remembered of `observations[i]`; a missing one is a fresh start.
    pub states: Vec<State>,
}

/// The replaceable parts.
pub struct Engines {
    /// Says what load to prepare for.
    pub forecaster: Box<dyn Forecaster + Send>,
    /// Proposes fleets.
    pub policy: Box<dyn Policy + Send>,
}

impl std::fmt::Debug for Engines {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Engines").finish_non_exhaustive()
    }
}

/// What to do about one workload, and why. The actions are the decision's only way to the world; the rest is for
/// status, logs and people.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Decision {
    /// The Deployment.
    pub workload: ObjectKey,
    /// The fleet found.
    pub current: Fleet,
    /// The fleet wanted before the shield.
    pub proposed: Fleet,
    /// The fleet wanted; what `recommend` shows and the pod webhook stamps.
    pub wanted: Fleet,
    /// Writes, in order; empty unless the workload acts.
    pub actions: Vec<Action>,
    /// The main reason.
    pub reason: Reason,
    /// What quotas left for it once the workloads before it in the tick were served. With this in the observation's
    /// place the decision is the same alone.
    #[serde(default)]
    pub headroom: Headroom,
    /// What changed or held back the proposal.
    pub guards: Vec<Guard>,
    /// The figures behind it.
    pub numbers: Numbers,
    /// HPA's condition types and reasons first, then ours. `SucceededRescale` holds once the action is applied;
    /// when that fails, the applier says `FailedUpdateScale` instead.
    pub conditions: Vec<Condition>,
    /// To persist before the actions are applied.
    pub state: State,
}

impl Decision {
    /// The state to persist when the write of replicas failed: as if it had never been wanted.
    #[must_use]
    pub fn state_without_scale(&self, now: Timestamp) -> State {
        let mut state = self.state.clone();
        state.replicas = Some(self.current.replicas);
        state.events.retain(|e| e.at != now);
        state.wrote = state.wrote.filter(|at| *at != now);
        state
    }

    /// The decision as one sentence with its numbers.
    pub fn explain(&self) -> String {
        use std::fmt::Write as _;
        let mut text = format!("{}: ", self.workload);
        if self.wanted == self.current {
            let _ = write!(text, "stays at {}", self.current);
        } else {
            let _ = write!(text, "{} → {}", self.current, self.wanted);
        }
        let _ = write!(text, ", because {}", self.reason);
        if let Some(numbers) = self.numbers.sentence() {
            let _ = write!(text, "; {numbers}");
        }
        for (index, guard) in self.guards.iter().enumerate() {
            let _ = write!(
                text,
                "{}{guard}",
                if index == 0 { ". Shield: " } else { "; " }
            );
        }
        text.push('.');
        text
    }
}
