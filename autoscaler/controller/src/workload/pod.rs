//! A pod as the planner sees it: what it was asked to have, what it has, and where a resize stands. Pure.

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Container, Pod, PodCondition};
use msars_api::names;
use msars_domain::{CpuSize, MilliCpu, PodState, Resize};

use crate::pods;

/// No CPU asked for at all.
pub const NOTHING: CpuSize = CpuSize {
    request: MilliCpu(0),
    limit: None,
};

/// Seconds after its placing within which the kubelet has said for the first time that a pod is not Ready.
const FIRST_S: f64 = 5.0;

/// The pod's state; none without name, uid and time of birth. `revision` is what its ReplicaSet's template hashes to.
pub fn state(pod: &Pod, container: &str, revision: &str, ready: bool) -> Option<PodState> {
    let meta = &pod.metadata;
    let born = meta.creation_timestamp.as_ref()?.0;
    let spec = pod.spec.as_ref()?;
    let serving = spec.containers.iter().find(|c| c.name == container)?;
    let asked = pods::asked(pod, container).unwrap_or(NOTHING);
    let actual = pods::actual(pod, container).unwrap_or(NOTHING);
    Some(PodState {
        name: meta.name.clone()?,
        uid: meta.uid.clone()?,
        revision: revision.to_owned(),
        ready,
        born,
        asked,
        actual,
        resize: resize(pod, asked, actual, born),
        foreign: foreign(pod) || restarts(serving),
        starting: starting(pod),
        unschedulable: unschedulable(pod),
    })
}

/// Whether it has never been Ready: the condition is what the kubelet made of it when the pod came to its node.
fn starting(pod: &Pod) -> bool {
    let status = pod.status.as_ref();
    let conditions = status.and_then(|status| status.conditions.as_ref());
    let find = |kind: &str| conditions.into_iter().flatten().find(|c| c.type_ == kind);
    let (Some(ready), Some(placed)) = (find("Ready"), find("PodScheduled")) else {
        return true;
    };
    let since = |c: &PodCondition| c.last_transition_time.as_ref().map(|time| time.0);
    let turned = since(ready).zip(since(placed));
    let early = |(turned, placed): (Timestamp, Timestamp)| {
        turned.duration_since(placed).as_secs_f64() <= FIRST_S
    };
    ready.status != "True" && turned.is_none_or(early)
}

/// Whether the scheduler has found no node for it.
fn unschedulable(pod: &Pod) -> bool {
    let status = pod.status.as_ref();
    let conditions = status.and_then(|status| status.conditions.as_ref());
    conditions.into_iter().flatten().any(|c| {
        c.type_ == "PodScheduled"
            && c.status == "False"
            && c.reason.as_deref() == Some("Unschedulable")
    })
}

/// Where the last resize stands. A condition that speaks of an older generation says nothing about what is asked now.
fn resize(pod: &Pod, asked: CpuSize, actual: CpuSize, born: Timestamp) -> Resize {
    let generation = pod.metadata.generation;
    let Some(status) = pod.status.as_ref() else {
        return Resize::None;
    };
    let current = |observed: Option<i64>| match (observed, generation) {
        (Some(observed), Some(generation)) => observed >= generation,
        // API servers before 1.34 tell no generation: the condition is all there is.
        _ => true,
    };
    let find = |kind: &str| {
        status
            .conditions
            .iter()
            .flatten()
            .find(|c| c.type_ == kind && c.status == "True")
    };
    let speaks = |condition: &&PodCondition| current(condition.observed_generation);
    let same = asked.size() == actual.size();
    if let Some(pending) = find("PodResizePending").filter(speaks) {
        match pending.reason.as_deref() {
            Some("Infeasible") => return Resize::Infeasible { size: asked.size() },
            Some("Deferred") => {
                let since = pending.last_transition_time.as_ref();
                return Resize::Deferred {
                    since: since.map_or(born, |time| time.0),
                };
            }
            _ => {}
        }
    }
    match find("PodResizeInProgress") {
        Some(running) if running.reason.as_deref() == Some("Error") => Resize::Error,
        Some(_) => Resize::InProgress,
        None if !same && !current(status.observed_generation) => Resize::InProgress,
        None => Resize::None,
    }
}

/// Whether somebody else wrote CPU of this pod by its `resize` subresource: their will, for the pod's life.
fn foreign(pod: &Pod) -> bool {
    pod.metadata.managed_fields.iter().flatten().any(|entry| {
        entry.subresource.as_deref() == Some("resize")
            && entry.manager.as_deref() != Some(names::FIELD_MANAGER)
            && entry
                .fields_v1
                .as_ref()
                .is_some_and(|fields| fields.0.to_string().contains("\"f:cpu\""))
    })
}

/// Whether a change of CPU restarts the container; only a new pod can have it otherwise.
fn restarts(container: &Container) -> bool {
    let mut policies = container.resize_policy.iter().flatten();
    policies
        .any(|policy| policy.resource_name == "cpu" && policy.restart_policy == "RestartContainer")
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn pod(conditions: &Value, actual: &str, generations: (i64, i64)) -> Pod {
        serde_json::from_value(json!({
            "metadata": {
                "name": "p", "uid": "u", "namespace": "shop", "generation": generations.0,
                "creationTimestamp": "2026-01-01T00:00:00Z",
            },
            "spec": {"containers": [
                {"name": "proxy"},
                {"name": "app", "resources": {"requests": {"cpu": "200m"}, "limits": {"cpu": "400m"}}},
            ]},
            "status": {
                "observedGeneration": generations.1,
                "conditions": conditions,
                "containerStatuses": [{
                    "name": "app", "image": "i", "imageID": "", "ready": true, "restartCount": 0,
                    "resources": {"requests": {"cpu": "200m"}, "limits": {"cpu": actual}},
                }],
            },
        }))
        .unwrap()
    }

    fn pending(reason: &str, observed: i64) -> Value {
        json!([{"type": "PodResizePending", "status": "True", "reason": reason, "observedGeneration": observed,
                "lastTransitionTime": "2026-01-01T01:00:00Z"}])
    }

    #[test]
    fn where_a_resize_stands() {
        let since: Timestamp = "2026-01-01T01:00:00Z".parse().unwrap();
        let progress = |reason: &str| json!([{"type": "PodResizeInProgress", "status": "True", "reason": reason}]);
        let infeasible = Resize::Infeasible {
            size: MilliCpu(400),
        };
        let table = [
            (json!([]), "400m", (2, 2), Resize::None),
            // Written, and not yet seen by the kubelet.
            (json!([]), "200m", (3, 2), Resize::InProgress),
            // Seen, and the runtime rounds.
            (json!([]), "390m", (3, 3), Resize::None),
            (
                pending("Deferred", 3),
                "200m",
                (3, 3),
                Resize::Deferred { since },
            ),
            (pending("Infeasible", 3), "200m", (3, 3), infeasible),
            // The condition is about what was asked before.
            (pending("Infeasible", 3), "200m", (4, 3), Resize::InProgress),
            (pending("Deferred", 3), "400m", (4, 3), Resize::None),
            (progress(""), "200m", (3, 3), Resize::InProgress),
            (progress("Error"), "200m", (3, 3), Resize::Error),
            (
                json!([{"type": "PodResizePending", "status": "False", "reason": "Deferred"}]),
                "400m",
                (1, 1),
                Resize::None,
            ),
        ];
        for (conditions, actual, generations, wanted) in table {
            let state = state(&pod(&conditions, actual, generations), "app", "r1", true).unwrap();
            assert_eq!(
                state.resize, wanted,
                "{conditions} {actual} {generations:?}"
            );
        }
    }

    #[test]
    fn a_pod_that_has_not_started_has_what_it_asks_for() {
        let mut young = pod(&json!([]), "400m", (1, 1));
        young.status = None;
        let state = state(&young, "app", "r1", false).unwrap();
        assert_eq!(state.actual, state.asked);
        assert_eq!(state.asked.size(), MilliCpu(400));
        assert!(super::state(&young, "gone", "r1", false).is_none());
    }

    #[test]
    fn a_pod_that_was_never_ready_is_told_from_one_that_is_so_no_longer() {
        let pod_of = |ready: &str, at: &str| {
            let condition = |kind: &str, status: &str, at: &str| json!({"type": kind, "status": status, "lastTransitionTime": at});
            let placed = condition("PodScheduled", "True", "2026-01-01T00:03:00Z");
            pod(
                &json!([placed, condition("Ready", ready, at)]),
                "400m",
                (1, 1),
            )
        };
        for (ready, at, wanted) in [
            ("False", "2026-01-01T00:03:01Z", true),
            ("False", "2026-01-01T00:04:00Z", false),
            ("True", "2026-01-01T00:03:02Z", false),
        ] {
            let state = state(&pod_of(ready, at), "app", "r1", false).unwrap();
            assert_eq!(state.starting, wanted, "{ready} {at}");
        }
        assert!(starting(&pod(&json!([]), "400m", (1, 1))));
    }

    #[test]
    fn a_pod_without_a_node_is_told_from_one_that_starts() {
        let scheduled = |status: &str, reason: &str| json!([{"type": "PodScheduled", "status": status, "reason": reason}]);
        for (conditions, wanted) in [
            (json!([]), false),
            (scheduled("True", ""), false),
            (scheduled("False", "SchedulingGated"), false),
            (scheduled("False", "Unschedulable"), true),
        ] {
            let pod = pod(&conditions, "400m", (1, 1));
            let state = state(&pod, "app", "r1", false).unwrap();
            assert_eq!(state.unschedulable, wanted, "{conditions}");
        }
    }

    #[test]
    fn a_foreign_resize_is_known_by_its_field_manager() {
        let table = [
            ("msars", "resize", "f:cpu", false),
            ("kubectl-edit", "resize", "f:cpu", true),
            ("kubectl-edit", "resize", "f:memory", false),
            ("kube-controller-manager", "", "f:cpu", false),
        ];
        for (manager, subresource, field, wanted) in table {
            let mut pod = pod(&json!([]), "400m", (1, 1));
            let entry = json!({"manager": manager, "subresource": subresource, "operation": "Update",
                "fieldsV1": {"f:spec": {"f:containers": {"k:{\"name\":\"app\"}": {"f:resources": {"f:limits": {field: {}}}}}}}});
            pod.metadata.managed_fields = Some(vec![serde_json::from_value(entry).unwrap()]);
            assert_eq!(foreign(&pod), wanted, "{manager} {subresource} {field}");
        }
    }

    #[test]
    fn a_pod_that_a_resize_would_restart_is_left_alone() {
        let policy =
            |resource: &str, how: &str| json!([{"resourceName": resource, "restartPolicy": how}]);
        for (container, policies, alone) in [
            (1, policy("cpu", "RestartContainer"), true),
            (1, policy("cpu", "NotRequired"), false),
            (1, policy("memory", "RestartContainer"), false),
            (0, policy("cpu", "RestartContainer"), false),
        ] {
            let mut pod = serde_json::to_value(pod(&json!([]), "400m", (1, 1))).unwrap();
            pod["spec"]["containers"][container]["resizePolicy"] = policies.clone();
            let pod = serde_json::from_value(pod).unwrap();
            let state = state(&pod, "app", "r1", true).unwrap();
            assert_eq!(state.foreign, alone, "{container} {policies}");
        }
    }
}
