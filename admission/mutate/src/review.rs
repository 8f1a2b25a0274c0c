//! Reading a review, writing its answer (admission.k8s.io/v1).

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use msars_domain::ObjectKey;
use msars_gate::{Operation, Request, Snapshot, Verdict, admit};
use serde_json::{Map, Value, json};

use crate::decided::Decided;
use crate::pod;

/// How a review ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Outcome {
    /// Allowed unchanged, by decision.
    Passed,
    /// Allowed with a patch.
    Patched,
    /// Allowed because the bytes are no review.
    Unreadable,
}

/// An answer, and its labels for metrics and logs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// The `AdmissionReview` to send, as JSON.
    pub body: Vec<u8>,
    /// How the review ended.
    pub outcome: Outcome,
    /// `Hold`, `KeepHold`, `Release`, `Pass` or `Size`.
    pub verdict: &'static str,
    /// A stable CamelCase reason.
    pub reason: &'static str,
}

/// Answers a review from what is known at `now`. The answer is always "allowed", with the review's uid.
pub fn decide(review: &[u8], snapshot: &Snapshot, now: Timestamp) -> Answer {
    let parsed = serde_json::from_slice::<Value>(review).ok();
    let request = parsed
        .as_ref()
        .and_then(|review| review.get("request"))
        .and_then(|request| Some((request, request.get("uid")?.as_str()?)));
    let Some((request, uid)) = request else {
        let decided = Decided::pass("Unreadable");
        return answer(&guess_uid(review), decided, Outcome::Unreadable);
    };
    let mut decided = about(request, snapshot, now);
    let object = request.get("object").unwrap_or(&Value::Null);
    if !decided.patch.is_empty() && !applies(object, &decided.patch) {
        // A patch that fails would reject the user's write, whatever the failure policy.
        decided = Decided::pass("PatchWouldFail");
    }
    let outcome = if decided.patch.is_empty() {
        Outcome::Passed
    } else {
        Outcome::Patched
    };
    answer(uid, decided, outcome)
}

fn about(request: &Value, snapshot: &Snapshot, now: Timestamp) -> Decided {
    let text = |pointer: &str| request.pointer(pointer).and_then(Value::as_str);
    let object = request.get("object").unwrap_or(&Value::Null);
    if text("/subResource").is_some_and(|part| !part.is_empty()) {
        return Decided::pass("SubResource");
    }
    let operation = match text("/operation") {
        Some("CREATE") => Operation::Create,
        Some("UPDATE") => Operation::Update,
        _ => Operation::Other,
    };
    let namespace = text("/namespace").unwrap_or_default();
    match text("/kind/kind") {
        Some("Deployment") => {
            let write = Request {
                operation,
                target: ObjectKey::new(namespace, text("/name").unwrap_or_default()),
                user: text("/userInfo/username").unwrap_or_default().to_owned(),
                dry_run: request.get("dryRun").and_then(Value::as_bool) == Some(true),
                field_manager: text("/options/fieldManager").map(str::to_owned),
                patch: text("/options/kind").map(|kind| kind == "PatchOptions"),
            };
            let old = request.get("oldObject").unwrap_or(&Value::Null);
            let admission = admit(old, object, snapshot, &write, now);
            Decided {
                verdict: admission.verdict.label(),
                reason: admission.verdict.reason(),
                patch: admission.patch,
                warnings: admission.warnings,
                audit: audit(&admission.verdict),
            }
        }
        Some("Pod") if operation == Operation::Create => pod::at_birth(namespace, object, snapshot),
        _ => Decided::pass("NotOurs"),
    }
}

fn audit(verdict: &Verdict) -> Vec<(&'static str, String)> {
    match verdict {
        Verdict::Hold {
            revision,
            from,
            until,
            ..
        }
        | Verdict::KeepHold {
            revision,
            from,
            until,
            ..
        } => vec![
            ("revision", revision.clone()),
            ("from", from.clone()),
            ("until", until.to_string()),
        ],
        Verdict::Release { why } => vec![("because", why.sentence())],
        Verdict::Pass { why } => vec![("because", why.sentence())],
    }
}

fn applies(object: &Value, patch: &[Value]) -> bool {
    let parsed = serde_json::from_value::<json_patch::Patch>(Value::Array(patch.to_vec()));
    parsed.is_ok_and(|patch| json_patch::patch(&mut object.clone(), &patch).is_ok())
}

fn answer(uid: &str, decided: Decided, outcome: Outcome) -> Answer {
    let mut audit = Map::new();
    audit.insert("verdict".into(), decided.verdict.into());
    audit.insert("reason".into(), decided.reason.into());
    for (name, value) in decided.audit {
        audit.insert(name.into(), value.into());
    }
    let mut response = Map::new();
    response.insert("uid".into(), uid.into());
    response.insert("allowed".into(), true.into());
    if !decided.patch.is_empty() {
        let bytes = Value::Array(decided.patch).to_string();
        response.insert("patchType".into(), "JSONPatch".into());
        response.insert("patch".into(), STANDARD.encode(bytes).into());
    }
    if !decided.warnings.is_empty() {
        response.insert("warnings".into(), decided.warnings.into());
    }
    response.insert("auditAnnotations".into(), Value::Object(audit));
    let body = json!({
        "apiVersion": "admission.k8s.io/v1",
        "kind": "AdmissionReview",
        "response": response,
    });
    Answer {
        body: body.to_string().into_bytes(),
        outcome,
        verdict: decided.verdict,
        reason: decided.reason,
    }
}

/// The uid of a review that was cut short; empty when there is none. The API server writes `request.uid` before every
/// other uid; a wrong guess makes it apply `failurePolicy`, which is Ignore.
pub fn guess_uid(review: &[u8]) -> String {
    let text = String::from_utf8_lossy(review);
    let after_key = text.split_once("\"uid\"").map_or("", |(_, rest)| rest);
    let value = after_key.trim_start_matches([':', ' ']).strip_prefix('"');
    let uid = value.and_then(|value| value.split_once('"'));
    uid.map_or_else(String::new, |(uid, _)| uid.to_owned())
}
