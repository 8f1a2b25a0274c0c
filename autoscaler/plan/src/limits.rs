//! Settings of the planner, with their defaults.

use msars_domain::Behavior;
use serde::{Deserialize, Serialize};

use crate::behavior::{Windows, windows};

/// Settings of [`crate::decide`]; times are seconds.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Limits {
    /// Share of capacity kept free above the forecast.
    pub headroom: f64,
    /// Share of cost that a cheaper fleet must save before it is taken.
    pub hysteresis: f64,
    /// Pods shrink in place once a smaller size was enough for so long, or for `behavior`'s window downward where that
    /// is shorter: a resize is undone in a tenth of a second, a removed pod in tens of seconds.
    pub size_down_s: u32,
    /// A reading older than this is unknown.
    pub staleness_s: u32,
    /// How long a young pod may take to become ready before it counts as lost.
    pub startup_s: u32,
    /// The same for one that was never ready, beside others that are: a Deployment's usual `progressDeadlineSeconds`.
    pub first_start_s: u32,
    /// A resize deferred for longer is withdrawn.
    pub withdraw_s: u32,
    /// A withdrawn resize is not asked again of the same pod for so long.
    pub retry_s: u32,
    /// After a scale-down, so long a breach undoes it.
    pub undo_s: u32,
    /// So long a growth may take to show in the pods' actual sizes.
    pub settle_s: u32,
    /// So long after a growth the latency is still one of before: the quantile's window, and what scrapes are late.
    pub quantile_s: u32,
    /// After an undone scale-down nothing shrinks for so long.
    pub calm_s: u32,
    /// Two foreign drops below the floor within this are a conflict.
    pub foreign_s: u32,
    /// A conflict that nobody resolved is tried again after so long.
    pub conflict_s: u32,
    /// A fleet is reshaped (one figure up, then the other down) at most this often.
    pub reshape_s: u32,
    /// What a change of shape costs on the way must be saved again within this.
    pub payback_s: u32,
    /// Load over capacity above which lost metrics are an emergency.
    pub high_load: f64,
    /// Metrics lost for so long during high load are an emergency.
    pub lost_s: u32,
    /// A load seen longer ago says nothing about now.
    pub load_memory_s: u32,
    /// Replicas of an automatic emergency over those before it.
    pub emergency_factor: f64,
    /// Share of an emergency's replicas kept per tick once it is over.
    pub emergency_return: f64,
    /// Factor on the load of a saturated fleet, whose measured rate hides what was offered.
    pub saturated_factor: f64,
    /// Most resizes of one workload per tick.
    pub resizes_per_tick: u32,
    /// The fast path.
    pub reflex: ReflexLimits,
}

/// Settings of [`crate::reflex`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ReflexLimits {
    /// Share of throttled CFS periods that is fine whatever the budget.
    pub target: f64,
    /// Growth starts above this many times the target (Autothrottle's Captain uses 3), and above what the budget bears.
    pub trigger: f64,
    /// Largest growth of one step, as a factor of the size.
    pub step: f64,
    /// Largest size over the size in force, as a factor.
    pub reach: f64,
    /// Writes per second over all workloads.
    pub writes_per_second: u32,
    /// Seconds between two growths of one pod.
    pub rest_s: u32,
    /// Seconds after a shrink within which throttling rolls it back at once.
    pub rollback_s: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            headroom: 0.15,
            hysteresis: 0.1,
            size_down_s: 60,
            staleness_s: 60,
            startup_s: 60,
            first_start_s: 600,
            withdraw_s: 300,
            retry_s: 600,
            undo_s: 300,
            settle_s: 45,
            quantile_s: 140,
            calm_s: 600,
            foreign_s: 600,
            conflict_s: 3600,
            reshape_s: 900,
            payback_s: 1200,
            high_load: 0.9,
            lost_s: 45,
            load_memory_s: 600,
            emergency_factor: 1.5,
            emergency_return: 0.95,
            saturated_factor: 1.5,
            resizes_per_tick: 50,
            reflex: ReflexLimits::default(),
        }
    }
}

impl Default for ReflexLimits {
    fn default() -> Self {
        Self {
            target: 0.05,
            trigger: 3.0,
            step: 2.0,
            reach: 3.0,
            writes_per_second: 10,
            rest_s: 2,
            rollback_s: 60,
        }
    }
}

impl Limits {
    /// The stabilisation windows of the size.
    pub(crate) fn size_windows(&self, behavior: &Behavior) -> Windows {
        let replicas = windows(behavior);
        Windows {
            down_s: replicas.down_s.min(self.size_down_s),
            ..replicas
        }
    }
}
