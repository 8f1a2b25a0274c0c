//! HPA v2's arithmetic of `behavior` on plain numbers: tolerance, stabilisation windows and rate policies.
//! Source: kubernetes/kubernetes pkg/controller/podautoscaler, read as a specification.

use jiff::Timestamp;
use msars_domain::{Behavior, PolicyType, ScalingPolicy, ScalingRules, SelectPolicy};

use crate::state::{elapsed, within};
use crate::{ConditionReason, ScaleEvent};

/// For how long recommendations bound the next one, seconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Windows {
    /// Growth goes no further than the lowest of these.
    pub up_s: u32,
    /// A shrink goes no further than the highest of these.
    pub down_s: u32,
}

/// Whether a ratio of load to target is close enough to 1 that nothing moves. Both ends count as close.
pub fn within_tolerance(ratio: f64, behavior: &Behavior) -> bool {
    ratio >= 1.0 - behavior.scale_down.tolerance && ratio <= 1.0 + behavior.scale_up.tolerance
}

/// The stabilisation windows of replicas.
pub fn windows(behavior: &Behavior) -> Windows {
    Windows {
        up_s: behavior.scale_up.stabilization_window_seconds,
        down_s: behavior.scale_down.stabilization_window_seconds,
    }
}

/// The recommendation that `history` (time and value; newer than a window counts) lets through: not above the lowest
/// of the window upward, not below the highest of the window downward, and else what is there already.
pub fn stabilize(
    now: Timestamp,
    current: u32,
    desired: u32,
    history: impl Iterator<Item = (Timestamp, u32)>,
    windows: Windows,
) -> u32 {
    let (mut up, mut down) = (desired, desired);
    for (at, value) in history {
        if within(now, Some(at), windows.up_s) {
            up = up.min(value);
        }
        if within(now, Some(at), windows.down_s) {
            down = down.max(value);
        }
    }
    if current < up {
        up
    } else if current > down {
        down
    } else {
        current
    }
}

/// Replicas after the rate policies and the bounds, with HPA's reason for `ScalingLimited`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Paced {
    /// Replicas allowed.
    pub replicas: u32,
    /// `DesiredWithinRange`, `ScaleUpLimit`, `ScaleDownLimit`, `TooManyReplicas` or `TooFewReplicas`.
    pub reason: ConditionReason,
}

/// Limits a change of replicas to what the rate policies allow after the `events` of their periods, and to the bounds.
pub fn pace(
    now: Timestamp,
    current: u32,
    desired: u32,
    (min, max): (u32, u32),
    events: &[ScaleEvent],
    behavior: &Behavior,
) -> Paced {
    let paced = |replicas, reason| Paced { replicas, reason };
    if desired > current {
        let limit = up_limit(now, current, events, &behavior.scale_up).max(current);
        let (allowed, reason) = if max > limit {
            (limit, ConditionReason::ScaleUpLimit)
        } else {
            (max, ConditionReason::TooManyReplicas)
        };
        if desired > allowed {
            return paced(allowed, reason);
        }
    } else if desired < current {
        let limit = down_limit(now, current, events, &behavior.scale_down).min(current);
        let (allowed, reason) = if min < limit {
            (limit, ConditionReason::ScaleDownLimit)
        } else {
            (min, ConditionReason::TooFewReplicas)
        };
        if desired < allowed {
            return paced(allowed, reason);
        }
    }
    paced(desired, ConditionReason::DesiredWithinRange)
}

/// A policy's period is over so much sooner, seconds: ticks come every 15 s within some milliseconds, and the change of the
/// tick that a period of 15 s ended with must not count by chance. HPA looks 15 s after it is through with the look before.
const SLACK_S: f64 = 0.5;

/// Replicas when the policy's period began: what was added since is taken away, what was removed is put back.
fn at_start(now: Timestamp, current: u32, events: &[ScaleEvent], policy: &ScalingPolicy) -> i64 {
    let changed: i64 = events
        .iter()
        .filter(|e| elapsed(now, e.at) < f64::from(policy.period_seconds) - SLACK_S)
        .map(|e| e.change)
        .sum();
    i64::from(current) - changed
}

fn replicas(value: i64) -> u32 {
    u32::try_from(value.max(0)).unwrap_or(u32::MAX)
}

fn up_limit(now: Timestamp, current: u32, events: &[ScaleEvent], rules: &ScalingRules) -> u32 {
    let limits = rules.policies.iter().map(|policy| {
        let start = at_start(now, current, events, policy);
        let value = i64::from(policy.value);
        replicas(match policy.kind {
            PolicyType::Pods => start + value,
            // Rounded up, or a small fleet would never grow.
            PolicyType::Percent => start + (start.max(0) * value + 99) / 100,
        })
    });
    match rules.select_policy {
        SelectPolicy::Disabled => None,
        SelectPolicy::Max => limits.max(),
        SelectPolicy::Min => limits.min(),
    }
    .unwrap_or(current)
}

fn down_limit(now: Timestamp, current: u32, events: &[ScaleEvent], rules: &ScalingRules) -> u32 {
    let limits = rules.policies.iter().map(|policy| {
        let start = at_start(now, current, events, policy);
        let value = i64::from(policy.value);
        replicas(match policy.kind {
            PolicyType::Pods => start - value,
            PolicyType::Percent => start.max(0) * (100 - value) / 100,
        })
    });
    match rules.select_policy {
        SelectPolicy::Disabled => None,
        // The largest change leaves the fewest.
        SelectPolicy::Max => limits.min(),
        SelectPolicy::Min => limits.max(),
    }
    .unwrap_or(current)
}
