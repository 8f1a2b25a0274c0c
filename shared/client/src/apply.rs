//! The only place that writes to users' objects and shadow pods.

use std::time::Duration;

use k8s_openapi::api::{
    apps::v1::Deployment, autoscaling::v2::HorizontalPodAutoscaler, core::v1::Pod,
};
use kube::{
    Api, Client,
    api::{
        ApiResource, DeleteParams, DynamicObject, Patch, PatchParams, PostParams, Preconditions,
    },
};
use msars_api::names::FIELD_MANAGER;
use msars_domain::{Action, MilliCpu};
use serde_json::{Map, Value, json};

/// Longest time of one write.
const WITHIN: Duration = Duration::from_secs(10);
/// What the API server says when a JSON patch cannot be applied.
const UNAPPLIED: &str = "rejected our request due to an error in our request";

/// How a write ended when the API server answered as it should.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Applied {
    /// Written.
    Done,
    /// The object was not what the decision rested on; nothing was written. Decide anew.
    Conflict,
    /// The object is no more; nothing was written.
    Gone,
}

/// Why a write was not made.
#[derive(Debug, thiserror::Error)]
pub enum ApplyError {
    /// RBAC does not grant the verb; the namespace has not been granted.
    #[error(
        "{action} of {target} is forbidden: {message}. Grant writes in this namespace with: kubectl apply -k manifests/namespace -n {namespace}"
    )]
    Forbidden {
        /// What was tried.
        action: &'static str,
        /// On which object.
        target: String,
        /// Its namespace.
        namespace: String,
        /// The API server's words.
        message: String,
    },
    /// The API server, a quota or another webhook refused the content.
    #[error("{action} of {target} was refused: {message}")]
    Refused {
        /// What was tried.
        action: &'static str,
        /// On which object.
        target: String,
        /// The API server's words.
        message: String,
    },
    /// No answer in time, or one that asks to come back later.
    #[error("{action} of {target} got no answer: {message}")]
    Unavailable {
        /// What was tried.
        action: &'static str,
        /// On which object.
        target: String,
        /// What happened.
        message: String,
    },
    /// The patch is no RFC 6902 document: a defect of ours.
    #[error("{action} of {target} holds no valid patch: {message}")]
    Malformed {
        /// What was tried.
        action: &'static str,
        /// On which object.
        target: String,
        /// What is wrong.
        message: String,
    },
}

impl ApplyError {
    /// A bounded label for metrics and events.
    pub fn category(&self) -> &'static str {
        match self {
            Self::Forbidden { .. } => "forbidden",
            Self::Refused { .. } => "refused",
            Self::Unavailable { .. } => "unavailable",
            Self::Malformed { .. } => "malformed",
        }
    }

    /// Whether the same decision may be tried again without anything having changed.
    pub fn retry(&self) -> bool {
        matches!(self, Self::Unavailable { .. })
    }
}

/// Performs one action with the strict client, once.
pub async fn apply(client: &Client, action: &Action) -> Result<Applied, ApplyError> {
    let outcome = match tokio::time::timeout(WITHIN, perform(client, action)).await {
        Ok(outcome) => outcome,
        Err(_elapsed) => Err(Failure::Time),
    };
    match outcome {
        Ok(applied) => {
            // Not `target`: a line of the log has a field of that name already.
            tracing::info!(action = action.kind(), object = %action.target(), ?applied, "applied");
            Ok(applied)
        }
        Err(failure) => failure.classify(action),
    }
}

enum Failure {
    Api(kube::Error),
    Patch(String),
    Time,
}

impl From<kube::Error> for Failure {
    fn from(error: kube::Error) -> Self {
        Self::Api(error)
    }
}

impl Failure {
    fn classify(self, tried: &Action) -> Result<Applied, ApplyError> {
        let action = tried.kind();
        let target = tried.target().to_string();
        match self {
            Self::Time => Err(ApplyError::Unavailable {
                action,
                target,
                message: format!("no answer within {} s", WITHIN.as_secs()),
            }),
            Self::Patch(message) => Err(ApplyError::Malformed {
                action,
                target,
                message,
            }),
            Self::Api(kube::Error::Api(status)) => {
                let message = status.message.clone();
                match status.code {
                    404 => Ok(Applied::Gone),
                    409 => Ok(Applied::Conflict),
                    // A patch whose `test` failed or whose path is gone: what it rested on has changed. The API server
                    // says no more than this; an object that would be invalid is named with its fields.
                    422 if message.contains(UNAPPLIED) || message.starts_with("testing ") => {
                        Ok(Applied::Conflict)
                    }
                    403 if not_granted(&message) => Err(ApplyError::Forbidden {
                        action,
                        target,
                        namespace: tried.target().namespace.clone(),
                        message,
                    }),
                    429 | 500..=599 => Err(ApplyError::Unavailable {
                        action,
                        target,
                        message,
                    }),
                    _ => Err(ApplyError::Refused {
                        action,
                        target,
                        message,
                    }),
                }
            }
            Self::Api(error) => Err(ApplyError::Unavailable {
                action,
                target,
                message: error.to_string(),
            }),
        }
    }
}

/// Whether a 403 is RBAC's: `<object> is forbidden: User "<name>" cannot <verb> resource "<kind>" ...`. What admission
/// refuses is one as well, in anybody's words: a webhook's begin with its name, and may go on as RBAC's do.
fn not_granted(message: &str) -> bool {
    if message.contains("admission webhook") || message.contains("denied the request") {
        return false;
    }
    let said = message.split_once("forbidden: ");
    let said = said.map_or(message, |(_object, said)| said);
    let Some((_user, cannot)) = said
        .strip_prefix("User \"")
        .and_then(|rest| rest.split_once("\" cannot "))
    else {
        return false;
    };
    cannot.split_whitespace().nth(1) == Some("resource")
}

async fn perform(client: &Client, action: &Action) -> Result<Applied, Failure> {
    match action {
        Action::PatchDeployment { target, patch } => {
            let api: Api<Deployment> = Api::namespaced(client.clone(), &target.namespace);
            let patch: json_patch::Patch = serde_json::from_value(Value::Array(patch.clone()))
                .map_err(|error| Failure::Patch(error.to_string()))?;
            api.patch(&target.name, &manager(), &Patch::Json::<()>(patch))
                .await?;
            Ok(Applied::Done)
        }
        Action::Scale { target, from, to } => {
            let api: Api<Deployment> = Api::namespaced(client.clone(), &target.namespace);
            let mut scale = api.get_scale(&target.name).await?;
            let spec = scale.spec.get_or_insert_with(Default::default);
            if spec.replicas.unwrap_or(0) != i32::try_from(*from).unwrap_or(i32::MAX) {
                return Ok(Applied::Conflict);
            }
            spec.replicas = i32::try_from(*to).ok();
            api.replace_scale(&target.name, &writer(), &scale).await?;
            Ok(Applied::Done)
        }
        Action::Resize {
            pod,
            uid,
            container,
            request,
            limit,
        } => {
            let api: Api<Pod> = Api::namespaced(client.clone(), &pod.namespace);
            let patch = resize_patch(uid, container, *request, *limit);
            api.patch_resize(&pod.name, &manager(), &Patch::Strategic(patch))
                .await?;
            Ok(Applied::Done)
        }
        Action::CreatePod { pod, manifest } => {
            let api: Api<Pod> = Api::namespaced(client.clone(), &pod.namespace);
            let pod: Pod = serde_json::from_value(manifest.clone())
                .map_err(|error| Failure::Patch(error.to_string()))?;
            api.create(&writer(), &pod).await?;
            Ok(Applied::Done)
        }
        Action::DeletePod { pod, uid } => {
            let api: Api<Pod> = Api::namespaced(client.clone(), &pod.namespace);
            let only = uid.clone().map(|uid| Preconditions {
                uid: Some(uid),
                ..Preconditions::default()
            });
            let parameters = DeleteParams {
                grace_period_seconds: Some(1),
                preconditions: only,
                ..DeleteParams::background()
            };
            api.delete(&pod.name, &parameters).await?;
            Ok(Applied::Done)
        }
        Action::DeleteAutoscaler {
            autoscaler,
            uid,
            resource_version,
        } => {
            let parameters = DeleteParams::background().preconditions(Preconditions {
                uid: Some(uid.clone()),
                resource_version: Some(resource_version.clone()),
            });
            autoscalers(client, &autoscaler.namespace)
                .delete(&autoscaler.name, &parameters)
                .await?;
            Ok(Applied::Done)
        }
        Action::CreateAutoscaler {
            autoscaler,
            manifest,
        } => {
            let object: DynamicObject = serde_json::from_value(manifest.clone())
                .map_err(|error| Failure::Patch(error.to_string()))?;
            autoscalers(client, &autoscaler.namespace)
                .create(&writer(), &object)
                .await?;
            Ok(Applied::Done)
        }
    }
}

/// HorizontalPodAutoscalers as they are stored, fields that our types do not know included.
fn autoscalers(client: &Client, namespace: &str) -> Api<DynamicObject> {
    let resource = ApiResource::erase::<HorizontalPodAutoscaler>(&());
    Api::namespaced_with(client.clone(), namespace, &resource)
}

fn writer() -> PostParams {
    PostParams {
        field_manager: Some(FIELD_MANAGER.into()),
        ..PostParams::default()
    }
}

fn manager() -> PatchParams {
    PatchParams {
        field_manager: Some(FIELD_MANAGER.into()),
        ..PatchParams::default()
    }
}

fn resize_patch(
    uid: &str,
    container: &str,
    request: Option<MilliCpu>,
    limit: Option<MilliCpu>,
) -> Value {
    let mut resources = Map::new();
    if let Some(request) = request {
        resources.insert("requests".into(), json!({"cpu": request.to_string()}));
    }
    if let Some(limit) = limit {
        resources.insert("limits".into(), json!({"cpu": limit.to_string()}));
    }
    json!({
        "metadata": {"uid": uid},
        "spec": {"containers": [{"name": container, "resources": resources}]},
    })
}

#[cfg(test)]
mod tests;
