//! What users are told by events besides the writes: changes of conditions that they must know, and annotation values
//! that were not understood.

use std::collections::{BTreeMap, BTreeSet};

use futures::StreamExt as _;
use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use msars_api::annotations::Warning;
use msars_api::conditions::ConditionType;
use msars_api::crd::SloAutoscalerStatus;
use msars_domain::ObjectKey;
use msars_plan::{ConditionReason, Decision};

use super::hands::{Hands, Task};
use super::status::{AMBIGUOUS, Row, Said, conditions, same};
use super::{PARALLEL, Workloads};
use crate::world::Workload;

const RIVAL_GONE: &str = "RivalGone";
/// Metrics that were there are told as missing after so long, seconds: pods that a rollout just made have none either,
/// until they were scraped twice.
const MISSING_S: i64 = 60;
/// Bounds that are nobody's wish.
const ROOM: [&str; 2] = ["QuotaReached", "PodsUnschedulable"];

/// HPA's word for metrics that are missing.
const METRICS: &str = "FailedGetPodsMetric";

/// One event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Notice {
    /// Something needs a person; otherwise it is good to know.
    pub warning: bool,
    /// HPA's word where it has one.
    pub reason: String,
    /// The condition's sentence.
    pub note: String,
}

/// The events of the conditions that mean something else now than what is stored. How writes ended and how an adoption
/// stands have events of their own.
pub fn changes(stored: Option<&SloAutoscalerStatus>, said: &Said<'_>) -> Vec<Notice> {
    let before = |type_: ConditionType| {
        let mut all = stored.iter().flat_map(|status| &status.conditions);
        all.find(|condition| condition.type_ == type_.as_str())
    };
    let rows = conditions(said);
    rows.iter()
        .flat_map(|row| change(row, before(row.0)))
        .collect()
}

fn change(row: &Row, before: Option<&Condition>) -> Vec<Notice> {
    use ConditionType as T;
    let (type_, holds, reason, message) = row;
    let held = before.map(|before| before.status == "True");
    let was = before.map_or("", |before| before.reason.as_str());
    if before.is_some_and(|before| same(row, before)) {
        return Vec::new();
    }
    let warning = |reason: &str| Notice {
        warning: true,
        reason: reason.to_owned(),
        note: message.clone(),
    };
    let good = |reason: &str| Notice {
        warning: false,
        ..warning(reason)
    };
    match (type_, holds) {
        (T::ScalingActive, true) if was == AMBIGUOUS => vec![good(RIVAL_GONE)],
        (T::ScalingActive, true) if was == METRICS => Vec::new(),
        (T::ScalingActive | T::InReach, true) if held == Some(false) => vec![good(reason)],
        (T::ScalingActive, false) => {
            let gone = (was == AMBIGUOUS && reason != AMBIGUOUS).then(|| Notice {
                note: "no other autoscaler scales it any more".into(),
                ..good(RIVAL_GONE)
            });
            let now = match reason.as_str() {
                // The user's own word; and what is told when it lasts, see [`Missing`].
                "ScalingDisabled" | METRICS => None,
                // Every workload begins so.
                "NoProfile" | "NoObjective" => Some(good(reason)),
                _ => Some(warning(reason)),
            };
            gone.into_iter().chain(now).collect()
        }
        (T::ScalingLimited, true) if ROOM.contains(&reason.as_str()) => vec![warning(reason)],
        (T::SafeMode, true) if reason != "MetricsVanished" => vec![good(reason)],
        (T::ReplicasConflict | T::ResizeBlocked | T::SafeMode, true) | (T::InReach, false) => {
            vec![warning(reason)]
        }
        (T::SafeMode, false) if held == Some(true) => vec![good("SafeModeEnded")],
        (T::ReplicasConflict | T::ResizeBlocked, false) if held == Some(true) => vec![good(reason)],
        _ => Vec::new(),
    }
}

impl Hands {
    /// Tells all of these, some at once: where Prometheus is gone, they are as many as workloads.
    pub(super) async fn tell(&self, all: Vec<(Workload, Notice)>) {
        futures::stream::iter(all)
            .for_each_concurrent(PARALLEL, |(workload, notice)| async move {
                self.notify(&workload, notice).await;
            })
            .await;
    }

    /// Tells what changed with a status that was written.
    pub(super) async fn tell_changes(&self, task: &Task, said: &Said<'_>) {
        for notice in changes(task.autoscaler.status.as_ref(), said) {
            self.notify(&task.workload, notice).await;
        }
    }

    async fn notify(&self, workload: &Workload, notice: Notice) {
        let Notice {
            warning,
            reason,
            note,
        } = notice;
        self.own
            .tell(workload, "Scale", warning, &reason, note)
            .await;
    }
}

/// Metrics of one workload that were there and are missing.
#[derive(Debug, Default)]
pub struct Missing {
    since: Option<Timestamp>,
    told: bool,
}

impl Missing {
    /// What is to be told at a decision made `now`: once that metrics are missing, when they have been for a while, and
    /// then once that they are back. Metrics that never came, as `stored` tells, are no loss: the condition says so. Pure.
    pub fn look(
        &mut self,
        stored: Option<&SloAutoscalerStatus>,
        decision: &Decision,
        now: Timestamp,
    ) -> Option<Notice> {
        let active = msars_plan::ConditionType::ScalingActive;
        let condition = decision.conditions.iter().find(|c| c.kind == active)?;
        let notice = |warning| Notice {
            warning,
            reason: condition.reason.to_string(),
            note: condition.message.clone(),
        };
        if condition.reason != ConditionReason::FailedGetPodsMetric {
            let ended = std::mem::take(self);
            return (ended.told && condition.status).then(|| notice(false));
        }
        if self.since.is_none() {
            let type_ = ConditionType::ScalingActive.as_str();
            let mut all = stored.iter().flat_map(|status| &status.conditions);
            all.find(|stored| stored.type_ == type_ && stored.status == "True")?;
        }
        let since = *self.since.get_or_insert(now);
        let news = !self.told && now.duration_since(since).as_secs() >= MISSING_S;
        self.told |= news;
        news.then(|| notice(true))
    }
}

/// Annotation values that were told, by the Deployment's uid.
#[derive(Debug, Default)]
pub struct Misread(BTreeMap<String, Vec<Warning>>);

impl Misread {
    /// What is to be told of a workload now: once per change of a value.
    fn news(&mut self, workload: &Workload) -> Option<String> {
        let told = self.0.entry(workload.uid.clone()).or_default();
        if *told == workload.warnings {
            return None;
        }
        told.clone_from(&workload.warnings);
        let all: Vec<String> = told.iter().map(Warning::to_string).collect();
        (!all.is_empty()).then(|| all.join("; "))
    }
}

impl Workloads {
    /// What is to be told of metrics that have been missing for a while, or are back.
    pub(super) fn missing(&mut self, tasks: &[Task]) -> Vec<(Workload, Notice)> {
        let mut out = Vec::new();
        for task in tasks {
            let Some(memory) = self.memory.get_mut(&task.workload.key) else {
                continue;
            };
            let stored = task.autoscaler.status.as_ref();
            let notice = memory.missing.look(stored, &task.decision, task.now);
            out.extend(notice.map(|notice| (task.workload.clone(), notice)));
        }
        out
    }

    /// Tells annotation values that were not understood: the webhook sees updates in labelled namespaces only.
    pub(super) async fn tell_misread(&mut self, workloads: &BTreeMap<ObjectKey, Workload>) {
        let there: BTreeSet<&str> = workloads
            .values()
            .map(|workload| workload.uid.as_str())
            .collect();
        self.misread.0.retain(|uid, _| there.contains(uid.as_str()));
        for workload in workloads.values() {
            if let Some(note) = self.misread.news(workload) {
                self.hands
                    .own
                    .tell(workload, "Read", true, "InvalidAnnotation", note)
                    .await;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
    use serde_json::json;

    use super::*;

    fn stored(type_: ConditionType, status: &str, reason: &str) -> Condition {
        Condition {
            type_: type_.as_str().into(),
            status: status.into(),
            reason: reason.into(),
            message: "as it was".into(),
            observed_generation: None,
            last_transition_time: Time(Timestamp::UNIX_EPOCH),
        }
    }

    use ConditionType as T;

    /// A condition, how it was stored, how it is now, and the events: `!` before what needs a person.
    #[rustfmt::skip]
    const TABLE: &[(T, &str, &str, &str)] = &[
        // Told when it lasts.
        (T::ScalingActive, "True ValidMetricFound", "False FailedGetPodsMetric", ""),
        (T::ScalingActive, "False FailedGetPodsMetric", "True ValidMetricFound", ""),
        (T::ScalingActive, "", "True ValidMetricFound", ""),
        (T::ScalingActive, "", "False NoProfile", "NoProfile"),
        (T::ScalingActive, "True ValidMetricFound", "False ScalingDisabled", ""),
        (T::ScalingActive, "True ValidMetricFound", "False AmbiguousSelector", "!AmbiguousSelector"),
        // Another one.
        (T::ScalingActive, "False AmbiguousSelector", "False AmbiguousSelector", "!AmbiguousSelector"),
        (T::ScalingActive, "False AmbiguousSelector", "True ValidMetricFound", "RivalGone"),
        (T::ScalingActive, "False AmbiguousSelector", "False FailedGetPodsMetric", "RivalGone"),
        (T::ScalingActive, "False AmbiguousSelector", "False ScalingDisabled", "RivalGone"),
        (T::ScalingLimited, "False DesiredWithinRange", "True QuotaReached", "!QuotaReached"),
        (T::ScalingLimited, "True QuotaReached", "True PodsUnschedulable", "!PodsUnschedulable"),
        (T::ScalingLimited, "False DesiredWithinRange", "True TooManyReplicas", ""),
        (T::ScalingLimited, "True QuotaReached", "False DesiredWithinRange", ""),
        (T::ReplicasConflict, "False NoConflict", "True DeclaredReplicas", "!DeclaredReplicas"),
        (T::ReplicasConflict, "True DeclaredReplicas", "True ForeignWriter", "!ForeignWriter"),
        (T::ReplicasConflict, "True ForeignWriter", "False NoConflict", "NoConflict"),
        (T::ReplicasConflict, "", "False NoConflict", ""),
        (T::ResizeBlocked, "False NotBlocked", "True ResizeInfeasible", "!ResizeInfeasible"),
        (T::ResizeBlocked, "True ResizeInfeasible", "False NotBlocked", "NotBlocked"),
        (T::SafeMode, "False Normal", "True MetricsVanished", "!MetricsVanished"),
        (T::SafeMode, "False Normal", "True EmergencyAnnotation", "EmergencyAnnotation"),
        (T::SafeMode, "True MetricsVanished", "True EmergencyReturn", "EmergencyReturn"),
        (T::SafeMode, "True EmergencyReturn", "False Normal", "SafeModeEnded"),
        (T::InReach, "True InReach", "False NamespaceNotGranted", "!NamespaceNotGranted"),
        (T::InReach, "", "False NamespaceNotLabelled", "!NamespaceNotLabelled"),
        (T::InReach, "False NamespaceNotGranted", "True InReach", "InReach"),
        (T::InReach, "", "True InReach", ""),
        // Told where it is written.
        (T::AbleToScale, "True ReadyForNewScale", "False FailedUpdateScale", ""),
        (T::Adopted, "False Stored", "True Adopted", ""),
        (T::Ready, "True Scaling", "False QuotaReached", ""),
    ];

    #[test]
    fn a_change_that_a_user_must_know_is_one_event() {
        for (type_, before, now, wanted) in TABLE {
            let before = before.split_once(' ');
            let before = before.map(|(status, reason)| stored(*type_, status, reason));
            let (status, reason) = now.split_once(' ').unwrap();
            let row = (
                *type_,
                status == "True",
                reason.to_owned(),
                "why".to_owned(),
            );
            let found: Vec<String> = change(&row, before.as_ref())
                .iter()
                .map(|notice| {
                    assert!(!notice.note.is_empty());
                    let mark = if notice.warning { "!" } else { "" };
                    format!("{mark}{}", notice.reason)
                })
                .collect();
            assert_eq!(found.join(" "), *wanted, "{type_} {before:?} {now}");
        }
    }

    #[test]
    fn a_bad_value_is_told_once() {
        let workload = |annotations: serde_json::Value| {
            let object = json!({
                "metadata": {"namespace": "shop", "name": "carts", "uid": "d1", "annotations": annotations},
                "spec": {"template": {"spec": {"containers": [{"name": "app", "image": "i"}]}}},
            });
            Workload::read(object, true, &[]).unwrap().0
        };
        let mut misread = Misread::default();
        let fine = workload(json!({"msars.io/mode": "auto"}));
        let bad = workload(
            json!({"msars.io/mode": "auto", "msars.io/cpu": "lots", "msars.io/min-replicas": "few"}),
        );
        let worse = workload(json!({"msars.io/mode": "auto", "msars.io/cpu": "more"}));
        assert_eq!(misread.news(&fine), None);
        let note = misread.news(&bad).unwrap();
        assert!(
            note.contains("msars.io/cpu: \"lots\"") && note.contains("msars.io/min-replicas"),
            "{note}"
        );
        assert_eq!(misread.news(&bad), None);
        assert!(misread.news(&worse).unwrap().contains("\"more\""));
        assert_eq!(misread.news(&fine), None);
        assert!(misread.news(&bad).is_some());
    }
}
