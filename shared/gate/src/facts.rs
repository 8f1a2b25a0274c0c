//! What a Deployment says about itself.

use msars_api::annotations::{self, Settings, Warning};
use msars_domain::ObjectKey;
use serde_json::Value;

use crate::deployment::{our_settings, template, text};
use crate::hold::{self, HoldState};
use crate::{RevisionHash, revision_hash};

/// A Deployment, read once.
#[derive(Debug, Clone)]
pub struct Facts<'a> {
    /// The object.
    pub object: &'a Value,
    /// Settings out of its annotations.
    pub settings: Settings,
    /// Annotation values that were not understood.
    pub warnings: Vec<Warning>,
    /// The revision of its template.
    pub revision: RevisionHash,
    /// Whose pause it is in.
    pub state: HoldState,
    /// `spec.paused`.
    pub paused: bool,
    /// Whether somebody declares `spec.paused`, true or false.
    pub pause_declared: bool,
    /// `spec.replicas`; 1 when absent.
    pub replicas: u64,
    /// Whether its condition Available is True.
    pub available: bool,
    /// Whether it is being deleted.
    pub deleting: bool,
}

impl<'a> Facts<'a> {
    /// Reads a Deployment; what is missing or of a wrong type reads as absent.
    pub fn read(object: &'a Value) -> Self {
        let (settings, warnings) = annotations::parse(&our_settings(object));
        let revision = revision_hash(template(object));
        let conditions = object
            .pointer("/status/conditions")
            .and_then(Value::as_array);
        Self {
            state: HoldState::of(object, &revision),
            paused: hold::paused(object),
            pause_declared: hold::pause_declared(object),
            replicas: object
                .pointer("/spec/replicas")
                .and_then(Value::as_u64)
                .unwrap_or(1),
            available: conditions.into_iter().flatten().any(|condition| {
                text(condition, "/type") == Some("Available")
                    && text(condition, "/status") == Some("True")
            }),
            deleting: text(object, "/metadata/deletionTimestamp").is_some(),
            object,
            settings,
            warnings,
            revision,
        }
    }

    /// Its namespace and name, empty where absent.
    pub fn key(&self) -> ObjectKey {
        let part = |path| text(self.object, path).unwrap_or_default();
        ObjectKey::new(part("/metadata/namespace"), part("/metadata/name"))
    }
}
