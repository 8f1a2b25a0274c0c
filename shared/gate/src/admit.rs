//! The webhook's decision about one update of a Deployment.

use jiff::Timestamp;
use msars_domain::ObjectKey;
use serde_json::Value;

use crate::facts::Snapshot;
use crate::hold::HoldState;
use crate::judge::Case;
use crate::reason::{PassReason, ReleaseReason};
use crate::warn::warnings;

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

/// The decision.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// A hold begins.
    Hold {
        /// The revision that waits.
        revision: String,
        /// The revision that runs meanwhile.
        from: String,
        /// Start.
        since: Timestamp,
        /// Deadline.
        until: Timestamp,
    },
    /// The hold goes on; its first deadline stays.
    KeepHold {
        /// The revision that waits, perhaps another one than before.
        revision: String,
        /// The revision that runs meanwhile.
        from: String,
        /// Start of the hold.
        since: Timestamp,
        /// Deadline of the hold.
        until: Timestamp,
    },
    /// The hold ends in this write.
    Release {
        /// Why.
        why: ReleaseReason,
    },
    /// Not held.
    Pass {
        /// Why not.
        why: PassReason,
    },
}

impl Verdict {
    /// `Hold`, `KeepHold`, `Release` or `Pass`.
    pub fn label(&self) -> &'static str {
        match self {
            Self::Hold { .. } => "Hold",
            Self::KeepHold { .. } => "KeepHold",
            Self::Release { .. } => "Release",
            Self::Pass { .. } => "Pass",
        }
    }

    /// The reason's stable label; `NewRevision` and `Held` for holds.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::Hold { .. } => "NewRevision",
            Self::KeepHold { .. } => "Held",
            Self::Release { why } => why.label(),
            Self::Pass { why } => why.label(),
        }
    }
}

/// A decision with what follows from it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Admission {
    /// The decision.
    pub verdict: Verdict,
    /// JSON Patch of the incoming object, in order; empty when nothing changes.
    pub patch: Vec<Value>,
    /// Sentences for the writer, each shorter than 256 characters.
    pub warnings: Vec<String>,
}

/// Decides about a write of a Deployment from `old` to `new`. Pure: same input, same answer.
pub fn admit(
    old: &Value,
    new: &Value,
    snapshot: &Snapshot,
    request: &Request,
    now: Timestamp,
) -> Admission {
    if request.operation != Operation::Update {
        return untouched(PassReason::NotAnUpdate);
    }
    let whole = |object: &Value| {
        let is_map = |pointer| object.pointer(pointer).is_some_and(Value::is_object);
        is_map("/metadata") && is_map("/spec/template")
    };
    if !whole(old) || !whole(new) {
        return untouched(PassReason::Unreadable);
    }
    let case = Case::new(old, new, snapshot, request, now);
    if case.after.deleting {
        return untouched(PassReason::Deleting);
    }
    let verdict = match case.before.state {
        HoldState::Ours { .. } | HoldState::Orphaned { .. } => case.held(),
        HoldState::Free | HoldState::Users | HoldState::Stale => case.free(),
    };
    Admission {
        patch: case.patch(&verdict),
        warnings: warnings(&case, &verdict),
        verdict,
    }
}

fn untouched(why: PassReason) -> Admission {
    Admission {
        verdict: Verdict::Pass { why },
        patch: Vec::new(),
        warnings: Vec::new(),
    }
}
