//! Labels: how things end, and of what kind they are.

use msars_api::annotations::Mode;
use msars_api::crd::SloAutoscaler;
use msars_budget::Method;
use msars_client::apply::{Applied, ApplyError};
use msars_domain::Action;
use msars_observe::PromError;
use prometheus_client::encoding::{EncodeLabelSet, EncodeLabelValue};

use crate::engine::EngineError;

/// A kind of label with the list of its values: every series is there from the start, at 0, so that the first count is
/// an increase.
macro_rules! kinds {
    ($(#[$about:meta])* $seen:vis enum $name:ident { $($(#[$what:meta])* $value:ident,)+ }) => {
        $(#[$about])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, EncodeLabelValue)]
        $seen enum $name { $($(#[$what])* $value,)+ }

        impl $name {
            pub(super) const ALL: &[Self] = &[$(Self::$value,)+];
        }
    };
}

kinds! {
    /// How a tick ended.
    pub enum TickOutcome {
        /// Every workload with metrics was decided, or failed alone.
        Decided,
        /// There was nothing to decide.
        Idle,
        /// Nothing was decided: what was taken over from the workloads must be stored anew first.
        Unstored,
        /// Nothing was decided: a copy of what is scaled has not heard from the API server for too long.
        Silent,
        /// The last one was still being decided.
        Busy,
        /// No decision in time.
        Late,
        /// The thread that decides was gone, or could not be started.
        Gone,
        /// The task that asks for metrics failed.
        Blind,
    }
}

impl TickOutcome {
    /// Of a tick that gave no decisions.
    pub fn failed(error: &EngineError) -> Self {
        match error {
            EngineError::Busy => Self::Busy,
            EngineError::Time(_) => Self::Late,
            EngineError::Thread(_) | EngineError::Gone => Self::Gone,
        }
    }
}

kinds! {
    /// How a query to Prometheus ended.
    pub(super) enum QueryOutcome {
        Answered,
        Unreachable,
        Late,
        Refused,
        Unusable,
    }
}

impl QueryOutcome {
    pub(super) fn of(error: Option<&PromError>) -> Self {
        match error {
            None => Self::Answered,
            Some(
                PromError::BaseUrl { .. } | PromError::Token { .. } | PromError::Unreachable(_),
            ) => Self::Unreachable,
            Some(PromError::Timeout(_)) => Self::Late,
            Some(PromError::Status { .. } | PromError::Refused { .. }) => Self::Refused,
            Some(PromError::TooLarge(_) | PromError::BrokenOff(_) | PromError::Malformed(_)) => {
                Self::Unusable
            }
        }
    }
}

kinds! {
    /// What a write does.
    pub(super) enum WriteKind {
        PatchDeployment,
        Scale,
        Resize,
        CreatePod,
        DeletePod,
        DeleteAutoscaler,
        CreateAutoscaler,
    }
}

impl From<&Action> for WriteKind {
    fn from(action: &Action) -> Self {
        match action {
            Action::PatchDeployment { .. } => Self::PatchDeployment,
            Action::Scale { .. } => Self::Scale,
            Action::Resize { .. } => Self::Resize,
            Action::CreatePod { .. } => Self::CreatePod,
            Action::DeletePod { .. } => Self::DeletePod,
            Action::DeleteAutoscaler { .. } => Self::DeleteAutoscaler,
            Action::CreateAutoscaler { .. } => Self::CreateAutoscaler,
        }
    }
}

kinds! {
    /// How a write ended.
    pub(super) enum WriteOutcome {
        Done,
        Conflict,
        Gone,
        Forbidden,
        Refused,
        Unavailable,
        Malformed,
    }
}

impl From<&Result<Applied, ApplyError>> for WriteOutcome {
    fn from(ended: &Result<Applied, ApplyError>) -> Self {
        match ended {
            Ok(Applied::Done) => Self::Done,
            Ok(Applied::Conflict) => Self::Conflict,
            Ok(Applied::Gone) => Self::Gone,
            Err(ApplyError::Forbidden { .. }) => Self::Forbidden,
            Err(ApplyError::Refused { .. }) => Self::Refused,
            Err(ApplyError::Unavailable { .. }) => Self::Unavailable,
            Err(ApplyError::Malformed { .. }) => Self::Malformed,
        }
    }
}

kinds! {
    /// How a profile by a shadow pod ended.
    pub enum ProfileOutcome {
        /// It was finished.
        Done,
        /// It was told to stop.
        Stopped,
        /// The image could not be had.
        ImagePull,
        /// The copy was not Ready in time.
        NotReady,
        /// The copy was preempted, evicted or deleted.
        Evicted,
        /// A callee came into trouble.
        Callee,
        /// Nothing usable was measured.
        Nothing,
        /// A write was refused.
        Write,
        /// A read failed.
        Read,
        /// Its task ended without an outcome.
        BrokenOff,
    }
}

kinds! {
    /// By which method an objective was split.
    pub(super) enum SplitMethod {
        Program,
        Enumerated,
        Bounded,
        Equal,
        Proportional,
        /// There was no split.
        Failed,
    }
}

impl From<Option<Method>> for SplitMethod {
    fn from(method: Option<Method>) -> Self {
        match method {
            Some(Method::Program) => Self::Program,
            Some(Method::Enumerated) => Self::Enumerated,
            Some(Method::Bounded) => Self::Bounded,
            Some(Method::Equal) => Self::Equal,
            Some(Method::Proportional) => Self::Proportional,
            None => Self::Failed,
        }
    }
}

kinds! {
    /// What the product may do to a workload.
    pub(super) enum WorkloadMode {
        Off,
        Recommend,
        Auto,
    }
}

impl From<Mode> for WorkloadMode {
    fn from(mode: Mode) -> Self {
        match mode {
            Mode::Off => Self::Off,
            Mode::Recommend => Self::Recommend,
            Mode::Auto => Self::Auto,
        }
    }
}

kinds! {
    /// The autoscaler's condition Ready.
    pub(super) enum Ready {
        True,
        False,
        Unknown,
    }
}

impl Ready {
    pub(super) fn of(autoscaler: Option<&SloAutoscaler>) -> Self {
        let conditions = autoscaler
            .and_then(|autoscaler| autoscaler.status.as_ref())
            .map(|status| &status.conditions);
        let ready = conditions
            .into_iter()
            .flatten()
            .find(|condition| condition.type_ == "Ready");
        match ready.map(|condition| condition.status.as_str()) {
            Some("True") => Self::True,
            Some("False") => Self::False,
            _ => Self::Unknown,
        }
    }
}

kinds! {
    /// Whose place in a queue was not to be had.
    pub enum Queue {
        /// A tick: the thread that decides was busy.
        Ticks,
        /// A held revision: other profiles left it no time before its deadline.
        Profiles,
        /// A tick's lines of the decision log: those before it were not written yet.
        Decisions,
    }
}

macro_rules! labels {
    ($($name:ident { $($label:ident: $kind:ty),+ })+) => {$(
        #[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
        pub(super) struct $name { $(pub(super) $label: $kind),+ }
    )+};
}
labels! {
    TickLabels { outcome: TickOutcome }
    QueryLabels { outcome: QueryOutcome }
    WriteLabels { action: WriteKind, outcome: WriteOutcome }
    ProfileLabels { outcome: ProfileOutcome }
    SplitLabels { method: SplitMethod }
    WorkloadLabels { mode: WorkloadMode, ready: Ready }
    QueueLabels { queue: Queue }
}
