//! An undo brings back the annotations of an old ReplicaSet; settings of ours stay those of the live object.

use std::collections::BTreeSet;

use msars_api::annotations::MODE;
use serde_json::Value;

use crate::deployment::{our_settings, text};
use crate::request::Request;

const LAST_APPLIED: &str =
    "/metadata/annotations/kubectl.kubernetes.io~1last-applied-configuration";

/// Whether a write to another template looks like `kubectl rollout undo`: a patch without a field manager that leaves
/// the last applied manifest alone (kubectl 1.35, polymorphichelpers/rollback.go; every other verb of kubectl, Helm
/// and server-side apply name their manager). `known` says that the template is a known revision; where that can't be
/// told, only a write that drops the opt-in counts.
pub(crate) fn looks_like_undo(
    old: &Value,
    new: &Value,
    request: &Request,
    known: Option<bool>,
) -> bool {
    let nameless = matches!(
        request.field_manager.as_deref(),
        None | Some("" | "kubectl-rollout")
    );
    let same_manifest = text(old, LAST_APPLIED) == text(new, LAST_APPLIED);
    let known = known.unwrap_or_else(|| !our_settings(new).contains_key(MODE));
    known && nameless && request.patch != Some(false) && same_manifest
}

/// The edits that keep our settings as they are in the live object; empty when they are the same.
pub(crate) fn kept(old: &Value, new: &Value) -> Vec<(String, Option<String>)> {
    let (live, brought) = (our_settings(old), our_settings(new));
    let names: BTreeSet<&String> = live.keys().chain(brought.keys()).collect();
    names
        .into_iter()
        .filter(|name| live.get(*name) != brought.get(*name))
        .map(|name| (name.clone(), live.get(name).cloned()))
        .collect()
}
