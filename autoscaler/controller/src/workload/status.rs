//! The autoscaler's status out of a decision. This module is the one writer of conditions, memory, current and wanted
//! replicas, size and last change; sizes per revision are the split's (`crate::autoscalers::want`) except those that
//! run. Pure.

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use msars_api::conditions::ConditionType;
use msars_api::crd::{
    AdoptedAutoscaler, LastChange, SloAutoscaler, SloAutoscalerStatus, WantedSize,
};
use msars_domain::{MilliCpu, Observation};
use msars_plan::{ConditionReason, Decision, Fleet, Reason, State};

use super::adopt::{self, Told};
use super::rivals::{self, Keeper};
use crate::own::set_condition;
use crate::world::Workload;

/// A status that means the same is written at most this often, seconds.
pub const EVERY_S: f64 = 300.0;
/// Revisions whose sizes are kept.
const SIZES: usize = 10;

/// What must be remembered from an earlier leader. The last recommendation counts as made now: it held until then.
pub fn remembered(status: Option<&SloAutoscalerStatus>, now: Timestamp) -> State {
    let memory = status.and_then(|status| status.memory.as_deref());
    let mut state: State = memory
        .and_then(|text| match serde_json::from_str(text) {
            Ok(state) => Some(state),
            Err(error) => {
                tracing::warn!(%error, "a memory that cannot be read is forgotten");
                None
            }
        })
        .unwrap_or_default();
    if let Some(last) = state.recommendations.last_mut() {
        last.at = last.at.max(now);
    }
    state
}

/// What a status is to say.
#[derive(Debug, Clone, Copy)]
pub struct Said<'a> {
    /// The Deployment.
    pub workload: &'a Workload,
    /// The decision.
    pub decision: &'a Decision,
    /// What it rests on.
    pub seen: &'a Observation,
    /// What to remember.
    pub state: &'a State,
    /// Why the write of replicas failed.
    pub failed: Option<&'a str>,
    /// Why the API server refused to resize a pod.
    pub refused: Option<&'a str>,
    /// How the adoption of another autoscaler stands; `None` when nobody asked for one.
    pub adoption: Option<&'a Told>,
    /// Who keeps replicas as its own.
    pub keeper: Option<&'a Keeper>,
    /// What the namespace lacks; `None` leaves the condition as it is.
    pub reach: Option<&'a Told>,
    /// When.
    pub now: Timestamp,
}

/// The reason as one word.
pub fn word(reason: &Reason) -> String {
    let tagged = serde_json::to_value(reason).ok();
    let word = tagged.as_ref().and_then(|value| value.get("is")?.as_str());
    let mut letters = word.unwrap_or("decided").chars();
    letters.next().map_or_else(String::new, |first| {
        first.to_uppercase().chain(letters).collect()
    })
}

fn kind(kind: msars_plan::ConditionType) -> ConditionType {
    use msars_plan::ConditionType as Plan;
    match kind {
        Plan::AbleToScale => ConditionType::AbleToScale,
        Plan::ScalingActive => ConditionType::ScalingActive,
        Plan::ScalingLimited => ConditionType::ScalingLimited,
        Plan::ReplicasConflict => ConditionType::ReplicasConflict,
        Plan::ResizeBlocked => ConditionType::ResizeBlocked,
        Plan::SafeMode => ConditionType::SafeMode,
    }
}

/// Type, status, reason, message.
pub(super) type Row = (ConditionType, bool, String, String);

/// The conditions that a decision asks for, the summary last.
pub(super) fn conditions(said: &Said<'_>) -> Vec<Row> {
    let workload = &said.decision.workload;
    let mut rows: Vec<Row> = said
        .decision
        .conditions
        .iter()
        .map(|condition| {
            let mut message = condition.message.clone();
            let advice = match condition.reason {
                ConditionReason::DeclaredReplicas => said
                    .keeper
                    .map(|keeper| keeper.advice(workload, said.seen.replicas)),
                ConditionReason::AmbiguousSelector => {
                    let rival = said.seen.rival.as_ref();
                    rival.and_then(|rival| rivals::remedy(rival, workload, said.adoption.is_some()))
                }
                _ => None,
            };
            if let Some(advice) = advice {
                message = format!("{message}. {advice}");
            }
            let row = (kind(condition.kind), condition.status);
            match (row.0, said.failed, said.refused) {
                (ConditionType::AbleToScale, Some(error), _) => {
                    (row.0, false, "FailedUpdateScale".into(), error.to_owned())
                }
                (ConditionType::ResizeBlocked, _, Some(error)) => {
                    let reason = ConditionReason::ResizeRefused.to_string();
                    (row.0, true, reason, error.to_owned())
                }
                _ => (row.0, row.1, condition.reason.to_string(), message),
            }
        })
        .collect();
    if let Some((status, reason, message)) = said.reach {
        let row = (*status, (*reason).to_owned(), message.clone());
        rows.push((ConditionType::InReach, row.0, row.1, row.2));
    }
    let wrong = |row: &&Row| match row.0 {
        ConditionType::AbleToScale | ConditionType::ScalingActive | ConditionType::InReach => {
            !row.1
        }
        ConditionType::ReplicasConflict | ConditionType::ResizeBlocked => row.1,
        _ => false,
    };
    let wrong = rows.iter().find(wrong).map(|row| row.2.clone());
    if let Some((status, reason, message)) = said.adoption {
        rows.push((
            ConditionType::Adopted,
            *status,
            (*reason).to_owned(),
            message.clone(),
        ));
    }
    let usual = if said.seen.wishes.acts {
        "Scaling"
    } else {
        "Recommending"
    };
    let good = wrong.is_none();
    let reason = wrong.unwrap_or_else(|| usual.to_owned());
    let summary = (ConditionType::Ready, good, reason, said.decision.explain());
    rows.push(summary);
    rows
}

/// The largest replicas and size recommended within the window: a new high must outlive this leader.
fn heights(state: &State) -> Option<Fleet> {
    let fleets = state.recommendations.iter().map(|entry| entry.fleet);
    fleets.reduce(Fleet::at_least)
}

/// Whether a stored condition means the same. Messages hold figures, which mean nothing new, but for those that name
/// another object or a command.
pub(super) fn same((type_, status, reason, message): &Row, stored: &Condition) -> bool {
    let status = if *status { "True" } else { "False" };
    let rival = *type_ == ConditionType::ScalingActive && reason == AMBIGUOUS;
    let names = rival || *type_ == ConditionType::InReach;
    stored.type_ == type_.as_str()
        && stored.status == status
        && stored.reason == *reason
        && (!names || stored.message == *message)
}

/// Whether the stored status means something else than the decision: then it is written at once.
pub fn news(stored: Option<&SloAutoscalerStatus>, said: &Said<'_>) -> bool {
    let Some(stored) = stored else {
        return true;
    };
    let decision = said.decision;
    let same = |row: &Row| stored.conditions.iter().any(|stored| same(row, stored));
    let kept = stored
        .memory
        .as_deref()
        .and_then(|text| serde_json::from_str::<State>(text).ok());
    let rose = match (kept.as_ref().and_then(heights), heights(said.state)) {
        (Some(kept), Some(now)) => now.grows_from(kept),
        (None, now) => now.is_some(),
        (Some(_), None) => false,
    };
    stored.current_replicas != decision.current.replicas
        || stored.desired_replicas != decision.wanted.replicas
        || stored.size_milli != Some(decision.wanted.size.0)
        || rose
        || !conditions(said).iter().all(same)
        || sizes(&stored.sizes, said) != stored.sizes
}

/// Writes the decision into a status.
pub fn write(status: &mut SloAutoscalerStatus, generation: Option<i64>, said: &Said<'_>) {
    let decision = said.decision;
    status.observed_generation = generation;
    status.current_replicas = decision.current.replicas;
    status.desired_replicas = decision.wanted.replicas;
    status.size_milli = Some(decision.wanted.size.0);
    status.sizes = sizes(&status.sizes, said);
    remember(status, said.state);
    if !decision.actions.is_empty() && said.failed.is_none() {
        status.last_change = Some(LastChange {
            at: said.now.to_string(),
            reason: word(&decision.reason),
            message: decision.explain(),
        });
    }
    for (type_, value, reason, message) in conditions(said) {
        set_condition(
            &mut status.conditions,
            type_,
            value,
            &reason,
            &message,
            generation,
            said.now,
        );
    }
}

/// Puts the memory into a status.
pub fn remember(status: &mut SloAutoscalerStatus, state: &State) {
    match serde_json::to_string(state) {
        Ok(text) => status.memory = Some(text),
        Err(error) => tracing::error!(%error, "a memory cannot be written"),
    }
}

/// Pods of what runs are born with the size in force; a waiting revision keeps at least what its split gave it.
fn sizes(stored: &[WantedSize], said: &Said<'_>) -> Vec<WantedSize> {
    let size = said.state.size.filter(|_| said.seen.wishes.acts);
    born_with(stored, said.workload, said.seen, size)
}

/// The same list with the size in force, where there is one, for every revision that has pods or is the newest; and
/// none that a LimitRange or quota would refuse a new pod, or that a pod of what runs finds no node for.
pub fn born_with(
    stored: &[WantedSize],
    workload: &Workload,
    seen: &Observation,
    size: Option<MilliCpu>,
) -> Vec<WantedSize> {
    let mut out = stored.to_vec();
    let runs = |revision: &str| seen.pods.iter().any(|pod| pod.revision == revision);
    for revision in &seen.revisions {
        let Some(size) = size else { break };
        let running = runs(&revision.hash);
        if !running && !revision.current {
            continue;
        }
        match out.iter_mut().find(|entry| entry.revision == revision.hash) {
            Some(entry) if running && !seen.rolling => entry.size_milli = size.0,
            Some(entry) => entry.size_milli = entry.size_milli.max(size.0),
            None => {
                let entry = WantedSize {
                    revision: revision.hash.clone(),
                    size_milli: size.0,
                    replicas: seen.replicas,
                };
                out.insert(0, entry);
            }
        }
    }
    out.truncate(SIZES);
    // Where every pod is there, a new one takes the place of one that goes, in quotas too.
    let whole = !seen.rolling && seen.pods.len() >= seen.replicas as usize;
    for entry in &mut out {
        let size = MilliCpu(entry.size_milli);
        let running = runs(&entry.revision);
        let size = if whole && running {
            workload.allowed.fit(size)
        } else {
            workload.born(size)
        };
        entry.size_milli = if running {
            workload.placed(size, seen).0
        } else {
            size.0
        };
    }
    out
}

/// A workload that is left: nothing is remembered, and new pods are born as their template says.
pub fn leave(
    status: &mut SloAutoscalerStatus,
    message: &str,
    generation: Option<i64>,
    now: Timestamp,
) {
    rest(status, "ScalingDisabled", message, generation, now);
}

/// Another autoscaler of the same Deployment counts: this one remembers nothing, and no pod is born by it.
pub fn outdo(
    status: &mut SloAutoscalerStatus,
    message: &str,
    generation: Option<i64>,
    now: Timestamp,
) {
    status.adopted = None;
    rest(status, AMBIGUOUS, message, generation, now);
}

/// HPA's word for a target that two autoscalers have.
pub(super) const AMBIGUOUS: &str = "AmbiguousSelector";

/// Whether a status says so already.
pub fn outdone(status: &SloAutoscalerStatus, message: &str) -> bool {
    let nothing = status.memory.is_none() && status.sizes.is_empty() && status.adopted.is_none();
    let told = |type_: ConditionType| {
        status.conditions.iter().any(|condition| {
            condition.type_ == type_.as_str()
                && condition.reason == AMBIGUOUS
                && condition.message == message
        })
    };
    nothing && told(ConditionType::ScalingActive) && told(ConditionType::Ready)
}

fn rest(
    status: &mut SloAutoscalerStatus,
    reason: &str,
    message: &str,
    generation: Option<i64>,
    now: Timestamp,
) {
    status.observed_generation = generation;
    status.memory = None;
    status.size_milli = None;
    status.sizes.clear();
    for type_ in [ConditionType::ScalingActive, ConditionType::Ready] {
        set_condition(
            &mut status.conditions,
            type_,
            false,
            reason,
            message,
            generation,
            now,
        );
    }
}

/// What an autoscaler keeps of the one that was taken over.
pub fn stored(autoscaler: &SloAutoscaler) -> Option<&AdoptedAutoscaler> {
    autoscaler.status.as_ref()?.adopted.as_ref()
}

/// Stores the autoscaler that is taken over, before it is deleted.
pub fn store(
    status: &mut SloAutoscalerStatus,
    copy: &AdoptedAutoscaler,
    generation: Option<i64>,
    now: Timestamp,
) {
    let at = now.to_string();
    status.adopted = Some(AdoptedAutoscaler { at, ..copy.clone() });
    let told = adopt::stored_told(&copy.name);
    adoption(status, told, false, generation, now);
}

/// Says how an adoption stands, and drops what was stored when it is not needed any more.
pub fn adoption(
    status: &mut SloAutoscalerStatus,
    (value, reason, message): Told,
    drops: bool,
    generation: Option<i64>,
    now: Timestamp,
) {
    if drops {
        status.adopted = None;
    }
    set_condition(
        &mut status.conditions,
        ConditionType::Adopted,
        value,
        reason,
        &message,
        generation,
        now,
    );
}

/// Whether the last write of an adoption failed: until one succeeds, the condition says why.
pub fn adoption_failed(status: Option<&SloAutoscalerStatus>) -> bool {
    let conditions = status.map(|status| &status.conditions);
    conditions.into_iter().flatten().any(|condition| {
        condition.type_ == ConditionType::Adopted.as_str() && condition.reason == adopt::FAILED
    })
}
