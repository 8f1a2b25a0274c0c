//! What the review says about a write.

use msars_domain::ObjectKey;

/// What is done to the object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operation {
    /// It is new.
    Create,
    /// It changes.
    Update,
    /// Anything else.
    Other,
}

/// What the review says about the write itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// What is done.
    pub operation: Operation,
    /// The Deployment.
    pub target: ObjectKey,
    /// Who writes.
    pub user: String,
    /// Nothing will be stored. The answer is the same: it has no side effects.
    pub dry_run: bool,
    /// The field manager that the writer named.
    pub field_manager: Option<String>,
    /// Whether the write is a patch (else the whole object); `None` if the review does not say.
    pub patch: Option<bool>,
}
