//! What a workload's next decision must remember. It is persisted before the actions are applied, so that a crash in
//! between costs at most one restored foreign drop, never a forgotten window.

use jiff::{SignedDuration, Timestamp};
use msars_domain::{Behavior, MilliCpu, Rate};
use serde::{Deserialize, Serialize};

use crate::{Fleet, Limits};

/// Memory of one workload.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct State {
    /// The size in force: what every pod of the workload should have.
    pub size: Option<MilliCpu>,
    /// Replicas as we last wrote or accepted them.
    pub replicas: Option<u32>,
    /// Recommendations within the stabilisation windows, oldest first; equal neighbours are one.
    pub recommendations: Vec<Recommendation>,
    /// Scale events within the longest policy period.
    pub events: Vec<ScaleEvent>,
    /// Last growth of either figure.
    pub last_up: Option<Timestamp>,
    /// Last shrink of either figure.
    pub last_down: Option<Timestamp>,
    /// The last shrink, while it may still be undone.
    pub shrink: Option<Shrink>,
    /// Nothing shrinks before this.
    pub calm_until: Option<Timestamp>,
    /// Last change of shape.
    pub reshaped: Option<Timestamp>,
    /// Sizes that pods refused.
    pub refused: Vec<Refused>,
    /// The last load that was measured.
    pub load: Option<Load>,
    /// Factor, 1 to 2, on the load where live self time says that the profile promises too much.
    pub pressure: Option<f64>,
    /// A running or fading emergency.
    pub emergency: Option<Emergency>,
    /// When foreign drops below the floor were seen.
    pub drops: Vec<Timestamp>,
    /// Since when replicas are left to a foreign writer.
    pub conflict: Option<Timestamp>,
}

/// What was recommended at one tick.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Recommendation {
    /// When.
    pub at: Timestamp,
    /// What.
    pub fleet: Fleet,
}

/// One change of replicas of ours.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct ScaleEvent {
    /// When.
    pub at: Timestamp,
    /// Replicas added, negative for removed.
    pub change: i64,
}

/// A shrink that may turn out to hurt.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Shrink {
    /// When.
    pub at: Timestamp,
    /// The fleet before.
    pub from: Fleet,
    /// Self time was measured and within the budget before.
    pub within: bool,
}

/// A size that one pod did not get.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Refused {
    /// The pod.
    pub uid: String,
    /// Sizes from here on are not asked again.
    pub size: MilliCpu,
    /// When it was refused or withdrawn.
    pub at: Timestamp,
    /// `Infeasible`: holds for the pod's life, and for the workload while the pod lives.
    pub infeasible: bool,
}

/// A measured load.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Load {
    /// When.
    pub at: Timestamp,
    /// Requests per second.
    pub rate: Rate,
    /// Rate over the fleet's capacity.
    pub share: f64,
}

/// Replicas held up by an emergency.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Emergency {
    /// Replicas not to fall below; a fraction, because the return is slow.
    pub floor: f64,
    /// Raised because metrics vanished, not by the user.
    pub automatic: bool,
}

pub(crate) fn elapsed(now: Timestamp, at: Timestamp) -> f64 {
    now.duration_since(at).as_secs_f64()
}

/// Whether `at` lies within the last `seconds`; a time ahead of `now` (clocks differ) does.
pub(crate) fn within(now: Timestamp, at: Option<Timestamp>, seconds: u32) -> bool {
    at.is_some_and(|at| elapsed(now, at) < f64::from(seconds))
}

impl State {
    /// After the reflex grew pods to `size`: the size in force follows, and nothing shrinks for its window; after a shrink
    /// that it rolled back, not for the calm that follows one which hurt.
    pub fn grown_by_reflex(&mut self, now: Timestamp, size: MilliCpu, limits: &Limits) {
        if within(now, self.last_down, limits.reflex.rollback_s) {
            let calm = SignedDuration::from_secs(i64::from(limits.calm_s));
            self.calm_until = now.checked_add(calm).ok();
            self.shrink = None;
        }
        self.size = Some(self.size.map_or(size, |have| have.max(size)));
        self.last_up = Some(now);
    }

    /// When another autoscaler is taken over, the fleet that it left counts as recommended, as what is there does at a
    /// start: what it remembers of its own windows is not known.
    pub fn took_over(&mut self, now: Timestamp, left: Fleet) {
        self.recommend(now, left);
    }

    /// Forgets what no window needs any more.
    pub(crate) fn prune(&mut self, now: Timestamp, behavior: &Behavior) {
        let window = behavior
            .scale_up
            .stabilization_window_seconds
            .max(behavior.scale_down.stabilization_window_seconds);
        self.recommendations
            .retain(|r| within(now, Some(r.at), window.max(1)));
        let period = [&behavior.scale_up, &behavior.scale_down]
            .iter()
            .flat_map(|rules| rules.policies.iter().map(|p| p.period_seconds))
            .max()
            .unwrap_or(0);
        self.events
            .retain(|e| within(now, Some(e.at), period.max(1)));
    }

    pub(crate) fn recommend(&mut self, at: Timestamp, fleet: Fleet) {
        match self.recommendations.last_mut() {
            Some(last) if last.fleet == fleet => last.at = at,
            _ => self.recommendations.push(Recommendation { at, fleet }),
        }
    }
}
