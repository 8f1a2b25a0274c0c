//! Conditions in HPA's words, so that dashboards and habits carry over, and a few of our own.

use std::fmt::Write as _;

use msars_domain::{MilliCpu, ObjectKey, Observation};
use serde::{Deserialize, Serialize};

use crate::{
    Fleet, Reason, Refuser, State,
    facts::Facts,
    resize::{self, Blocked, Cause},
    shield::bounds,
};

/// Condition types.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum ConditionType {
    /// HPA's: replicas can be read and written.
    AbleToScale,
    /// HPA's: metrics are there and scaling is on.
    ScalingActive,
    /// HPA's: the wanted count was bounded.
    ScalingLimited,
    /// Ours: somebody else writes replicas.
    ReplicasConflict,
    /// Ours: an in-place resize waits or was refused.
    ResizeBlocked,
    /// Ours: more runs than the load asks for, because something is wrong.
    SafeMode,
}

/// Reasons: HPA's own first, then ours.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum ConditionReason {
    /// Nothing to do.
    ReadyForNewScale,
    /// A higher recommendation of the window counts.
    ScaleDownStabilized,
    /// A lower recommendation of the window counts.
    ScaleUpStabilized,
    /// Replicas change.
    SucceededRescale,
    /// Metrics are there.
    ValidMetricFound,
    /// They are not.
    FailedGetPodsMetric,
    /// Replicas are 0, or the user paused.
    ScalingDisabled,
    /// Another autoscaler has the target.
    AmbiguousSelector,
    /// Nothing bounded the count.
    DesiredWithinRange,
    /// The minimum did.
    TooFewReplicas,
    /// The maximum did.
    TooManyReplicas,
    /// The rate policies did, upward.
    ScaleUpLimit,
    /// The rate policies did, downward.
    ScaleDownLimit,
    /// Ours: a namespace quota did, or it has no room for a resize.
    QuotaReached,
    /// Ours: no node has room for pods that were asked for.
    PodsUnschedulable,
    /// Ours: the ReplicaSet does not create pods that were asked for.
    PodsNotCreated,
    /// Ours: no load-latency profile.
    NoProfile,
    /// Ours: no objective reaches the workload.
    NoObjective,
    /// Ours: somebody dropped replicas below the floor, repeatedly.
    ForeignWriter,
    /// Ours: a field manager declares replicas.
    DeclaredReplicas,
    /// Ours: nobody else writes replicas.
    NoConflict,
    /// Ours: the API server has no `pods/resize`.
    ResizeUnsupported,
    /// Ours: the template says that a change of CPU restarts the container.
    ResizeRestarts,
    /// Ours: whether it has was not to be found out yet.
    ResizeUndiscovered,
    /// Ours: the kubelet deferred a resize.
    ResizeDeferred,
    /// Ours: a node refused a resize.
    ResizeInfeasible,
    /// Ours: the API server refused a resize.
    ResizeRefused,
    /// Ours: a resize was asked for and is not there, and nobody says why.
    ResizeLate,
    /// Ours: nothing is blocked.
    NotBlocked,
    /// Ours: the user's emergency.
    EmergencyAnnotation,
    /// Ours: metrics vanished during high load.
    MetricsVanished,
    /// Ours: an emergency is over and fades.
    EmergencyReturn,
    /// Ours: the load decides.
    Normal,
}

/// One condition.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Condition {
    /// Type.
    #[serde(rename = "type")]
    pub kind: ConditionType,
    /// True or False.
    pub status: bool,
    /// Reason.
    pub reason: ConditionReason,
    /// A sentence.
    pub message: String,
}

impl Condition {
    pub(crate) fn new(
        kind: ConditionType,
        status: bool,
        reason: ConditionReason,
        message: impl Into<String>,
    ) -> Self {
        Self {
            kind,
            status,
            reason,
            message: message.into(),
        }
    }
}

macro_rules! names {
    ($($kind:ty),*) => {$(
        impl std::fmt::Display for $kind {
            /// The variant's name is the word.
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                std::fmt::Debug::fmt(self, f)
            }
        }
    )*};
}
names!(ConditionType, ConditionReason);

/// What the conditions of a live decision are made of.
pub(crate) struct Verdict<'a> {
    pub seen: &'a Observation,
    pub current: Fleet,
    pub wanted: Fleet,
    pub limited: ConditionReason,
    pub able: ConditionReason,
    pub unmet: bool,
    pub facts: Option<&'a Facts<'a>>,
    pub need: Option<f64>,
    pub blocked: Option<Blocked<'a>>,
}

/// Conditions of a workload that is left alone.
pub(crate) fn inactive(seen: &Observation, reason: &Reason, state: &State) -> Vec<Condition> {
    use ConditionReason as R;
    let why = match reason {
        Reason::NoProfile => R::NoProfile,
        Reason::NoObjective => R::NoObjective,
        Reason::NoMetrics { .. } => R::FailedGetPodsMetric,
        Reason::Rival { .. } => R::AmbiguousSelector,
        _ => R::ScalingDisabled,
    };
    let able = Condition::new(
        ConditionType::AbleToScale,
        true,
        R::ReadyForNewScale,
        "replicas are readable",
    );
    let active = Condition::new(ConditionType::ScalingActive, false, why, reason.to_string());
    let mut out = vec![able, active];
    let blocked = resize::blocked(seen, state, MilliCpu(0), &[], |_| false);
    out.extend(ours(seen, state, blocked.as_ref(), reason));
    out
}

/// Conditions of a workload that is scaled, or would be.
pub(crate) fn active(verdict: &Verdict<'_>, reason: &Reason, state: &State) -> Vec<Condition> {
    use ConditionReason as R;
    let Verdict {
        current, wanted, ..
    } = *verdict;
    let able = if wanted.replicas != current.replicas && verdict.seen.wishes.acts {
        let text = format!("New size: {}; reason: {reason}", wanted.replicas);
        Condition::new(ConditionType::AbleToScale, true, R::SucceededRescale, text)
    } else {
        let text = match verdict.able {
            R::ScaleDownStabilized => "recent recommendations were higher than current one",
            R::ScaleUpStabilized => "recent recommendations were lower than current one",
            _ => "recommended size matches current size",
        };
        Condition::new(ConditionType::AbleToScale, true, verdict.able, text)
    };
    let metric = match reason {
        Reason::MetricsLost { .. } | Reason::MetricsVanished { .. } => R::FailedGetPodsMetric,
        _ => R::ValidMetricFound,
    };
    let found = metric == R::ValidMetricFound;
    let active = Condition::new(
        ConditionType::ScalingActive,
        found,
        metric,
        reason.to_string(),
    );
    let (least, most) = bounds(verdict.seen);
    let fewer = Fleet {
        replicas: wanted.replicas.saturating_sub(1),
        ..wanted
    };
    let spare = verdict
        .facts
        .zip(verdict.need)
        .is_some_and(|(f, need)| f.capacity(fewer) >= need);
    let uncreated = verdict.facts.map_or(0, |f| f.uncreated);
    let limited = match verdict.limited {
        R::DesiredWithinRange if uncreated > 0 => R::PodsNotCreated,
        R::DesiredWithinRange if verdict.unmet && wanted.replicas >= most => R::TooManyReplicas,
        R::DesiredWithinRange if wanted.replicas == least && least > 1 && spare => {
            R::TooFewReplicas
        }
        other => other,
    };
    let waiting = verdict.seen.pods.iter().filter(|p| p.unschedulable).count();
    let limited = match limited {
        R::DesiredWithinRange if waiting > 0 => R::PodsUnschedulable,
        other => other,
    };
    let text = match limited {
        R::TooManyReplicas => format!("the load needs more than the maximum of {most} replicas"),
        R::TooFewReplicas => format!("the minimum of {least} replicas is more than the load needs"),
        R::ScaleUpLimit => {
            "the desired replica count is increasing faster than the maximum scale rate".into()
        }
        R::ScaleDownLimit => {
            "the desired replica count is decreasing faster than the maximum scale rate".into()
        }
        R::QuotaReached => format!(
            "the namespace's quota has no room for more: {}",
            verdict.seen.quotas.join(", ")
        ),
        R::PodsUnschedulable => format!("no node has room for {waiting} of its pods"),
        R::PodsNotCreated => {
            let ObjectKey { namespace, name } = &verdict.seen.signals.workload;
            let why = verdict.seen.create_failure.as_deref();
            let why = why.unwrap_or("its events say why");
            let look = format!("kubectl -n {namespace} describe rs {name}-");
            format!("{uncreated} of its pods were not created: {why}: {look}")
        }
        _ => "the desired count is within the acceptable range".into(),
    };
    let bounded = limited != R::DesiredWithinRange;
    let limited = Condition::new(ConditionType::ScalingLimited, bounded, limited, text);
    let mut out = vec![able, active, limited];
    let blocked = verdict.blocked.as_ref();
    out.extend(ours(verdict.seen, state, blocked, reason));
    out
}

/// Why pods lack their size, and where to look.
fn short(seen: &Observation, state: &State, blocked: &Blocked<'_>) -> (ConditionReason, String) {
    use ConditionReason as R;
    let Blocked { pods, least, cause } = blocked;
    let size = least.actual.size();
    let what = format!("{pods} pods did not get their size, the smallest has {size}");
    let ObjectKey { namespace, name } = &seen.signals.workload;
    let look = format!("kubectl -n {namespace} describe pod {}", least.name);
    match cause {
        Cause::Infeasible => (R::ResizeInfeasible, format!("{what}: {look}")),
        Cause::Deferred => (R::ResizeDeferred, format!("{what}: {look}")),
        Cause::Late => (
            R::ResizeLate,
            format!("{what}, and no condition says why: {look}"),
        ),
        Cause::Quota => {
            let look = format!("kubectl -n {namespace} describe quota");
            let names = seen.quotas.join(" ");
            let text = format!("{what}, since a quota has no room: {look} {names}");
            (R::QuotaReached, text)
        }
        Cause::Refused => {
            let words = state.refusal.as_deref().unwrap_or("the API server refused");
            let mut text = format!("{what}: {words}");
            if state.refused.iter().any(|r| r.by == Refuser::Server) {
                // A missing grant has its own command in the words.
                let _ = write!(
                    text,
                    ". Raise what refuses it, or bound sizes: kubectl -n {namespace} annotate deploy/{name} msars.io/cpu=MIN..MAX"
                );
            }
            (R::ResizeRefused, text)
        }
    }
}

fn ours(
    seen: &Observation,
    state: &State,
    blocked: Option<&Blocked<'_>>,
    reason: &Reason,
) -> Vec<Condition> {
    use ConditionReason as R;
    let conflict = if let Some(owner) = &seen.declared_by {
        let text = format!("{owner} declares spec.replicas; tell it to ignore that field");
        (true, R::DeclaredReplicas, text)
    } else if state.conflict.is_some() {
        let text =
            "somebody dropped replicas below what the load needs twice; they are left alone now";
        (true, R::ForeignWriter, text.to_owned())
    } else {
        (
            false,
            R::NoConflict,
            "nobody else writes replicas".to_owned(),
        )
    };
    let blocked = match (&seen.restarts, blocked) {
        (Some(policy), _) => (true, R::ResizeRestarts, restarts(seen, policy)),
        _ if seen.resizable == Some(false) => (
            true,
            R::ResizeUnsupported,
            "the API server has no pods/resize: replicas only".into(),
        ),
        _ if seen.resizable.is_none() => (
            true,
            R::ResizeUndiscovered,
            "the API server has not said yet whether it has pods/resize: replicas only until it does".into(),
        ),
        (_, Some(blocked)) => {
            let (reason, text) = short(seen, state, blocked);
            (true, reason, text)
        }
        _ => (
            false,
            R::NotBlocked,
            "every pod can have its size".to_owned(),
        ),
    };
    let safe = match state.emergency {
        Some(_) if seen.wishes.emergency => {
            (true, R::EmergencyAnnotation, "msars.io/emergency is set")
        }
        Some(_) if matches!(reason, Reason::MetricsVanished { .. }) => (
            true,
            R::MetricsVanished,
            "metrics vanished during high load",
        ),
        Some(_) => (
            true,
            R::EmergencyReturn,
            "replicas return slowly after an emergency",
        ),
        None => (false, R::Normal, "the load decides"),
    };
    vec![
        Condition::new(
            ConditionType::ReplicasConflict,
            conflict.0,
            conflict.1,
            conflict.2,
        ),
        Condition::new(
            ConditionType::ResizeBlocked,
            blocked.0,
            blocked.1,
            blocked.2,
        ),
        Condition::new(ConditionType::SafeMode, safe.0, safe.1, safe.2),
    ]
}

/// Why a workload has replicas only, and how its pods could be resized.
fn restarts(seen: &Observation, policy: &str) -> String {
    let ObjectKey { namespace, name } = &seen.signals.workload;
    format!(
        "{policy} of the Deployment restarts container {} when its CPU changes: replicas only; to have it resized in \
         place: kubectl -n {namespace} patch deploy {name} --type=json -p \
         '[{{\"op\":\"replace\",\"path\":\"{policy}/restartPolicy\",\"value\":\"NotRequired\"}}]'",
        seen.container
    )
}
