//! HPA v2 `behavior` as the API stores it → the domain's, with HPA's own defaults for what is left out. Pure.

use k8s_openapi::api::autoscaling::v2::{HPAScalingRules, HorizontalPodAutoscalerBehavior};
use msars_api::annotations::cpu_millis;
use msars_domain::{Behavior, PolicyType, ScalingPolicy, ScalingRules, SelectPolicy};

/// Reads a stored behaviour.
pub fn behavior(stored: Option<&HorizontalPodAutoscalerBehavior>) -> Behavior {
    let usual = Behavior::default();
    let Some(stored) = stored else {
        return usual;
    };
    Behavior {
        scale_up: rules(stored.scale_up.as_ref(), usual.scale_up),
        scale_down: rules(stored.scale_down.as_ref(), usual.scale_down),
    }
}

fn rules(stored: Option<&HPAScalingRules>, usual: ScalingRules) -> ScalingRules {
    let Some(stored) = stored else {
        return usual;
    };
    let policies: Vec<ScalingPolicy> = stored
        .policies
        .iter()
        .flatten()
        .filter_map(|policy| {
            let kind = match policy.type_.as_str() {
                "Pods" => PolicyType::Pods,
                "Percent" => PolicyType::Percent,
                _ => return None,
            };
            Some(ScalingPolicy {
                kind,
                value: u32::try_from(policy.value).ok()?,
                period_seconds: u32::try_from(policy.period_seconds).ok()?.clamp(1, 1800),
            })
        })
        .collect();
    ScalingRules {
        stabilization_window_seconds: stored
            .stabilization_window_seconds
            .and_then(|seconds| u32::try_from(seconds).ok())
            .map_or(usual.stabilization_window_seconds, |seconds| {
                seconds.min(3600)
            }),
        select_policy: match stored.select_policy.as_deref() {
            Some("Min") => SelectPolicy::Min,
            Some("Disabled") => SelectPolicy::Disabled,
            _ => SelectPolicy::Max,
        },
        policies: if policies.is_empty() {
            usual.policies
        } else {
            policies
        },
        // A quantity of a plain number has the form of a CPU quantity: `0.05` or `50m`.
        tolerance: stored
            .tolerance
            .as_ref()
            .and_then(|quantity| cpu_millis(&quantity.0))
            .map_or(usual.tolerance, |thousandths| {
                f64::from(thousandths) / 1000.0
            }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn read(stored: &Value) -> Behavior {
        behavior(Some(&serde_json::from_value(stored.clone()).unwrap()))
    }

    #[test]
    fn what_is_left_out_is_hpas_default() {
        let usual = Behavior::default();
        assert_eq!(behavior(None), usual);
        assert_eq!(read(&json!({})), usual);
        assert_eq!(read(&json!({"scaleDown": {}, "scaleUp": {}})), usual);
        let slow = read(&json!({"scaleDown": {"stabilizationWindowSeconds": 60}}));
        assert_eq!(slow.scale_down.stabilization_window_seconds, 60);
        assert_eq!(slow.scale_down.policies, usual.scale_down.policies);
        assert_eq!(slow.scale_up, usual.scale_up);
    }

    #[test]
    fn every_field_moves_over() {
        let table = [
            (
                json!({"selectPolicy": "Disabled"}),
                SelectPolicy::Disabled,
                0.1,
            ),
            (
                json!({"selectPolicy": "Min", "tolerance": "0.05"}),
                SelectPolicy::Min,
                0.05,
            ),
            (json!({"tolerance": "50m"}), SelectPolicy::Max, 0.05),
            (json!({"tolerance": "0"}), SelectPolicy::Max, 0.0),
        ];
        for (rules, select, tolerance) in table {
            let up = read(&json!({"scaleUp": rules})).scale_up;
            assert_eq!(up.select_policy, select, "{rules}");
            assert!((up.tolerance - tolerance).abs() < 1e-9, "{rules}");
        }
        let policies = json!([{"type": "Pods", "value": 2, "periodSeconds": 30},
            {"type": "Percent", "value": 50, "periodSeconds": 9999}, {"type": "Odd", "value": 1, "periodSeconds": 1}]);
        assert_eq!(
            read(&json!({"scaleUp": {"policies": policies}}))
                .scale_up
                .policies,
            [ScalingPolicy::pods(2, 30), ScalingPolicy::percent(50, 1800)]
        );
    }
}
