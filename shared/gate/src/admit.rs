//! The webhook's decision about one update of a Deployment.

use jiff::Timestamp;
use serde_json::Value;

use crate::facts::Facts;
use crate::hold::HoldState;
use crate::judge::Case;
use crate::reason::PassReason;
use crate::request::{Operation, Request};
use crate::snapshot::Snapshot;
use crate::verdict::Verdict;
use crate::warn::{of_values, warnings};

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

/// Decides about a write of a Deployment from `old` to `new`. A new Deployment is told what is wrong with its
/// annotations and stays as it was sent. Pure: same input, same answer.
pub fn admit(
    old: &Value,
    new: &Value,
    snapshot: &Snapshot,
    request: &Request,
    now: Timestamp,
) -> Admission {
    match request.operation {
        Operation::Update => {}
        Operation::Create => {
            return Admission {
                warnings: of_values(&Facts::read(new).warnings).collect(),
                ..untouched(PassReason::NotAnUpdate)
            };
        }
        Operation::Other => return untouched(PassReason::NotAnUpdate),
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
