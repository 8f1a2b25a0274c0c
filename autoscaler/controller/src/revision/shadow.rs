//! The two pods of a profile: a copy of the new template outside every selector, and the pod that drives it.

use msars_api::names;
use msars_domain::{Action, MilliCpu, ObjectKey, TOKEN_ENV, Token};
use serde_json::{Value, json};

/// Seconds after which the kubelet ends a shadow pod, should everything of ours be dead.
const LAST_RESORT_S: u32 = 420;
/// The processor of the load pod's node, as Kubernetes says it: its program is built with this one.
const ARCHITECTURE: &str = if cfg!(target_arch = "aarch64") {
    "arm64"
} else {
    "amd64"
};
/// The port of the load pod.
pub const LOAD_PORT: u16 = 9900;

/// What a shadow pod is made from.
#[derive(Debug, Clone, PartialEq)]
pub struct Blueprint {
    /// The Deployment.
    pub workload: ObjectKey,
    /// Its uid: the pods go when it goes.
    pub owner_uid: String,
    /// The revision's hash.
    pub revision: String,
    /// `spec.template` as stored.
    pub template: Value,
    /// The serving container.
    pub container: String,
    /// CPU limit to begin with.
    pub size: MilliCpu,
    /// CPU request as a share of the limit, 0 to 1: the template's.
    pub request_share: f64,
    /// What the load pod wants of its caller: without it every pod of the cluster could send requests through it.
    pub token: Token,
    /// Tells the pods of this run from those of any other, which have the same names.
    pub run: String,
}

impl Blueprint {
    /// The name of the copy.
    pub fn subject_key(&self) -> ObjectKey {
        self.key("subject")
    }

    /// The name of the pod that drives it.
    pub fn load_key(&self) -> ObjectKey {
        self.key("load")
    }

    fn key(&self, role: &str) -> ObjectKey {
        ObjectKey::new(
            &self.workload.namespace,
            names::shadow_name(&self.workload.name, &self.revision, role),
        )
    }

    /// The request that goes with a limit; at least 1m, as the API server rounds up.
    pub fn request(&self, limit: MilliCpu) -> MilliCpu {
        let share = self.request_share.clamp(0.0, 1.0);
        MilliCpu(((f64::from(limit.0) * share).round() as u32).clamp(1, limit.0.max(1)))
    }

    fn metadata(&self, key: &ObjectKey, role: &str) -> Value {
        json!({
            "name": key.name,
            "namespace": key.namespace,
            "labels": {
                names::SHADOW_LABEL: role,
                // A label's value has at most 63 characters.
                names::SHADOW_OF_LABEL: self.workload.name.chars().take(63).collect::<String>(),
                names::REVISION_LABEL: self.revision,
            },
            "annotations": {names::SHADOW_RUN_ANNOTATION: self.run},
            "ownerReferences": [{
                "apiVersion": "apps/v1", "kind": "Deployment", "name": self.workload.name,
                "uid": self.owner_uid, "controller": false, "blockOwnerDeletion": false,
            }],
        })
    }

    /// The copy: the template's containers with `MSARS_SHADOW=1`, none of its labels (so that no Service, ReplicaSet
    /// or PodDisruptionBudget selects it), a priority class that never preempts, no restarts and a last deadline.
    pub fn subject(&self) -> Action {
        let key = self.subject_key();
        let mut metadata = self.metadata(&key, "subject");
        let kept = self
            .template
            .pointer("/metadata/annotations")
            .and_then(Value::as_object)
            .into_iter()
            .flatten()
            .filter(|(name, _)| {
                !name.starts_with("prometheus.io/")
                    && !name.starts_with(msars_api::annotations::PREFIX)
            })
            .map(|(name, value)| (name.clone(), value.clone()));
        if let Some(annotations) = metadata["annotations"].as_object_mut() {
            annotations.extend(kept);
        }
        let mut spec = self.template.get("spec").cloned().unwrap_or(json!({}));
        for kind in ["containers", "initContainers"] {
            for container in spec
                .get_mut(kind)
                .and_then(Value::as_array_mut)
                .into_iter()
                .flatten()
            {
                mark(container);
                // Of a pod that never restarts, the API server refuses a resize that restarts a container.
                if let Some(container) = container.as_object_mut() {
                    container.shift_remove("resizePolicy");
                }
                if kind == "containers" && container["name"] == self.container.as_str() {
                    self.size_container(container);
                }
            }
        }
        spec["restartPolicy"] = json!("Never");
        spec["terminationGracePeriodSeconds"] = json!(1);
        spec["activeDeadlineSeconds"] = json!(LAST_RESORT_S);
        spec["priorityClassName"] = json!(names::SHADOW_PRIORITY_CLASS);
        for gone in [
            "priority",
            "preemptionPolicy",
            "nodeName",
            "hostname",
            "subdomain",
        ] {
            if let Some(spec) = spec.as_object_mut() {
                spec.shift_remove(gone);
            }
        }
        Action::CreatePod {
            manifest: json!({"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec}),
            pod: key,
        }
    }

    fn size_container(&self, container: &mut Value) {
        let limit = self.size.to_string();
        let request = self.request(self.size).to_string();
        if !container["resources"].is_object() {
            container["resources"] = json!({});
        }
        for (kind, value) in [("limits", limit), ("requests", request)] {
            if !container["resources"][kind].is_object() {
                container["resources"][kind] = json!({});
            }
            container["resources"][kind]["cpu"] = json!(value);
        }
        container["resizePolicy"] = json!([
            {"resourceName": "cpu", "restartPolicy": "NotRequired"},
            {"resourceName": "memory", "restartPolicy": "NotRequired"},
        ]);
        // A probe that kills the copy at its knee would end the measurement that looks for the knee.
        if let Some(container) = container.as_object_mut() {
            container.shift_remove("livenessProbe");
        }
    }

    /// The pod that drives the copy.
    pub fn load(&self, image: &str) -> Action {
        let key = self.load_key();
        let spec = json!({
            "restartPolicy": "Never",
            "terminationGracePeriodSeconds": 1,
            "activeDeadlineSeconds": LAST_RESORT_S,
            "automountServiceAccountToken": false,
            "enableServiceLinks": false,
            "priorityClassName": names::SHADOW_PRIORITY_CLASS,
            "nodeSelector": {"kubernetes.io/arch": ARCHITECTURE},
            // Its image names a user that is not root; where namespaces have ranges of their own, another is refused.
            "securityContext": {"runAsNonRoot": true, "seccompProfile": {"type": "RuntimeDefault"}},
            "containers": [{
                "name": "load",
                "image": image,
                "imagePullPolicy": "IfNotPresent",
                "args": ["serve", "--listen", format!("[::]:{LOAD_PORT}")],
                "env": [{"name": TOKEN_ENV, "value": self.token.reveal()}],
                "ports": [{"containerPort": LOAD_PORT}],
                "readinessProbe": {
                    "httpGet": {"path": "/healthz", "port": LOAD_PORT},
                    "periodSeconds": 1, "failureThreshold": 30,
                },
                "resources": {
                    "requests": {"cpu": "50m", "memory": "24Mi"},
                    "limits": {"memory": "96Mi"},
                },
                "securityContext": {
                    "allowPrivilegeEscalation": false, "readOnlyRootFilesystem": true,
                    "capabilities": {"drop": ["ALL"]},
                },
            }],
        });
        Action::CreatePod {
            manifest: json!({
                "apiVersion": "v1", "kind": "Pod",
                "metadata": self.metadata(&key, "load"), "spec": spec,
            }),
            pod: key,
        }
    }

    /// Sets the copy's size in place; the request keeps the template's ratio, so that the QoS class stays.
    pub fn resize(&self, uid: &str, limit: MilliCpu) -> Action {
        Action::Resize {
            pod: self.subject_key(),
            uid: uid.to_owned(),
            container: self.container.clone(),
            request: Some(self.request(limit)),
            limit: Some(limit),
        }
    }
}

/// Says to the program that it runs in a shadow pod.
fn mark(container: &mut Value) {
    let variable = json!({"name": names::SHADOW_ENV, "value": "1"});
    match container.get_mut("env").and_then(Value::as_array_mut) {
        Some(list) => {
            list.retain(|entry| entry["name"] != names::SHADOW_ENV);
            list.push(variable);
        }
        None => container["env"] = json!([variable]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn blueprint() -> Blueprint {
        Blueprint {
            workload: ObjectKey::new("shop", "catalogue"),
            owner_uid: "u-1".into(),
            revision: "0123456789abcdef0123".into(),
            template: json!({
                "metadata": {
                    "labels": {"app": "catalogue"},
                    "annotations": {"prometheus.io/scrape": "true", "team": "shop"},
                },
                "spec": {
                    "nodeName": "left-over",
                    "unknownField": {"a": 1},
                    "containers": [
                        {"name": "app", "image": "shop/catalogue:v2", "livenessProbe": {},
                         "resources": {"requests": {"cpu": "100m", "memory": "32Mi"}, "limits": {"cpu": "200m"}}},
                        {"name": "sidecar", "image": "x", "env": [{"name": "A", "value": "b"}],
                         "resizePolicy": [{"resourceName": "memory", "restartPolicy": "RestartContainer"}]},
                    ],
                    "initContainers": [
                        {"name": "migrate", "image": "x",
                         "resizePolicy": [{"resourceName": "cpu", "restartPolicy": "RestartContainer"}]},
                    ],
                },
            }),
            container: "app".into(),
            size: MilliCpu(300),
            request_share: 0.5,
            token: Token::new("t0ken").unwrap(),
            run: "run1".into(),
        }
    }

    fn manifest(action: &Action) -> &Value {
        match action {
            Action::CreatePod { manifest, .. } => manifest,
            other => unreachable!("{other:?}"),
        }
    }

    #[test]
    fn the_copy_has_none_of_the_templates_labels_and_is_not_scraped() {
        let action = blueprint().subject();
        let pod = manifest(&action);
        let labels = pod["metadata"]["labels"].as_object().unwrap();
        assert!(
            labels.keys().all(|name| name.starts_with("msars.io/")),
            "{labels:?}"
        );
        assert_eq!(
            pod["metadata"]["annotations"],
            json!({"msars.io/shadow-run": "run1", "team": "shop"})
        );
    }

    #[test]
    fn the_copy_is_marked_sized_and_bounded_and_the_sidecar_keeps_its_resources() {
        let action = blueprint().subject();
        let spec = &manifest(&action)["spec"];
        let app = &spec["containers"][0];
        assert_eq!(app["resources"]["limits"]["cpu"], "300m");
        assert_eq!(
            app["resources"]["requests"],
            json!({"cpu": "150m", "memory": "32Mi"})
        );
        assert_eq!(app["env"], json!([{"name": "MSARS_SHADOW", "value": "1"}]));
        assert!(app.get("livenessProbe").is_none());
        let sidecar = &spec["containers"][1];
        assert!(sidecar.get("resources").is_none());
        assert_eq!(sidecar["env"][1]["name"], "MSARS_SHADOW");
        assert_eq!(spec["priorityClassName"], "msars-shadow");
        assert_eq!(spec["restartPolicy"], "Never");
        assert!(spec["activeDeadlineSeconds"].is_u64());
        assert!(spec.get("nodeName").is_none());
        assert_eq!(spec["unknownField"], json!({"a": 1}));
    }

    #[test]
    fn no_container_of_the_copy_restarts_for_a_resize() {
        let action = blueprint().subject();
        let spec = &manifest(&action)["spec"];
        assert_eq!(
            spec["containers"][0]["resizePolicy"],
            json!([
                {"resourceName": "cpu", "restartPolicy": "NotRequired"},
                {"resourceName": "memory", "restartPolicy": "NotRequired"},
            ])
        );
        for other in [&spec["containers"][1], &spec["initContainers"][0]] {
            assert!(other["name"].is_string(), "{other}");
            assert!(other.get("resizePolicy").is_none(), "{other}");
        }
    }

    #[test]
    fn the_load_pod_alone_is_told_the_token() {
        let blueprint = blueprint();
        let load = blueprint.load("msars/profile:dev");
        let container = &manifest(&load)["spec"]["containers"][0];
        assert_eq!(
            container["env"],
            json!([{"name": "MSARS_RUN_TOKEN", "value": "t0ken"}])
        );
        let copy = blueprint.subject();
        assert!(!manifest(&copy).to_string().contains("t0ken"));
        assert!(!format!("{blueprint:?}").contains("t0ken"));
    }

    #[test]
    fn the_load_pod_is_reached_by_ipv4_and_ipv6() {
        let load = blueprint().load("msars/profile:dev");
        let container = &manifest(&load)["spec"]["containers"][0];
        assert_eq!(container["args"], json!(["serve", "--listen", "[::]:9900"]));
    }

    #[test]
    fn the_load_pod_is_not_root_and_leaves_its_user_to_the_image_or_the_namespace() {
        let load = blueprint().load("msars/profile:dev");
        let spec = &manifest(&load)["spec"];
        assert_eq!(spec["securityContext"]["runAsNonRoot"], true);
        let text = spec.to_string();
        for field in ["runAsUser", "runAsGroup", "fsGroup"] {
            assert!(!text.contains(field), "{text}");
        }
    }

    #[test]
    fn both_pods_go_with_their_deployment() {
        for action in [blueprint().subject(), blueprint().load("msars/profile:dev")] {
            let owner = &manifest(&action)["metadata"]["ownerReferences"][0];
            assert_eq!(owner["uid"], "u-1");
            assert_eq!(owner["controller"], false);
        }
    }

    #[test]
    fn a_resize_keeps_the_ratio_of_request_to_limit() {
        let Action::Resize { request, limit, .. } = blueprint().resize("p-1", MilliCpu(500)) else {
            unreachable!()
        };
        assert_eq!((request, limit), (Some(MilliCpu(250)), Some(MilliCpu(500))));
    }
}
