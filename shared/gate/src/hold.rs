//! A hold is `spec.paused` together with annotations whose hash is the stored template's; everything else that is
//! paused is the user's, and is never touched.

use jiff::Timestamp;
use msars_api::annotations::{HOLD_FROM, HOLD_HASH, HOLD_SINCE, HOLD_UNTIL};
use serde_json::{Value, json};

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
    /// Paused, but not by a hold of the stored template.
    Users,
    /// Not paused, yet a hold's annotations are there: somebody resumed it, or an undo brought them back.
    Stale,
}

fn annotation<'a>(deployment: &'a Value, name: &str) -> Option<&'a str> {
    deployment
        .get("metadata")?
        .get("annotations")?
        .get(name)?
        .as_str()
}

impl HoldState {
    /// Reads a Deployment as the API server stores it. A deadline that cannot be read is `None`, which callers treat
    /// as passed: a hold without a readable end must not last.
    pub fn read(deployment: &Value) -> Self {
        let paused = deployment
            .pointer("/spec/paused")
            .and_then(Value::as_bool)
            .unwrap_or(false);
        let held = annotation(deployment, HOLD_HASH);
        match (paused, held) {
            (false, None) => Self::Free,
            (false, Some(_)) => Self::Stale,
            (true, Some(held)) => {
                let hash =
                    revision_hash(deployment.pointer("/spec/template").unwrap_or(&Value::Null));
                if hash.as_str() == held {
                    let until =
                        annotation(deployment, HOLD_UNTIL).and_then(|text| text.parse().ok());
                    Self::Ours { hash, until }
                } else {
                    Self::Users
                }
            }
            (true, None) => Self::Users,
        }
    }

    /// Whether a hold of ours is over at `now`.
    pub fn expired(&self, now: Timestamp) -> bool {
        match self {
            Self::Ours { until, .. } => until.is_none_or(|until| now >= until),
            Self::Free | Self::Users | Self::Stale => false,
        }
    }
}

fn path(annotation: &str) -> String {
    format!(
        "/metadata/annotations/{}",
        annotation.replace('~', "~0").replace('/', "~1")
    )
}

/// The webhook's patch (RFC 6902) that holds the incoming object: same object, same bytes; applied twice it changes
/// nothing more.
pub fn hold_patch(
    incoming: &Value,
    from: &RevisionHash,
    since: Timestamp,
    until: Timestamp,
) -> Vec<Value> {
    let hash = revision_hash(incoming.pointer("/spec/template").unwrap_or(&Value::Null));
    let mut patch = Vec::new();
    if !incoming
        .pointer("/metadata/annotations")
        .is_some_and(Value::is_object)
    {
        patch.push(json!({"op": "add", "path": "/metadata/annotations", "value": {}}));
    }
    let stamps = [
        (HOLD_HASH, hash.to_string()),
        (HOLD_FROM, from.to_string()),
        (HOLD_SINCE, since.to_string()),
        (HOLD_UNTIL, until.to_string()),
    ];
    for (name, value) in stamps {
        patch.push(json!({"op": "add", "path": path(name), "value": value}));
    }
    patch.push(json!({"op": "add", "path": "/spec/paused", "value": true}));
    patch
}

/// Removes what stands of a hold's annotations.
pub fn strip_patch(deployment: &Value) -> Vec<Value> {
    [HOLD_HASH, HOLD_FROM, HOLD_SINCE, HOLD_UNTIL]
        .into_iter()
        .filter(|name| annotation(deployment, name).is_some())
        .map(|name| json!({"op": "remove", "path": path(name)}))
        .collect()
}

/// Ends a hold of ours in one write: first tests that it is still this hold, so that a user's pause or a newer hold
/// that came between is left alone. Empty unless the state is [`HoldState::Ours`].
pub fn release_patch(deployment: &Value) -> Vec<Value> {
    let HoldState::Ours { hash, .. } = HoldState::read(deployment) else {
        return Vec::new();
    };
    let mut patch = vec![
        json!({"op": "test", "path": path(HOLD_HASH), "value": hash.as_str()}),
        json!({"op": "test", "path": "/spec/paused", "value": true}),
    ];
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
            &from,
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
            &from,
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
        for (object, state) in [
            (deployment(), HoldState::Free),
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
}
