//! Condition types and reasons; HPA's own words where HPA has one.

use std::fmt;

/// Condition types of our kinds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ConditionType {
    /// The summary: everything else is as it should be.
    Ready,
    /// The profile stands; otherwise the reason says how far it is, or why there is none.
    Profiled,
    /// The objective is split and verified.
    Split,
    /// The profile differs from what live pods show.
    LLPDrift,
    /// HPA: the target can be read and written.
    AbleToScale,
    /// HPA: metrics are good enough to decide.
    ScalingActive,
    /// HPA: a bound holds the wanted value back.
    ScalingLimited,
    /// Another autoscaler or writer owns replicas.
    ReplicasConflict,
    /// The workload's HorizontalPodAutoscaler is taken over; otherwise the reason says why not.
    Adopted,
    /// The namespace lacks nothing that its annotations need: the grant of writes, the label of the webhooks.
    InReach,
    /// An in-place resize waits or was refused.
    ResizeBlocked,
    /// More runs than the load asks for, because something is wrong.
    SafeMode,
}

impl ConditionType {
    /// The type as stored.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Ready => "Ready",
            Self::Profiled => "Profiled",
            Self::Split => "Split",
            Self::LLPDrift => "LLPDrift",
            Self::AbleToScale => "AbleToScale",
            Self::ScalingActive => "ScalingActive",
            Self::ScalingLimited => "ScalingLimited",
            Self::ReplicasConflict => "ReplicasConflict",
            Self::Adopted => "Adopted",
            Self::InReach => "InReach",
            Self::ResizeBlocked => "ResizeBlocked",
            Self::SafeMode => "SafeMode",
        }
    }
}

impl fmt::Display for ConditionType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
