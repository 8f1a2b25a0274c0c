//! HPA v2 `behavior`, with its field names and defaults, so that a spec moves over unchanged.

use serde::{Deserialize, Serialize};

/// How fast and how far replicas may move; the defaults are HPA v2's.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Behavior {
    /// Upward.
    pub scale_up: ScalingRules,
    /// Downward.
    pub scale_down: ScalingRules,
}

/// One direction's rules.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ScalingRules {
    /// Seconds over which recommendations are compared, at most 3600: the lowest counts upward, the highest downward.
    pub stabilization_window_seconds: u32,
    /// Which policy counts.
    pub select_policy: SelectPolicy,
    /// Limits of change; an empty list, which the API refuses, allows none.
    pub policies: Vec<ScalingPolicy>,
    /// Relative distance from the target within which nothing moves; the cluster's default is 0.1.
    pub tolerance: f64,
}

/// Which of several policies counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
pub enum SelectPolicy {
    /// The one that allows the largest change.
    #[default]
    Max,
    /// The one that allows the smallest change.
    Min,
    /// No change in this direction.
    Disabled,
}

/// What a policy's value counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum PolicyType {
    /// Pods.
    Pods,
    /// Percent of the replicas at the start of the period.
    Percent,
}

/// One limit of change.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ScalingPolicy {
    /// What `value` counts.
    #[serde(rename = "type")]
    pub kind: PolicyType,
    /// Pods or percent, above 0.
    pub value: u32,
    /// Seconds for which the policy holds, 1 to 1800.
    pub period_seconds: u32,
}

impl ScalingPolicy {
    /// So many pods in so many seconds.
    pub fn pods(value: u32, period_seconds: u32) -> Self {
        Self {
            kind: PolicyType::Pods,
            value,
            period_seconds,
        }
    }

    /// So many percent in so many seconds.
    pub fn percent(value: u32, period_seconds: u32) -> Self {
        Self {
            kind: PolicyType::Percent,
            value,
            period_seconds,
        }
    }
}

impl Default for Behavior {
    fn default() -> Self {
        Self {
            scale_up: ScalingRules {
                stabilization_window_seconds: 0,
                select_policy: SelectPolicy::Max,
                policies: vec![ScalingPolicy::pods(4, 15), ScalingPolicy::percent(100, 15)],
                tolerance: 0.1,
            },
            scale_down: ScalingRules {
                stabilization_window_seconds: 300,
                select_policy: SelectPolicy::Max,
                policies: vec![ScalingPolicy::percent(100, 15)],
                tolerance: 0.1,
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_reads_as_the_hpa_api_writes_it() {
        let text = r#"{"scaleUp":{"stabilizationWindowSeconds":0,"selectPolicy":"Max",
            "policies":[{"type":"Pods","value":4,"periodSeconds":15},{"type":"Percent","value":100,"periodSeconds":15}],
            "tolerance":0.1}}"#;
        assert_eq!(
            serde_json::from_str::<Behavior>(text).unwrap(),
            Behavior::default()
        );
    }
}
