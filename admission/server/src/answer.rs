//! What a decision is, and the answer given when there is none.

use prometheus_client::encoding::EncodeLabelValue;
use serde::Deserialize;

/// How a review ended; the label of the decision counter.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, EncodeLabelValue)]
pub enum Outcome {
    /// Allowed unchanged, by decision.
    Passed,
    /// Allowed with a patch.
    Patched,
    /// Allowed because the body was no complete review, or too large.
    Unreadable,
    /// Allowed because the deadline passed.
    Late,
    /// Allowed because the decision panicked.
    Failed,
}

/// A decided review.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decision {
    /// The `AdmissionReview` to send, as JSON.
    pub body: Vec<u8>,
    /// For the counter.
    pub outcome: Outcome,
}

/// Decides on reviews from what it already knows, without I/O.
pub trait Decide: Send + Sync + 'static {
    /// `review` is a complete JSON document with a `request.uid`.
    fn decide(&self, review: &[u8], now: jiff::Timestamp) -> Decision;
}

#[derive(Deserialize)]
struct Envelope {
    request: Request,
}

#[derive(Deserialize)]
struct Request {
    uid: String,
}

/// The review's uid; `None` when the body is not a complete review.
pub(crate) fn uid(review: &[u8]) -> Option<String> {
    serde_json::from_slice::<Envelope>(review)
        .ok()
        .map(|envelope| envelope.request.uid)
}

/// "Allowed, unchanged, and this is why" as JSON.
pub(crate) fn allow(uid: &str, why: &str) -> Vec<u8> {
    serde_json::json!({
        "apiVersion": "admission.k8s.io/v1",
        "kind": "AdmissionReview",
        "response": {
            "uid": uid,
            "allowed": true,
            "auditAnnotations": { "fail-open": why },
        },
    })
    .to_string()
    .into_bytes()
}

#[cfg(test)]
mod tests {
    use super::uid;
    use msars_mutate::guess_uid;

    #[test]
    fn uid_of_whole_and_cut_reviews() {
        let whole = br#"{"kind":"AdmissionReview","request":{"uid": "u-1","object":{}}}"#;
        assert_eq!(uid(whole).as_deref(), Some("u-1"));
        let cut = &whole[..whole.len() - 3];
        assert_eq!(uid(cut), None);
        assert_eq!(guess_uid(cut), "u-1");
        for end in 0..whole.len() {
            assert!(["", "u-1"].contains(&guess_uid(&whole[..end]).as_str()));
        }
        assert_eq!(guess_uid(b"\xff\xfe"), "");
    }
}
