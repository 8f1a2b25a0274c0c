//! What is decided about a write.

use jiff::Timestamp;

use crate::reason::{PassReason, ReleaseReason};

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
