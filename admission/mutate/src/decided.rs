//! A decision before it is put into an envelope.

use serde_json::Value;

/// A decision about a Deployment or a pod.
pub(crate) struct Decided {
    pub verdict: &'static str,
    pub reason: &'static str,
    pub patch: Vec<Value>,
    pub warnings: Vec<String>,
    /// Further audit annotations.
    pub audit: Vec<(&'static str, String)>,
}

impl Decided {
    /// Allowed unchanged.
    pub(crate) fn pass(reason: &'static str) -> Self {
        Self {
            verdict: "Pass",
            reason,
            patch: Vec::new(),
            warnings: Vec::new(),
            audit: Vec::new(),
        }
    }
}
