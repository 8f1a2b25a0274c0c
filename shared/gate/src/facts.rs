//! What a Deployment says about itself.

use msars_api::annotations::{self, PROFILE_REQUEST, Settings, Warning};
use msars_domain::{ObjectKey, RequestMix};
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
    /// Annotation values that were not understood, or are not good for what they ask.
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
        let (settings, mut warnings) = annotations::parse(&our_settings(object));
        warnings.extend(bad_requests(&settings));
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

/// What is wrong with `profile-request`, whose grammar is not the annotations' own.
fn bad_requests(settings: &Settings) -> Option<Warning> {
    let text = settings.profile_request.as_ref()?;
    text.parse::<RequestMix>().is_err().then(|| Warning {
        annotation: PROFILE_REQUEST,
        value: text.clone(),
        accepted: "like GET /catalogue?size=5; 0.2 POST /cart {\"id\": 1}",
        default_used: "no requests: revisions are not held",
    })
}
