//! Every write to a user's object or to a shadow pod, as data: pure functions return actions, and
//! `msars_client::apply` alone performs them.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{MilliCpu, ObjectKey};

/// One write.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "action", rename_all = "camelCase")]
pub enum Action {
    /// JSON Patch (RFC 6902) of a Deployment's own hold fields, with `test` operations; never `spec.template`, never
    /// `spec.replicas`.
    PatchDeployment {
        /// The Deployment.
        target: ObjectKey,
        /// Operations in order.
        patch: Vec<Value>,
    },
    /// `PUT /scale` with the resource version of the read it was decided on.
    Scale {
        /// The Deployment.
        target: ObjectKey,
        /// Replicas seen when this was decided; another value found is a conflict, and nothing is written.
        from: u32,
        /// Replicas wanted.
        to: u32,
    },
    /// Strategic patch of `pods/resize`, one container.
    Resize {
        /// The pod.
        pod: ObjectKey,
        /// Its uid, so that a pod of the same name born later is left alone.
        uid: String,
        /// The serving container.
        container: String,
        /// CPU request wanted; `None` leaves it.
        request: Option<MilliCpu>,
        /// CPU limit wanted; `None` leaves it, and none is ever added.
        limit: Option<MilliCpu>,
    },
    /// Creates a shadow pod or its load pod; an existing pod of that name is a conflict.
    CreatePod {
        /// The pod's namespace and name.
        pod: ObjectKey,
        /// The whole manifest.
        manifest: Value,
    },
    /// Deletes a shadow pod or load pod of ours at once.
    DeletePod {
        /// The pod.
        pod: ObjectKey,
        /// Its uid where it is known, so that a pod of the same name made later is left alone.
        #[serde(default)]
        uid: Option<String>,
    },
    /// Deletes a HorizontalPodAutoscaler whose whole spec is stored; one that changed since is a conflict, and stays.
    DeleteAutoscaler {
        /// Its namespace and name.
        autoscaler: ObjectKey,
        /// Its uid, so that one of the same name made later is left alone.
        uid: String,
        /// The version that was stored.
        resource_version: String,
    },
    /// Creates a HorizontalPodAutoscaler again; one of that name is a conflict, and stays as it is.
    CreateAutoscaler {
        /// Its namespace and name.
        autoscaler: ObjectKey,
        /// The whole manifest.
        manifest: Value,
    },
}

impl Action {
    /// The object written.
    pub fn target(&self) -> &ObjectKey {
        match self {
            Self::PatchDeployment { target, .. } | Self::Scale { target, .. } => target,
            Self::Resize { pod, .. }
            | Self::CreatePod { pod, .. }
            | Self::DeletePod { pod, .. } => pod,
            Self::DeleteAutoscaler { autoscaler, .. }
            | Self::CreateAutoscaler { autoscaler, .. } => autoscaler,
        }
    }

    /// A bounded label for metrics and logs.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::PatchDeployment { .. } => "patch_deployment",
            Self::Scale { .. } => "scale",
            Self::Resize { .. } => "resize",
            Self::CreatePod { .. } => "create_pod",
            Self::DeletePod { .. } => "delete_pod",
            Self::DeleteAutoscaler { .. } => "delete_autoscaler",
            Self::CreateAutoscaler { .. } => "create_autoscaler",
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_deletion_that_was_logged_without_a_uid_is_read() {
        let pod = json!({"namespace": "shop", "name": "copy"});
        for (logged, uid) in [
            (json!({"action": "deletePod", "pod": pod}), None),
            (
                json!({"action": "deletePod", "pod": pod, "uid": "p-1"}),
                Some("p-1".to_owned()),
            ),
        ] {
            let wanted = Action::DeletePod {
                pod: ObjectKey::new("shop", "copy"),
                uid,
            };
            let read: Action = serde_json::from_value(logged).unwrap();
            assert_eq!(read, wanted);
            let again = serde_json::to_value(&wanted).unwrap();
            assert_eq!(serde_json::from_value::<Action>(again).unwrap(), wanted);
        }
    }
}
