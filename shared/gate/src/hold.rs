//! A hold is `spec.paused` together with annotations whose hash is the stored template's; everything else that is
//! paused is the user's, and is never touched. A pause that nobody declares but that carries a hold's annotations of
//! another template is a hold whose template was changed while no webhook answered.

use jiff::{SignedDuration, Timestamp};
use msars_api::annotations::{
    DEADLINE_BOUNDS_S, HOLD, HOLD_FROM, HOLD_HASH, HOLD_SINCE, HOLD_UNTIL,
};
use serde_json::{Value, json};

use crate::deployment::{annotation_patch, annotation_path, list, template};
use crate::{RevisionHash, revision_hash};

/// Whose pause a Deployment is in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HoldState {
    /// Not paused and without a hold's annotations.
    Free,
    /// Held by us.
    Ours {
        /// The revision that waits.
        hash: RevisionHash,
        /// The hold ends here, whatever happened.
        until: Option<Timestamp>,
    },
    /// A hold of ours whose template was changed past the webhook: `managedFields` proves that nobody else paused.
    Orphaned {
        /// The hold ends here, whatever happened.
        until: Option<Timestamp>,
    },
    /// Paused, but not by a hold of the stored template, or declared by somebody.
    Users,
    /// Not paused, yet a hold's annotations are there: somebody resumed it, or an undo brought them back.
    Stale,
}

/// A hold's annotations as they stand.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stamps {
    /// The revision that waits.
    pub hash: String,
    /// The revision that runs meanwhile.
    pub from: Option<String>,
    /// Start of the hold.
    pub since: Option<Timestamp>,
    /// Its end, never more than the longest deadline after its start; `None` when it can't be read.
    pub until: Option<Timestamp>,
}

impl Stamps {
    /// Reads them, if there is at least the hash.
    pub fn read(deployment: &Value) -> Option<Self> {
        let time = |name| annotation(deployment, name).and_then(|text| text.parse().ok());
        let since: Option<Timestamp> = time(HOLD_SINCE);
        let longest = SignedDuration::from_secs(i64::from(*DEADLINE_BOUNDS_S.end()));
        let latest = since.and_then(|since| since.checked_add(longest).ok());
        Some(Self {
            hash: annotation(deployment, HOLD_HASH)?.to_owned(),
            from: annotation(deployment, HOLD_FROM).map(str::to_owned),
            since,
            until: time(HOLD_UNTIL).map(|until| latest.map_or(until, |latest| until.min(latest))),
        })
    }
}

fn annotation<'a>(deployment: &'a Value, name: &str) -> Option<&'a str> {
    deployment
        .get("metadata")?
        .get("annotations")?
        .get(name)?
        .as_str()
}

/// `spec.paused`.
pub(crate) fn paused(deployment: &Value) -> bool {
    let paused = deployment.pointer("/spec/paused").and_then(Value::as_bool);
    paused.unwrap_or(false)
}

/// Whether somebody declares `spec.paused`, true or false: a manager owns the field, or the manifest last applied
/// carries it. A hold of the webhook's is owned by nobody.
pub fn pause_declared(deployment: &Value) -> bool {
    let owned = list(deployment, "/metadata/managedFields")
        .iter()
        .any(|entry| entry.pointer("/fieldsV1/f:spec/f:paused").is_some());
    owned || {
        let applied = annotation(
            deployment,
            "kubectl.kubernetes.io/last-applied-configuration",
        );
        applied.is_some_and(|text| {
            text.contains("\"paused\"")
                && serde_json::from_str::<Value>(text)
                    .is_ok_and(|manifest| manifest.pointer("/spec/paused").is_some())
        })
    }
}

impl HoldState {
    /// Reads a Deployment as the API server stores it. A deadline that cannot be read is `None`, which callers treat
    /// as passed: a hold without a readable end must not last.
    pub fn read(deployment: &Value) -> Self {
        Self::of(deployment, &revision_hash(template(deployment)))
    }

    pub(crate) fn of(deployment: &Value, revision: &RevisionHash) -> Self {
        let stamps = Stamps::read(deployment);
        if !paused(deployment) {
            return stamps.map_or(Self::Free, |_| Self::Stale);
        }
        let Some(stamps) = stamps.filter(|_| !pause_declared(deployment)) else {
            return Self::Users;
        };
        let until = stamps.until;
        if stamps.hash == revision.as_str() {
            Self::Ours {
                hash: revision.clone(),
                until,
            }
        } else if list(deployment, "/metadata/managedFields").is_empty() {
            Self::Users
        } else {
            Self::Orphaned { until }
        }
    }

    /// Whether a hold of ours is over at `now`.
    pub fn expired(&self, now: Timestamp) -> bool {
        match self {
            Self::Ours { until, .. } | Self::Orphaned { until } => {
                until.is_none_or(|until| now >= until)
            }
            Self::Free | Self::Users | Self::Stale => false,
        }
    }
}

/// The webhook's patch (RFC 6902) that holds the incoming object: same object, same bytes; applied twice it changes
/// nothing more.
pub(crate) fn hold_patch(
    incoming: &Value,
    from: &str,
    since: Timestamp,
    until: Timestamp,
) -> Vec<Value> {
    let hash = revision_hash(template(incoming));
    let stamps = [
        (HOLD_HASH, Some(hash.to_string())),
        (HOLD_FROM, Some(from.to_owned())),
        (HOLD_SINCE, Some(since.to_string())),
        (HOLD_UNTIL, Some(until.to_string())),
    ];
    let mut patch = annotation_patch(incoming, &stamps);
    if !paused(incoming) {
        patch.push(json!({"op": "add", "path": "/spec/paused", "value": true}));
    }
    patch
}

/// Removes what stands of a hold's annotations.
fn strip_patch(deployment: &Value) -> Vec<Value> {
    annotation_patch(deployment, &HOLD.map(|name| (name, None)))
}

/// The same object as when it was read: for writes that must not meet a newer one.
fn test_version(deployment: &Value) -> Option<Value> {
    let version = deployment.pointer("/metadata/resourceVersion")?;
    Some(json!({"op": "test", "path": "/metadata/resourceVersion", "value": version}))
}

/// Removes a hold's annotations from a Deployment that is not held, if it is still the object that was read.
pub(crate) fn stale_patch(deployment: &Value) -> Vec<Value> {
    let mut patch: Vec<Value> = test_version(deployment).into_iter().collect();
    patch.extend(strip_patch(deployment));
    patch
}

/// Ends a hold of ours in one write: first tests that it is still this hold, so that a user's pause or a newer hold
/// that came between is left alone. Empty unless the state is [`HoldState::Ours`] or [`HoldState::Orphaned`].
pub(crate) fn release_patch(deployment: &Value) -> Vec<Value> {
    let orphaned = match HoldState::read(deployment) {
        HoldState::Ours { .. } => false,
        HoldState::Orphaned { .. } => true,
        HoldState::Free | HoldState::Users | HoldState::Stale => return Vec::new(),
    };
    let version = test_version(deployment).filter(|_| orphaned);
    let mut patch: Vec<Value> = version.into_iter().collect();
    patch.push(json!({
        "op": "test",
        "path": annotation_path(HOLD_HASH),
        "value": annotation(deployment, HOLD_HASH),
    }));
    patch.push(json!({"op": "test", "path": "/spec/paused", "value": true}));
    patch.extend(strip_patch(deployment));
    patch.push(json!({"op": "remove", "path": "/spec/paused"}));
    patch
}

#[cfg(test)]
mod tests {
    use super::*;

    fn deployment() -> Value {
        json!({
            "metadata": {"name": "catalogue", "unknown": [1, 2]},
            "spec": {"replicas": 3, "template": {"spec": {"containers": [{"name": "app", "image": "shop/catalogue:v2"}]}}},
        })
    }

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    fn apply(object: &Value, patch: &[Value]) -> Result<Value, json_patch::PatchError> {
        let patch: json_patch::Patch =
            serde_json::from_value(Value::Array(patch.to_vec())).unwrap();
        let mut object = object.clone();
        json_patch::patch(&mut object, &patch)?;
        Ok(object)
    }

    fn held() -> Value {
        let from = revision_hash(&json!({"spec": {"containers": []}}));
        let patch = hold_patch(
            &deployment(),
            from.as_str(),
            at("2026-01-01T00:00:00Z"),
            at("2026-01-01T00:02:00Z"),
        );
        apply(&deployment(), &patch).unwrap()
    }

    #[test]
    fn a_held_object_is_ours_until_its_deadline() {
        let state = HoldState::read(&held());
        assert!(matches!(state, HoldState::Ours { .. }), "{state:?}");
        assert!(!state.expired(at("2026-01-01T00:01:59Z")));
        assert!(state.expired(at("2026-01-01T00:02:00Z")));
    }

    #[test]
    fn holding_twice_is_holding_once_and_unknown_fields_survive() {
        let once = held();
        let from = revision_hash(&json!({"spec": {"containers": []}}));
        let patch = hold_patch(
            &once,
            from.as_str(),
            at("2026-01-01T00:00:00Z"),
            at("2026-01-01T00:02:00Z"),
        );
        assert_eq!(apply(&once, &patch).unwrap(), once);
        assert_eq!(once["metadata"]["unknown"], json!([1, 2]));
    }

    #[test]
    fn a_release_brings_back_the_object_but_for_an_empty_annotation_map() {
        let mut expected = deployment();
        expected["metadata"]["annotations"] = json!({});
        assert_eq!(apply(&held(), &release_patch(&held())).unwrap(), expected);
    }

    #[test]
    fn a_release_fails_on_an_object_that_changed_meanwhile() {
        let patch = release_patch(&held());
        let mut resumed = held();
        resumed["spec"]["paused"] = json!(false);
        assert!(apply(&resumed, &patch).is_err());
        let mut newer = held();
        newer["metadata"]["annotations"][HOLD_HASH] = json!("another");
        assert!(apply(&newer, &patch).is_err());
    }

    #[test]
    fn what_is_not_ours_is_never_released() {
        let mut users = deployment();
        users["spec"]["paused"] = json!(true);
        let mut changed = held();
        changed["spec"]["template"]["spec"]["containers"][0]["image"] = json!("shop/catalogue:v3");
        let mut resumed = held();
        resumed["spec"]["paused"] = json!(false);
        let mut declared = held();
        declared["metadata"]["managedFields"] =
            json!([{"manager": "argocd", "fieldsV1": {"f:spec": {"f:paused": {}}}}]);
        for (object, state) in [
            (deployment(), HoldState::Free),
            (declared, HoldState::Users),
            (users, HoldState::Users),
            (changed, HoldState::Users),
            (resumed, HoldState::Stale),
        ] {
            assert_eq!(HoldState::read(&object), state);
            assert_eq!(release_patch(&object), Vec::<Value>::new());
            assert!(!state.expired(at("2030-01-01T00:00:00Z")));
        }
    }

    #[test]
    fn a_hold_without_a_readable_deadline_is_over() {
        let mut object = held();
        object["metadata"]["annotations"][HOLD_UNTIL] = json!("tomorrow");
        assert!(HoldState::read(&object).expired(at("2026-01-01T00:00:01Z")));
    }

    #[test]
    fn a_template_changed_past_the_webhook_is_released_if_nobody_else_paused() {
        let mut object = held();
        object["metadata"]["managedFields"] =
            json!([{"manager": "kubectl-set", "fieldsV1": {"f:spec": {"f:template": {}}}}]);
        object["metadata"]["resourceVersion"] = json!("7");
        object["spec"]["template"]["spec"]["containers"][0]["image"] = json!("shop/catalogue:v3");
        assert!(matches!(
            HoldState::read(&object),
            HoldState::Orphaned { .. }
        ));
        let released = apply(&object, &release_patch(&object)).unwrap();
        assert_eq!(HoldState::read(&released), HoldState::Free);
        let mut newer = object.clone();
        newer["metadata"]["resourceVersion"] = json!("8");
        assert!(apply(&newer, &release_patch(&object)).is_err());
    }

    #[test]
    fn no_hold_outlasts_the_longest_deadline_whatever_its_annotation_says() {
        let mut object = held();
        object["metadata"]["annotations"][HOLD_UNTIL] = json!("2036-01-01T00:00:00Z");
        assert!(HoldState::read(&object).expired(at("2026-01-01T00:10:00Z")));
    }
}
