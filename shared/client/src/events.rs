//! Events about users' Deployments.

use std::sync::Arc;

use k8s_openapi::api::core::v1::ObjectReference;
use kube::Client;
use kube::runtime::events::{Event, EventType, Recorder, Reporter};
use serde_json::Value;

/// The API server's limit of a note is 1 kB.
const LONGEST: usize = 1000;

/// Writes events in the name of one replica; cheap to clone.
#[derive(Clone)]
pub struct Events {
    recorder: Arc<Recorder>,
}

impl std::fmt::Debug for Events {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Events")
    }
}

impl Events {
    /// With the strict client; `controller` and `instance` name the program and its replica.
    pub fn new(client: Client, controller: &str, instance: &str) -> Self {
        let reporter = Reporter {
            controller: controller.to_owned(),
            instance: Some(instance.to_owned()),
        };
        Self {
            recorder: Arc::new(Recorder::new(client, reporter)),
        }
    }

    /// Tells a Deployment's user something. A lost event is logged: it must not stop the work.
    pub async fn tell(
        &self,
        deployment: &Value,
        action: &str,
        warning: bool,
        reason: &str,
        note: &str,
    ) {
        let event = Event {
            type_: if warning {
                EventType::Warning
            } else {
                EventType::Normal
            },
            reason: reason.to_owned(),
            note: Some(note.chars().take(LONGEST).collect()),
            action: action.to_owned(),
            secondary: None,
        };
        let about = about(deployment);
        if let Err(error) = self.recorder.publish(&event, &about).await {
            let (namespace, name) = (about.namespace, about.name);
            tracing::info!(%error, reason, namespace, name, "an event was lost");
        }
    }
}

fn about(deployment: &Value) -> ObjectReference {
    let text = |field: &str| {
        let found = deployment.pointer(&format!("/metadata/{field}"));
        found.and_then(Value::as_str).map(str::to_owned)
    };
    ObjectReference {
        api_version: Some("apps/v1".into()),
        kind: Some("Deployment".into()),
        name: text("name"),
        namespace: text("namespace"),
        uid: text("uid"),
        // The recorder merges events that differ in nothing but their note: without the version, the second hold within
        // six minutes would be told with the words of the first.
        resource_version: text("resourceVersion"),
        ..ObjectReference::default()
    }
}
